"""`swiftpie evaluate compare`: two reports side by side."""

from pathlib import Path
from typing import Annotated

import typer

from swiftpie.cli.console import examples
from swiftpie.cli.options import AsJson

Student = Annotated[
    Path,
    typer.Argument(metavar="STUDENT", help="Its report.json, or the folder.", show_default=False),
]
Teacher = Annotated[
    Path,
    typer.Argument(metavar="TEACHER", help="What to divide by, likewise.", show_default=False),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate compare out/one-step out/teacher",
        "swiftpie evaluate compare out/one-step/report.json out/four-steps/report.json --json",
    )
)
def compare(*, student: Student, teacher: Teacher, as_json: AsJson = False) -> None:
    """Put two reports on the same cases side by side: what a student keeps of its teacher."""
    from swiftpie.evaluation.compare import compare as compared
    from swiftpie.evaluation.compare import read_figures

    found = compared(read_figures(student), read_figures(teacher))
    typer.echo(found.to_json() if as_json else found.to_markdown(), nl=False)
