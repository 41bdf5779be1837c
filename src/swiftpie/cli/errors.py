"""The one place that turns exceptions into a sentence and an exit code."""

import os
import sys
import traceback
from enum import IntEnum
from typing import Any

from typer.core import TyperGroup

from swiftpie.cli.console import complain, logs_on_stderr
from swiftpie.errors import ConfigError, ImageError, InputError, SwiftPieError


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
        try:
            with logs_on_stderr():
                return super().main(*args, **kwargs)
        except SwiftPieError as error:
            complain(str(error))
            failure: Exception = error
        except Exception as error:  # noqa: BLE001 - the last line of defence
            complain(
                f"{type(error).__name__}: {error}. SwiftPie did not expect this. "
                "Set SWIFTPIE_DEBUG=1 to see where it happened."
            )
            failure = error
        if os.environ.get("SWIFTPIE_DEBUG") == "1":
            traceback.print_exception(failure)
        sys.exit(exit_code_of(failure))
