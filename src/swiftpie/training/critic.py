"""Judges latents by the middle features of a denoiser: the discriminator of DMD2."""

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

NORM_GROUPS = 8


class RealismHead(nn.Module):
    """Middle features (B, D, h, w) to one logit a picture (B, 1); high means real."""

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.GroupNorm(NORM_GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.GroupNorm(NORM_GROUPS, width),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, 1)."""
        logits: Tensor = self.layers(features)
        return logits


def middle_of(unet: UNet2DConditionModel) -> nn.Module:
    """Return the middle block of `unet`, or its last down block where it has none."""
    middle: nn.Module = unet.down_blocks[-1] if unet.mid_block is None else unet.mid_block
    return middle


@contextmanager
def watch(unet: UNet2DConditionModel) -> Iterator[list[Tensor]]:
    """Collect the middle features (B, D, h, w) of every pass inside the `with` block."""
    seen: list[Tensor] = []

    def keep(
        _module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, tuple[Tensor, ...]]
    ) -> None:
        seen.append(output if isinstance(output, Tensor) else output[0])

    handle = middle_of(unet).register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()
