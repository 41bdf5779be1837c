"""Output of commands: messages on standard error, results on standard output or in files."""

import functools
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swiftpie.errors import printable
from swiftpie.remedies import Tongue, spelled

# What JSON leaves unchanged, within strings, and a terminal may obey: controls, and directions.
HIDDEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff]")


def say(text: str) -> None:
    """Write `text` on standard error; standard output is for results."""
    _plain_line(text, style="")


def complain(text: str) -> None:
    """Write a red line that starts with `error:`."""
    _plain_line(f"error: {spelled(text, Tongue.COMMANDS)}", style="red")


def warn(text: str) -> None:
    """Write a yellow line that starts with `warning:`."""
    _plain_line(f"warning: {spelled(text, Tongue.COMMANDS)}", style="yellow")


def print_json(value: object) -> None:
    """Write `value` as JSON on standard output; paths become text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    typer.echo(HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_text(text: str) -> None:
    """Write lines on standard output, without control characters."""
    typer.echo("\n".join(map(printable, text.split("\n"))), nl=False)


def write_table(rows: Sequence[Sequence[str]], *, headings: Sequence[str] = ()) -> None:
    """Write rows of text on standard output, under headings if there are any."""
    table = Table(box=None, show_header=bool(headings), pad_edge=False)
    for heading in headings or rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def show(
    facts: object, rows: Sequence[Sequence[str]], *, headings: Sequence[str] = (), as_json: bool
) -> None:
    """Write facts as JSON, or rows of text about them as a table."""
    if as_json:
        print_json(facts)
    else:
        write_table(rows, headings=headings)


def examples(*commands: str) -> str:
    """Return the end of a help page that shows `commands`."""
    return "\n\n".join(["Examples:", *(f"  {command}" for command in commands)])


@contextmanager
def bar(total: int, **choices: Any) -> Iterator[Callable[..., None]]:  # noqa: ANN401 - of rich
    """Show a bar on standard error; yield what moves it: `advance`, `completed`, `description`."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times, screen = (TimeElapsedColumn(), TimeRemainingColumn()), Console(stderr=True)
    with Progress(*columns, *times, console=screen, **choices) as shown:
        yield functools.partial(shown.update, shown.add_task("preparing", total=total))


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """Show the log of SwiftPie on standard error inside the block."""
    handler = _Echo(logging.INFO)
    loggers = [logging.getLogger(name) for name in ("swiftpie", "swiftpie_lab")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


class _Echo(logging.Handler):
    """Writes to the standard error of the moment, which tests replace."""

    def emit(self, record: logging.LogRecord) -> None:
        message = spelled(record.getMessage(), Tongue.COMMANDS)
        if record.levelno < logging.WARNING:
            say(message)
        else:
            _plain_line(f"{record.levelname.lower()}: {message}", style="yellow")


def _plain_line(text: str, *, style: str) -> None:
    """Write one line; a file name in it cannot add lines or control the terminal."""
    line = printable(text)
    with suppress(OSError):  # standard error is full or closed
        if style:
            Console(stderr=True).print(Text(line, style=style), soft_wrap=True, highlight=False)
        else:  # a rich console would double the time of a server's request
            sys.stderr.write(f"{line}\n")
