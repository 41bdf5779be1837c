"""The commands under `swiftpie evaluate`: how good a preset is, in numbers and pictures."""

from inspect import cleandoc
from pathlib import Path
from typing import NamedTuple

import typer

from swiftpie.cli.console import examples, print_json, say
from swiftpie.cli.options import AsJson, DataPath, Force, PictureOut, with_fields
from swiftpie_lab.cli import evaluate_options as given
from swiftpie_lab.cli import evaluate_output as output
from swiftpie_lab.cli import evaluate_parts as parts
from swiftpie_lab.cli import evaluate_rivals as others

app = typer.Typer(no_args_is_help=True, help="Measure how good a preset is.")


@app.callback()
def evaluate() -> None:
    """Measure how good a preset is."""


@app.command(
    epilog=examples(
        "swiftpie evaluate world",
        "swiftpie evaluate world --cases 4 --weights runs/mini_world/export --out out/mine --json",
        "swiftpie evaluate world --size 128 --out out/small",
        "swiftpie evaluate world --kinds look,accessory --cases 60 --out out/wishes",
    )
)
@with_fields
def world(
    *,
    context: typer.Context,
    judges: given.WorldJudges = None,
    loading: given.LoadedInSizes,
    data: DataPath = None,
    cases: given.CasesAKind = 20,
    kinds: given.KindNames = None,
    scenes: given.Scenes = "library",
    seed: given.Seed = 0,
    out: given.Out = Path("out/evaluate-world"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Judge a preset with subjects that it was not trained on.

    Settings, also such as were never trained on, views in words and by value, light, looks, art,
    accessories and poses: each picture has an exact answer, drawn from the same noise. An
    interrupted run goes on where it stopped.
    """
    from swiftpie_lab.evaluation.benchmarks import world as benchmarks
    from swiftpie_lab.evaluation.judges import Networks

    chosen, pack = benchmarks.read_kinds(kinds), parts.open_pack(data)
    benchmark = benchmarks.WorldBenchmark(pack, seed=seed, size_px=parts.side_of(loading))
    dealt = [case for kind in chosen for case in benchmark.deal(kind, cases)]
    source = benchmarks.SceneSource(scenes)
    drawer = benchmarks.WorldDrawer(parts.open_model(loading), benchmark, source)
    networks = Networks(panel=benchmark.panel(judges))
    output.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )


@app.command(
    epilog=examples(
        "swiftpie evaluate leakage",
        "swiftpie evaluate leakage --photos dreambooth/dataset --cases 20 --out out/leaks --json",
    )
)
@with_fields
def leakage(
    *,
    context: typer.Context,
    photos: given.SubjectPhotos = None,
    loading: given.LoadedInSteps,
    data: DataPath = None,
    cases: given.CasesASlice = 8,
    seed: given.Seed = 0,
    out: given.Out = Path("out/evaluate-leakage"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Measure how much of each of two to four subjects is found in the place of another.

    Held-out subjects that are light, dark, thin or textured stand side by side, and photographs
    with --photos. The same subjects are drawn alone, too: only what drawing them together adds is
    leakage. The report has the worst slice first.
    """
    from swiftpie_lab.evaluation.benchmarks import leakage as leaks
    from swiftpie_lab.evaluation.judges import Networks

    shown = {} if photos is None else leaks.read_photos(photos)
    benchmark = leaks.LeakageBenchmark(parts.open_pack(data), shown, seed=seed)
    networks, dealt = Networks(panel=benchmark.panel()), benchmark.cases(cases)
    drawer = leaks.LeakageDrawer(parts.open_model(loading), benchmark)
    output.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )


class PhotographTask(NamedTuple):
    """A benchmark of subjects in photographs: its help, and the names of its classes."""

    help: str
    benchmark: str
    drawer: str


PHOTOGRAPH_TASKS = {
    "insertions": PhotographTask(
        """Judge how a preset puts subjects into photographs, with exact answers.

        Subjects that no model was trained on are rendered into photographs that training does not
        use, in a known light. Beside the model's picture, the truth, a naive paste and OpenCV's
        Poisson blending are judged. An interrupted run goes on where it stopped.
        """,
        "InsertionBenchmark",
        "InsertionDrawer",
    ),
    "removals": PhotographTask(
        """Judge how a preset takes subjects and their shadows out of photographs.

        The answers are exact. The cases are those of `insertions`, after and before. Beside the
        model's picture, the truth, OpenCV's inpainting and the untouched picture are judged. An
        interrupted run goes on where it stopped.
        """,
        "RemovalBenchmark",
        "RemovalDrawer",
    ),
}


def _add_photograph_task(name: str, task: PhotographTask) -> None:
    example = f"swiftpie evaluate {name} --photos my-photos"
    more = "--cases 24 --weights runs/mini_world/export --out out/mine --json"

    @app.command(name, help=cleandoc(task.help), epilog=examples(example, f"{example} {more}"))
    @with_fields
    def judge(
        *,
        context: typer.Context,
        photos: given.Backgrounds = None,
        rivals: given.Rivals,
        loading: given.LoadedInSteps,
        data: DataPath = None,
        cases: given.NumCases = 48,
        seed: given.Seed = 0,
        out: given.Out = Path(f"out/evaluate-{name}"),
        as_json: AsJson = False,
        force: given.Anew = False,
    ) -> None:
        from swiftpie_lab.evaluation.benchmarks import insertions
        from swiftpie_lab.evaluation.judges import Networks

        backgrounds = insertions.open_backgrounds(photos)
        make = getattr(insertions, task.benchmark)
        benchmark = make(parts.open_pack(data), backgrounds, seed=seed)
        dealt = benchmark.cases(cases)
        drawer = others.drawer_of(
            benchmark,
            dealt,
            rivals,
            loading,
            lambda: getattr(insertions, task.drawer)(parts.open_model(loading), benchmark),
        )
        networks = Networks(panel=benchmark.panel())
        output.carry_out(
            benchmark,
            dealt,
            drawer,
            networks,
            context=context,
            out=out,
            as_json=as_json,
            force=force,
        )


for task_name, photograph_task in PHOTOGRAPH_TASKS.items():
    _add_photograph_task(task_name, photograph_task)


@app.command(
    epilog=examples(
        "swiftpie evaluate ablations --size 128 --cases 200 --out out/ablations-200 --json",
        "swiftpie evaluate ablations --weights runs/last/export --against runs/first/export",
    )
)
@with_fields
def ablations(
    *,
    context: typer.Context,
    loading: given.LoadedInSizes,
    against: given.AgainstWeights = None,
    data: DataPath = None,
    cases: given.NumCases = 48,
    seed: given.Seed = 0,
    out: given.Out = Path("out/ablations"),
    as_json: AsJson = False,
) -> None:
    """Measure the parts of the method one by one, on subjects in trained settings.

    Branches, geometric prior, masks, rescaling, numbers of references, scales and steps: every row
    draws the same cases. Rows that are drawn already are kept, unless weights, subjects, seed or
    version differ.
    """
    from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark
    from swiftpie_lab.evaluation.variants import scene_study

    size_px = parts.side_of(loading)
    study = scene_study(
        parts.open_model(loading),
        WorldBenchmark(parts.open_pack(data), seed=seed, size_px=size_px),
        num_cases=cases,
        root=out,
        against={
            str(path): parts.open_model({**loading, "weights": path}) for path in against or []
        },
    )
    output.carry_out_study(study, context=context, as_json=as_json)


@app.command(
    epilog=examples(
        "swiftpie evaluate grid -o grid.png",
        "swiftpie evaluate grid -o mine.png --weights runs/mini_world/export",
        "swiftpie evaluate grid -o small.webp --num-subjects 3 --seed 7",
    )
)
@with_fields
def grid(
    *,
    out: PictureOut,
    num_subjects: given.NumSubjects = 8,
    loading: given.LoadedInSteps,
    data: DataPath = None,
    seed: given.Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw held-out subjects in their five uses, as one picture with labels.

    In a place, from a side, in a colour or of a material, as art, and with something; the seed
    deals subjects and wishes, as for `world`, and nobody picks them. The first column shows the
    references.
    """
    from swiftpie.imageio.writing import check_image_target
    from swiftpie_lab.evaluation.benchmarks.world import USES, WorldBenchmark
    from swiftpie_lab.evaluation.page import labelled_sheet

    check_image_target(out, force=force)
    benchmark = WorldBenchmark(parts.open_pack(data), seed=seed)
    cases = benchmark.uses(num_subjects)
    session = parts.open_model(loading)
    rows = list(
        output.watched(benchmark.draw_uses(session, cases), "drawing subjects", total=len(cases))
    )
    sheet = labelled_sheet(
        rows,
        columns=["reference", *USES],
        captions=[[row[0].subject, *(case.prompt for case in row)] for row in cases],
        cell_px=output.CELL_PX,
    )
    output.save_sheet(sheet, out, preset=session.components.preset.name, seed=seed, force=force)
    say(f"the picture is {out}")
    if as_json:
        pictures = [
            {"subject": case.subject, "use": use, "prompt": case.prompt, "seed": case.seed}
            for row in cases
            for use, case in zip(USES, row, strict=True)
        ]
        print_json({"path": str(out), "pictures": pictures})
