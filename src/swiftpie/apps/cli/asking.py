"""What is to be fetched, told before it is, and whether people want it."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from swiftpie.errors import ConfigError, printable

if TYPE_CHECKING:
    from swiftpie.backbones.acquire.download import DownloadPlan, ModelPart
    from swiftpie.backbones.hub import RemoteFile

NO_LICENCE = "not stated, ask its publisher"
SMALL_BYTES = 1 << 20
SHOWN = 12  # letters of a commit


def ask(needs: "DownloadPlan", *, yes: bool) -> None:
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


def tell(needs: "DownloadPlan") -> None:
    """Tell on standard error what is missing: parts, files, sizes, licences, place, memory, time.

    Small files are counted, not named.
    """
    from swiftpie.backbones.acquire.download import as_size, as_time

    lines = []
    for part, files in _by_part(needs):
        listing = part.listing
        whence = "" if listing is None else f"{listing.repository}@{listing.revision[:SHOWN]}"
        licence = part.licence or NO_LICENCE
        lines.append(f"{part.name.replace('_', ' ')}: {whence} (licence: {licence})")
        large = [one for one in files if one.size >= SMALL_BYTES]
        lines += [f"  {as_size(part.left(one)):>9}  {one.path}" for one in large]
        if small := [one for one in files if one.size < SMALL_BYTES]:
            size = as_size(sum(map(part.left, small)))
            lines.append(f"  {size:>9}  {len(small)} small file{'s' * (len(small) > 1)}")
    seconds, memory = needs.seconds, needs.memory_bytes
    weights = "unknown" if memory is None else as_size(memory)
    time = "unknown" if seconds is None else as_time(seconds)
    lines.append(f"  {as_size(needs.bytes_left):>9}  to fetch")
    if needs.folders:
        places = ", ".join(map(str, needs.folders))
        lines.append(f"  {as_size(needs.free_bytes):>9}  free in {places}")
    lines.append(f"  {weights:>9}  of memory for all weights")
    if needs.bytes_left:
        lines.append(f"  {time:>9}  at the rate of the last download")
    with suppress(OSError):  # closed; then nobody can be told
        for line in lines:
            text = Text(printable(line))
            Console(stderr=True).print(text, soft_wrap=True, highlight=False)


def _by_part(needs: "DownloadPlan") -> "list[tuple[ModelPart, list[RemoteFile]]]":
    found: dict[ModelPart, list[RemoteFile]] = {}
    for part, file in needs.missing:
        if part.left(file):
            found.setdefault(part, []).append(file)
    return list(found.items())
