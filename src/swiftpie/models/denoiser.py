"""What every denoiser takes and returns, whatever its size."""

from typing import NamedTuple, Protocol

from torch import Tensor

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.install import Installation
from swiftpie.layout import Layout
from swiftpie.types import Autoencoder, TextCondition


class SubjectCondition(NamedTuple):
    """Everything of S subjects that reaches the denoiser in one call; tensors only."""

    attention: AttentionCondition
    pooled: Tensor  # (B, S, D) one vector a subject
    aligned: Tensor  # (B, S, C', h, w) subjects in place; C' is 0 where a denoiser takes none


class Prediction(NamedTuple):
    """What the denoiser says about one noisy batch."""

    sample: Tensor  # (B, C, h, w) in the schedule's prediction type
    subject_mask: Tensor  # (B, 1, h', w') in [0, 1]: where subjects are; all zero if it cannot tell


class Denoiser(Protocol):
    """A U-Net or transformer whose attention layers read the condition."""

    installation: Installation

    def __call__(
        self,
        latents: Tensor,
        timestep: float,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Predict from `latents` (B, C, h, w); layers may write into `notes`."""

    def encode_reference(self, autoencoder: Autoencoder, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return what `read_reference` looks at of canonical references, (R, C', h, w).

        Args:
            autoencoder: Pixels to latents.
            pixels: Reference frames in [-1, 1], grey (0) outside the subject, (R, 3, H, W).
            mask: The subject in them, (R, 1, H, W).
        """

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Return the inputs of all layers with a detail branch, by module path, (R, N, D_layer).

        `encoded` (R, C', h, w) is of `encode_reference`, `text` the empty prompt in R rows.
        """

    def place_subject(
        self,
        autoencoder: Autoencoder,
        pixels: Tensor,
        mask: Tensor,
        *,
        layout: Layout,
        cells: tuple[int, int],
    ) -> Tensor:
        """Return the aligned subject (B, C', h, w) that this denoiser takes as input.

        `pixels` (B, 3, H, W) and `mask` (B, 1, H, W) are a reference frame a row; `cells` is
        (h, w).
        """
