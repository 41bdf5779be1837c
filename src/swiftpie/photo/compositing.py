"""Joins drawings with photographs: smooth fields, grain, sharpness and borders of both.

A drawing is on a *canvas*, the window of the photograph as the model sees it. A *patch* is a part
of the photograph in its own pixels. Pictures are (1, 3, H, W) in [0, 1] and masks (1, 1, H, W).
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import SURE, extent_of, extrapolate, halved, luma, resized
from swiftpie.noise import generator_of
from swiftpie.validation import Box, Size

BAND_PX = 256  # rows, or columns, that are enlarged at once
WINDOW_MARGIN = 1 / 16  # margin of the window around a hole, as a share of the longer side
# Chosen by eye: what is added to both colours of a ratio, so that black gives no infinity, and the
# share of a blur's weight that has to be valid.
DARKEST, WELL_KNOWN = 0.03, 0.05
SHADE_PX, FAULT_PX = 1.2, 4.0  # deviations of blurs of what changes and of errors, on the canvas
MOST_GRAIN = 2.0  # What stands out by so many medians is an edge, and no grain.
PLAIN_PX, PLAINEST = 8, 0.05  # side of a block, and the share of the blocks that are plain
MOST_NOISE = 0.003  # deviation of a camera's noise; more is texture, where all is textured
DEVIATION = 1.25  # A normal distribution's deviation over its mean absolute value.

OnBand = Callable[[], object]
"""Called after each part of the work, as a band of rows of a large picture; may raise to stop."""

Part = tuple[slice, slice]  # rows and columns of a picture


class CanvasDrawing(NamedTuple):
    """A window before and after drawing, on the canvas."""

    before: Tensor  # (1, 3, h, w)
    after: Tensor  # (1, 3, h, w)
    alone: Tensor  # (1, 3, h, w) the same drawn without the subject; as `after` if there is none
    changes: Tensor  # (1, 1, h, w) where it may differ


def draw_over(
    patch: Tensor, alone: Tensor, *, hole: Tensor, place: Box, seed: int, on_band: OnBand = int
) -> Tensor:
    """Return a patch whose `hole` shows a canvas (1, 3, h, w), with the patch's own grain.

    The patch is at `place` on the canvas.
    """
    size = size_of(patch)
    cell_px = max(1.0, size[1] / (alone.shape[3] * (place[2] - place[0])))
    finer = (
        round(math.log2(cell_px)) + 1
    )  # octaves by which the photograph is finer than the canvas
    texture = matching_grain(patch, 1 - hole, num_octaves=finer, seed=seed)
    on_band()
    return match_border(texture + enlarged_part(alone, place, size, on_band=on_band), patch, hole)


def without_model_error(drawing: CanvasDrawing) -> CanvasDrawing:
    """Return the drawing without the colour errors that it has where nothing was to change."""
    unchanged = (blurred(drawing.changes, SHADE_PX) < SURE).to(drawing.changes)
    error = blurred(log_ratio(drawing.alone, drawing.before, unchanged, FAULT_PX), FAULT_PX)
    both = torch.stack([drawing.after, drawing.alone])
    after, alone = ((both + DARKEST) * (-error).exp() - DARKEST).clamp(0, 1)
    return drawing._replace(after=after, alone=alone)


def log_ratio(first: Tensor, second: Tensor, valid: Tensor, deviation_px: float) -> Tensor:
    """Return the smooth logarithm of `first` over `second`, (1, 3, h, w), where that is `valid`.

    Elsewhere it is carried on.
    """
    weight = blurred(valid, deviation_px)
    sums = [blurred(values * valid, deviation_px) + DARKEST * weight for values in (first, second)]
    ratio = (sums[0].clamp_min(SURE**2) / sums[1].clamp_min(SURE**2)).log()
    return extrapolate(ratio, (weight > WELL_KNOWN * weight.amax()).to(weight))


def matching_grain(
    patch: Tensor, valid: Tensor, *, num_octaves: int, seed: int, is_even: bool = False
) -> Tensor:
    """Return random texture (1, 1, H, W) with the spectrum of `patch` where it is `valid`.

    Each octave is noise with the deviation found nearby, with edges clipped. If it `is_even`, the
    deviation is that of the plainest blocks, which is the noise of the camera.
    """
    generator, grey = generator_of(seed), luma(patch)
    texture, size = torch.zeros_like(grey), grey.shape[-2:]
    for _ in range(num_octaves):
        if not (valid > 0.5).any() or min(size_of(grey)) < 2:
            break  # nothing is known at this scale
        band, grey = split(grey)
        if is_even:
            blocks = F.avg_pool2d(band.abs(), PLAIN_PX, ceil_mode=True, count_include_pad=False)
            plain = DEVIATION * blocks.flatten().sort().values[int(PLAINEST * blocks.numel())]
            spread = plain.clamp(max=MOST_NOISE)
        else:
            most = MOST_GRAIN * float(band.abs()[valid > 0.5].median())
            spread = extrapolate(band.clamp(-most, most).square(), valid).clamp_min(0).sqrt()
        noise, _ = split(torch.randn(band.shape, generator=generator))
        noise = spread * noise / noise.std(correction=0).clamp_min(SURE)
        texture += F.interpolate(noise, size, mode="bilinear", align_corners=False)
        valid = (halved(valid) > 1 - SURE).to(valid)
    return texture


def match_sharpness(
    photo: Tensor, colours: Tensor, inside: Tensor, *, num_octaves: int, on_band: OnBand = int
) -> Tensor:
    """Return `colours` (1, 3, H, W), measured where they are `inside`, no sharper than `photo`.

    In focus, octaves are about equally strong. Each octave is weakened as far as its ratio to the
    next coarser octave is smaller in the photograph.
    """
    low, photo_low = colours, photo
    bands, powers = [], []
    for _ in range(num_octaves + 1):
        if min(low.shape[-2:]) < 4:
            break
        band, low = split(low)
        on_band()
        photo_band, photo_low = split(photo_low)
        on_band()
        weight = inside / inside.mean().clamp_min(SURE)
        powers.append(((band.square() * weight).mean().sqrt(), photo_band.square().mean().sqrt()))
        inside = halved(inside)
        bands.append(band)
        on_band()
    gain, coarser = 1.0, None
    for band, power in zip(reversed(bands), reversed(powers), strict=True):
        if coarser is not None:
            pairs = zip(power, coarser, strict=True)
            ratio, photo_ratio = (float(fine / coarse.clamp_min(SURE**2)) for fine, coarse in pairs)
            gain = min(1.0, gain * photo_ratio / max(ratio, SURE))
        size = (band.shape[2], band.shape[3])
        low = F.interpolate(low, size, mode="bilinear", align_corners=False) + gain * band
        coarser = power
        on_band()
    return low


def colours_of(frame: Tensor) -> Tensor:
    """Return the colours of premultiplied frames (1, 4, H, W), carried on past the rim."""
    alpha = frame[:, 3:]
    return extrapolate(frame[:, :3] / alpha.clamp_min(SURE), alpha)


def size_of(values: Tensor) -> Size:
    """Return height and width of values (B, C, H, W)."""
    return values.shape[2], values.shape[3]


def split(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the finest octave of `values`, and the rest at half the size."""
    half = halved(values)
    return values - F.interpolate(half, size_of(values), mode="bilinear", align_corners=False), half


def match_border(inner: Tensor, patch: Tensor, hole: Tensor) -> Tensor:
    """Return `patch` with `inner` in the `hole`, matched in tone at the border."""
    if extent_of(hole) is None:
        return patch
    part = (..., *window_of(hole))
    result, inner, around, small_hole = patch.clone(), inner[part], patch[part], hole[part]
    result[part] = torch.where(
        small_hole > 0, inner + extrapolate(around - inner, 1 - small_hole), around
    )
    return result


def window_of(hole: Tensor) -> Part:
    """Return the bounding box of a `hole` with a margin."""
    left, top, right, bottom = extent_of(hole) or (0, 0, 0, 0)
    margin = math.ceil(WINDOW_MARGIN * max(right - left, bottom - top))
    rows = slice(max(0, top - margin), min(hole.shape[2], bottom + margin))
    return rows, slice(max(0, left - margin), min(hole.shape[3], right + margin))


def enlarged_part(canvas: Tensor, place: Box, size: Size, *, on_band: OnBand = int) -> Tensor:
    """Return the part of a canvas at `place`, smooth, in `size`; sampling by a grid is slower."""
    left, top, right, bottom = place
    rows = _bicubic(canvas.shape[2], top, bottom, count=size[0]).to(canvas)
    columns = _bicubic(canvas.shape[3], left, right, count=size[1]).to(canvas)
    return weighted(canvas, rows, columns, on_band=on_band)


def _bicubic(side: int, low: float, high: float, *, count: int) -> Tensor:
    """Return bicubic weights of `count` pixels between two shares of a `side`, (count, side)."""
    places = low + (torch.arange(count) + 0.5) / count * (high - low)
    grid = torch.stack(torch.meshgrid((torch.arange(side) + 0.5) / side, places, indexing="xy"), 2)
    units = torch.eye(side)[None, None]
    return F.grid_sample(units, 2 * grid[None] - 1, "bicubic", "border", align_corners=False)[0, 0]


def enlarged(
    values: Tensor, size: Size, there: Part, *, mode: str = "bicubic", on_band: OnBand = int
) -> Tensor:
    """Return the part `there` of `values` (1, C, h, w) enlarged to `size`, and not the rest."""
    # Enlarging is linear, along columns and along rows: its weights are enlarged unit vectors.
    down, across = (
        resized(torch.eye(few).expand(1, 1, few, few), (many, few), mode=mode)[0, 0, part].to(
            values
        )
        for few, many, part in zip(size_of(values), size, there, strict=True)
    )
    return weighted(values, down, across, on_band=on_band)


def weighted(values: Tensor, down: Tensor, across: Tensor, *, on_band: OnBand = int) -> Tensor:
    """Return `down @ values @ across.T` of `values` (1, C, h, w), for weights that are mostly 0.

    `down` (H, h) weighs rows and `across` (W, w) columns. `on_band` is called after each band.
    """
    result = values.new_empty(*values.shape[:2], len(down), len(across))
    for rows, above in _bands(down):
        band = down[rows, above] @ values[..., above, :]
        for columns, used in _bands(across):
            result[..., rows, columns] = band[..., used] @ across[columns, used].T
        on_band()
    return result


def _bands(weights: Tensor) -> Iterator[Part]:
    """Yield bands of the rows of `weights`, each with the columns in which they are not 0."""
    for start in range(0, len(weights), BAND_PX):
        rows = slice(start, start + BAND_PX)
        used = weights[rows].any(dim=0).nonzero()
        yield rows, slice(int(used[0]), int(used[-1]) + 1)


def blurred_within(values: Tensor, valid: Tensor, deviation_px: float) -> Tensor:
    """Return `values` blurred as if nothing were beside what is `valid` (B, 1, H, W) in [0, 1]."""
    return blurred(values * valid, deviation_px) / blurred(valid, deviation_px).clamp_min(SURE)


def blurred(values: Tensor, deviation_px: float) -> Tensor:
    """Return `values` (B, C, H, W) with a Gaussian blur; the border is repeated."""
    reach = math.ceil(3 * deviation_px)
    places = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    kernel = (-(places / deviation_px).square() / 2).exp()
    kernel = (kernel / kernel.sum()).expand(values.shape[1], 1, -1)
    padded = F.pad(values, (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel[:, :, None, :], groups=values.shape[1])
    return F.conv2d(rows, kernel[:, :, :, None], groups=values.shape[1])
