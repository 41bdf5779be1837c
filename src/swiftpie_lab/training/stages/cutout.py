"""The cut-out network, trained on sprites that were put into pictures like photographs."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import ConfigError
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import iou
from swiftpie.models.cutout import CutoutNet, load, packaged
from swiftpie_lab.data.photographs import load_cutouts, load_photos
from swiftpie_lab.training.context import Context
from swiftpie_world.snapshots import Photographs, Snapshots, draw_snapshots
from swiftpie_world.subjects import Split
from swiftpie_world.textures import cut_scenes, make_textures

VALIDATION_SEED = 2**31 - 1
OUTLINE_REACH_PX = 3  # pixels this near to the outline count more
OUTLINE_WEIGHT = 3.0
GOOD_IOU = 0.85
VALIDATION_COUNT = 120  # textures


@dataclass(frozen=True)
class CutoutConfig:
    """Settings of the stage."""

    batch_size: int = 16
    num_textures: int = 900
    photos: str = ""  # a folder of photographs; a third of the textures is cut from them
    cutouts: str = ""  # a folder of photographed subjects with transparency; needs `photos`
    start: str = ""  # go on from a run or a folder of exported weights; else from nothing

    @property
    def sources(self) -> tuple[str, ...]:
        """The runs that it goes on from."""
        return (self.start,) if self.start else ()

    def build(self, context: Context) -> "CutoutStage":
        """Return the stage for the given data and device."""
        train = self._material(context, "train", self.num_textures, seed=0)
        held_out = self._material(context, "held_out", VALIDATION_COUNT, seed=VALIDATION_SEED)
        start = None
        if self.start:
            folder = context.weights_of(self.start)
            start = packaged() if folder is None else load(folder / "cutout")
        return CutoutStage(train, held_out, config=self, device=context.device, start=start)

    def _material(self, context: Context, split: Split, count: int, *, seed: int) -> "Material":
        photos = load_photos(Path(self.photos), split) if self.photos else []
        tiles = context.subjects.tiles[context.subjects.indices(split)]
        textures = make_textures(count, tiles, photos, seed=seed)
        if not self.cutouts:
            return Material(tiles, textures, None)
        if not photos:
            raise ConfigError(
                "stage.cutouts came without stage.photos. Photographed subjects need photographs "
                "to stand in: name a folder of them."
            )
        cutouts = load_cutouts(Path(self.cutouts), split)
        return Material(tiles, textures, Photographs(cutouts, cut_scenes(count, photos, seed=seed)))


class Material(NamedTuple):
    """What pictures are made of, 8 bit."""

    tiles: Tensor  # (S, 4, h, w) sprites
    textures: Tensor  # (T, 3, t, t) surfaces
    photographs: Photographs | None

    def draw(self, count: int, seed: int) -> Snapshots:
        """Return `count` pictures with their masks."""
        return draw_snapshots(
            self.tiles, self.textures, count=count, seed=seed, photographs=self.photographs
        )


@dataclass(frozen=True)
class CutoutStage:
    """Find the subject in pictures whose colours, grounds and clutter do not give it away."""

    train: Material
    held_out: Material
    config: CutoutConfig
    device: str
    start: CutoutNet | None = None

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return self.config.batch_size

    def network(self) -> CutoutNet:
        """Return the one to go on from, or a new one."""
        if self.start is not None:
            network = copy.deepcopy(self.start).float().train().requires_grad_(requires_grad=True)
        else:
            torch.manual_seed(0)
            network = CutoutNet()
        return network.to(self.device, memory_format=torch.channels_last)

    def losses(self, network: CutoutNet, step: int) -> dict[str, Tensor]:
        """Return how far pixels, area and outline are off."""
        pixels, mask = (
            part.to(self.device) for part in self.train.draw(self.samples_per_step, step)
        )
        with torch.autocast(pixels.device.type, torch.bfloat16):
            logits = network(pixels.contiguous(memory_format=torch.channels_last))
        each = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        near = outline(mask)
        return {
            "pixels": each.mean(),
            "area": soft_iou_loss(logits, mask),
            "outline": OUTLINE_WEIGHT * (each * near).mean(),
        }

    @torch.no_grad()
    def sample(self, network: CutoutNet, path: Path) -> dict[str, float]:
        """Save pictures, masks and guesses; return how well held-out subjects are found."""
        batches = [self.held_out.draw(32, VALIDATION_SEED - i) for i in range(4)]
        pixels, mask = (torch.cat(part).to(self.device) for part in zip(*batches, strict=True))
        guess = torch.cat([network(part).sigmoid() for part in pixels.split(32)])
        rows = [part[:12].expand(-1, 3, -1, -1) * 2 - 1 for part in (mask, guess)]
        contact_sheet([to_pil(row) for row in (pixels[:12], *rows)], cell_px=128).save(path)
        agreement = iou(guess, mask)
        return {
            "median_iou": float(agreement.median()),
            "good_share": float((agreement >= GOOD_IOU).float().mean()),
        }

    def export(self, network: CutoutNet, folder: Path) -> None:
        """Write the network in half precision."""
        copy.deepcopy(network).half().save_pretrained(folder / "cutout")


def soft_iou_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return 1 less the mean intersection over union of soft masks (B, 1, H, W)."""
    guess = logits.sigmoid()
    shared, union = (guess * mask).sum((1, 2, 3)), (guess + mask - guess * mask).sum((1, 2, 3))
    return 1 - ((shared + 1) / (union + 1)).mean()


def outline(mask: Tensor) -> Tensor:
    """Return 1 near the outline of `mask` (B, 1, H, W) and 0 elsewhere."""
    side = 2 * OUTLINE_REACH_PX + 1
    wide, narrow = (
        F.max_pool2d(sign * mask, side, stride=1, padding=OUTLINE_REACH_PX) for sign in (1, -1)
    )
    return (wide + narrow).round()
