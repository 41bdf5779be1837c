"""Autoencoders whose decoder is another than their own."""

from typing import Any, Protocol

from torch import Tensor, nn

from swiftpie.engine.twin import module_of
from swiftpie.models.latents import HasPosterior, Posterior
from swiftpie.types import Autoencoder


class Decoder(Protocol):
    """Latents to pixels."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""


def with_decoder(autoencoder: Autoencoder, decoder: Decoder) -> Autoencoder:
    """Return an autoencoder that encodes as `autoencoder` does and decodes as `decoder` does."""
    if isinstance(autoencoder, HasPosterior):
        return OtherDecoderOfPosterior(autoencoder, decoder)
    return OtherDecoder(autoencoder, decoder)


class OtherDecoder(nn.Module):
    """Encodes as it was trained to, and decodes otherwise."""

    def __init__(self, inner: Autoencoder, decoder: Decoder) -> None:
        super().__init__()
        self.inner: Any = module_of(inner)
        self.decoder: Any = module_of(decoder)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w) of `pixels` (B, 3, H, W)."""
        latents: Tensor = self.inner.encode(pixels)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""
        pixels: Tensor = self.decoder.decode(latents)
        return pixels


class OtherDecoderOfPosterior(OtherDecoder):
    """Likewise, around an autoencoder that can tell how sure it is."""

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents of `pixels` (B, 3, H, W)."""
        found: Posterior = self.inner.posterior(pixels)
        return found
