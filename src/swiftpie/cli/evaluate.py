"""The commands under `swiftpie evaluate`: how good a preset is, in numbers and pictures."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from swiftpie.cli.console import say
from swiftpie.cli.options import AsJson, DataPath, Device, PresetName, Weights, open_session

if TYPE_CHECKING:
    from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark
    from swiftpie.evaluation.folder import Folder
    from swiftpie.evaluation.report import Report

T = TypeVar("T")

Cases = Annotated[
    int | None,
    typer.Option(
        "--cases",
        min=1,
        metavar="N",
        show_default=False,
        help="How many pictures to judge; by default every held-out subject in two scenes.",
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Judge every held-out subject in every scene.")]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**31, help="Decides pairs, noise and references.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where pictures and report go.")]
Anew = Annotated[
    bool, typer.Option("--force", help="Draw all anew; otherwise pictures in DIR are kept.")
]

app = typer.Typer(no_args_is_help=True, help="Measure how good a preset is.")


@app.callback()
def evaluate() -> None:
    """Measure how good a preset is."""


@app.command()
def stickers(
    *,
    preset: PresetName = "mini",
    weights: Weights = None,
    data: DataPath = None,
    cases: Cases = None,
    full: Full = False,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Out = Path("out/evaluate-stickers"),
    as_json: AsJson = False,
    force: Anew = False,
) -> None:
    """Judge a preset on sticker scenes with subjects that it was not trained on.

    Each picture has an exact answer, drawn from the same noise. True renderings, pictures without
    the subject and naive pastes are judged beside the model's. An interrupted run goes on where it
    stopped.
    """
    from swiftpie.data.archive import default_pack
    from swiftpie.data.subjects import load_subjects
    from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark
    from swiftpie.evaluation.folder import Folder
    from swiftpie.evaluation.generate import generate

    benchmark = StickerBenchmark(load_subjects(data or default_pack()), seed=seed)
    dealt = benchmark.cases(_count(cases, full=full, all_pairs=benchmark.num_pairs()))
    session = open_session(preset, device=device, weights=weights).session
    folder = Folder(out)
    steps = generate(session, benchmark, dealt, folder=folder, force=force)
    for _ in _watched(steps, "drawing", total=len(dealt)):
        pass
    report = _judge(folder, benchmark, num_cases=len(dealt))
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        _print_table(report)
    say(f"The pictures are in {out}; open {out / 'index.html'}.")


def _judge(folder: "Folder", benchmark: "StickerBenchmark", *, num_cases: int) -> "Report":
    """Score what is in `folder`, and write the report beside it."""
    from swiftpie.evaluation.judges import load_panel
    from swiftpie.evaluation.page import render_page
    from swiftpie.evaluation.report import summarise
    from swiftpie.evaluation.score import score

    panel = load_panel(benchmark.codes, *benchmark.gallery())
    rows = list(_watched(score(folder, panel), "judging", total=num_cases))
    report = summarise(rows, run=folder.read_run(), gallery_size=len(benchmark.codes))
    folder.write_text("report.json", report.to_json())
    folder.write_text("index.html", render_page(report, rows, folder=folder))
    return report


def _count(cases: int | None, *, full: bool, all_pairs: int) -> int | None:
    """Return how many cases to deal; None leaves it to the benchmark.

    Raises:
        ConfigError: Two numbers were asked for.
    """
    from swiftpie.errors import ConfigError

    if full and cases is not None:
        raise ConfigError("Both --full and --cases were given; only one can hold. Leave one out.")
    return all_pairs if full else cases


def _watched(steps: Iterable[T], title: str, *, total: int) -> Iterator[T]:
    """Yield all `steps` while a bar on standard error shows how many are done."""
    console = Console(stderr=True)
    yield from track(steps, title, total=total, console=console, disable=not console.is_terminal)


def _print_table(report: "Report") -> None:
    from swiftpie.evaluation.page import COLUMNS, cells, describe, describe_lighting

    table = Table("", *(title for kind, title in COLUMNS.items() if kind != "reference"))
    for summary in report.metrics.values():
        table.add_row(*(Text(cell.replace(" [", "\n[")) for cell in cells(summary)))
    console = Console()
    console.print(Text(describe(report)))
    console.print(table)
    console.print(Text(describe_lighting(report)))
