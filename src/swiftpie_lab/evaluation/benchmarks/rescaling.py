"""Mask-guided rescaling in each form that a user has, of references that are not cut out."""

from dataclasses import dataclass
from types import MappingProxyType

from swiftpie.cli.options import DataPath
from swiftpie.engine.session import Session
from swiftpie.pipelines.settings import MaskSource, Scales
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.benchmarks.ablations import (
    FILE,
    TRUE,
    AblationDrawer,
    Ablations,
    Setup,
)
from swiftpie_lab.evaluation.benchmarks.world import WorldCase
from swiftpie_lab.evaluation.command import BenchmarkCommand, Trial, open_model, open_pack, side_of
from swiftpie_lab.evaluation.judges import Networks

TITLES = MappingProxyType(
    {
        MaskSource.NONE.value: "none",
        MaskSource.BOX.value: "box",
        MaskSource.INLINE.value: "inline",
        FILE: "file of --save-subject-mask",
        MaskSource.TWO_PASS.value: "two passes",
        TRUE: "true mask, which no user has",
    }
)


@dataclass(frozen=True, eq=False)
class Rescaling(Ablations):
    """Subjects in trained settings, drawn once for each form; nothing aligned hides its effect."""

    name = "rescaling"
    title = "Mask-guided rescaling"
    candidates = TITLES
    strip = MappingProxyType({"reference": "reference", "truth": "truth", **TITLES})

    def setups(self, session: Session) -> dict[str, Setup]:
        scales = Scales.of(session.components.preset)
        return {
            form: Setup(scales, has_aligned=False, is_cut_out=False, region=form) for form in TITLES
        }


def open_rescaling(
    *,
    loading: given.LoadedInSizes,
    data: DataPath = None,
    cases: given.NumCases = 20,
    seed: given.Seed = 0,
) -> Trial[WorldCase]:
    """Measure each form of mask-guided rescaling on references that are not cut out.

    The box is that of the true mask, and places the subject as well; the file is the mask that a
    first picture without a region saved. An interrupted run goes on where it stopped.
    """
    benchmark = Rescaling(open_pack(data), seed=seed, size_px=side_of(loading))
    drawer = AblationDrawer(open_model(loading), benchmark)
    return Trial(benchmark, benchmark.cases(cases), drawer, Networks(panel=benchmark.panel()))


BENCHMARK = BenchmarkCommand(
    open_rescaling,
    (
        "swiftpie evaluate rescaling --cases 20 --out out/rescaling --json",
        "swiftpie evaluate rescaling --weights runs/mini_world/export --out out/mine",
    ),
)
