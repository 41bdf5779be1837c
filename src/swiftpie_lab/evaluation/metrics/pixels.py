"""Figures from pixels and masks alone: errors, sharpness, light, and whether regions agree.

Pictures are (1, 3, H, W) in [-1, 1], and masks and regions (1, 1, H, W) in [0, 1].
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.masks import grow, iou, resize_mask
from swiftpie_lab.evaluation.case import Expected, Metric, of

SOLID = 0.9  # mask above which a pixel is free of what surrounds the region
LEAST_ERROR = 1e-6  # squared; equal pictures count as 60 dB
SSIM_PX, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # for numbers in [0, 1]
LEAST_GRADIENT = 2 / 255  # one level a pixel: a truth that is smoother has no detail to lose


def psnr(pixels: Tensor, truth: Tensor, region: Tensor | None = None) -> float:
    """Return decibels where `region`, not empty, is, or everywhere; equal ones count as 60."""
    where = torch.ones_like(pixels[:, :1]) if region is None else region
    error = ((pixels - truth) / 2).square()
    mean = (error * where).sum() / (3 * where.sum())
    return float(-10 * torch.log10(mean.clamp_min(LEAST_ERROR)))


def frame_mse(first: Tensor, second: Tensor, kept: Tensor) -> float:
    """Return PIE-Bench's error of the unedited part, ten thousand times that of [0, 1].

    Pixels of the edited part count as equal, but do count: both pictures are multiplied by the
    mask of what was not edited, and all is averaged. A mask of more pixels means a smaller error.
    """
    one, other = _in(kept, first, second)
    return 1e4 * float((one - other).square().mean())


def frame_psnr(first: Tensor, second: Tensor, kept: Tensor) -> float | None:
    """Return decibels from `frame_mse`; None for equal pictures, where it would be infinite."""
    error = frame_mse(first, second, kept)
    return 40 - 10 * math.log10(error) if error else None


def frame_ssim(first: Tensor, second: Tensor, kept: Tensor) -> float:
    """Return PIE-Bench's structural similarity of the unedited part, in hundredths.

    As torchmetrics 1.9 has it: windows of 11 pixels, weighed by a Gaussian of 1.5 pixels, over the
    reflected border too. The part that was edited counts as equal.
    """
    one, other = _in(kept, first, second)
    offsets = torch.arange(SSIM_PX, dtype=one.dtype) - SSIM_PX // 2
    line = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    window = (line[:, None] * line / line.sum() ** 2).expand(3, 1, -1, -1)

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(F.pad(values, (SSIM_PX // 2,) * 4, mode="reflect"), window, groups=3)

    means = mean(one), mean(other)
    both, squares = means[0] * means[1], means[0].square() + means[1].square()
    shared = mean(one * other) - both
    spread = mean(one.square() + other.square()) - squares
    alike = (2 * both + SSIM_C1) * (2 * shared + SSIM_C2)
    return 100 * float((alike / ((squares + SSIM_C1) * (spread + SSIM_C2))).mean())


def inner(mask: Tensor) -> Tensor:
    """Return the solid part of `mask` (1, 1, H, W) without its outermost pixels, 0 or 1."""
    solid = (mask > SOLID).to(mask)
    return 1 - grow(1 - solid, 1)


def mean_colour(pixels: Tensor, region: Tensor) -> Tensor:
    """Return the mean (1, 3) of `pixels` (1, 3, H, W) over `region` (1, 1, H, W), not empty."""
    return (pixels * region).sum((2, 3)) / region.sum((2, 3))


def mean_gradient(pixels: Tensor, region: Tensor) -> float:
    """Return the mean step to the next pixel, across and down, inside of `region` (1, 1, H, W)."""
    across = region[..., :, 1:] * region[..., :, :-1]
    down = region[..., 1:, :] * region[..., :-1, :]
    total = (pixels.diff(dim=-1).abs() * across).sum() + (pixels.diff(dim=-2).abs() * down).sum()
    count = 3 * (across.sum() + down.sum())
    return float(total / count.clamp_min(1))


def sharpness_ratio(pixels: Tensor, truth: Tensor, region: Tensor) -> float | None:
    """Return mean gradient of `pixels` over that of `truth`; None where there is no detail."""
    wanted = mean_gradient(truth, region)
    return None if wanted < LEAST_GRADIENT else mean_gradient(pixels, region) / wanted


def _subject_psnr(pixels: Tensor, truth: Tensor, mask: Tensor) -> float | None:
    return psnr(pixels, truth, mask) if bool((mask > 0).any()) else None


def _lighting_error(
    pixels: Tensor, truth: Tensor, mask: Tensor, expected: Expected
) -> float | None:
    region = inner(mask)
    if not expected.is_lit or not bool(region.any()):
        return None
    error = mean_colour(pixels, region) - mean_colour(truth, region)
    return float(error.abs().mean()) * 127.5  # pixels span two units


def _sharpness_subject(pixels: Tensor, truth: Tensor, mask: Tensor) -> float | None:
    return sharpness_ratio(pixels, truth, inner(mask))


def _sharpness_background(pixels: Tensor, truth: Tensor, mask: Tensor) -> float | None:
    return sharpness_ratio(pixels, truth, inner(1 - mask))


def _mask_iou(claimed: Tensor, mask: Tensor) -> float:
    height, width = mask.shape[-2:]
    return float(iou(resize_mask(claimed, (height, width)), mask))


def _stray_pixels(pixels: Tensor, source: Tensor, claimed: Tensor) -> float:
    """Return how many pixels outside of the claimed mask are not the source's own, bit for bit."""
    changed = (pixels != source).any(dim=1, keepdim=True)
    return float((changed & (claimed <= 0)).sum())


def _in(kept: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return (first + 1) / 2 * kept, (second + 1) / 2 * kept


SUBJECT, OUTSIDE = ("picture", "truth", "mask"), ("picture", "source", "outside")
UNEDITED = ("source", "picture", "unedited")

METRICS = {
    "psnr": Metric("PSNR", of(psnr, "picture", "truth"), "dB"),
    "subject-psnr": Metric("PSNR of the subject", of(_subject_psnr, *SUBJECT), "dB"),
    "lighting-error": Metric(
        "lighting error",
        of(_lighting_error, *SUBJECT, "expected"),
        "levels",
        higher_is_better=False,
        leaves_out=("text",),  # it shows another subject, if any
    ),
    "sharpness-subject": Metric("sharpness of the subject", of(_sharpness_subject, *SUBJECT)),
    "sharpness-background": Metric(
        "sharpness of the background", of(_sharpness_background, *SUBJECT)
    ),
    "mask-iou": Metric("mask IoU", of(_mask_iou, "claimed", "mask")),
    "inside-psnr": Metric("PSNR inside", of(psnr, "picture", "truth", "inside"), "dB"),
    "outside-psnr": Metric("PSNR outside", of(psnr, *OUTSIDE), "dB"),
    "stray-pixels": Metric(
        "stray pixels", of(_stray_pixels, "picture", "source", "claimed"), higher_is_better=False
    ),
    "unedited-psnr": Metric("PSNR, unedited part", of(frame_psnr, *UNEDITED), "dB"),
    "unedited-mse": Metric(
        "MSE, unedited part", of(frame_mse, *UNEDITED), "1e-4", higher_is_better=False
    ),
    "unedited-ssim": Metric("SSIM, unedited part", of(frame_ssim, *UNEDITED), "1e-2"),
    # On whatever machine the editor ran.
    "time": Metric("time", of(float, "time_ms"), "ms", higher_is_better=False),
}
