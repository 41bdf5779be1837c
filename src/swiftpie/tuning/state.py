"""What a tuning keeps on disk, so that a stopped one goes on where it was."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swiftpie.backbones.load.safe import read_metadata, read_tensors, write_tensors
from swiftpie.errors import WeightsError, short_reason

logger = logging.getLogger(__name__)

KEY = "tuning"  # of the facts, in the file's metadata
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # of Adam, for each weight


class StateFile:
    """A file that is replaced in one step; without a path nothing is kept."""

    def __init__(self, path: Path | None, *, facts: Mapping[str, Any]) -> None:
        """Keep the state at `path`; one with other `facts` belongs to another tuning."""
        self._path = path
        self._facts = json.loads(json.dumps(facts))

    def save(
        self,
        progress: Mapping[str, float],
        weights: list[Tensor],
        best: list[Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Write weights, the best ones so far, and the optimizer's moments.

        Raises:
            InputError: The folder cannot be written to.
        """
        if self._path is None:
            return
        moments = optimizer.state_dict()["state"]
        tensors = {f"weight/{i}": weight for i, weight in enumerate(weights)}
        tensors |= {f"best/{i}": weight for i, weight in enumerate(best)}
        tensors |= {f"{name}/{i}": moments[i][name] for i in moments for name in MOMENTS}
        metadata = {KEY: json.dumps({"facts": self._facts, "progress": dict(progress)})}
        write_tensors(self._path, tensors, metadata=metadata, force=True)

    def load(
        self, weights: list[Tensor], optimizer: torch.optim.Optimizer
    ) -> tuple[dict[str, float], list[Tensor]] | None:
        """Restore weights and moments; return the progress and the best weights, if there are any.

        A state of another tuning, or a damaged one, is reported and left alone until the next
        `save`.
        """
        if self._path is None or not self._path.is_file():
            return None
        try:
            found = _read(self._path, self._facts, weights)
        except (WeightsError, LookupError, TypeError, ValueError, AttributeError) as error:
            logger.warning(
                "%s is not continued (%s). Tuning starts anew.", self._path, short_reason(error)
            )
            return None
        for old, new in zip(weights, found.weights, strict=True):
            old.copy_(new)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": found.moments, "param_groups": groups})
        logger.info("Tuning goes on after step %d.", found.progress["step"])
        return found.progress, found.best

    def remove(self) -> None:
        """Delete the file; the tuning is finished."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class _Stored(NamedTuple):
    """What a file holds, checked."""

    progress: dict[str, float]
    weights: list[Tensor]
    best: list[Tensor]
    moments: dict[int, dict[str, Tensor]]


def _read(path: Path, facts: Mapping[str, Any], weights: list[Tensor]) -> _Stored:
    """Return the state of a tuning of `facts` that trains `weights`.

    Raises:
        ValueError: It is of another tuning.
    """
    stored = json.loads(read_metadata(path)[KEY])
    if stored["facts"] != facts:
        raise ValueError("it is of other pictures, weights or settings")
    tensors = read_tensors(path)
    progress = {str(name): float(number) for name, number in stored["progress"].items()}
    moments: dict[int, dict[str, Tensor]] = {}
    for i, old in enumerate(weights):
        moments[i] = {name: tensors[f"{name}/{i}"] for name in MOMENTS}
        for name in ("exp_avg", "exp_avg_sq"):
            _like(moments[i][name], old)
    return _Stored(
        progress,
        [_like(tensors[f"weight/{i}"], old) for i, old in enumerate(weights)],
        [_like(tensors[f"best/{i}"], old) for i, old in enumerate(weights)],
        moments,
    )


def _like(new: Tensor, old: Tensor) -> Tensor:
    if new.shape != old.shape or new.dtype != old.dtype:
        raise ValueError(f"a weight is {tuple(new.shape)} instead of {tuple(old.shape)}")
    return new.to(old.device)
