"""The command `swiftpie` and the list of its subcommands."""

from typing import Annotated

import typer

from swiftpie import __version__
from swiftpie.cli import about, data, demo, evaluate, identity, personalize, train
from swiftpie.cli.errors import GuardedGroup

app = typer.Typer(
    name="swiftpie", cls=GuardedGroup, no_args_is_help=True, pretty_exceptions_enable=False
)
for module in (demo, personalize, identity, data, train, about):
    app.add_typer(module.app)
app.add_typer(evaluate.app, name="evaluate")


def _print_version(value: bool) -> None:  # noqa: FBT001 - as Typer calls it
    if value:
        typer.echo(f"swiftpie {__version__}")
        raise typer.Exit


@app.callback()
def swiftpie(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Put any subject into any scene, in one denoising step."""


def main() -> None:
    """Run the command line."""
    app()
