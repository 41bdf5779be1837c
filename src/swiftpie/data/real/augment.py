"""Changes to a reference that a subject survives, so that copying it is not enough."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from swiftpie.layout import Layout, to_affine, warp
from swiftpie.masks import grow

GREY = torch.tensor([0.299, 0.587, 0.114])  # luma of red, green and blue, Rec. 601


@dataclass(frozen=True)
class Augmentation:
    """How far a reference may differ from what it shows; chances and amounts."""

    flip: float = 0.5
    rotation_deg: float = 15.0
    smallest: float = 0.7  # of the subject in its frame
    largest: float = 1.2
    jitter: float = 0.15  # of brightness, contrast and saturation, to either side
    halo: float = 0.3  # chance that a rim of another background shows, as in a rough cut-out
    halo_px: int = 4  # its width, for a frame of 512 px


def augment(
    pixels: Tensor,
    mask: Tensor,
    background: Tensor,
    *,
    settings: Augmentation,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return a changed reference frame and its mask, grey (0) outside.

    Args:
        pixels: Reference frame (1, 3, S, S) in [-1, 1].
        mask: The subject in it (1, 1, S, S).
        background: Another photo (1, 3, S, S), for the halo.
        settings: How much.
        generator: Decides; the number of draws from it is always the same.
    """
    draws = torch.rand(8, generator=generator)
    affine = to_affine(_layout(draws, settings))
    size = (pixels.shape[2], pixels.shape[3])
    moved = warp(torch.cat([pixels, mask], dim=1), affine, size)
    pixels, mask = moved[:, :3], moved[:, 3:].clamp(0, 1)
    pixels = jitter_colours(pixels, mask, amounts=settings.jitter * (2 * draws[3:6] - 1))
    if float(draws[6]) < settings.halo:
        radius = max(1, round(settings.halo_px * size[0] / 512))
        region = grow(mask, radius)
        pixels = torch.lerp(background, pixels, mask)
        mask = region
    return pixels * mask, mask


def jitter_colours(pixels: Tensor, mask: Tensor, *, amounts: Tensor) -> Tensor:
    """Change brightness, contrast and saturation of a subject by `amounts` (3,), 0 = unchanged."""
    brightness, contrast, saturation = (float(amount) for amount in amounts)
    mean = (pixels * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp_min(1)
    changed = (pixels - mean) * (1 + contrast) + mean + brightness
    grey = (changed * GREY.to(changed).view(1, 3, 1, 1)).sum(1, keepdim=True)
    changed = grey + (changed - grey) * (1 + saturation)
    return changed.clamp(-1, 1)


def _layout(draws: Tensor, settings: Augmentation) -> Layout:
    """Return the place of the frame in itself."""
    angle = math.radians(settings.rotation_deg) * (2 * draws[0:1] - 1)
    span = settings.largest - settings.smallest
    return Layout(
        centre=torch.full((1, 2), 0.5),
        scale=settings.smallest + span * draws[1:2],
        rotation=angle,
        flip=(draws[2:3] < settings.flip).float(),
    )
