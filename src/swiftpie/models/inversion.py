"""One-step inversion: clean latents to the noise that a one-step generator would make them from."""

from typing import Protocol

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from swiftpie.models.unet import added_conditions
from swiftpie.types import TextCondition

INVERSION_TIMESTEP = 500  # what SwiftEdit's network is told, whatever the picture


class Inversion(Protocol):
    """Predicts the noise behind a picture."""

    def __call__(self, latents: Tensor, text: TextCondition) -> Tensor:
        """Return noise (B, C, h, w) of about unit variance for clean `latents` (B, C, h, w)."""


class UNetInversion(nn.Module):
    """SwiftEdit's inversion network: a U-Net that reads clean latents (arXiv:2412.04301)."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, latents: Tensor, text: TextCondition) -> Tensor:
        """Return the inverted noise in float32; see `Inversion`."""
        dtype = self.unet.dtype
        noise: Tensor = self.unet(
            latents.to(dtype),
            INVERSION_TIMESTEP,
            text.hidden_states.to(dtype),
            added_cond_kwargs=added_conditions(self.unet, latents, text),
        ).sample
        return noise.float()
