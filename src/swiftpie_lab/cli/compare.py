"""`swiftpie compare`: two evaluations of the same cases, in figures and pictures."""

from pathlib import Path
from typing import Annotated

import typer

from swiftpie.cli.console import examples, print_text, say
from swiftpie.cli.options import AsJson, Force
from swiftpie_lab.cli.evaluate_output import tell

First = Annotated[
    Path, typer.Argument(metavar="A", help="A folder that `swiftpie evaluate` wrote.")
]
Second = Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same cases.")]
PageOut = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE", help="A web page to write, with the pictures."),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie compare out/one-step out/four-steps",
        "swiftpie compare out/mine out/theirs -o comparison.html",
        "swiftpie compare out/one-step out/four-steps --json",
    )
)
def compare(
    *,
    first: First,
    second: Second,
    out: PageOut = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Compare two evaluations case by case: what differs for certain, and which pictures most.

    Every figure gets the difference of the two with a 95 % interval, as both are resampled by the
    same cases. The page shows pictures side by side, the largest disagreement first, and needs no
    other file.
    """
    from swiftpie.imageio.atomic import check_target, write_file
    from swiftpie_lab.evaluation.compare import compare as compared
    from swiftpie_lab.evaluation.compare import page_of, read_run
    from swiftpie_lab.evaluation.page import render

    if out is not None:
        check_target(out, force=force)
    runs = (read_run(first), read_run(second))
    comparison = compared(*runs)
    if out is not None:
        write_file(out, render(page_of(comparison, *runs)).encode(), force=force)
    if as_json:
        print_text(comparison.to_json())
    else:
        tell(comparison.sentences, {"": comparison.table})
    if out is not None:
        say(f"the page is {out}")
