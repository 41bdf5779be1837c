"""Training pictures of which a part is given and the rest is to be drawn, as editing needs it."""

from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.data.captions import draw_empty_caption
from swiftpie.data.scenes import SCENES
from swiftpie.data.stickers import StickerBatch
from swiftpie.masks import bounding_box, grow
from swiftpie.noise import COUPLED_CHANNELS
from swiftpie.training.stages.one_step.tasks import hats_of

EMPTIED_SHARE = 0.3  # of the pictures without a reference of their subject: the subject goes
NOISY_SHARE = 0.5  # of the pictures whose noise is not quite the true one, as after inversion
MOST_NOISY = 0.5  # largest share of foreign noise in deviation
SILENT_SHARE = 0.3  # of the pictures whose noise carries nothing in the channels nobody reads
FOREIGN = 2**30  # between the seeds of a batch and of its faults
GROW_PX = 9  # the room that a replaced subject may need around the old one
HAT_SHARE = 0.5  # of the pictures with a hat: only the hat is to be drawn
BARE_SHARE = 0.12  # of those without: only the place of a hat is to be drawn
LEAST_HAT_PX = 20  # pixels that stand out of the subject; fewer are an edge
HAT_SIDE = 0.45  # of the subject's longer side, about the side of a hat

_KINDS = ("subject", "surroundings", "box", "everything", "nothing")
_SHARES = (0.35, 0.25, 0.15, 0.10, 0.15)


class Repainting(NamedTuple):
    """Pictures to complete, a row each."""

    pixels: Tensor  # (B, 3, R, R) in [-1, 1], the right answer
    mask: Tensor  # (B, 1, R, R) in [0, 1], the subject in it
    captions: list[str]
    noise: Tensor  # (B, C, h, w) about the noise of the picture
    allowed: Tensor  # (B, 1, R, R) 1 = to be drawn, 0 = given
    hats: Tensor  # (B, 1, R, R) in [0, 1], what stands out of the subjects


def repainting(batch: StickerBatch, *, seed: int, may_empty: bool) -> Repainting:
    """Choose for each picture of `batch` what is given; `may_empty` lets subjects vanish."""
    random = Random(seed)
    generator = torch.Generator().manual_seed(seed + FOREIGN)  # not the numbers of the batch itself
    rows = len(batch.noise)
    emptied = [may_empty and random.random() < EMPTIED_SHARE for _ in range(rows)]
    captions = [
        draw_empty_caption(random, SCENES[scene]) if gone else caption
        for gone, scene, caption in zip(emptied, batch.scene.tolist(), batch.captions, strict=True)
    ]
    gone = batch.mask.new_tensor(emptied).view(-1, 1, 1, 1)
    hats = hats_of(batch) * (1 - gone)
    return Repainting(
        pixels=torch.lerp(batch.pixels, batch.background, gone),
        mask=batch.mask * (1 - gone),
        captions=captions,
        noise=_about(batch.noise, random, generator),
        allowed=_allowed(batch, hats, emptied, random),
        hats=hats,
    )


def _allowed(batch: StickerBatch, hats: Tensor, emptied: list[bool], random: Random) -> Tensor:
    masks = []
    for mask, hat, gone in zip(batch.mask, hats, emptied, strict=True):
        has_hat = bool((hat > 0.5).sum() > LEAST_HAT_PX)
        if not gone and random.random() < (HAT_SHARE if has_hat else BARE_SHARE):
            masks.append(_at_hat(hat if has_hat else _above(mask), random))
            continue
        kind = "subject" if gone else random.choices(_KINDS, _SHARES)[0]
        masks.append(_one(kind, mask, random))
    return torch.stack(masks)


def _at_hat(hat: Tensor, random: Random) -> Tensor:
    """Return where a `hat` (1, R, R) is, with some room around it."""
    reach = random.randrange(2, GROW_PX + 1)
    around = grow(hat[None], reach)[0]
    chosen = (around > 0.1).to(hat)
    return _coarse(chosen) if random.random() < 0.5 else chosen


def _above(mask: Tensor) -> Tensor:
    """Return about where the subject in `mask` (1, R, R) would wear a hat."""
    left, top, right, bottom = bounding_box(mask[None])
    side = mask.shape[-1]
    reach, middle = HAT_SIDE * max(right - left, bottom - top), (left + right) / 2
    columns = slice(max(0, int((middle - reach / 2) * side)), int((middle + reach / 2) * side) + 1)
    rows = slice(max(0, int((top - 0.7 * reach) * side)), int((top + 0.3 * reach) * side) + 1)
    place = torch.zeros_like(mask)
    place[:, rows, columns] = 1
    return place


def _one(kind: str, mask: Tensor, random: Random) -> Tensor:
    """Return where one picture is to be drawn, (1, R, R), from its subject (1, R, R)."""
    side = mask.shape[-1]
    if kind == "subject":
        around = grow(mask[None], GROW_PX)[0]
        chosen = (around > 0.1).to(mask)
    elif kind == "surroundings":
        chosen = (mask < 0.5).to(mask)
    elif kind == "box":
        top, left = random.randrange(side * 3 // 4), random.randrange(side * 3 // 4)
        height, width = (random.randrange(side // 8, side * 3 // 4) for _ in range(2))
        chosen = torch.zeros_like(mask)
        chosen[:, top : top + height, left : left + width] = 1
    else:
        return torch.full_like(mask, float(kind == "everything"))
    return _coarse(chosen) if random.random() < 0.5 else chosen


def _coarse(mask: Tensor) -> Tensor:
    """Return `mask` (1, R, R) as one found on the grid of latents looks, grown to whole cells."""
    cells = F.max_pool2d(mask[None], 8)
    return F.interpolate(cells, size=mask.shape[-2:], mode="nearest")[0]


def _about(noise: Tensor, random: Random, generator: torch.Generator) -> Tensor:
    """Return `noise` (B, C, h, w) with the faults that inverted noise has, in some rows."""
    rows = range(len(noise))
    share = [MOST_NOISY * random.random() * (random.random() < NOISY_SHARE) for _ in rows]
    foreign = noise.new_tensor(share).view(-1, 1, 1, 1)
    other = torch.randn(noise.shape, generator=generator).to(noise)
    mixed = (1 - foreign.square()).sqrt() * noise + foreign * other
    silent = noise.new_tensor([random.random() < SILENT_SHARE for _ in rows]).view(-1, 1, 1, 1)
    unread = torch.arange(noise.shape[1], device=noise.device).view(1, -1, 1, 1)
    return mixed * (1 - silent * (unread >= COUPLED_CHANNELS))
