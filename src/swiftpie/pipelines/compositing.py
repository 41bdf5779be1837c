"""Shows a small drawing in a part of a photograph at full resolution, alike in tone and grain.

Pictures are (1, 3, H, W) in [0, 1] and masks (1, 1, H, W) in [0, 1]. A *canvas* is the window of
the photograph as the model sees it; a *patch* is a part of the photograph in its own pixels.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import SURE, extrapolate, halved
from swiftpie.pipelines.filling import (
    Area,
    OnBand,
    blurred,
    brightness,
    enlarged_part,
    match_border,
)

DARKEST = 0.03  # added to both colours of a ratio, so that black gives no infinity
SHADE_PX, FAULT_PX = 1.2, 4.0  # deviations of blurs, on the canvas
MOST_GRAIN = 2.0  # medians; what stands out further is an edge
PLAIN_PX, PLAINEST = 8, 0.05  # side of a block, and the share of the blocks that are plain
MOST_NOISE = 0.008  # deviation of a camera's noise; more is texture, where all is textured
DEVIATION = 1.25  # of a normal distribution over the mean size of its values
WELL_KNOWN = 0.05  # share of a blur's weight that has to be known


class CanvasDrawing(NamedTuple):
    """A window before and after drawing, on the canvas."""

    before: Tensor  # (1, 3, h, w)
    after: Tensor  # (1, 3, h, w)
    alone: Tensor  # (1, 3, h, w) the same drawn without the subject; as `after` if there is none
    changes: Tensor  # (1, 1, h, w) where it may differ
    subject: Tensor  # (1, 1, h, w) the subject's opacity in the drawing


def fill_patch(
    patch: Tensor,
    drawing: CanvasDrawing,
    *,
    gone: Tensor,
    place: Area,
    seed: int,
    on_band: OnBand = int,
) -> Tensor:
    """Return a `patch` of the photograph, at `place` on the canvas, that shows the drawing.

    It does where `gone`, (1, 1, H, W) 0 or 1, is 1. `on_band` is called after each part of the
    work, and may raise to stop.
    """
    alone = without_model_error(drawing).alone
    filled = draw_over(patch, alone, gone=gone, place=place, seed=seed, on_band=on_band)
    return filled.clamp(0, 1)


def draw_over(
    patch: Tensor, alone: Tensor, *, gone: Tensor, place: Area, seed: int, on_band: OnBand = int
) -> Tensor:
    """Return a patch whose `gone` part shows a canvas (1, 3, h, w), with the patch's own grain."""
    size = (patch.shape[2], patch.shape[3])
    cell_px = size[1] / (alone.shape[3] * (place[2] - place[0]))
    texture = matching_grain(patch, 1 - gone, num_octaves=_octaves(cell_px), seed=seed)
    on_band()
    shown = enlarged_part(alone, place, size, on_band=on_band)
    return match_border(shown + texture, patch, gone)


def matching_grain(
    patch: Tensor, known: Tensor, *, num_octaves: int, seed: int, is_even: bool = False
) -> Tensor:
    """Return random texture (1, 1, H, W) with the spectrum of `patch` where it is `known`.

    Each octave is noise with the deviation found nearby, with edges clipped. If it `is_even`, the
    deviation is that of the plainest blocks, which is the noise of the camera.
    """
    generator = torch.Generator().manual_seed(seed % 2**63)
    luma = brightness(patch)
    texture, size = torch.zeros_like(luma), luma.shape[-2:]
    for _ in range(num_octaves):
        band, luma = split(luma)
        if not (known > 0.5).any():
            break  # nothing is known at this scale
        if is_even:
            blocks = F.avg_pool2d(band.abs(), PLAIN_PX, ceil_mode=True, count_include_pad=False)
            plain = DEVIATION * blocks.flatten().sort().values[int(PLAINEST * blocks.numel())]
            spread = plain.clamp(max=MOST_NOISE)
        else:
            usual = MOST_GRAIN * float(band.abs()[known > 0.5].median())
            spread = extrapolate(band.clamp(-usual, usual).square(), known).clamp_min(0).sqrt()
        noise, _ = split(torch.randn(band.shape, generator=generator))
        noise = spread * noise / noise.std(correction=0).clamp_min(SURE)
        texture += F.interpolate(noise, size, mode="bilinear", align_corners=False)
        known = (halved(known) > 1 - SURE).to(known)
        if min(luma.shape[-2:]) < 2:
            break
    return texture


def without_model_error(drawing: CanvasDrawing) -> CanvasDrawing:
    """Return the drawing without the colour errors that it has where nothing was to change."""
    shown = (blurred(drawing.changes, SHADE_PX) < SURE).to(drawing.changes)
    error = blurred(log_ratio(drawing.alone, drawing.before, shown, FAULT_PX), FAULT_PX)

    def corrected(pixels: Tensor) -> Tensor:
        return ((pixels + DARKEST) * (-error).exp() - DARKEST).clamp(0, 1)

    return drawing._replace(after=corrected(drawing.after), alone=corrected(drawing.alone))


def log_ratio(first: Tensor, second: Tensor, known: Tensor, deviation_px: float) -> Tensor:
    """Return the smooth logarithm of `first` over `second`, (1, 3, h, w), where that is `known`.

    Elsewhere it is carried on.
    """
    weight = blurred(known, deviation_px)
    sums = [blurred(values * known, deviation_px) + DARKEST * weight for values in (first, second)]
    ratio = (sums[0].clamp_min(SURE**2) / sums[1].clamp_min(SURE**2)).log()
    return extrapolate(ratio, (weight > WELL_KNOWN * weight.amax()).to(weight))


def split(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the finest octave of `values`, and the rest at half the size."""
    half = halved(values)
    size = (values.shape[2], values.shape[3])
    return values - F.interpolate(half, size, mode="bilinear", align_corners=False), half


def _octaves(cell_px: float) -> int:
    """Return how many octaves of the photograph are finer than the canvas."""
    return round(math.log2(max(1.0, cell_px))) + 1
