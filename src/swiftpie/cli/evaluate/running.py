"""What the commands under `evaluate` share: options, progress, judging and the table."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from swiftpie import __version__
from swiftpie.cli.console import say

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.engine.session import Session
    from swiftpie.evaluation.benchmark import Benchmark
    from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark
    from swiftpie.evaluation.case import Case
    from swiftpie.evaluation.folder import Folder
    from swiftpie.evaluation.report import Report

T = TypeVar("T")

Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**31, help="Decides cases, noise and references.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where pictures and report go.")]
SheetOut = Annotated[
    Path, typer.Option("-o", "--out", metavar="FILE", help="Picture to write (.png, .jpg, .webp).")
]
Anew = Annotated[
    bool, typer.Option("--force", help="Draw all anew; otherwise pictures in DIR are kept.")
]


def open_benchmark(data: Path | None, *, seed: int) -> "StickerBenchmark":
    """Return the benchmark over the pack at `data`, by default the one that was prepared."""
    from swiftpie.data.archive import default_pack
    from swiftpie.data.subjects import load_subjects
    from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark

    return StickerBenchmark(load_subjects(data or default_pack()), seed=seed)


def watched(steps: Iterable[T], title: str, *, total: int) -> Iterator[T]:
    """Yield all `steps` while a bar on standard error shows how many are done."""
    console = Console(stderr=True)
    yield from track(steps, title, total=total, console=console, disable=not console.is_terminal)


def save_sheet(sheet: "Image.Image", out: Path, *, preset: str, seed: int, force: bool) -> None:
    """Write a drawn sheet with its origin."""
    from swiftpie.images import save_image

    facts = {"preset": preset, "swiftpie": __version__, "seed": str(seed)}
    save_image(sheet, out, metadata=facts, force=force)


def run_benchmark(
    session: "Session",
    benchmark: "Benchmark",
    cases: "Sequence[Case]",
    *,
    out: Path,
    as_json: bool,
    force: bool,
) -> None:
    """Draw and judge `cases`, write pictures and report into `out`, and tell what was found."""
    from swiftpie.evaluation.folder import Folder
    from swiftpie.evaluation.generate import generate

    folder = Folder(out)
    drawn = generate(session, benchmark, cases, folder=folder, force=force)
    for _ in watched(drawn, "drawing", total=len(cases)):
        pass
    report = _judge(folder, benchmark, num_cases=len(cases))
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        _print_table(report)
    say(f"The pictures are in {out}; open {out / 'index.html'}.")


def _judge(folder: "Folder", benchmark: "Benchmark", *, num_cases: int) -> "Report":
    """Score what is in `folder`, and write the report beside it."""
    from swiftpie.evaluation.judges import load_panel
    from swiftpie.evaluation.page import render_page
    from swiftpie.evaluation.report import summarise
    from swiftpie.evaluation.score import score

    panel = load_panel(benchmark.codes, *benchmark.gallery())
    rows = list(watched(score(folder, panel), "judging", total=num_cases))
    report = summarise(rows, run=folder.read_run(), gallery_size=len(benchmark.codes))
    folder.write_text("report.json", report.to_json())
    folder.write_text("index.html", render_page(report, rows, folder=folder))
    return report


def _print_table(report: "Report") -> None:
    """Write the figures of a report as a table on standard output."""
    from swiftpie.evaluation.page import COLUMNS, cells, describe, describe_lighting

    table = Table("", *(title for kind, title in COLUMNS.items() if kind != "reference"))
    for summary in report.metrics.values():
        table.add_row(*(Text(cell.replace(" [", "\n[")) for cell in cells(summary)))
    console = Console()
    console.print(Text(describe(report)))
    console.print(table)
    console.print(Text(describe_lighting(report)))
