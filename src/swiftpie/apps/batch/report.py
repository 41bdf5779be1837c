"""What became of every job: one line each, in a folder that one run owns at a time."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

from swiftpie.errors import ConfigError, InputError
from swiftpie.imageio.atomic import make_folder, take_lock, write_file
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import contact_sheet
from swiftpie.imageio.writing import save_image

REPORT = "report.jsonl"
SHEET = "contact-sheet"  # which no job may be called
LOCK = ".swiftpie-batch.lock"
SHEET_COLUMNS, SHEET_CELLS, CELL_PX = 8, 400, 192

DONE, FAILED, REFUSED = "done", "failed", "refused"

Outcome = Mapping[str, Any]
"""A line of the report: id, place and status, then the file and what is told of it, or a reason."""


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if it is not there.

    The system lets go of the lock with the process, however that ends.

    Raises:
        ConfigError: Another run is at work there.
        InputError: It is a file, or cannot be made or written to.
    """
    make_folder(folder)
    try:
        lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise InputError(
            f"'{folder}' cannot be written to ({error.strerror}). A writable folder is needed. "
            "Choose another --out."
        ) from error
    try:
        if not take_lock(lock):
            raise ConfigError(
                f"Another run is at work in '{folder}'. A folder belongs to one run at a time. "
                "Wait until it has ended, or choose another --out."
            )
        yield
    finally:
        os.close(lock)


def read_done(folder: Path) -> dict[str, Outcome]:
    """Return the outcomes by id of jobs whose files are there, whole.

    A line that is not whole belongs to a job that has none: whoever wrote it was killed.
    """
    done: dict[str, Outcome] = {}
    try:
        lines = (folder / REPORT).read_bytes().split(b"\n")
    except FileNotFoundError:
        return done
    for line in lines:
        with suppress(ValueError, LookupError, TypeError, OSError):
            row = json.loads(line)
            if row["status"] == DONE and (folder / row["file"]).stat().st_size == row["bytes"]:
                done[row["id"]] = row
    return done


class Report:
    """The file that grows by a line with every job, each written in one piece."""

    def __init__(self, folder: Path, rows: Iterable[Outcome], *, order: Sequence[str]) -> None:
        """Begin with what is known already; `order` is that of ids when all is told.

        Raises:
            InputError: There is no room for it.
        """
        self._rows = {_key(row): row for row in rows}
        self._order = {name: number for number, name in enumerate(order)}
        self._path = folder / REPORT
        self._write()
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)

    def add(self, row: Outcome) -> None:
        """Write what became of a job.

        Raises:
            InputError: There is no room for it.
        """
        line = _line(row)
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise InputError(_full(self._path, error.strerror or "")) from error
        if written < len(line):
            raise InputError(_full(self._path, "it was cut off"))
        self._rows[_key(row)] = row

    @property
    def rows(self) -> list[Outcome]:
        """All lines, in the order in which jobs were asked for; what is no job comes last."""
        last = len(self._order)
        return sorted(self._rows.values(), key=lambda row: self._order.get(_key(row), last))

    def close(self) -> None:
        """Put the lines of the file into order."""
        os.close(self._file)
        self._write()

    def _write(self) -> None:
        write_file(self._path, b"".join(map(_line, self.rows)), force=True)


def write_sheet(folder: Path, rows: Sequence[Outcome], suffix: str) -> Path | None:
    """Write small copies of the first pictures of `rows` into one; None where there are none."""
    small: list[Image.Image] = []
    for row in rows:
        if row["status"] == DONE and len(small) < SHEET_CELLS:
            image = load_image(folder / row["file"])
            image.thumbnail((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
            small.append(image)
    if not small:
        return None
    lines = range(0, len(small), SHEET_COLUMNS)
    sheet = contact_sheet([small[n : n + SHEET_COLUMNS] for n in lines], cell_px=CELL_PX)
    path = folder / f"{SHEET}{suffix}"
    save_image(sheet, path, metadata={}, force=True)
    return path


def _key(row: Outcome) -> str:
    return str(row["id"] or row["place"])


def _line(row: Outcome) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _full(path: Path, reason: str) -> str:
    return (
        f"'{path}' cannot be written ({reason}). Room on its disk is needed. Make some, and give "
        "the same command again: it goes on where it stopped."
    )
