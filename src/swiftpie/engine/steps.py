"""Steps of a long drawing in a file, from which an interrupted drawing goes on."""

import logging
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from swiftpie.engine.runner import content_key, tensors_in
from swiftpie.imageio.atomic import write_file
from swiftpie.pipelines.denoise import Prepared

logger = logging.getLogger(__name__)


class StepFile:
    """Keeps the latents after each step but the last in a file; an `OnStep` that goes on.

    A file of other inputs, other networks or another number of steps is drawn over.
    """

    def __init__(self, path: Path, *, seed: int) -> None:
        self.path, self.seed = path, seed
        self._key, self._last = "", 0

    def reached(self, prepared: Prepared, settings: str) -> tuple[int, Tensor]:
        """Return how many steps of a drawing are known, and the latents (B, C, h, w) after them.

        Args:
            prepared: The inputs.
            settings: What else decides about the latents.
        """
        components = prepared.components
        facts = (repr(components.preset), components.fingerprint, settings)
        self._key = content_key("steps", *facts, *tensors_in(prepared[1:6])).digest
        self._last = len(components.schedule.steps) - 1
        kept = _kept_in(self.path)
        if kept.get("key") != self._key:
            return 0, prepared.latents
        known = int(kept["steps"])
        logger.info("The drawing goes on after step %d of %d.", known, self._last + 1)
        return known, load_file(self.path)["latents"].to(prepared.latents.device)

    def __call__(self, index: int, _timestep: float, latents: Tensor) -> Tensor:
        """Keep the latents after a step."""
        if index < self._last:
            kept = {"key": self._key, "steps": str(index + 1), "seed": str(self.seed)}
            tensors = {"latents": latents.detach().to("cpu", torch.float32).contiguous()}
            write_file(self.path, save(tensors, kept), force=True)
        return latents

    def remove(self) -> None:
        """Delete the file of a finished drawing."""
        self.path.unlink(missing_ok=True)


def seed_in(path: Path) -> int | None:
    """Return the seed of the drawing that a file belongs to; None if there is no such file."""
    seed = _kept_in(path).get("seed", "")
    return int(seed) if seed.isdecimal() else None


def _kept_in(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (FileNotFoundError, SafetensorError):  # there is none, or it is no such file
        return {}
