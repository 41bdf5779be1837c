"""Steps of a long drawing in a file, from which an interrupted drawing goes on."""

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from swiftpie.backbones.load import safe
from swiftpie.engine.runner import content_key, tensors_in
from swiftpie.errors import InputError, WeightsError
from swiftpie.imageio.atomic import write_file
from swiftpie.pipelines.denoise import Prepared
from swiftpie.validation import MAX_SEED

logger = logging.getLogger(__name__)

MAX_BYTES = 256 << 20  # 64 frames of 1024 px take 17 MB


class StepFile:
    """Keeps the latents after each step but the last in a file; an `OnStep` that goes on.

    A file of other inputs, other networks or another number of steps is drawn over, and so is all
    that is not as this class writes it. Where nothing can be kept, the drawing goes on without it.
    """

    def __init__(self, path: Path, *, seed: int) -> None:
        self.path, self.seed = path, seed
        self._key, self._last = "", 0

    def reached(self, prepared: Prepared, settings: str) -> tuple[int, Tensor]:
        """Return how many steps are known, and the latents (B, C, h, w) after them."""
        components, latents = prepared.components, prepared.latents
        facts = (repr(components.preset), components.fingerprint, settings)
        self._key = content_key("steps", *facts, *tensors_in(prepared[1:6])).digest
        self._last = len(components.schedule.steps) - 1
        kept = _kept_in(self.path)
        if kept is None or kept.key != self._key or not 0 < kept.steps <= self._last:
            return 0, latents
        if kept.latents.shape != latents.shape:
            return 0, latents
        logger.info("The drawing goes on after step %d of %d.", kept.steps, self._last + 1)
        return kept.steps, kept.latents.to(latents.device)

    def __call__(self, index: int, _timestep: float, latents: Tensor) -> Tensor:
        if index < self._last:
            tensor = latents.detach().to("cpu", torch.float32).contiguous()
            kept = _KeptSteps(self._key, index + 1, self.seed, tensor)
            try:
                write_file(self.path, kept.to_bytes(), force=True)
            except InputError as error:
                logger.warning("An interrupted drawing cannot go on: %s", error)
                self._last = 0
        return latents

    def remove(self) -> None:
        with suppress(OSError):  # a folder of that name is not ours
            self.path.unlink()


class _KeptSteps(NamedTuple):
    """What a file holds: of which drawing it is, and the latents (B, C, h, w) after its steps."""

    key: str
    steps: int
    seed: int
    latents: Tensor

    def to_bytes(self) -> bytes:
        facts = {name: str(getattr(self, name)) for name in ("key", "steps", "seed")}
        return save({"latents": self.latents}, {**facts, "sum": self._sum()})

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "_KeptSteps":
        """Read what `to_bytes` wrote; anything else raises one of several errors."""
        facts = safe.header_in(data, name)[safe.METADATA]
        (latents,) = safe.tensors_in(data, name).values()
        kept = cls(facts["key"], int(facts["steps"]), int(facts["seed"]), latents)
        if facts["sum"] != kept._sum() or not 0 <= kept.seed <= MAX_SEED:
            raise ValueError("it was changed")
        return kept

    def _sum(self) -> str:
        return content_key(self.key, str(self.steps), str(self.seed), self.latents).digest


def seed_in(path: Path) -> int | None:
    """Return the seed of the drawing that a file belongs to; None if there is no such file."""
    kept = _kept_in(path)
    return None if kept is None else kept.seed


def _kept_in(path: Path) -> _KeptSteps | None:
    """Return what a file holds; None if there is none, or it is not as this user wrote it."""
    try:
        about = path.lstat()
        is_plain = stat.S_ISREG(about.st_mode)  # a pipe would be waited for
        is_own = about.st_uid == os.getuid() if hasattr(os, "getuid") else True
        if is_plain and is_own and about.st_size <= MAX_BYTES:
            return _KeptSteps.from_bytes(path.read_bytes(), path.name)
    except (OSError, ValueError, LookupError, TypeError, WeightsError):
        pass
    return None
