"""The command `swiftpie`: its subcommands, and how failures end as a sentence and a number."""

import gc
import os
import sys
import traceback
from enum import IntEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from swiftpie import __version__
from swiftpie.apps.cli import (
    about,
    batch,
    demo,
    edit,
    engine,
    export,
    face,
    fetch,
    identity,
    insert,
    library,
    personalize,
    push,
    serve,
    show,
)
from swiftpie.apps.cli.console import complain, guard_output, logs_on_stderr
from swiftpie.apps.cli.extensions import commands_of_others
from swiftpie.apps.cli.panels import arrange
from swiftpie.apps.cli.threads import wait_briefly
from swiftpie.errors import ConfigError, ImageError, InputError, SwiftPieError

# Importing PyTorch and its libraries makes over 600,000 objects; looking for cycles after every
# 700, as Python does, takes an eighth of the time to the first picture.
COLLECT_EVERY = 100_000


class ExitCode(IntEnum):
    """What the shell is told; an interrupted command ends with 130 by itself."""

    OK = 0
    RUNTIME = 1
    USAGE = 2
    IMAGE = 3


def exit_code_of(error: Exception) -> ExitCode:
    """Return the exit code for `error`."""
    match error:
        case ImageError():
            return ExitCode.IMAGE
        case InputError() | ConfigError():
            return ExitCode.USAGE
        case _:
            return ExitCode.RUNTIME


class GuardedGroup(TyperGroup):
    """The top command; whatever goes wrong below it ends as one line on standard error."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the parent has it
        """Run a command and exit."""
        arrange(self)
        try:
            with logs_on_stderr():
                try:
                    return super().main(*args, **kwargs)
                finally:
                    sys.stdout.flush()
        except BrokenPipeError as error:
            failure: Exception = error
        except SwiftPieError as error:
            complain(str(error))
            failure = error
        except Exception as error:  # noqa: BLE001 - the last line of defence
            complain(
                f"{type(error).__name__}: {error}. SwiftPie did not expect this. "
                "Set SWIFTPIE_DEBUG=1 to see where it happened."
            )
            failure = error
        if os.environ.get("SWIFTPIE_DEBUG") == "1":
            traceback.print_exception(failure)
        sys.exit(exit_code_of(failure))


app = typer.Typer(
    name="swiftpie", cls=GuardedGroup, no_args_is_help=True, pretty_exceptions_enable=False
)
for module in (
    *(demo, personalize, library, edit, insert, batch, face, fetch, identity, push, serve),
    *(show, about, engine, export),
):
    app.add_typer(module.app)
for added in commands_of_others():
    app.add_typer(added)


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
    """Run the command line, in a process that is its own."""
    wait_briefly()
    guard_output()
    gc.set_threshold(COLLECT_EVERY)
    app()
