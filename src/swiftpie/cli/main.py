"""The command `swiftpie`: its process, its subcommands, and its exit codes."""

import atexit
import gc
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from swiftpie import __version__
from swiftpie.cli.console import complain, logs_on_stderr
from swiftpie.cli.options import arrange
from swiftpie.errors import (
    ConfigError,
    ImageError,
    InputError,
    MissingExtra,
    SigningError,
    SwiftPieError,
    system_reason,
)
from swiftpie.registry import load_offered, offered_as

WAITING = {"GOMP_SPINCOUNT": "3000"}
"""Spins of an idle thread before it sleeps, for GNU OpenMP in Linux wheels.

The default is milliseconds. A spinning thread keeps a core from the work that it waits for, so
a picture took ten times as long under load. Of the values that `benchmarks.mini_speed` compares,
this one has the smallest product of the times without and with load.
"""
DECIDED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # variables by which users decide themselves

ENTRY_POINTS = "swiftpie.commands"
LAB_COMMANDS = ("train", "evaluate", "compare", "data")

MODULES = {
    "demo": "demo samples",
    "personalize": "personalize animate",
    "edit": "edit insert remove replace",
    "batch": "batch",
    "identity": "cutout library tune identity",
    "serve": "serve mcp",
    "about": "presets recipes doctor show licenses fetch",
    "engine": "engine verify export",
}
"""The commands of each module, as help lists them; to load all takes a twentieth of a second."""

# Importing PyTorch and its libraries makes over 600,000 objects; looking for cycles after every
# 700, as Python does, takes an eighth of the time to the first picture.
COLLECT_EVERY = 100_000


class ExitCode(IntEnum):
    """Exit codes; an interrupted command ends with 130."""

    OK = 0
    RUNTIME = 1
    USAGE = 2
    IMAGE = 3


def exit_code_of(error: Exception) -> ExitCode:
    match error:
        case ImageError():
            return ExitCode.IMAGE
        case InputError() | ConfigError() | SigningError():
            return ExitCode.USAGE
        case _:
            return ExitCode.RUNTIME


UsageError: Any = typer.BadParameter.__base__  # Typer does not export it


class GuardedGroup(TyperGroup):
    """The top command, which ends every failure with one line on standard error."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as the parent has it
        """Run a command; explain options that it lacks, and commands of the lab, in a sentence."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            message = error.format_message().rstrip(".")
            if not message or "Missing command" in message:  # the help page is shown
                raise
            missing = [name for name in LAB_COMMANDS if f"command '{name}'" in message]
            if missing and error.ctx is ctx:
                raise MissingExtra(
                    f"`swiftpie {missing[0]}` is part of swiftpie-lab. From a copy of the "
                    "repository, `pip install . ./lab` installs it."
                ) from error
            if type(error.__context__).__name__ == "ValidationError":  # of pydantic, loaded late
                message += f"; {error.__context__.errors()[0]['input']!r} was given"
            advice = f"See `{(error.ctx or ctx).command_path} --help`."
            if "extra argument" in message and "{PROMPT}" in error.ctx.get_usage():
                advice = 'Put a sentence into quotes, as in "a dog at night".'
            raise ConfigError(f"{message}{'' if message[-1] == '?' else '.'} {advice}") from error

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the parent has it
        arrange(self)
        try:
            with logs_on_stderr():
                try:
                    return super().main(*args, **kwargs)
                finally:
                    sys.stdout.flush()
        except BrokenPipeError as error:
            failure: Exception = error
            sys.stdout = None  # Python would flush it at its end
        except Exception as error:  # noqa: BLE001 - every failure becomes a line
            failure = error
            if isinstance(error, OSError) and error.filename is not None:
                failure = InputError(
                    f"'{error.filename}' cannot be read or written ({system_reason(error)}). A "
                    "place that exists, is yours, and has room is needed. Choose another one."
                )
            elif isinstance(error, OSError) and _takes_nothing(sys.stdout):
                sys.stdout = None
                failure = InputError(
                    f"Standard output cannot be written ({error.strerror or error}). A writable "
                    "place with room is needed. Redirect it elsewhere, or give a file name with -o."
                )
            if isinstance(failure, SwiftPieError):
                complain(str(failure))
            else:
                complain(
                    f"{type(error).__name__}: {error}. SwiftPie did not expect this. "
                    "Set SWIFTPIE_DEBUG=1 to see where it happened."
                )
        if os.environ.get("SWIFTPIE_DEBUG") == "1":
            traceback.print_exception(failure)
        sys.exit(exit_code_of(failure))


def _takes_nothing(stream: TextIO) -> bool:
    """Whether a stream refuses what is written to it, of which only another try tells."""
    try:
        stream.write("\n")
        stream.flush()
    except OSError:
        return True
    return False


def _print_version(value: bool) -> None:  # noqa: FBT001 - as Typer calls it
    if value:
        typer.echo(f"swiftpie {__version__}")
        raise typer.Exit


def swiftpie(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Put your subject into a scene, in one denoising step."""


@cache
def app_for(word: str = "") -> typer.Typer:
    """Return the command with the subcommands of the module that has `word`, or with all."""
    made = typer.Typer(
        name="swiftpie", cls=GuardedGroup, no_args_is_help=True, pretty_exceptions_enable=False
    )
    made.callback()(swiftpie)
    own = [module for module, commands in MODULES.items() if word in commands.split()]
    for module in own or MODULES:
        made.add_typer(importlib.import_module(f"swiftpie.cli.{module}").app)
    for point in () if own else offered_as(ENTRY_POINTS):
        made.add_typer(load_offered(point))
    return made


def __getattr__(name: str) -> typer.Typer:
    """Return `app`, the command with all subcommands."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return app_for()


def main() -> None:
    wait_briefly()
    if sys.stdout is None:  # the shell closed it; writing into this fails
        sys.stdout = Path(os.devnull).open()  # noqa: SIM115 - until the process ends
    gc.set_threshold(COLLECT_EVERY)
    codes: list[int] = []
    atexit.register(_end_at_once, codes)
    try:
        app_for("".join(sys.argv[1:2]))()
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
    finally:
        gc.freeze()  # Python collects at its end, which looks at every object of the libraries


def _end_at_once(codes: Sequence[int]) -> None:
    """End the process with its exit code, if that is known, when all else that is to end has.

    Python would free each object of PyTorch, which takes a tenth of a command.
    """
    if not codes:
        return
    logging.shutdown()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(codes[0])


def wait_briefly() -> None:
    """Limit the spinning of threads in this process and its children, unless the user set it.

    OpenMP reads the variable when it is loaded, so this has to run before PyTorch is imported.
    """
    if not any(name in os.environ for name in DECIDED):
        os.environ.update(WAITING)
