"""Published autoencoders behind the same two calls as our own."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from swiftpie.types import Posterior

if TYPE_CHECKING:
    # Importing one imports every autoencoder of diffusers, and `mini` needs none of them.
    from diffusers import AutoencoderKL, AutoencoderTiny


class LatentAutoencoder(nn.Module):
    """An `AutoencoderKL` or `AutoencoderTiny` whose latents are already scaled."""

    def __init__(self, network: "AutoencoderKL | AutoencoderTiny") -> None:
        super().__init__()
        self.network = network

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w) of pixels (B, 3, H, W) in [-1, 1], in float32.

        The mean of the posterior, not a sample: the same picture has the same latents.
        """
        return self.posterior(pixels).mean

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents of pixels (B, 3, H, W) in [-1, 1].

        An `AutoencoderTiny` knows one value only; its deviation is 0.
        """
        from diffusers import AutoencoderTiny

        encoded = self.network.encode(pixels.to(self.network.dtype))
        scale, shift = self._scale()
        if isinstance(self.network, AutoencoderTiny):
            latents = (encoded.latents * scale).float()
            return Posterior(latents, torch.zeros_like(latents))
        normal = encoded.latent_dist
        mean = normal.mode() - shift if shift else normal.mode()
        return Posterior((mean * scale).float(), (normal.std * scale).float())

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled latents (B, C, h, w), in float32."""
        scale, shift = self._scale()
        raw = latents.to(self.network.dtype) / scale
        raw = raw + shift if shift else raw
        decoded: Tensor = self.network.decode(raw).sample
        return decoded.float()

    def _scale(self) -> tuple[float, float]:
        """Return what latents are multiplied by, after what is taken from them."""
        config = self.network.config
        return float(config.scaling_factor), float(getattr(config, "shift_factor", None) or 0)
