"""Published autoencoders behind the same two calls as our own."""

from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn


class LatentAutoencoder(nn.Module):
    """An `AutoencoderKL` or `AutoencoderTiny` whose latents are already scaled."""

    def __init__(self, network: AutoencoderKL | AutoencoderTiny) -> None:
        super().__init__()
        self.network = network

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w) of pixels (B, 3, H, W) in [-1, 1], in float32.

        The mean of the posterior, not a sample: the same picture has the same latents.
        """
        encoded = self.network.encode(pixels.to(self.network.dtype))
        is_tiny = isinstance(self.network, AutoencoderTiny)
        latents = encoded.latents if is_tiny else encoded.latent_dist.mode()
        scale: float = self.network.config.scaling_factor
        return (latents * scale).float()

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled latents (B, C, h, w), in float32."""
        raw = latents.to(self.network.dtype) / self.network.config.scaling_factor
        decoded: Tensor = self.network.decode(raw).sample
        return decoded.float()
