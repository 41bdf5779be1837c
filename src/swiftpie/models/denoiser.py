"""What every denoiser takes and returns, whatever its size."""

from typing import NamedTuple, Protocol

from torch import Tensor

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.install import Installation
from swiftpie.types import TextCondition


class SubjectCondition(NamedTuple):
    """Everything of the subject that reaches the denoiser in one call; tensors only."""

    attention: AttentionCondition
    pooled: Tensor  # (B, D) one vector a subject
    aligned: Tensor  # (B, C', h, w) the subject in place, see swiftpie.models.alignment


class Prediction(NamedTuple):
    """What the denoiser says about one noisy batch."""

    sample: Tensor  # (B, C, h, w) in the schedule's prediction type
    mask: Tensor  # (B, 1, h', w') in [0, 1]: where the subject is


class Denoiser(Protocol):
    """A U-Net whose attention layers read the condition."""

    installation: Installation

    def __call__(
        self,
        latents: Tensor,
        timestep: int,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Predict from `latents` (B, C, h, w); layers may write into `notes`."""

    def read_reference(self, aligned: Tensor, text: TextCondition) -> Notes:
        """Return self-attention inputs, by module path, for clean references (R, C', h, w)."""
