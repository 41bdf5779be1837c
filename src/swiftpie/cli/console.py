"""What the command line says: results on standard output, all else on standard error."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text


def say(text: str) -> None:
    """Tell the user `text` on standard error, so that standard output stays a result."""
    _plain_line(text, style="")


def complain(text: str) -> None:
    """Write one red line that begins with `error:`."""
    _plain_line(f"error: {text}", style="red")


def print_json(value: object) -> None:
    """Write `value` as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def write_table(rows: Sequence[Sequence[str]], *, headings: Sequence[str] = ()) -> None:
    """Write rows of text on standard output, under headings if there are any."""
    table = Table(box=None, show_header=bool(headings), pad_edge=False)
    for heading in headings or rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def examples(*commands: str) -> str:
    """Return the end of a help page that shows `commands`."""
    return "\n\n".join(["Examples:", *(f"  {command}" for command in commands)])


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """Show warnings of SwiftPie on standard error inside of the block."""
    handler = _Echo(logging.WARNING)
    logger = logging.getLogger("swiftpie")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Echo(logging.Handler):
    """Writes to whatever standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        _plain_line(f"{record.levelname.lower()}: {record.getMessage()}", style="yellow")


def _plain_line(text: str, *, style: str) -> None:
    """Write one line; a file name in it can neither add lines nor control the terminal."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    Console(stderr=True).print(Text(line, style=style), soft_wrap=True, highlight=False)
