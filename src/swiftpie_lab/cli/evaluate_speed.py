"""Commands under `swiftpie evaluate` that put speed beside quality."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.apps.cli.console import examples, print_text, say
from swiftpie.apps.cli.options import AsJson, DataPath, Force, with_fields
from swiftpie_lab.cli import evaluate_options as given
from swiftpie_lab.cli import evaluate_output as output
from swiftpie_lab.cli import evaluate_parts as parts

if TYPE_CHECKING:
    from swiftpie.backbones.choices import LoadOptions

Engines = Annotated[
    str,
    typer.Option(
        "--engines", metavar="A,B", help="Engines as --engine names them; plain is none of them."
    ),
]
StepCounts = Annotated[
    str, typer.Option("--step-counts", metavar="N,M", help="Numbers of steps, joined by commas.")
]
Runs = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Folders of evaluations that measured time.")
]
ChartOut = Annotated[
    Path, typer.Option("-o", "--out", metavar="FILE", help="The picture to write (.png).")
]
TimeFigure = Annotated[str, typer.Option("--time", metavar="NAME", help="What stands across.")]
ChartFigures = Annotated[
    str, typer.Option("--figures", metavar="A,B", help="What stands upright, a panel each.")
]
FIGURES = "subject-recognition,setting-accuracy,subject-psnr"

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate turns --out out/turns",
        "swiftpie evaluate turns --engines plain,openvino --step-counts 1,4 --cases 4 --json",
    )
)
@with_fields
def turns(
    *,
    context: typer.Context,
    loading: given.LoadedInTurns,
    engines: Engines = "plain,openvino,openvino-int8",
    step_counts: StepCounts = "1,2,4",
    data: DataPath = None,
    cases: given.NumCases = 12,
    seed: given.Seed = 0,
    out: given.Out = Path("out/evaluate-turns"),
    as_json: AsJson = False,
) -> None:
    """Measure engines, numbers of steps, and scenes from words or the library, in turns.

    Every case is drawn by all of them, each time another one first, so that what slows the machine
    down slows all of them. Each has a folder of results below DIR, for `compare` and `chart`.
    """
    from swiftpie_lab.evaluation import turns as timed
    from swiftpie_lab.evaluation.benchmarks.world import SceneSource
    from swiftpie_lab.evaluation.compare import read_run
    from swiftpie_lab.evaluation.judges import Networks
    from swiftpie_lab.evaluation.run import Results

    counts = parts.whole_numbers(step_counts, option="--step-counts")
    pack, size_px = parts.open_pack(data), parts.side_of(loading)
    benchmark = timed.TimedScenes(pack, seed=seed, size_px=size_px)
    drawers = []
    for engine, steps in itertools.product((name.strip() for name in engines.split(",")), counts):
        chosen: LoadOptions = {**loading, "steps": steps}
        if engine != timed.NO_ENGINE:
            chosen["engine"] = engine
        session = parts.open_model(chosen)
        places = (SceneSource.LIBRARY, SceneSource.WORDS)
        drawers += [timed.TimedDrawer(session, benchmark, engine, one) for one in places]
    folders = {drawer.folder: Results(out / drawer.folder) for drawer in drawers}
    dealt, networks = benchmark.cases(cases), Networks(panel=benchmark.panel())
    for _ in output.watched(timed.take_turns(drawers, dealt, folders), "drawing", total=cases):
        pass
    command = output.typed_command(context)
    for drawer in output.watched(drawers, "judging", total=len(drawers)):
        timed.judge(drawer, dealt, folders[drawer.folder], networks, command=command)
    runs = [read_run(results.root) for results in folders.values()]
    if as_json:
        print_text(timed.as_one_json(runs))
    else:
        output.tell([timed.SENTENCE.format(len(dealt))], {"": timed.table_of(runs)})
    say(f"The results are in {out}, a folder each; `swiftpie evaluate chart` draws them.")


@app.command(
    epilog=examples(
        "swiftpie evaluate chart out/turns/* -o chart.png",
        "swiftpie evaluate chart out/turns/* -o chart.png --time processor-time --figures psnr",
        "swiftpie evaluate chart out/edits-a out/edits-b -o chart.png --figures wish-success",
    )
)
def chart(
    *,
    runs: Runs,
    out: ChartOut,
    time: TimeFigure = "time",
    figures: ChartFigures = FIGURES,
    force: Force = False,
) -> None:
    """Draw evaluations that measured time as one chart: speed across, quality upright.

    Bars are the 95 % intervals of the reports; numbers beside points are steps. Needs matplotlib,
    the extra 'chart' of swiftpie-lab.
    """
    from swiftpie.imageio.atomic import check_target, write_file
    from swiftpie_lab.evaluation.chart import draw_chart
    from swiftpie_lab.evaluation.compare import read_run

    check_target(out, force=force)
    names = [name.strip() for name in figures.split(",")]
    picture = draw_chart([read_run(path) for path in runs], time=time, figures=names)
    write_file(out, picture, force=force)
    say(f"the chart is {out}")
