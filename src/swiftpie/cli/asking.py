"""What is to be fetched, told before it is, and whether people want it."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swiftpie.errors import ConfigError, printable

if TYPE_CHECKING:
    from swiftpie.backbones.download import Needs

NO_LICENCE = "not stated; ask its publisher"


def ask(needs: "Needs", *, yes: bool) -> None:
    """Tell what is to be fetched, if anything, and go on if `yes` was given or people say so.

    Raises:
        ConfigError: Something is missing, and nobody can be asked.
        Abort: They said no.
    """
    if not needs.bytes_left:
        return  # at most links are to be made
    tell(needs)
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(
            f"{len(needs.missing)} files are missing here, and nobody can be asked whether to "
            "fetch them, as this is no terminal. Add --yes to the same command, or run `swiftpie "
            "fetch` with the same options before."
        )
    typer.confirm("Fetch them?", default=True, abort=True, err=True)


def tell(needs: "Needs") -> None:
    """Tell on standard error what is missing: files, sizes, licences, place, memory and time."""
    from swiftpie.backbones.download import as_size, as_time

    table = Table(box=None, pad_edge=False)
    for heading in ("part", "file", "size", "licence"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "size" else "left")
    for part, file in needs.missing:
        name = file.path if part.listing is None else f"{part.listing.repository}:{file.path}"
        cells = (part.name.replace("_", " "), name, as_size(part.left(file)), part.licence)
        table.add_row(*(Text(printable(cell or NO_LICENCE)) for cell in cells))
    table.add_row("", "all together", as_size(needs.bytes_left), "")
    seconds = needs.seconds
    time = "unknown before the first" if seconds is None else as_time(seconds)
    memory = "known then" if needs.memory_bytes is None else as_size(needs.memory_bytes)
    facts = {
        "to": ", ".join(map(str, needs.folders)) or "nothing is missing",
        "free there": as_size(needs.free_bytes),
        "time, at the rate of the last download": time,
        "memory for the weights": memory,
    }
    with suppress(OSError):  # closed; then nobody can be told
        console = Console(stderr=True)
        console.print(table)
        for name, fact in facts.items():
            console.print(Text(printable(f"{name}: {fact}")), soft_wrap=True, highlight=False)
