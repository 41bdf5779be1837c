"""`swiftpie library`: subjects that are drawn by name."""

from typing import Annotated

import typer

from swiftpie.apps.cli.console import examples, print_json, print_text, say, write_table
from swiftpie.apps.cli.options import AsJson
from swiftpie.library import CREDIT, packaged

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie library",
        "swiftpie library kitten",
        "swiftpie library dinosaur --json",
        'swiftpie personalize "a kitten on a beach" -o out.png',
    )
)
def library(
    *,
    query: Annotated[
        str, typer.Argument(help="A word; by default all names.", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List the subjects that need no picture, or whom a word means and who is near."""
    known = packaged()
    if query:
        known.find(query)  # complains, and offers what is near
    found = [known.entry(name) for name in known.matching(query)]
    if as_json:
        print_json([{"name": one.name, "words": one.words} for one in found])
    elif query:
        write_table(
            [(one.name, ", ".join(one.words)) for one in found],
            headings=("name", "also called, or tagged as"),
        )
    else:
        print_text("".join(f"{one.name}\n" for one in found))
    say(f"{len(found)} of {len(known)}. {CREDIT}.")
