"""The cut-out network, trained on cut-outs that were put into photographs."""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from swiftpie.errors import ConfigError
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.library import subject_library
from swiftpie.masks import iou
from swiftpie.photo.cutout import cutout_network
from swiftpie.photo.cutout_net import STAGES, CutoutNet
from swiftpie_lab.data.collages import (
    Collages,
    Collection,
    draw_collages,
    read_cutouts,
    read_photos,
)
from swiftpie_lab.training.context import VALIDATION_SEED, Context
from swiftpie_world.subjects import Split

NUM_VALIDATION = 96
OUTLINE_REACH_PX = 3  # pixels this near to the outline count more
OUTLINE_WEIGHT = 3.0
NORM_EPSILON = 1e-3  # epsilon of EfficientNet's batch norms


@dataclass(frozen=True)
class CutoutConfig:
    """Settings of the stage."""

    batch_size: int = 16
    photos: str = ""  # a folder of photographs to put subjects into
    cutouts: str = ""  # a folder of photographed subjects with transparency
    encoder: str = ""  # EfficientNet-Lite0 trained on ImageNet, a .pth of PyTorch
    start: str = ""  # instead, go on from a run or a folder of exported weights
    num_processes: int = 1  # processes that draw; two or more draw while the network learns

    def build(self, context: Context) -> "CutoutStage":
        if not self.photos or not self.cutouts:
            raise ConfigError(
                "The cut-out network learns from photographed subjects in photographs. Name a "
                "folder of each: --set stage.cutouts=DIR --set stage.photos=DIR."
            )
        if self.start:
            folder = context.weights_of(self.start)
            start = (
                cutout_network() if folder is None else CutoutNet.from_pretrained(folder / "cutout")
            )
        else:
            torch.manual_seed(0)
            start = CutoutNet()
            if self.encoder:
                weights = torch.load(self.encoder, weights_only=True, map_location="cpu")
                start.encoder.load_state_dict(imagenet_encoder(weights))
        collect = partial(_collection, Path(self.photos), Path(self.cutouts))
        held_out = draw_collages(collect("held_out"), count=NUM_VALIDATION, seed=VALIDATION_SEED)
        build = partial(_drawing, partial(collect, "train"), self.batch_size)
        draw = build() if self.num_processes == 1 else Ahead(build, self.num_processes)
        return CutoutStage(draw, held_out, self.batch_size, context.device, start)


def _collection(photos: Path, cutouts: Path, split: Split) -> Collection:
    sprites = [subject_library().image(name).convert("RGBA") for name in subject_library().names()]
    return Collection(read_photos(photos, split), read_cutouts(cutouts, split), sprites)


def _drawing(collect: Callable[[], Collection], count: int) -> Callable[[int], Collages]:
    """Return what draws a batch by its number."""
    collection = collect()
    return lambda seed: draw_collages(collection, count=count, seed=seed)


@dataclass(frozen=True)
class CutoutStage:
    """Find the subject in pictures whose colours, grounds and clutter do not give it away.

    The encoder stays as photographs made it: trained on collages, it finds less in photographs.
    """

    draw: Callable[[int], Collages]  # by the number of the batch
    held_out: Collages
    samples_per_step: int
    device: str
    start: CutoutNet

    def network(self) -> CutoutNet:
        """Return a copy of the one to go on from, whose decoder learns."""
        network = copy.deepcopy(self.start).float().train()
        network.requires_grad_(requires_grad=False)
        network.decoder.requires_grad_(requires_grad=True)
        return network.to(self.device)

    def losses(self, network: CutoutNet, draw: int) -> dict[str, Tensor]:
        """Return how far pixels, area and outline are off."""
        pixels, mask = self.draw(draw).tensors(self.device)
        logits = network(pixels)  # float32, since bfloat16 changes the encoder's features
        each = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        return {
            "pixels": each.mean(),
            "area": soft_iou_loss(logits, mask),
            "outline": OUTLINE_WEIGHT * (each * outline(mask)).mean(),
        }

    @torch.no_grad()
    def sample(self, network: CutoutNet, path: Path) -> dict[str, float]:
        """Save pictures, masks and guesses; return how well held-out subjects are found."""
        pixels, mask = self.held_out.tensors(self.device)
        guess = torch.cat([network(part).sigmoid() for part in pixels.split(16)])
        rows = [part[:12].expand(-1, 3, -1, -1) * 2 - 1 for part in (mask, guess)]
        contact_sheet([to_pil(row) for row in (pixels[:12], *rows)], cell_px=128).save(path)
        return {"median_iou": float(iou(guess, mask).median())}

    def export(self, network: CutoutNet, folder: Path) -> None:
        """Write the network in eight bits a weight."""
        network.save_in_eight_bits(folder / "cutout")


def imagenet_encoder(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's weights from a classifier's, EfficientNet-Lite0 as lukemelas names it.

    Batch norms, which stay as they are, become parts of the convolutions before them.
    """
    found = {}

    def fold(name: str, conv: str, norm: str) -> None:
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + NORM_EPSILON).sqrt()
        found[f"{name}.weight"] = weights[f"{conv}.weight"] * scale[:, None, None, None]
        found[f"{name}.bias"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale

    fold("stem.conv", "_conv_stem", "_bn0")
    places = [(stage, block) for stage, row in enumerate(STAGES) for block in range(row[0])]
    for number, (stage, block) in enumerate(places):
        here, there = f"stages.{stage}.{block}", f"_blocks.{number}"
        if f"{there}._expand_conv.weight" in weights:
            fold(f"{here}.widen", f"{there}._expand_conv", f"{there}._bn0")
        fold(f"{here}.look.conv", f"{there}._depthwise_conv", f"{there}._bn1")
        fold(f"{here}.narrow", f"{there}._project_conv", f"{there}._bn2")
    return found


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


class _Numbered(Dataset[Collages]):
    """Batches by number; each process builds what draws them once."""

    def __init__(self, build: Callable[[], Callable[[int], Collages]]) -> None:
        self.build = build
        self.draw: Callable[[int], Collages] | None = None

    def __getitem__(self, number: int) -> Collages:
        self.draw = self.draw or self.build()
        return self.draw(number)


def _as_drawn(batch: Any) -> Any:  # noqa: ANN401 - as loaders want it
    return batch


class Ahead:
    """Draws batches n, n + k, n + 2 k ... in other processes before they are needed.

    k is the last difference of two numbers. What a batch is follows from its number alone, so runs
    repeat bit for bit with any number of processes.
    """

    def __init__(self, build: Callable[[], Callable[[int], Collages]], num_processes: int) -> None:
        """Draw with what `build`, which is pickled, returns in each process."""
        self._load = partial(
            DataLoader,
            _Numbered(build),
            batch_size=None,
            num_workers=num_processes,
            multiprocessing_context="spawn",  # a fork would share locks of threads
            collate_fn=_as_drawn,
        )
        self._drawn: Iterator[Collages] = iter(())
        self._last, self._step = -1, 0

    def __call__(self, number: int) -> Collages:
        """Return the batch with this number."""
        if number != self._last + self._step or not self._step:
            self._step = max(1, number - self._last) if self._step else 1
            self._drawn = iter(self._load(sampler=itertools.count(number, self._step)))
        self._last = number
        return next(self._drawn)
