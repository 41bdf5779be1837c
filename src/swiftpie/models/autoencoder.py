"""Autoencoders: our own of patches, and those of others whose latents are scaled."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.models.network import Network, keep_settings
from swiftpie.types import Posterior

if TYPE_CHECKING:
    # Importing one imports every autoencoder of diffusers, and `mini` needs none of them.
    from diffusers import AutoencoderKL, AutoencoderTiny

PATCH = 8  # pixels a side of the patch behind one latent cell


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions added to their input; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        _zero(self.second)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        return hidden + self.second(F.silu(self.first(F.silu(self.norm(hidden)))))


class PatchAutoencoder(Network):
    """Pixels (B, 3, H, W) in [-1, 1] to latents (B, C, H/8, W/8) and back, by patches of 8 x 8.

    The linear path, principal components, is set in closed form by `fit_linear`; the residual
    path adds what a linear map cannot. Latents are standardised, so their scale is about 1 in
    every channel.
    """

    @keep_settings
    def __init__(self, latent_channels: int = 32, narrow: int = 56, wide: int = 112) -> None:
        super().__init__()
        self.linear_encoder = nn.Conv2d(3 * PATCH**2, latent_channels, 1)
        self.linear_decoder = nn.Conv2d(latent_channels, 3 * PATCH**2, 1)
        self.residual_encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, narrow, 3, padding=1),
            ResidualBlock(narrow),
            ResidualBlock(narrow),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * narrow, wide, 1),
            ResidualBlock(wide),
            nn.Conv2d(wide, latent_channels, 1),
        )
        self.residual_decoder = nn.Sequential(
            nn.Conv2d(latent_channels, wide, 3, padding=1),
            ResidualBlock(wide),
            ResidualBlock(wide),
            nn.Conv2d(wide, 4 * narrow, 1),
            nn.PixelShuffle(2),
            ResidualBlock(narrow),
            ResidualBlock(narrow),
            ResidualBlock(narrow),
            nn.Conv2d(narrow, 128, 1),
            nn.PixelShuffle(2),
            ResidualBlock(32),
            nn.Conv2d(32, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        _zero(self.residual_encoder[-1])
        _zero(self.residual_decoder[-2])
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(1, latent_channels, 1, 1))
        self.register_buffer("scale", torch.ones(1, latent_channels, 1, 1))

    def encode(self, pixels: Tensor) -> Tensor:
        """Return standardised latents (B, C, H/8, W/8)."""
        latents: Tensor = (self.encode_raw(pixels) - self.shift) / self.scale
        return latents

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the standardised latents with deviation 0: they are a function of the pixels."""
        latents = self.encode(pixels)
        return Posterior(latents, torch.zeros_like(latents))

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W), about [-1, 1]."""
        return self.decode_raw(latents * self.scale + self.shift)

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Return latents before standardisation."""
        linear: Tensor = self.linear_encoder(F.pixel_unshuffle(pixels, PATCH))
        return linear + self.residual_encoder(pixels)

    def decode_raw(self, latents: Tensor) -> Tensor:
        """Return pixels of latents before standardisation."""
        linear = F.pixel_shuffle(self.linear_decoder(latents), PATCH)
        return linear + self.residual_decoder(latents)


def _laid_out(values: Tensor) -> Tensor:
    """Return `values` with channels last, which decodes bfloat16 in half the time."""
    is_quicker = values.device.type == "cpu" and values.dtype == torch.bfloat16
    return values.contiguous(memory_format=torch.channels_last) if is_quicker else values


class LatentAutoencoder(nn.Module):
    """An `AutoencoderKL` or `AutoencoderTiny` whose latents are already scaled."""

    def __init__(self, network: "AutoencoderKL | AutoencoderTiny") -> None:
        super().__init__()
        self.network = network

    @property
    def is_tiny(self) -> bool:
        """Whether it is an `AutoencoderTiny`, of another build, which knows one value only."""
        from diffusers import AutoencoderTiny

        return isinstance(self.network, AutoencoderTiny)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the mean of the scaled latents (B, C, h, w) of pixels (B, 3, H, W), float32."""
        return self.posterior(pixels).mean

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the distribution of latents of pixels, of deviation 0 if one is known."""
        encoded = self.network.encode(_laid_out(pixels.to(self.network.dtype)))
        scale, shift = self._scale()
        if (single := encoded.get("latents", encoded.get("latent"))) is not None:
            latents = (single * scale).float()
            return Posterior(latents, torch.zeros_like(latents))
        normal = encoded.latent_dist
        mean = normal.mode() - shift if shift else normal.mode()
        return Posterior((mean * scale).float(), (normal.std * scale).float())

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled latents (B, C, h, w), in float32."""
        scale, shift = self._scale()
        raw = latents.to(self.network.dtype) / scale
        raw = raw + shift if shift else raw
        decoded: Tensor = self.network.decode(_laid_out(raw)).sample
        return decoded.float()

    def _scale(self) -> tuple[float, float]:
        config = self.network.config
        return float(config.scaling_factor), float(getattr(config, "shift_factor", None) or 0)


def _zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
