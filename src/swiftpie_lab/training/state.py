"""What a run keeps on disk: the state that the next step depends on, and its figures over time.

A state is one file, which a crash leaves as it was or replaces whole.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from swiftpie.errors import ConfigError, InputError, WeightsError, short_reason
from swiftpie.imageio.atomic import atomic_file, write_file
from swiftpie_lab.training.context import Processes
from swiftpie_lab.training.optimizers import state_shapes

STATE_FILE = "state.safetensors"
MAX_STEP = 10**12
LOG_FILE = "metrics.jsonl"


def save_state(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    progress: Mapping[str, int],
) -> None:
    """Replace the state in `folder` at once; `progress` has a `step` at least."""
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            tensors[f"network/{name}/{key}"] = value.detach().cpu().contiguous().clone()
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer/{name}/{index}/{key}"] = value.detach().cpu().contiguous()
    write_state(folder, tensors, progress=progress)


@contextmanager
def kept_whole(folder: Path) -> Iterator[None]:
    """Raise InputError where something cannot be written; what was saved stays as it was."""
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
        state: dict[int, dict[str, Tensor]] = {}  # an optimizer that never took a step has none
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


def write_state(folder: Path, tensors: dict[str, Tensor], *, progress: Mapping[str, int]) -> None:
    """Replace the state in the existing `folder`; no tensor shares memory with another."""
    with atomic_file(folder / STATE_FILE) as temporary:
        save_file(tensors, temporary, metadata={"progress": json.dumps(dict(progress))})


def read_state(folder: Path) -> StoredState | None:
    """Return what `write_state` wrote, None if nothing yet; WeightsError if the file is broken."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            return StoredState(tensors, _progress(json.loads(stored.metadata()["progress"])))
    except Exception as error:  # unchecked JSON can have any type
        raise WeightsError(
            f"The training state in {folder} cannot be read ({short_reason(error)}). The whole "
            "file is needed, unchanged. Copy it again, or start anew with --fresh."
        ) from error


def _progress(found: dict[str, int]) -> dict[str, int]:
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
        self.steps += 1
        for name, values in figures.items():
            self._figures.setdefault(name, []).extend(values)

    @contextmanager
    def timed(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds += time.monotonic() - began

    def means(self, processes: Processes) -> dict[str, float]:
        merged: dict[str, list[float]] = {}
        for figures in processes.gather(self._figures):
            for name, values in figures.items():
                merged.setdefault(name, []).extend(values)
        return {name: fmean(values) for name, values in merged.items()}


def append_row(log: Path, step: int, figures: Mapping[str, float]) -> None:
    """Add one row, never half of it or twice, on the disk at once, or raise InputError."""
    with kept_whole(log.parent), log.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **figures}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def cut_log(log: Path, *, step: int) -> None:
    """Keep complete rows up to `step`, the last of each step, in a file replaced at once."""
    rows: dict[int, str] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            found = int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
        if found <= step:
            rows[found] = line
    write_file(log, "".join(f"{row}\n" for row in rows.values()).encode(), force=True)
