"""The figures of a run over time: JSON lines, and TensorBoard if asked for."""

import importlib.util
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import TYPE_CHECKING

from swiftpie.errors import MissingExtra
from swiftpie.files import write_file
from swiftpie.training.fitting.processes import Processes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class Tally:
    """Figures and time since the last row."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0
        self._figures: dict[str, list[float]] = {}

    def add(self, figures: Mapping[str, list[float]]) -> None:
        """Count one step with the figures of its batches."""
        self.steps += 1
        for name, values in figures.items():
            self._figures.setdefault(name, []).extend(values)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time inside the `with` block."""
        began = time.monotonic()
        yield
        self.seconds += time.monotonic() - began

    def means(self, processes: Processes) -> dict[str, float]:
        """Return the mean of each figure over all batches of all processes."""
        merged: dict[str, list[float]] = {}
        for figures in processes.gather(self._figures):
            for name, values in figures.items():
                merged.setdefault(name, []).extend(values)
        return {name: fmean(values) for name, values in merged.items()}


class Journal(AbstractContextManager["Journal"]):
    """Writes each row once, so that a crash neither halves nor doubles one."""

    def __init__(self, log: Path | None = None, board: "SummaryWriter | None" = None) -> None:
        """Append to the file `log` and to TensorBoard's `board`, or to nothing."""
        self._log = log
        self._board = board

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add one row; it is on the disk when this returns."""
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": step, **figures}) + "\n")
                log.flush()
                os.fsync(log.fileno())
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()


def open_journal(folder: Path, *, step: int, tensorboard: bool) -> Journal:
    """Go on with the log in `folder` after `step`; what a crash left beyond it is dropped.

    Raises:
        MissingExtra: TensorBoard is asked for and not installed.
    """
    board = _open_board(folder / TENSORBOARD_FOLDER, step=step) if tensorboard else None
    log = folder / LOG_FILE
    if log.exists():
        _cut(log, step=step)
    return Journal(log, board)


def _cut(log: Path, *, step: int) -> None:
    """Keep complete rows up to `step`, the last of each step, in a file replaced at once."""
    rows: dict[int, str] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            found = int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
        if found <= step:
            rows[found] = line
    write_file(log, "".join(f"{row}\n" for row in rows.values()).encode(), force=True)


def _open_board(folder: Path, *, step: int) -> "SummaryWriter":
    """Return TensorBoard's writer, which hides what an earlier process wrote beyond `step`.

    Raises:
        MissingExtra: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingExtra(
            "loop.tensorboard=true needs the package 'tensorboard'. It is not installed. "
            'Run: pip install "swiftpie[train]"'
        )
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)
