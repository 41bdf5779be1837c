"""`swiftpie show`: what made a picture, as its file says."""

from typing import Annotated

import typer

from swiftpie.apps.cli.console import examples, print_json, write_table
from swiftpie.apps.cli.options import STREAM, AsJson
from swiftpie.errors import InputError

FIRST = ("prompt", "source_prompt", "keyword", "recipe", "preset", "seed")  # what people look for

app = typer.Typer()


@app.command(epilog=examples("swiftpie show out.png", "swiftpie show out.webp --json"))
def show(
    *,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A picture; - reads standard input.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Tell what made a picture: prompts, recipe, preset, seed and more, as its file says."""
    stored = read_origin(file)
    facts = {name: stored[name] for name in FIRST if name in stored} | stored
    if as_json:
        print_json(facts)
    else:
        write_table([(name.replace("_", " "), value) for name, value in facts.items()])


def read_origin(file: str) -> dict[str, str]:
    """Return what SwiftPie wrote into a picture of its own.

    Raises:
        ImageError: The file is missing or no picture.
        InputError: It does not say what made it.
    """
    from swiftpie.imageio.writing import read_metadata

    stored = read_metadata(typer.get_binary_stream("stdin") if file == STREAM else file)
    if not stored:
        raise InputError(
            f"'{file}' does not say what made it. SwiftPie writes that into its pictures, and "
            "other programs may leave it out. Choose a picture as SwiftPie wrote it."
        )
    return stored
