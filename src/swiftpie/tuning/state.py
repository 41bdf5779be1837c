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
from swiftpie.tuning import MAX_STEPS

logger = logging.getLogger(__name__)

KEY = "tuning"  # of the facts, in the file's metadata
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # of Adam, for each weight


class Progress(NamedTuple):
    """How far a tuning is."""

    step: int
    psnr: float  # of the last look, in dB
    first_psnr: float
    best_psnr: float
    best_step: int  # of the best look
    stale: int  # looks in a row without anything better


class StateFile:
    """A file that is replaced in one step; without a path nothing is kept."""

    def __init__(self, path: Path | None, *, facts: Mapping[str, Any]) -> None:
        """Keep the state at `path`; one with other `facts` belongs to another tuning."""
        self._path = path
        self._facts = json.loads(json.dumps(facts))

    def save(
        self,
        progress: Progress,
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
        metadata = {KEY: json.dumps({"facts": self._facts, "progress": progress._asdict()})}
        write_tensors(self._path, tensors, metadata=metadata, force=True)

    def load(
        self, weights: list[Tensor], optimizer: torch.optim.Optimizer
    ) -> tuple[Progress, list[Tensor]] | None:
        """Restore weights and moments; return the progress and the best weights, if there are any.

        A state of another tuning, or a damaged one, is reported and left alone until the next
        `save`.
        """
        if self._path is None or not self._path.is_file():
            return None
        try:
            found = _read(self._path, self._facts, weights)
        except (WeightsError, LookupError, TypeError, ValueError, RecursionError) as error:
            logger.warning(
                "%s is not continued (%s). Tuning starts anew.", self._path, short_reason(error)
            )
            return None
        for old, new in zip(weights, found.weights, strict=True):
            old.copy_(new)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": found.moments, "param_groups": groups})
        logger.info("Tuning goes on after step %d.", found.progress.step)
        return found.progress, found.best

    def remove(self) -> None:
        """Delete the file; the tuning is finished."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class _Stored(NamedTuple):
    """What a file holds, checked."""

    progress: Progress
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

    def all_like(name: str) -> list[Tensor]:
        return [_like(tensors[f"{name}/{i}"], old) for i, old in enumerate(weights)]

    means, squares = all_like("exp_avg"), all_like("exp_avg_sq")
    steps = [_like(tensors[f"step/{i}"], torch.zeros(())) for i in range(len(weights))]
    if any(bool((numbers < 0).any()) for numbers in (*squares, *steps)):
        raise ValueError("a moment of the optimizer is negative")
    moments = {
        i: dict(zip(MOMENTS, values, strict=True))
        for i, values in enumerate(zip(means, squares, steps, strict=True))
    }
    return _Stored(_progress(stored["progress"]), all_like("weight"), all_like("best"), moments)


def _progress(stored: Mapping[str, Any]) -> Progress:
    progress = Progress(*(stored[name] for name in Progress._fields))
    for name, kind in Progress.__annotations__.items():
        number = getattr(progress, name)
        is_known = type(number) in {int, kind} and abs(number) <= MAX_STEPS  # nor NaN
        if not is_known or (kind is int and not 0 <= number <= progress.step):
            raise ValueError(f"its {name} is out of range")
    return progress


def _like(new: Tensor, old: Tensor) -> Tensor:
    if new.shape != old.shape or new.dtype != old.dtype:
        raise ValueError(f"a weight is {tuple(new.shape)} instead of {tuple(old.shape)}")
    if not new.isfinite().all():
        raise ValueError("a weight is no number")
    return new.to(old.device)
