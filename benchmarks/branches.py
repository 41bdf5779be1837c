"""What each identity branch shows of held-out subjects, and what the identity tokens hold of them.

Run `python -m benchmarks.branches`, or with `--weights DIR` of the larger world. All cases are in
trained settings, at 128 px, and every subject is placed as in the right answer. *Found*: the judge
names the right one of all held-out subjects around the true mask; *among five*: it is one of the
five most likely. *Tokens*: references with another wall and in another light are compared by the
cosine of their identity tokens, which says what the semantic branch could know.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import SwiftPieError
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark
from swiftpie_lab.evaluation.report import format_interval, interval
from swiftpie_lab.judges import cut, subject_crops
from swiftpie_lab.training.stages.one_step.networks import OneStepNetworks, load_trained
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig, OneStepStage
from swiftpie_lab.training.stages.one_step.tasks import SEMANTIC_ALONE, Drops
from swiftpie_lab.world.captions import SceneSpec
from swiftpie_lab.world.sampler import World, WorldBatch

CASES, SIZE_PX, LIKELY = 100, 128, 5
CASE_SEED, SETTING_SEED, CONDITION_SEED = 777, 11, 3
SHOWN: Mapping[str, Drops] = MappingProxyType(
    {
        "everything": Drops(everything=0, semantic=0, detail=0, aligned=0),
        "nothing aligned": Drops(everything=0, semantic=0, detail=0, aligned=1),
        "semantic branch alone": SEMANTIC_ALONE,
        "text alone": Drops(everything=0, semantic=1, detail=1, aligned=1),
    }
)


@dataclass(frozen=True, eq=False)
class Examination:
    """The cases, and who judges them."""

    benchmark: WorldBenchmark
    batch: WorldBatch
    right: Tensor  # (B,) rows of the gallery
    embedder: torch.nn.Module
    gallery: Tensor  # (S, D) unit vectors

    @classmethod
    def of(cls, data: Path, cases: int) -> "Examination":
        """Deal the cases."""
        benchmark = WorldBenchmark(load_subjects(data), size_px=SIZE_PX)
        world, panel = benchmark.world, benchmark.panel()
        specs = [SceneSpec(one.setting) for one in world.draw_specs(cases, seed=SETTING_SEED)]
        batch = world.batch(cases, 1, seed=CASE_SEED, augment=False, specs=specs)
        right = torch.tensor([world.pool.index(row) for row in batch.subject.tolist()])
        return cls(benchmark, batch, right, panel.embedder, panel.gallery)

    def ranks(self, pixels: Tensor) -> Tensor:
        """Return how many subjects look more like pictures (B, 3, H, W) than the right one, (B,).

        The right one is found where it is 0.
        """
        likeness = self.embedder(cut(pixels, subject_crops(self.batch.mask))) @ self.gallery.T
        return (likeness > likeness.gather(1, self.right[:, None])).sum(dim=1)

    def subject_psnr(self, pixels: Tensor) -> Tensor:
        """Return the PSNR over the true mask of each picture, (B,) in dB."""
        mask = self.batch.mask
        error = ((pixels - self.batch.pixels).square() * mask).sum((1, 2, 3)) / 4
        return -10 * (error / (3 * mask.sum((1, 2, 3)))).log10()


@torch.no_grad()
def draw(stage: OneStepStage, networks: OneStepNetworks, batch: WorldBatch) -> Iterator[Tensor]:
    """Yield the pictures (B, 3, H, W) of a batch for each of `SHOWN`."""
    for drops in SHOWN.values():
        generator = torch.Generator().manual_seed(CONDITION_SEED)
        with torch.autocast("cpu", torch.bfloat16):
            outcome = stage.forward(networks, batch, generator, drops=drops, forced=1.0)
        yield stage.autoencoder.decode(outcome.prediction.sample.float()).clamp(-1, 1)


@torch.no_grad()
def recognised_by_tokens(networks: OneStepNetworks, world: World) -> float:
    """Return the share of subjects whose tokens are the nearest in another wall and light."""
    tokens = []
    for seed in (1, 2):
        numbers = torch.rand(len(world.pool), 16, generator=torch.Generator().manual_seed(seed))
        pixels, mask = world.references(world.pool, numbers)
        tokens.append(networks.image_encoder(pixels * mask, mask).flatten(1))
    first, second = (F.normalize(one - tokens[1].mean(dim=0), dim=1) for one in tokens)
    return float(((first @ second.T).argmax(dim=1) == torch.arange(len(first))).float().mean())


def main() -> None:
    """Draw, judge and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="an export of the larger world")
    parser.add_argument("--data", type=Path, help="the pack of subjects, if it is elsewhere")
    parser.add_argument("--cases", type=int, default=CASES, help="how many pictures to judge")
    options = parser.parse_args()
    try:
        trained = load_trained(options.weights, device="cpu")
        exam = Examination.of(options.data or default_pack(), options.cases)
    except SwiftPieError as error:
        sys.exit(str(error))
    world = exam.benchmark.world
    stage = OneStepStage(
        world, world, trained.autoencoder, trained.tokenizer, OneStepConfig(views=1)
    )
    table = Table("shown", "found, %", f"among {LIKELY}, %", "PSNR of the subject, dB")
    drawn = draw(stage, trained.networks.eval(), exam.batch)
    for name, pixels in zip(SHOWN, track(drawn, "drawing", total=len(SHOWN)), strict=True):
        ranks = exam.ranks(pixels)
        found = [(ranks < most).double().tolist() for most in (1, LIKELY)]
        cells = [format_interval(interval(values), unit="%") for values in found]
        psnr = format_interval(interval(exam.subject_psnr(pixels).tolist()), unit="dB")
        table.add_row(name, *cells, psnr)
    console = Console()
    console.print(table)
    console.print(
        f"tokens recognise {100 * recognised_by_tokens(trained.networks, world):.0f} % of "
        f"{len(world.pool)} subjects"
    )


if __name__ == "__main__":
    main()
