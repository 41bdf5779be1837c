"""The parts of an edit one by one, on rendered edits."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from swiftpie.backbones.presets import Use
from swiftpie.cli.loading import resolved
from swiftpie.cli.options import DataPath
from swiftpie.engine.session import Session
from swiftpie.imageio.images import to_pil
from swiftpie.masks import MaskRule
from swiftpie.pipelines.settings import EditSettings, Scales
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.benchmarks.world_edits import WorldEditBenchmark, WorldEditCase
from swiftpie_lab.evaluation.command import BenchmarkCommand, open_model, open_pack, side_of
from swiftpie_lab.evaluation.editors import DdimEditor, MaskChoice, SwiftEditor
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.study import HELD_OUT, Study, Variant

AgainstInversions = Annotated[
    list[Path] | None,
    typer.Option(
        "--against",
        metavar="DIR",
        help="Another inversion network, such as that of the first stage, as a row; repeat for "
        "more.",
    ),
]
TeacherWeights = Annotated[
    Path | None,
    typer.Option(
        "--teacher",
        metavar="DIR",
        help="Weights of a multi-step model, for DDIM inversion as a row.",
    ),
]
EDIT_COLUMNS = (
    "wish-success-in-words",
    "recognition-kept",
    "mask-iou",
    "inside-psnr",
    "outside-psnr-drawn",
    "reconstruction-psnr",
    "noise-psnr",
    "time",
)
EDIT_SCALES: Mapping[str, tuple[float, ...]] = {
    "identity_scale": (0.5, 1.0),
    "background_scale": (0.0, 0.5),
    "text_scale": (0.5, 1.5, 2.0),
    "text_background_scale": (0.0,),
}


def open_edit_ablations(
    *,
    loading: given.LoadedInSizes,
    against: AgainstInversions = None,
    teacher: TeacherWeights = None,
    data: DataPath = None,
    cases: given.CasesAKind = 5,
    seed: given.Seed = 0,
) -> Study[WorldEditCase]:
    """Measure the parts of an edit one by one.

    Masks, inversion networks and the scales of attention rescaling: every row draws the same
    cases. An interrupted run goes on where it stopped.
    """
    loading, _ = resolved(loading, use=Use.EDIT)
    return edit_study(
        open_model(loading),
        WorldEditBenchmark(open_pack(data), seed=seed, size_px=side_of(loading)),
        num_cases=cases,
        inversions={
            str(path): open_model({**loading, "inversion": path}) for path in against or []
        },
        teacher=None if teacher is None else open_model({**loading, "weights": teacher}),
    )


def edit_study(
    session: Session,
    benchmark: WorldEditBenchmark,
    *,
    num_cases: int,
    inversions: Mapping[str, Session],
    teacher: Session | None,
) -> Study[WorldEditCase]:
    """Return the study of one set of weights on rendered edits.

    Args:
        session: The model under test.
        benchmark: Deals the cases.
        num_cases: How many of each kind.
        inversions: The same model with other inversion networks, by title.
        teacher: A multi-step model, for DDIM inversion.
    """
    shipped = Scales.for_edit(session.components.preset)

    def swift(group: str, title: str, *, by: Session = session, **choices: Any) -> None:  # noqa: ANN401 - of `SwiftEditor`
        variants.append(Variant(group, title, SwiftEditor(benchmark, by, **choices)))

    variants: list[Variant[WorldEditCase]] = []
    swift("everything", "as shipped")
    for title, other in inversions.items():
        swift("inversion", title, by=other)
    swift("mask", "found by keyword", mask=MaskChoice.KEYWORD)
    swift("mask", "given", mask=MaskChoice.TRUE)
    swift("mask", "none", mask=MaskChoice.NONE)
    for rule in MaskRule:
        swift("mask", f"{rule} rule", settings=EditSettings(rule=rule))
    for name, values in EDIT_SCALES.items():
        for value in values:
            if value != getattr(shipped, name):
                settings = EditSettings(scales=replace(shipped, **{name: value}))
                swift("scales", f"{name.replace('_', ' ')} {value:g}", settings=settings)
    if teacher is not None:
        steps = len(teacher.components.schedule.steps)
        inverted = DdimEditor(benchmark, teacher)
        variants.append(Variant("baseline", f"DDIM, {steps} steps", inverted))
    return Study(
        variants=variants,
        benchmark=benchmark,
        cases=benchmark.cases(num_cases),
        networks=Networks(panel=benchmark.panel()),
        truth=lambda case: to_pil(benchmark.answer(case).target)[0],
        columns=EDIT_COLUMNS,
        remarks=(HELD_OUT,),
    )


BENCHMARK = BenchmarkCommand(
    open_edit_ablations,
    (
        "swiftpie evaluate edit-ablations --cases 5 --json",
        "swiftpie evaluate edit-ablations --size 128 "
        "--against runs/world_inversion/export/inversion --teacher runs/mini_teacher/export",
    ),
)
