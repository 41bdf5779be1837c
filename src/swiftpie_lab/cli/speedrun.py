"""`swiftpie speedrun`: train all packaged weights from nothing, and say what it took."""

import datetime
import math
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.apps.cli.console import examples, print_text, say, write_table
from swiftpie.apps.cli.options import DataPath
from swiftpie_lab.cli.train import parse_duration, shown, spell_duration

if TYPE_CHECKING:
    from swiftpie_lab.evaluation.report import BenchmarkReport
    from swiftpie_lab.training.context import Context
    from swiftpie_lab.training.speedrun import Ledger

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie speedrun --list",
        "swiftpie speedrun --threads 2 --time-limit 8h",
        "swiftpie speedrun --scale 0.002 --cases 1 --out runs/rehearsal",
    )
)
def speedrun(
    *,
    list_runs: Annotated[
        bool, typer.Option("--list", help="List the runs with their hours and exit.")
    ] = False,
    scale: Annotated[
        float, typer.Option(min=1e-6, max=1, help="Share of all steps; below 1 it is a rehearsal.")
    ] = 1.0,
    cases: Annotated[
        int, typer.Option(min=1, help="Pictures of each kind that the result is judged by.")
    ] = 8,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[RUN:]A.B=C", help="Change a setting of one run or all."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of all runs.")] = (
        Path("runs/speedrun")
    ),
    data_path: DataPath = None,
    time_limit: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop and save after 90s, 9m or 1.5h.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; PyTorch's choice if not given.")
    ] = None,
) -> None:
    """Train all weights of the package from nothing, run by run, and judge the result.

    The same command goes on where it stopped. In the end, --out has a folder `package`, laid out
    as src/ is, and standard output a row of the board of records (docs/speedrun.md).
    """
    from swiftpie_lab.training.chain import CHAIN
    from swiftpie_lab.training.speedrun import Ledger, collect

    ledger = Ledger.open(out, scale=scale, overrides=overrides or [])
    _tell(ledger)
    if list_runs:
        return
    limit_s = math.inf if time_limit is None else parse_duration(time_limit)
    ends = time.monotonic() + limit_s

    import torch

    from swiftpie_lab.data.archive import default_pack
    from swiftpie_lab.training.context import Context

    if threads is not None:
        torch.set_num_threads(threads)
    context = Context(data=data_path or default_pack(), runs=out, device="cpu")
    ledger = _train(context, ledger, ends=ends)
    if not all(ledger.of(run.name).is_done for run in CHAIN):
        say("time limit reached; the same command goes on")
        return
    package = collect(context)
    say(f"the weights are in {package}; copy its folders over those of src/")
    print_text(_row(_judge(package, context, cases=cases, out=out), ledger) + "\n")


def _train(context: "Context", ledger: "Ledger", *, ends: float) -> "Ledger":
    """Train what is not done until the time `ends`; return what all has taken."""
    from swiftpie_lab.training.chain import CHAIN
    from swiftpie_lab.training.speedrun import train_run

    for number, run in enumerate(CHAIN, start=1):
        if ledger.of(run.name).is_done:
            continue
        if time.monotonic() > ends:
            break
        say(f"run {number} of {len(CHAIN)}: {run.name}; {_left(ledger)} core hours left in all")
        steps = ledger.configured(run).loop.steps
        deque(shown(train_run(run, context, ledger, ends=ends), steps), maxlen=0)
        ledger = ledger.read_again()
        say(f"{run.name} has taken {spell_duration(ledger.of(run.name).core_s)} of cores")
    return ledger


def _tell(ledger: "Ledger") -> None:
    """Write the runs with what each goes on from, its steps and its hours."""
    from swiftpie_lab.training.chain import CHAIN

    rows = []
    for run in CHAIN:
        steps = ledger.configured(run).loop.steps
        spent = ledger.of(run.name)
        done = "done" if spent.is_done else f"{spent.steps}"
        took = f"{spent.core_s / 3600:.2f}" if spent.steps else ""
        whole = f"{run.core_hours:.2f}"
        reads = ", ".join(run.reads()) or "nothing"
        rows.append((run.name, run.recipe_name, reads, f"{steps}", done, took, whole))
    taken = f"{ledger.core_hours:.2f}" if ledger.core_hours else ""
    packaged = sum(run.core_hours for run in CHAIN if not run.is_judge)
    rows.append(("all but judges", "", "", "", "", taken, f"{packaged:.2f}"))
    headings = ("run", "recipe", "goes on from", "steps", "trained", "core hours", "packaged took")
    write_table(rows, headings=headings)
    say(f"about {_left(ledger)} core hours left at the pace of the packaged weights")


def _left(ledger: "Ledger") -> str:
    from swiftpie_lab.training.chain import CHAIN

    return f"{sum(map(ledger.hours_left, CHAIN)):.2f}"


def _judge(package: Path, context: "Context", *, cases: int, out: Path) -> "BenchmarkReport":
    """Judge the model, whose places come from words alone, as `swiftpie evaluate world` does.

    The judges are those of the package: figures by others would not compare.
    """
    from swiftpie_lab.cli.evaluate_output import watched
    from swiftpie_lab.cli.evaluate_parts import open_model
    from swiftpie_lab.evaluation.benchmarks.world import (
        SceneSource,
        WorldBenchmark,
        WorldDrawer,
        WorldKind,
    )
    from swiftpie_lab.evaluation.judges import Networks
    from swiftpie_lab.evaluation.page import write_report
    from swiftpie_lab.evaluation.run import Results, draw, score
    from swiftpie_lab.training.speedrun import model_of

    session = open_model({"preset": "mini", "weights": model_of(package)})
    benchmark = WorldBenchmark(context.subjects)
    dealt = [case for kind in WorldKind for case in benchmark.deal(kind, cases)]
    drawer = WorldDrawer(session, benchmark, SceneSource.WORDS)
    results, networks = Results(out / "judged"), Networks(panel=benchmark.panel())
    drawn = draw(benchmark, dealt, drawer, results=results, force=True)
    for _ in watched(drawn, "drawing", total=len(dealt)):
        pass
    judged = score(benchmark, dealt, results, networks)
    rows = list(watched(judged, "judging", total=len(dealt)))
    command = f"swiftpie evaluate world --scenes words --cases {cases}"
    return write_report(benchmark, rows, results, networks, command=command)


FIGURES = {  # columns of the board: metric, digits
    "subject-recognition": 0,
    "place-accuracy": 0,
    "setting-accuracy": 0,
    "subject-psnr": 1,
}


def _row(report: "BenchmarkReport", ledger: "Ledger") -> str:
    """Return the row of the board: when, what, how long, how good, and how that is known."""
    figures = [
        f"{report.metrics[name].candidates['model'].mean:.{digits}f}"
        for name, digits in FIGURES.items()
    ]
    how = "the run" if ledger.scale == 1 else f"a rehearsal, {ledger.scale:g} of all steps"
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    weights = f"`{report.run.weights[:12]}`"
    cells = (day, _commit(), weights, f"{ledger.core_hours:.2f}", *figures, how)
    return f"| {' | '.join(cells)} |"


def _commit() -> str:
    """Return the commit of the sources, where they are in a checkout."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not recorded"
    return done.stdout.strip() or "not recorded"
