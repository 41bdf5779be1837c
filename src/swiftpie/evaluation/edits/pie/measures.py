"""PIE-Bench's measures of two pictures; all multiply both by a mask and average everything."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SSIM_SIGMA, SSIM_RADIUS_PX = 1.5, 5  # of the Gaussian window, 11 x 11
SSIM_FIRST, SSIM_SECOND = 0.01**2, 0.03**2  # what keeps the two quotients finite, for [0, 1]


def mse(first: Tensor, second: Tensor, mask: Tensor) -> float:
    """Return the mean squared difference of pictures (1, 3, H, W) in [0, 1].

    Args:
        first: A picture.
        second: Another one.
        mask: (1, 1, H, W), 1 = compared. Pixels where it is 0 count as equal, but do count.
    """
    return float(((first - second) * mask).square().mean())


def psnr(first: Tensor, second: Tensor, mask: Tensor) -> float | None:
    """Return decibels, from `mse`; None for equal pictures, where it would be infinite."""
    error = mse(first, second, mask)
    return None if error == 0 else -10 * math.log10(error)


def ssim(first: Tensor, second: Tensor, mask: Tensor) -> float:
    """Return mean structural similarity, of the pictures multiplied by the mask."""
    return float(ssim_map(first * mask, second * mask).mean())


def ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity around each pixel, (B, C, H, W).

    Pictures in [0, 1] go on beyond their border by reflection, and the border counts, as in
    torchmetrics 1.9; earlier versions of it left the border out.
    """
    mean_first, mean_second = _blur(first), _blur(second)
    spread_first = (_blur(first * first) - mean_first.square()).clamp_min(0)
    spread_second = (_blur(second * second) - mean_second.square()).clamp_min(0)
    shared = _blur(first * second) - mean_first * mean_second
    light = (2 * mean_first * mean_second + SSIM_FIRST) / (
        mean_first.square() + mean_second.square() + SSIM_FIRST
    )
    return light * (2 * shared + SSIM_SECOND) / (spread_first + spread_second + SSIM_SECOND)


def _blur(pixels: Tensor) -> Tensor:
    """Return the Gaussian mean around each pixel of (B, C, H, W)."""
    places = torch.arange(-SSIM_RADIUS_PX, SSIM_RADIUS_PX + 1).to(pixels)
    line = torch.exp(-(places / SSIM_SIGMA).square() / 2)
    line = line / line.sum()
    channels = pixels.shape[1]
    padded = F.pad(pixels, (SSIM_RADIUS_PX,) * 4, mode="reflect")
    across = line.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    down = line.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    return F.conv2d(F.conv2d(padded, across, groups=channels), down, groups=channels)
