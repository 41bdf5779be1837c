"""How much pictures of one prompt differ from seed to seed, beside how much they should.

Run `python -m benchmarks.diversity`, or with `--weights DIR` of the larger world. Each case is a
held-out subject in a trained setting, drawn from several seeds; every pair of its pictures is
compared. *Background*: the mean difference, in levels of 255, of the pixels that belong to the
subject in neither. *Place*: 1 minus the IoU of the subject's masks. The exact renderings of the
same seeds say how much is right: a model that draws the same for every seed has 0 of both.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import swiftpie
from swiftpie.engine.session import Session
from swiftpie.errors import SwiftPieError
from swiftpie.imageio.images import mask_to_pil, plane, to_pil, to_tensor
from swiftpie.masks import iou
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldCase, WorldKind
from swiftpie_lab.evaluation.bounds import check_noise
from swiftpie_lab.evaluation.report import format_interval, interval

SEEDS, CASES = 6, 24
LEVELS = 127.5  # of 255, in one of pixels in [-1, 1]
ELSEWHERE = 2**12  # between the seeds of a case


class Drawn(NamedTuple):
    """A picture and where its subject is."""

    pixels: Tensor  # (1, 3, H, W) in [-1, 1]
    mask: Tensor  # (1, 1, H, W) in [0, 1]


class Spread(NamedTuple):
    """How much pictures of one case differ, on average over pairs."""

    background: float
    place: float


def spread(pictures: Sequence[Drawn]) -> Spread:
    """Return how much at least two pictures differ."""
    apart = [_apart(*pair) for pair in combinations(pictures, 2)]
    return Spread(*(fmean(values) for values in zip(*apart, strict=True)))


def truths(benchmark: WorldBenchmark, case: WorldCase, seeds: Sequence[int]) -> Iterator[Drawn]:
    """Yield the exact picture of each seed."""
    for seed in seeds:
        rendering = benchmark.answer(replace(case, seed=seed)).rendering
        yield Drawn(rendering.pixels, rendering.mask)


def drawings(
    session: Session, benchmark: WorldBenchmark, case: WorldCase, seeds: Sequence[int]
) -> Iterator[Drawn]:
    """Yield what the model draws of each seed, all from one reference."""
    answer = benchmark.answer(case)
    reference, mask = to_pil(answer.reference)[0], mask_to_pil(answer.reference_mask)[0]
    identity = session.encode_identity(reference, masks=mask)
    for seed in seeds:
        result = session.personalize(identity, case.prompt, seed=seed)
        yield Drawn(to_tensor(result.images[0]), plane(result.subject_masks[0]))


def _apart(one: Drawn, other: Drawn) -> Spread:
    around = (1 - one.mask) * (1 - other.mask)
    difference = (one.pixels - other.pixels).abs().mean(dim=1, keepdim=True) * around
    background = float(difference.sum() / around.sum().clamp_min(1)) * LEVELS
    return Spread(background, 1 - float(iou(one.mask, other.mask)))


def main() -> None:
    """Draw, compare and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="an export of the larger world")
    parser.add_argument("--data", type=Path, help="the pack of subjects, if it is elsewhere")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    session = swiftpie.load("mini", weights=given.weights)
    benchmark = WorldBenchmark(load_subjects(given.data or default_pack()))
    check_noise(session.components, side_px=benchmark.size_px)
    cases = [one for one in benchmark.cases(given.cases) if one.kind is WorldKind.PLAIN]
    right, found = [], []
    for case in track(cases, description="cases"):
        seeds = [case.seed + ELSEWHERE * number for number in range(max(2, given.seeds))]
        right.append(spread([*truths(benchmark, case, seeds)]))
        found.append(spread([*drawings(session, benchmark, case, seeds)]))
    table = Table("", "model", "truth", "of the truth's")
    for name in Spread._fields:
        ours, theirs = ([getattr(one, name) for one in some] for some in (found, right))
        shares = interval(ours, relative_to=theirs)
        each = [format_interval(one) for one in (interval(ours), interval(theirs), shares)]
        table.add_row(name, *each)
    Console().print(table)


if __name__ == "__main__":
    try:
        main()
    except SwiftPieError as error:
        sys.exit(str(error))
