"""Measures over a region of a picture, which several metrics share."""

import torch
from torch import Tensor

from swiftpie.masks import grow

_SOLID = 0.9  # mask above which a pixel is free of what surrounds the region
_LEAST_ERROR = 1e-6  # squared; equal pictures count as 60 dB
_LEAST_GRADIENT = 2 / 255  # one level a pixel: a truth that is smoother has no detail to lose


def inner(mask: Tensor) -> Tensor:
    """Return the solid part of `mask` (1, 1, H, W) without its outermost pixels, 0 or 1."""
    solid = (mask > _SOLID).to(mask)
    return 1 - grow(1 - solid, 1)


def mean_colour(pixels: Tensor, region: Tensor) -> Tensor:
    """Return the mean (1, 3) of `pixels` (1, 3, H, W) over `region` (1, 1, H, W), not empty."""
    return (pixels * region).sum((2, 3)) / region.sum((2, 3))


def psnr(pixels: Tensor, truth: Tensor, region: Tensor) -> float:
    """Return decibels between pictures in [-1, 1] over `region`, which is not empty."""
    error = ((pixels - truth) / 2).square()
    mean = (error * region).sum() / (3 * region.sum())
    return float(-10 * torch.log10(mean.clamp_min(_LEAST_ERROR)))


def sharpness_ratio(pixels: Tensor, truth: Tensor, region: Tensor) -> float | None:
    """Return mean gradient of `pixels` over that of `truth`; None where there is no detail."""
    wanted = mean_gradient(truth, region)
    if wanted < _LEAST_GRADIENT:
        return None
    return mean_gradient(pixels, region) / wanted


def mean_gradient(pixels: Tensor, region: Tensor) -> float:
    """Return the mean step to the next pixel, across and down, inside of `region` (1, 1, H, W)."""
    across = region[..., :, 1:] * region[..., :, :-1]
    down = region[..., 1:, :] * region[..., :-1, :]
    total = (pixels.diff(dim=-1).abs() * across).sum() + (pixels.diff(dim=-2).abs() * down).sum()
    count = 3 * (across.sum() + down.sum())
    return float(total / count.clamp_min(1))
