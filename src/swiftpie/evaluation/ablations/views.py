"""References of a case's subject: the benchmark's own, and further ones of other poses."""

from dataclasses import replace
from random import Random
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from swiftpie.data.placing import pose_subjects
from swiftpie.data.scenes import SCENES
from swiftpie.data.stickers import draw_references
from swiftpie.evaluation.benchmarks.stickers import SIZE_PX, StickerBenchmark
from swiftpie.evaluation.case import Case
from swiftpie.images import mask_to_pil, to_pil

TURN = 0.15  # radians; about what people's second picture of an upright thing differs by
VIEW_SEED = 2**41  # far from the seeds of cases and galleries


class View(NamedTuple):
    """A picture a user would give."""

    image: Image.Image
    mask: Image.Image  # mode L


def references_of(benchmark: StickerBenchmark, case: Case, count: int) -> list[View]:
    """Return `count` pictures of the subject; the first is the benchmark's own.

    The others are turned to either side, before other backgrounds and in other light.
    """
    first = _as_view(*benchmark.reference(case))
    return [first, *(_other(benchmark, case, number) for number in range(1, count))]


def _other(benchmark: StickerBenchmark, case: Case, number: int) -> View:
    seed = case.seed + VIEW_SEED * number
    angle = torch.tensor([TURN if number % 2 else -TURN])
    still = torch.zeros(1)
    subjects = benchmark.subjects
    tile = subjects.tiles[[subjects.index(case.code)]]
    names = [scene.name for scene in SCENES]
    elsewhere = names[(names.index(case.scene) + 1 + number) % len(names)]
    scenery = benchmark.truth(replace(case, scene=elsewhere, seed=seed)).background
    pixels, mask = draw_references(
        pose_subjects(tile, rotation=angle, flip=still, hue=still),
        scenery,
        random=Random(seed),
        generator=torch.Generator().manual_seed(seed),
        size_px=SIZE_PX,
    )
    return _as_view(pixels, mask)


def _as_view(pixels: Tensor, mask: Tensor) -> View:
    return View(to_pil(pixels)[0], mask_to_pil(mask)[0])
