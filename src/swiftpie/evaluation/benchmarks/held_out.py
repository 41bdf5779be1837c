"""The subjects that benchmarks draw: those that no training picture shows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swiftpie.data.placing import pose_subjects
from swiftpie.data.subjects import Subjects


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A pack of subjects, of which benchmarks show the held-out ones."""

    subjects: Subjects
    seed: int = 0  # decides all cases

    @property
    def codes(self) -> tuple[str, ...]:
        """Every held-out subject."""
        return tuple(self.subjects.codes[index] for index in self.subjects.indices("held_out"))

    @property
    def fingerprint(self) -> str:
        """Return sha256 over names and sprites."""
        digest = hashlib.sha256(self.subjects.tiles.numpy().tobytes())
        digest.update("\n".join((*self.subjects.codes, *self.subjects.names)).encode())
        return digest.hexdigest()

    def frames(self, codes: Sequence[str]) -> Tensor:
        """Return subjects as they are, as reference frames (G, 4, 128, 128)."""
        still = torch.zeros(len(codes))
        tiles = self.subjects.tiles[[self.subjects.index(code) for code in codes]]
        return pose_subjects(tiles, rotation=still, flip=still, hue=still)
