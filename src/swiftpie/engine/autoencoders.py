"""Autoencoders whose encoder and decoder come from two different ones."""

from typing import Any, Protocol

from torch import Tensor, nn

from swiftpie.engine.twin import module_of
from swiftpie.types import Autoencoder, Posterior


class Encoder(Protocol):
    """Pixels to latents."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w) of `pixels` (B, 3, H, W)."""

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents of `pixels` (B, 3, H, W)."""


class Decoder(Protocol):
    """Latents to pixels."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""


def joined(encoder: Encoder, decoder: Decoder) -> Autoencoder:
    """Return an autoencoder that encodes as one and decodes as the other."""
    return Joined(encoder, decoder)


class Joined(nn.Module):
    """Encodes as one autoencoder and decodes as another."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder: Any = module_of(encoder)
        self.decoder: Any = module_of(decoder)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w) of `pixels` (B, 3, H, W)."""
        latents: Tensor = self.encoder.encode(pixels)
        return latents

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents of `pixels` (B, 3, H, W)."""
        found: Posterior = self.encoder.posterior(pixels)
        return found

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""
        pixels: Tensor = self.decoder.decode(latents)
        return pixels
