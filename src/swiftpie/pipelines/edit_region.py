"""What a picture that is edited looks like to the networks, and where it may change."""

import logging
import math
import string
from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.asked import Size
from swiftpie.backbones.components import MAX_SIDE_PX, MIN_SIDE_PX, Components
from swiftpie.errors import InputError
from swiftpie.images import from_8_bits, in_8_bits, to_tensor
from swiftpie.masks import Box, MaskRule, box_mask, from_noise_difference, grow, resize_mask
from swiftpie.models.inversion import ReadsEdits

logger = logging.getLogger(__name__)

GROW_PX = 8  # a found mask is widened by a latent cell, so that its soft edge lies around it
LEARNED_GROW_PX = 5  # one that a network was taught is four times finer

ARTICLES = {"a", "an", "the"}
ROUNDING = 1e-5  # of a prompt's states, whose numbers are about 1

UNCHANGED = (
    "The prompts agree everywhere about this picture, so nothing of it will change. Give another "
    "prompt, a keyword or a mask."
)


@dataclass(frozen=True)
class Canvas:
    """The three sizes of one picture; padding is below and to the right."""

    full: Size  # as given
    content: Size  # scaled
    padded: Size  # whole cells, what the networks see

    def enter(self, image: Image.Image) -> Tensor:
        """Return pixels (1, 3, H, W) at the padded size; the last row and column are repeated."""
        height, width = self.content
        return self._pad(to_tensor(image.resize((width, height), Image.Resampling.BICUBIC)))

    def enter_mask(self, mask: Tensor) -> Tensor:
        """Return a mask (1, 1, H, W) of the picture, in [0, 1] or of bytes, at the padded size."""
        return self._pad(resize_mask(from_8_bits(mask), self.content))

    def leave(self, image: Image.Image) -> Image.Image:
        """Return a picture of the padded size at that of the given one."""
        height, width = self.content
        content = image.crop((0, 0, width, height))
        return content.resize((self.full[1], self.full[0]), Image.Resampling.LANCZOS)

    def leave_mask(self, mask: Tensor) -> Tensor:
        """Return a mask (1, 1, h, w) of the padded picture at the scaled size, without padding."""
        return resize_mask(mask, self.padded)[..., : self.content[0], : self.content[1]]

    def _pad(self, pixels: Tensor) -> Tensor:
        below, right = (self.padded[side] - self.content[side] for side in (0, 1))
        return F.pad(pixels, (0, right, 0, below), mode="replicate")


def canvas_for(size: Size, *, side_px: int, unit_px: int) -> Canvas:
    """Return the canvas of a picture of `size` with about the area of a square of `side_px`.

    Both padded sides are multiples of `unit_px`.
    """
    scale = min(side_px / math.sqrt(size[0] * size[1]), MAX_SIDE_PX / max(size))
    content = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    padded = tuple(math.ceil(max(side, MIN_SIDE_PX) / unit_px) * unit_px for side in content)
    return Canvas(full=size, content=content, padded=(padded[0], padded[1]))


class EditRegion(NamedTuple):
    """Where a picture may change."""

    latent: Tensor  # (1, 1, h, w) for attention, on the canvas
    # (1, 1, H, W) on the given picture, of bytes as in a file, so that a mask that was saved gives
    # the same edit again
    pixels: Tensor


class Inverted(NamedTuple):
    """Everything that is known about a picture before it is drawn anew."""

    noise: Tensor  # (1, C, h, w) behind the picture
    region: EditRegion
    subject_mask: Tensor  # (1, 1, h', w') in [0, 1], on the canvas; 0 if unknown
    keeps_subject: bool  # whether the new prompt is about the same subject


def invert(
    components: Components,
    latents: Tensor,
    prompts: tuple[str, str],
    *,
    keyword: str,
    mask: Tensor | Box | None,
    canvas: Canvas,
    rule: MaskRule | None,
) -> Inverted:
    """Invert `latents` (1, C, h, w) of a picture on its canvas and compare prompts about them.

    `prompts` are what it shows and what it shall show; a `keyword` is compared with no words
    instead. A `mask` tells where it changes; else `rule` finds that in noise, and None asks the
    network itself, if it was taught.

    Raises:
        CapabilityError: The preset has no inversion network.
        InputError: The mask is not shaped as one.
    """
    source, _ = prompts
    compared = ("", keyword) if keyword else prompts
    inverter = components.inverter()
    if mask is None and _agree(components, compared):
        logger.warning(UNCHANGED)
        mask = torch.zeros(1, 1, *canvas.full)
    if rule is None and isinstance(inverter, ReadsEdits):
        return _read(components, inverter, latents, compared, mask=mask, canvas=canvas)
    wanted = list(dict.fromkeys([source] if mask is not None else [source, *compared]))
    behind = inverter(latents.expand(len(wanted), -1, -1, -1), components.text.encode(wanted))
    noise = dict(zip(wanted, behind.split(1), strict=True))
    if mask is not None:
        region = _given(mask, canvas, like=latents)
    else:
        first, second = (noise[prompt] for prompt in compared)
        latent = from_noise_difference(first, second, rule=rule or MaskRule.RELEASED)
        region = EditRegion(latent, _grown(latent, canvas, GROW_PX))
    return Inverted(noise[source], region, torch.zeros_like(latents[:, :1]), keeps_subject=False)


def _read(
    components: Components,
    inverter: ReadsEdits,
    latents: Tensor,
    compared: tuple[str, str],
    *,
    mask: Tensor | Box | None,
    canvas: Canvas,
) -> Inverted:
    # A network that was taught about edits answers everything in one call.
    text = components.text.encode(list(compared))
    both = inverter.read(latents.expand(2, -1, -1, -1), text)
    source, target = both.row(0), both.row(1)
    difference = inverter.compare(source, target)
    if mask is None:
        learned = _grown(torch.sigmoid(difference.mask), canvas, LEARNED_GROW_PX)
        region = _seen_by(learned, canvas, like=latents)
    else:
        region = _given(mask, canvas, like=latents)
    return Inverted(
        noise=source.noise,
        region=region,
        subject_mask=torch.sigmoid(source.subject),
        keeps_subject=bool(difference.same_subject > 0),
    )


def _given(mask: Tensor | Box, canvas: Canvas, *, like: Tensor) -> EditRegion:
    height, width = canvas.full
    if not isinstance(mask, Tensor):
        full = box_mask(mask, height=height, width=width)
    elif mask.ndim == 4 and mask.shape[:2] == (1, 1):
        full = resize_mask(mask.float().cpu(), (height, width))
    else:
        raise InputError(
            f"A mask of shape {tuple(mask.shape)} was given; (1, 1, H, W) is needed. Add the "
            "missing axes."
        )
    return _seen_by(in_8_bits(full), canvas, like=like)


def _seen_by(pixels: Tensor, canvas: Canvas, *, like: Tensor) -> EditRegion:
    """Return a region of the given picture, and what latents `like` (1, C, h, w) see of it."""
    latent = resize_mask(canvas.enter_mask(pixels), (like.shape[2], like.shape[3]))
    return EditRegion(latent.to(like), pixels)


def _agree(components: Components, prompts: tuple[str, str]) -> bool:
    """Whether two prompts have the same words, or are the same to the model."""
    first, second = (_words(prompt) for prompt in prompts)
    if first == second:
        return True
    text = components.text.encode(list(prompts))
    states = text.hidden_states * text.attention_mask.to(text.hidden_states)[..., None]
    return torch.allclose(states[0], states[1], atol=ROUNDING)


def _words(prompt: str) -> list[str]:
    # Articles, capitals and punctuation tell nothing about a picture.
    words = [word.strip(string.punctuation) for word in prompt.casefold().split()]
    return [word for word in words if word and word not in ARTICLES]


def _grown(region: Tensor, canvas: Canvas, reach_px: int) -> Tensor:
    hard = (canvas.leave_mask(region.cpu()) > 0.5).float()
    if not hard.any():
        logger.warning(UNCHANGED)
    return in_8_bits(resize_mask(grow(hard, reach_px), canvas.full))
