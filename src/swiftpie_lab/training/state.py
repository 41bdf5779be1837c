"""What a run keeps on disk: the state that the next step depends on, and its figures over time.

A state is one file, or small parts with an index; a crash leaves the old or the new, whole. Parts
are named after their step, so that new ones never replace those that the index lists. The index
is written last; only then the old parts go. The shards of huggingface_hub do neither: they keep a
tensor whole, however large, and replace files one by one.
"""

import importlib.util
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from swiftpie.errors import ConfigError, InputError, MissingExtra, WeightsError, short_reason
from swiftpie.imageio.atomic import atomic_file, write_file
from swiftpie_lab.training.context import Processes
from swiftpie_lab.training.optimizers import state_shapes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


STATE_FILE = "state.safetensors"
INDEX_FILE = "state.safetensors.index.json"
PARTS = "state-step*-of-*.safetensors"
HEADER_BYTES = 256  # more than safetensors writes about one tensor, besides its name
MIN_PART_BYTES = 4096
MIB = 2**20
MAX_STEP = 10**12
LOG_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


def save_state(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    progress: Mapping[str, int],
    max_file_mib: float | None = None,
) -> None:
    """Replace the state in `folder` at once; `progress` says how to go on, with at least a `step`.

    Raises:
        ConfigError: `max_file_mib`, which no file exceeds, is too small.
    """
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            tensors[f"network/{name}/{key}"] = value.detach().cpu().contiguous().clone()
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer/{name}/{index}/{key}"] = value.detach().cpu().contiguous()
    write_state(folder, tensors, progress=progress, max_file_mib=max_file_mib)


@contextmanager
def kept_whole(folder: Path) -> Iterator[None]:
    """Say in a sentence where something cannot be written; what was saved stays as it was.

    Raises:
        InputError: There is no room in `folder`, or it cannot be written to.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The run in '{folder}' cannot be written ({short_reason(error)}). Room on the disk is "
            "needed, in a folder that can be written to. The state that was saved last is intact: "
            "make room, and the same command goes on from there."
        ) from error


def load_state(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, int]:
    """Restore what `save_state` wrote and return its progress; {} if there is nothing yet.

    Raises:
        WeightsError: A file is broken or missing.
        ConfigError: The state is that of another network, or of other optimizers.
    """
    stored = read_state(folder)
    if stored is None:
        return {}
    try:
        for name, network in networks.items():
            network.load_state_dict(_below(stored.tensors, f"network/{name}/"))
        _restore_optimizers(optimizers, _below(stored.tensors, "optimizer/"))
    except Exception as error:  # what a stranger wrote makes optimizers raise anything
        raise ConfigError(
            f"The training state in {folder} does not fit ({short_reason(error)}). It needs the "
            "settings that it was saved with. Give the same --set, or start anew with --fresh."
        ) from error
    return stored.progress


def _restore_optimizers(
    optimizers: Mapping[str, torch.optim.Optimizer], tensors: dict[str, Tensor]
) -> None:
    unknown = {key.partition("/")[0] for key in tensors} - optimizers.keys()
    if unknown:
        raise ValueError(f"it is of the optimizers {', '.join(sorted(unknown))}")
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}  # of one that never took a step there is none
        for key, value in _below(tensors, f"{name}/").items():
            index, field = key.split("/")
            state.setdefault(int(index), {})[field] = value
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for position, fields in state.items():
            wanted = {}
            if 0 <= position < len(weights):
                wanted = state_shapes(optimizer, weights[position])
            if wanted != {field: value.shape for field, value in fields.items()} or not all(
                value.is_floating_point() for value in fields.values()
            ):
                raise ValueError(f"weight {position} of the optimizer {name} is another one")
            if not 0 <= float(fields.get("step", 0)) <= MAX_STEP:
                raise ValueError(f"the optimizer {name} cannot have taken so many steps")
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class StoredState(NamedTuple):
    """What is on disk."""

    tensors: dict[str, Tensor]
    progress: dict[str, int]


def write_state(
    folder: Path,
    tensors: dict[str, Tensor],
    *,
    progress: Mapping[str, int],
    max_file_mib: float | None = None,
) -> None:
    """Replace the state in the existing `folder`, in files of at most `max_file_mib` if given.

    No tensor shares memory with another; the `step` is beyond that of the state that is there.

    Raises:
        ConfigError: `max_file_mib` is too small for any part.
    """
    if max_file_mib is None:
        with atomic_file(folder / STATE_FILE) as temporary:
            save_file(tensors, temporary, metadata={"progress": json.dumps(dict(progress))})
        (folder / INDEX_FILE).unlink(missing_ok=True)
        names: list[str] = []
    else:
        names = _write_parts(folder, tensors, progress=progress, limit=int(max_file_mib * MIB))
        (folder / STATE_FILE).unlink(missing_ok=True)
    for path in folder.glob(PARTS):
        if path.name not in names:
            path.unlink()


def find_state(folder: Path) -> Path | None:
    """Return the file that leads to the newest state in `folder`, if there is one.

    A crash while the form changes leaves both; the one with the later step is newer.

    Raises:
        WeightsError: There are both, and one is broken.
    """
    found = [path for name in (STATE_FILE, INDEX_FILE) if (path := folder / name).is_file()]
    if len(found) < 2:
        return found[0] if found else None
    with _read_whole(folder):
        return max(found, key=lambda path: _progress(path)["step"])


def read_state(folder: Path) -> StoredState | None:
    """Return what `write_state` wrote, in either form; None if there is nothing yet.

    Raises:
        WeightsError: A file is broken or missing.
    """
    path = find_state(folder)
    if path is None:
        return None
    with _read_whole(folder):
        tensors = _read_parts(path) if path.name == INDEX_FILE else _read(path)
        return StoredState(tensors, _progress(path))


@contextmanager
def _read_whole(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # unchecked JSON can have any type
        raise WeightsError(
            f"The training state in {folder} cannot be read ({short_reason(error)}). All of its "
            "files are needed, unchanged. Copy them again, or start anew with --fresh."
        ) from error


def _write_parts(
    folder: Path, tensors: Mapping[str, Tensor], *, progress: Mapping[str, int], limit: int
) -> list[str]:
    if limit < MIN_PART_BYTES:
        raise ConfigError(
            f"loop.max_file_mib is {limit / MIB:g}; at least {MIN_PART_BYTES / MIB:g} is needed. "
            "Raise it."
        )
    parts = _pack(tensors, limit=limit)
    stem = f"state-step{progress['step']}"
    names = [f"{stem}-{n:05d}-of-{len(parts):05d}.safetensors" for n in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        with atomic_file(folder / name) as temporary:
            save_file(part, temporary)
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    index = {"progress": dict(progress), "parts": names, "shapes": shapes}
    write_file(folder / INDEX_FILE, json.dumps(index).encode(), force=True)
    return names


def _pack(tensors: Mapping[str, Tensor], *, limit: int) -> list[dict[str, Tensor]]:
    parts: list[dict[str, Tensor]] = [{}]
    room = limit - HEADER_BYTES
    for name, value in tensors.items():
        header = HEADER_BYTES + len(name.encode())
        assert header < MIN_PART_BYTES - HEADER_BYTES
        rest = value.flatten()
        while name not in parts[-1] or len(rest):
            count = (room - header) // rest.element_size()
            if count < min(len(rest), 1):
                parts.append({})
                room = limit - HEADER_BYTES
                continue
            parts[-1][name] = rest[:count].clone()
            room -= header + parts[-1][name].nbytes
            rest = rest[count:]
    return parts


def _read_parts(path: Path) -> dict[str, Tensor]:
    index = json.loads(path.read_text(encoding="utf-8"))
    pieces: dict[str, list[Tensor]] = {}
    for part in index["parts"]:
        for name, piece in _read(path.with_name(part)).items():
            pieces.setdefault(name, []).append(piece)
    return {name: torch.cat(pieces[name]).view(shape) for name, shape in index["shapes"].items()}


def _read(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as stored:
        names = list(stored.keys())
        return {name: stored.get_tensor(name) for name in names}


def _progress(path: Path) -> dict[str, int]:
    if path.name == INDEX_FILE:
        found = json.loads(path.read_text(encoding="utf-8"))["progress"]
    else:
        with safe_open(path, framework="pt") as stored:
            found = json.loads(stored.metadata()["progress"])
    if any(type(value) is not int or not 0 <= value <= MAX_STEP for value in found.values()):
        raise ValueError("its progress is not in whole numbers")
    return {"step": found["step"], **found}


class RunningFigures:
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


class MetricsLog(AbstractContextManager["MetricsLog"]):
    """Writes each row once, so that a crash neither halves nor doubles one."""

    def __init__(self, log: Path | None = None, board: "SummaryWriter | None" = None) -> None:
        """Append to the file `log` and to TensorBoard's `board`, or to nothing."""
        self._log = log
        self._board = board

    def __exit__(self, *_error: object) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add one row; it is on the disk when this returns.

        Raises:
            InputError: There is no room for it.
        """
        if self._log is not None:
            with kept_whole(self._log.parent), self._log.open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": step, **figures}) + "\n")
                log.flush()
                os.fsync(log.fileno())
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()


def open_log(folder: Path, *, step: int, tensorboard: bool) -> MetricsLog:
    """Go on with the log in `folder` after `step`; what a crash left beyond it is dropped.

    Raises:
        MissingExtra: `loop.tensorboard` is set and TensorBoard is not installed.
    """
    board = _open_board(folder / TENSORBOARD_FOLDER, step=step) if tensorboard else None
    log = folder / LOG_FILE
    if log.exists():
        _cut(log, step=step)
    return MetricsLog(log, board)


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
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingExtra(
            "loop.tensorboard=true needs the package 'tensorboard'. It is not installed. "
            'Run: pip install "swiftpie[train]"'
        )
    from torch.utils.tensorboard import SummaryWriter

    # What an earlier process wrote beyond `step` is hidden.
    return SummaryWriter(str(folder), purge_step=step + 1)
