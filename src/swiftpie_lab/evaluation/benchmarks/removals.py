"""Subjects taken out of photographs, with exact answers: insertions the other way round."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType

from torch import Tensor

from swiftpie.cli.options import DataPath
from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie.masks import grow
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.benchmarks.insertions import (
    NUM_CASES,
    InsertionBenchmark,
    InsertionCase,
    InsertionDrawer,
    open_backgrounds,
    trial_of,
)
from swiftpie_lab.evaluation.bounds import ROOM_PX, inpainted
from swiftpie_lab.evaluation.case import Evidence, Expected
from swiftpie_lab.evaluation.command import BenchmarkCommand, Trial, open_pack
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.metrics.insertions import changed
from swiftpie_lab.evaluation.run import File, Results
from swiftpie_world.photographs import Insertion


@dataclass(frozen=True, eq=False)
class RemovalBenchmark(InsertionBenchmark):
    """Subjects to take out of photographs, with their shadows."""

    name = "removals"
    title = "Removals from photographs"
    metrics = ("ghost", "inside-psnr", "seam", "sharpness-inside", "subject-remains")
    candidates = MappingProxyType(
        {"model": "model", "truth": "truth", "inpainted": "inpainting", "source": "untouched"}
    )
    strip = MappingProxyType({"source": "before", **candidates, "mask": "mask"})
    ranked_by = ("inside-psnr",)
    baselines = (("ghost", "inpainted"),)

    def seen(self, inserted: Insertion) -> dict[str, File]:
        """Return the photograph with and without its subject, the subject, and what is to go."""
        rendering = inserted.answer.rendering
        return {
            "source": to_pil(rendering.pixels)[0],
            "truth": to_pil(rendering.background)[0],
            "before-mask": rendering.mask,
            "mask": touched(inserted),
        }

    def by_opencv(self, inserted: Insertion) -> dict[str, File]:
        """Return the photograph with the mask filled from around it."""
        photo = to_pil(inserted.answer.rendering.pixels)[0]
        return {"inpainted": inpainted(photo, touched(inserted))}

    def evidence(
        self, case: InsertionCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield what each method left of the subject, the truth and the untouched picture."""
        truth, source = (to_tensor(results.read(case, kind)) for kind in ("truth", "source"))
        mask, before = (results.read_mask(case, kind) for kind in ("mask", "before-mask"))
        known = Evidence(picture=truth, truth=truth, source=source, mask=mask, networks=networks)
        expected = Expected(where=before, gone=case.code)
        known = replace(known, claimed=mask, expected=expected)
        yield from self._each(case, known, results)

    def words(self, case: InsertionCase) -> list[str]:
        return [f"{case.subject} out of photograph {case.photo}"]


@dataclass(frozen=True, eq=False)
class RemovalDrawer(InsertionDrawer):
    """Takes subjects out with a session, and by inpainting."""

    def kinds(self, case: InsertionCase) -> tuple[str, ...]:
        del case
        return ("source", "truth", "mask", "before-mask", "model", "model-mask", "inpainted")

    def drawn(self, inserted: Insertion, *, seed: int) -> Iterator[tuple[str, File]]:
        """Yield the model's picture; every method gets the mask of the subject and its shadow."""
        photo, mask = to_pil(inserted.answer.rendering.pixels)[0], touched(inserted)
        result = self.session.remove(photo, mask=mask_to_pil(mask)[0], seed=seed)
        yield "model", result.image
        yield "model-mask", result.region


def touched(inserted: Insertion) -> Tensor:
    """Return subject and shadow with some room, (1, 1, H, W) 0 or 1: the mask of a removal."""
    shown = inserted.answer.rendering
    return grow(changed(shown.pixels, shown.background, shown.mask), ROOM_PX)


def open_removals(
    *,
    photos: given.Backgrounds = None,
    results: given.Finished = None,
    loading: given.LoadedInSteps,
    data: DataPath = None,
    cases: given.NumCases = NUM_CASES,
    seed: given.Seed = 0,
) -> Trial[InsertionCase]:
    """Judge how a preset takes subjects and their shadows out of photographs.

    The answers are exact. The cases are those of `insertions`, after and before. The truth,
    OpenCV's inpainting and the untouched picture are judged as well. An interrupted run goes on
    where it stopped.
    """
    benchmark = RemovalBenchmark(open_pack(data), open_backgrounds(photos), seed=seed)
    return trial_of(benchmark, RemovalDrawer, cases, results, loading)


BENCHMARK = BenchmarkCommand(
    open_removals,
    (
        "swiftpie evaluate removals --photos my-photos",
        "swiftpie evaluate removals --photos my-photos "
        "--cases 24 --weights runs/mini_world/export --out out/mine --json",
    ),
)
