"""`swiftpie evaluate edit-ablations`: what each part of an edit is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from swiftpie.backbones.choices import Choices
from swiftpie.cli.console import examples, say
from swiftpie.cli.evaluate.running import Out, Seed, open_benchmark, watched
from swiftpie.cli.options import (
    AsJson,
    DataPath,
    Device,
    PresetName,
    Weights,
    open_session,
)

if TYPE_CHECKING:
    from swiftpie.evaluation.ablations.edits import Line

Cases = Annotated[
    int, typer.Option("--cases", min=1, metavar="N", help="How many edits every row draws.")
]
Against = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="Another inversion network, such as that of the first stage, as a row; repeat for "
        "more.",
        show_default=False,
    ),
]
Teacher = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Weights of a multi-step model, for DDIM inversion as a row.",
        show_default=False,
    ),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate edit-ablations",
        "swiftpie evaluate edit-ablations --against runs/mini_inversion/export/inversion "
        "--teacher runs/mini_teacher/export --cases 140 --json",
    )
)
def edit_ablations(
    *,
    preset: PresetName = "mini",
    weights: Weights = None,
    against: Against = None,
    teacher: Teacher = None,
    data: DataPath = None,
    cases: Cases = 70,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Out = Path("out/edit-ablations"),
    as_json: AsJson = False,
) -> None:
    """Measure the parts of an edit one by one, on rendered edits of held-out subjects.

    Masks, inversion networks and the scales of attention rescaling: every row draws the same
    cases. An interrupted run goes on where it stopped.
    """
    from swiftpie.evaluation.ablations.edits import measure, to_json, variants
    from swiftpie.evaluation.edits.benchmark import EditBenchmark
    from swiftpie.evaluation.judges import load_panel
    from swiftpie.files import write_file

    session = open_session(preset, device=device, weights=weights).session
    inversions = {}
    for path in against or []:
        choices = Choices(weights=weights, inversion=path)
        other = open_session(preset, device=device, **choices)
        inversions[str(path)] = other.session
    several = None
    if teacher is not None:
        several = open_session(preset, device=device, weights=teacher).session
    benchmark = EditBenchmark(open_benchmark(data, seed=seed).subjects, seed=seed)
    panel = load_panel(benchmark.stickers.codes, *benchmark.stickers.gallery())
    rows = variants(session, inversions=inversions, teacher=several)
    found = measure(rows, benchmark, benchmark.cases(cases), panel=panel, root=out)
    lines = list(watched(found, "measuring", total=len(rows)))
    report = to_json(lines, num_cases=cases)
    write_file(out / "report.json", report.encode(), force=True)
    if as_json:
        typer.echo(report, nl=False)
    else:
        _print(lines)
    say(f"Pictures and report are in {out}.")


def _print(lines: "list[Line]") -> None:
    from swiftpie.evaluation.ablations.edits import cells, headings

    table = Table(Column(no_wrap=True), *headings())
    group = ""
    for line in lines:
        if line.group != group:
            table.add_section()
            group = line.group
        table.add_row(line.title, *cells(line))
    Console().print(table)
