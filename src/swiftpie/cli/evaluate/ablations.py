"""`swiftpie evaluate ablations`: what each part of the method is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from swiftpie.cli.console import examples, say
from swiftpie.cli.evaluate.running import Out, Seed, open_benchmark, watched
from swiftpie.cli.options import AsJson, DataPath, Device, PresetName, Weights, open_session

if TYPE_CHECKING:
    from swiftpie.evaluation.ablations.table import Ablations

Cases = Annotated[
    int, typer.Option("--cases", min=1, metavar="N", help="How many cases every row draws.")
]
Against = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="Other weights, such as those of an earlier training stage, as a row; repeat for "
        "more.",
        show_default=False,
    ),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate ablations",
        "swiftpie evaluate ablations --cases 200 --out out/ablations-200 --json",
        "swiftpie evaluate ablations --weights runs/last/export --against runs/first/export",
    )
)
def ablations(
    *,
    preset: PresetName = "mini",
    weights: Weights = None,
    against: Against = None,
    data: DataPath = None,
    cases: Cases = 48,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Out = Path("out/ablations"),
    as_json: AsJson = False,
) -> None:
    """Measure the parts of the method one by one, on sticker scenes with held-out subjects.

    Branches, geometric prior, masks, rescaling, numbers of references, scales and steps: every row
    draws the same cases. Rows that are done already are kept, unless weights, subjects, judges,
    seed or version differ.
    """
    from swiftpie.evaluation.ablations.measure import measure
    from swiftpie.evaluation.ablations.page import render_page
    from swiftpie.evaluation.ablations.plan import plan_study
    from swiftpie.evaluation.ablations.table import tabulate

    session = open_session(preset, device=device, weights=weights).session
    study = plan_study(
        session.components,
        open_benchmark(data, seed=seed),
        num_cases=cases,
        root=out,
        against={
            str(path): open_session(preset, device=device, weights=path).session.components
            for path in against or []
        },
    )
    for _ in watched(measure(study), "measuring", total=len(study.cases)):
        pass
    found = tabulate(study)
    _write(out, found, page=render_page(found, study))
    if as_json:
        typer.echo(found.to_json(), nl=False)
    else:
        _print_table(found)
    say(f"The pictures are in {out}; open {out / 'index.html'}.")


def _write(out: Path, found: "Ablations", *, page: str) -> None:
    """Write every form of the table."""
    from swiftpie.evaluation.ablations.table import to_markdown
    from swiftpie.files import write_file

    texts = {"report.json": found.to_json(), "report.md": to_markdown(found), "index.html": page}
    for name, text in texts.items():
        write_file(out / name, text.encode(), force=True)


def _print_table(found: "Ablations") -> None:
    from swiftpie.evaluation.ablations.table import cells, describe, describe_sweep, headings

    table = Table(Column(no_wrap=True), *headings())
    for group in dict.fromkeys(line.group for line in found.lines):
        table.add_section()
        table.add_row(Text(group, style="bold"))
        for line in found.lines:
            if line.group == group:
                figures = (Text(cell.replace(" [", "\n[")) for cell in cells(line))
                table.add_row(line.title, *figures)
    console = Console()
    console.print(Text(describe(found)))
    console.print(table)
    for sweep in found.sweeps:
        console.print(Text(describe_sweep(sweep)))
    for one in found.untried:
        console.print(Text(f"{one.group}, {one.title}: {one.reason}"))
