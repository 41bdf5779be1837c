"""What pixels and masks alone tell: errors, sharpness, light, and whether regions agree."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.data.scenes import SCENES
from swiftpie.evaluation.case import Evidence, Metric
from swiftpie.masks import grow, iou, resize_mask

SOLID = 0.9  # mask above which a pixel is free of what surrounds the region
LEAST_ERROR = 1e-6  # squared; equal pictures count as 60 dB
LEAST_GRADIENT = 2 / 255  # one level a pixel: a truth that is smoother has no detail to lose
LEAST_TINT = 0.05  # scenes that change no colour by more count as neutrally lit

SSIM_SIGMA, SSIM_RADIUS_PX = 1.5, 5  # of the Gaussian window, 11 x 11
SSIM_FIRST, SSIM_SECOND = 0.01**2, 0.03**2  # what keeps the two quotients finite, for [0, 1]


def psnr(pixels: Tensor, truth: Tensor, region: Tensor | None = None) -> float:
    """Return decibels between pictures in [-1, 1]; equal ones count as 60.

    Args:
        pixels: A picture.
        truth: What it should be.
        region: Where they are compared, (1, 1, H, W), not empty; None is everywhere.
    """
    where = torch.ones_like(pixels[:, :1]) if region is None else region
    error = ((pixels - truth) / 2).square()
    mean = (error * where).sum() / (3 * where.sum())
    return float(-10 * torch.log10(mean.clamp_min(LEAST_ERROR)))


def frame_mse(evidence: Evidence) -> float | None:
    """Return PIE-Bench's error of the unedited part, of values in [0, 1].

    Pixels of the edited part count as equal, but do count: both pictures are multiplied by the
    mask, and all is averaged. A mask of more pixels therefore means a smaller error.
    """
    if evidence.source is None or evidence.mask is None:
        return None
    first, second = (_unedited(one, evidence.mask) for one in (evidence.source, evidence.picture))
    return float((first - second).square().mean())


def frame_psnr(evidence: Evidence) -> float | None:
    """Return decibels from `frame_mse`; None for equal pictures, where it would be infinite."""
    error = frame_mse(evidence)
    return -10 * math.log10(error) if error else None


def frame_ssim(evidence: Evidence) -> float | None:
    """Return PIE-Bench's mean structural similarity of the unedited part."""
    if evidence.source is None or evidence.mask is None:
        return None
    pair = (_unedited(one, evidence.mask) for one in (evidence.source, evidence.picture))
    return float(ssim_map(*pair).mean())


def ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity around each pixel, (B, C, H, W).

    Pictures in [0, 1] go on beyond their border by reflection, and the border counts, as in
    torchmetrics 1.9, which is not worth another package for the rendered edits that need this too.
    """
    mean_first, mean_second = _blur(first), _blur(second)
    spread_first = (_blur(first * first) - mean_first.square()).clamp_min(0)
    spread_second = (_blur(second * second) - mean_second.square()).clamp_min(0)
    shared = _blur(first * second) - mean_first * mean_second
    light = (2 * mean_first * mean_second + SSIM_FIRST) / (
        mean_first.square() + mean_second.square() + SSIM_FIRST
    )
    return light * (2 * shared + SSIM_SECOND) / (spread_first + spread_second + SSIM_SECOND)


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
    if wanted < LEAST_GRADIENT:
        return None
    return mean_gradient(pixels, region) / wanted


def lit_scenes() -> frozenset[str]:
    """Return the scenes whose light changes colours visibly."""
    return frozenset(
        scene.name
        for scene in SCENES
        if max(abs(factor - 1) for factor in scene.light.tint) > LEAST_TINT
    )


def _psnr(evidence: Evidence) -> float | None:
    return None if evidence.truth is None else psnr(evidence.picture, evidence.truth)


def _subject_psnr(evidence: Evidence) -> float | None:
    truth, mask = evidence.truth, evidence.mask
    if truth is None or mask is None or not bool((mask > 0).any()):
        return None
    return psnr(evidence.picture, truth, mask)


def _lighting_error(evidence: Evidence) -> float | None:
    """Return the mean absolute error of red, green and blue, in levels of 255."""
    truth, mask, expected = evidence.truth, evidence.mask, evidence.expected
    if truth is None or mask is None or expected is None or expected.scene not in lit_scenes():
        return None
    region = inner(mask)
    if not bool(region.any()):
        return None
    error = mean_colour(evidence.picture, region) - mean_colour(truth, region)
    return float(error.abs().mean()) * 127.5  # pixels span two units


def _sharpness(evidence: Evidence) -> float | None:
    if evidence.truth is None:
        return None
    return mean_gradient(evidence.picture, torch.ones_like(evidence.picture[:, :1]))


def _sharpness_subject(evidence: Evidence) -> float | None:
    if evidence.truth is None or evidence.mask is None:
        return None
    return sharpness_ratio(evidence.picture, evidence.truth, inner(evidence.mask))


def _sharpness_background(evidence: Evidence) -> float | None:
    if evidence.truth is None or evidence.mask is None:
        return None
    return sharpness_ratio(evidence.picture, evidence.truth, inner(1 - evidence.mask))


def _mask_iou(evidence: Evidence) -> float | None:
    if evidence.claimed is None or evidence.mask is None:
        return None
    return float(iou(evidence.claimed, evidence.mask))


def _region_iou(evidence: Evidence) -> float | None:
    if evidence.region is None or evidence.mask is None:
        return None
    height, width = evidence.mask.shape[-2:]
    return float(iou(resize_mask(evidence.region, (height, width)), evidence.mask))


def _stray_pixels(evidence: Evidence) -> float | None:
    """Return how many pixels outside of the claimed mask are not the source's own, bit for bit."""
    if evidence.claimed is None or evidence.source is None:
        return None
    changed = (evidence.picture != evidence.source).any(dim=1, keepdim=True)
    return float((changed & (evidence.claimed <= 0)).sum())


def _outside_mse(evidence: Evidence) -> float | None:
    outside = evidence.outside
    if outside is None or evidence.source is None:
        return None
    error = ((evidence.picture - evidence.source) / 2).square() * outside
    return float(error.sum() / (3 * outside.sum()))


def _outside_ssim(evidence: Evidence) -> float | None:
    """Return the mean over the pixels outside; what is inside is blackened in both pictures."""
    outside = evidence.outside
    if outside is None or evidence.source is None:
        return None
    first, second = ((pixels + 1) / 2 * outside for pixels in (evidence.picture, evidence.source))
    similarity = ssim_map(first, second) * outside
    return float(similarity.sum() / (3 * outside.sum()))


def _outside_psnr(evidence: Evidence) -> float | None:
    outside, source = evidence.outside, evidence.source
    return None if outside is None or source is None else psnr(evidence.picture, source, outside)


def _inside_psnr(evidence: Evidence) -> float | None:
    inside, truth = evidence.inside, evidence.truth
    return None if inside is None or truth is None else psnr(evidence.picture, truth, inside)


def _uncomposed_psnr(evidence: Evidence) -> float | None:
    outside, drawn = evidence.outside, evidence.redrawn.get("uncomposed")
    if outside is None or drawn is None or evidence.source is None:
        return None
    return psnr(drawn, evidence.source, outside)


def _redrawn_psnr(name: str) -> Callable[[Evidence], float | None]:
    """Return the score of the source as it was drawn again under this name."""

    def score(evidence: Evidence) -> float | None:
        drawn, source = evidence.redrawn.get(name), evidence.source
        return None if drawn is None or source is None else psnr(drawn, source)

    return score


def _scaled(
    factor: float, score: Callable[[Evidence], float | None]
) -> Callable[[Evidence], float | None]:
    """Return `score` as tables print it, times `factor`."""

    def scaled(evidence: Evidence) -> float | None:
        value = score(evidence)
        return None if value is None else factor * value

    return scaled


def _unedited(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return pixels (1, 3, H, W) in [0, 1], black where `mask` is 1."""
    return (pixels + 1) / 2 * (1 - mask)


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


METRICS = {
    "psnr": Metric(title="PSNR", unit="dB", score=_psnr),
    "subject-psnr": Metric(title="PSNR of the subject", unit="dB", score=_subject_psnr),
    "lighting-error": Metric(
        title="lighting error",
        unit="levels",
        higher_is_better=False,
        score=_lighting_error,
        leaves_out=("text",),  # it shows another subject, if any
    ),
    "sharpness": Metric(title="sharpness", score=_sharpness, is_relative=True),
    "sharpness-subject": Metric(title="sharpness of the subject", score=_sharpness_subject),
    "sharpness-background": Metric(
        title="sharpness of the background", score=_sharpness_background
    ),
    "mask-iou": Metric(title="mask IoU", score=_mask_iou),
    "region-iou": Metric(title="IoU of the found region", score=_region_iou),
    "inside-psnr": Metric(title="PSNR inside", unit="dB", score=_inside_psnr),
    "outside-psnr": Metric(title="PSNR outside", unit="dB", score=_outside_psnr),
    "outside-mse": Metric(
        title="MSE outside", unit="1e-4", higher_is_better=False, score=_scaled(1e4, _outside_mse)
    ),
    "outside-ssim": Metric(title="SSIM outside", score=_outside_ssim),
    "outside-psnr-drawn": Metric(
        title="PSNR outside, before the composite", unit="dB", score=_uncomposed_psnr
    ),
    "reconstruction-psnr": Metric(
        title="PSNR of the reconstruction", unit="dB", score=_redrawn_psnr("reconstruction")
    ),
    "noise-psnr": Metric(
        title="PSNR from noise and prompt alone", unit="dB", score=_redrawn_psnr("from-noise")
    ),
    "stray-pixels": Metric(title="stray pixels", higher_is_better=False, score=_stray_pixels),
    "unedited-psnr": Metric(title="PSNR, unedited part", unit="dB", score=frame_psnr),
    "unedited-mse": Metric(
        title="MSE, unedited part",
        unit="1e-4",
        higher_is_better=False,
        score=_scaled(1e4, frame_mse),
    ),
    "unedited-ssim": Metric(
        title="SSIM, unedited part", unit="1e-2", score=_scaled(1e2, frame_ssim)
    ),
    "time": Metric(
        title="time",
        unit="ms",
        higher_is_better=False,
        score=lambda evidence: evidence.time_ms,  # on whatever machine the editor ran
    ),
}
