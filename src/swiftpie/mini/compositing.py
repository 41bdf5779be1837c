"""Composites a small drawing with a subject into a photograph at full resolution.

The ground keeps the photograph's pixels. Its shading is the difference between a drawing with the
subject and one without it from the same noise. The subject keeps the pixels of its reference,
relit by the predicted light; the drawing counts only where it clearly differs.

Shapes are those of `swiftpie.pipelines.filling`.
"""

import math
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.shading import FEET, cast_shadow, contact_of, usual_shadow
from swiftpie.imageio.images import SURE, extent_of, extrapolate, halved
from swiftpie.mini.own_pixels import StandingSubject
from swiftpie.pipelines.filling import (
    SHADE_PX,
    Area,
    CanvasDrawing,
    OnBand,
    blurred,
    draw_over,
    enlarged_part,
    inpaint,
    log_ratio,
    matching_grain,
    split,
    without_model_error,
)

MOST_DARKENING = 1.6  # greatest darkening of the ground, as a natural logarithm
MOST_LIGHTENING = 0.1  # the same for lightening: subjects cast shadows, but little light
DARKER_CONTACT = 0.5  # share of its light that rough ground loses where a subject touches it
UNEXPECTED_SHADE, UNEXPECTED_LIGHT = 0.3, 0.3  # logarithms; predicted light wins up to here
FINER = 4  # pixels of a shadow in one of the canvas: where a subject stands it is narrow
MOST_RELIGHTING = 1.0  # greatest change of a subject's light, as a natural logarithm
EDGE_PX, LIGHT_PX = 2.0, 2.0  # deviations of blurs, on the canvas
INSIDE = (0.6, 0.95)  # opacities between which a drawn colour comes to be the subject's alone
AROUND = 0.1  # share of a subject's longer side within which the photograph around it counts
SEEN_OCTAVES = 2  # finest octaves, in which cameras differ by focus and grain


def composite_patch(
    patch: Tensor,
    drawing: CanvasDrawing,
    placed: StandingSubject,
    *,
    gone: Tensor,
    place: Area,
    seed: int,
    on_band: OnBand = int,
) -> Tensor:
    """Return a `patch` of the photograph, at `place` on the canvas, with a subject `placed` in it.

    The part that is `gone`, (1, 1, H, W) 0 or 1, is inpainted from its surroundings; it shows the
    drawing if there are none. `on_band` is called after each part of the work, and may raise to
    stop.
    """
    size = (patch.shape[2], patch.shape[3])
    drawing = without_model_error(drawing)
    ground = patch
    if bool(gone.all()):
        ground = draw_over(patch, drawing.alone, gone=gone, place=place, seed=seed, on_band=on_band)
    elif bool(gone.any()):
        ground = inpaint(patch, gone, on_band=on_band)
    ground = ground * enlarged_part(_shade(drawing, placed).exp(), place, size, on_band=on_band)
    on_band()
    subject = _subject(drawing, placed, place=place, size=size, on_band=on_band)
    if subject is None:
        return ground.clamp(0, 1)
    around, known = patch[subject.where], torch.ones_like(subject.alpha)
    on_band()
    colours = match_sharpness(
        *(around, subject.colours, subject.alpha), num_octaves=SEEN_OCTAVES, on_band=on_band
    )
    on_band()
    colours += matching_grain(around, known, num_octaves=SEEN_OCTAVES, seed=seed, is_even=True)
    on_band()
    ground[subject.where] = torch.lerp(ground[subject.where], colours, subject.alpha)
    return ground.clamp(0, 1)


def match_sharpness(
    photo: Tensor, colours: Tensor, inside: Tensor, *, num_octaves: int, on_band: OnBand = int
) -> Tensor:
    """Return `colours` (1, 3, H, W), measured where they are `inside`, no sharper than `photo`.

    In focus, octaves are about equally strong. Each octave is weakened as far as its ratio to the
    next coarser octave is smaller in the photograph.
    """
    low, rest = colours, photo
    bands, strengths = [], []
    for _ in range(num_octaves + 1):
        if min(low.shape[-2:]) < 4:
            break
        band, low = split(low)
        on_band()
        other, rest = split(rest)
        on_band()
        weight = inside / inside.mean().clamp_min(SURE)
        strengths.append(((band.square() * weight).mean().sqrt(), other.square().mean().sqrt()))
        inside = halved(inside)
        bands.append(band)
        on_band()
    gain, coarser = 1.0, None
    for band, (own, given) in zip(reversed(bands), reversed(strengths), strict=True):
        if coarser is not None:
            wanted = float(given / coarser[1].clamp_min(SURE**2))
            gain = min(1.0, gain * wanted / max(float(own / coarser[0].clamp_min(SURE**2)), SURE))
        size = (band.shape[2], band.shape[3])
        low = F.interpolate(low, size, mode="bilinear", align_corners=False) + gain * band
        coarser = own, given
        on_band()
    return low


def _shade(drawing: CanvasDrawing, placed: StandingSubject) -> Tensor:
    """Return the log change of the ground's brightness by the subject, (1, 1, H, W).

    It is the shadow of the predicted light, plus the drawing where that is clearly darker or
    lighter, and fades to nothing at the edge of what may change. It covers the canvas.
    """
    ground = (1 - 2 * blurred(drawing.subject, SHADE_PX)).clamp(0, 1)
    shade = log_ratio(drawing.after, drawing.alone, ground, SHADE_PX)
    inner = (2 * blurred(drawing.changes, EDGE_PX) - 1).clamp(0, 1)
    drawn = shade.mean(dim=1, keepdim=True).clamp(-MOST_DARKENING, MOST_LIGHTENING)
    size = (shade.shape[2], shade.shape[3])
    expected = _cast_shade(placed, (FINER * size[0], FINER * size[1]))
    differs = _clear(drawn - F.avg_pool2d(expected, FINER), UNEXPECTED_SHADE)
    return expected * _finer(inner) + _finer(differs * inner)


def _cast_shade(placed: StandingSubject, size: tuple[int, int]) -> Tensor:
    """Return the shadow that the light casts on flat ground, in logarithms, on the canvas."""
    opacity = placed.opacity(size)
    rows = (opacity > FEET).any(dim=3).flatten().nonzero()
    base = (rows.amax() + 1) / size[0] if len(rows) else torch.ones(())
    foot = base.view(1, 1, 1, 1)
    shadow = cast_shadow(opacity, placed.layout, foot, usual_shadow(placed.scene))
    close = contact_of(opacity, placed.layout, foot)
    return (1 - shadow).log() + (1 - DARKER_CONTACT * close).log()


def _finer(canvas: Tensor) -> Tensor:
    return F.interpolate(canvas, scale_factor=FINER, mode="bilinear", align_corners=False)


def _clear(difference: Tensor, doubt: float) -> Tensor:
    """Return a difference of logarithms with values up to `doubt` set to 0.

    Large values stay nearly unchanged: the garrote (https://doi.org/10.1080/00401706.1995.10484371).
    """
    return difference * (1 - (doubt / difference.abs().clamp_min(doubt)).square())


class _Subject(NamedTuple):
    """A subject in the part of a patch around it."""

    where: tuple[EllipsisType, slice, slice]  # its part of the patch
    alpha: Tensor  # (1, 1, h, w)
    colours: Tensor  # (1, 3, h, w)


def _subject(
    drawing: CanvasDrawing,
    placed: StandingSubject,
    *,
    place: Area,
    size: tuple[int, int],
    on_band: OnBand,
) -> _Subject | None:
    """Return the subject of a patch of `size` that lies at `place`; None if it shows nothing."""
    small = placed.at((drawing.after.shape[2], drawing.after.shape[3]))
    sides = _sides(small[:, 3:], place, size)
    if sides is None:
        return None
    low, high = INSIDE
    inside = ((small[:, 3:] - low) / (high - low)).clamp(0, 1)
    inside = inside * blurred(inside, LIGHT_PX).square()  # thin parts are mixed with the ground
    light = log_ratio(drawing.after, colours_of(small), inside, LIGHT_PX)
    light = _clear(light.clamp(-MOST_RELIGHTING, MOST_RELIGHTING), UNEXPECTED_LIGHT)
    (top, bottom), (left, right) = sides
    wide, tall = (place[2] - place[0]) / size[1], (place[3] - place[1]) / size[0]
    place = (
        *(place[0] + left * wide, place[1] + top * tall),
        *(place[0] + right * wide, place[1] + bottom * tall),
    )
    size = (bottom - top, right - left)
    large = placed.at(size, place, on_band=on_band)
    on_band()
    colours = colours_of(large)
    on_band()
    colours *= enlarged_part(light.exp(), place, size, on_band=on_band)
    return _Subject((..., slice(top, bottom), slice(left, right)), large[:, 3:], colours)


def _sides(
    alpha: Tensor, place: Area, size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return first and last row and column of a patch that `alpha` (1, 1, h, w) on canvas needs."""
    extent = extent_of((alpha > SURE).to(alpha))
    if extent is None:
        return None
    left, top, right, bottom = extent
    more = 1 + AROUND * max(right - left, bottom - top)
    height, width = alpha.shape[2:]
    across = ((left - more) / width, (right + more) / width)
    down = ((top - more) / height, (bottom + more) / height)
    columns = _pixels(across, within=(place[0], place[2]), count=size[1])
    rows = _pixels(down, within=(place[1], place[3]), count=size[0])
    return (rows, columns) if rows[0] < rows[1] and columns[0] < columns[1] else None


def _pixels(
    span: tuple[float, float], *, within: tuple[float, float], count: int
) -> tuple[int, int]:
    """Return first and last of `count` pixels, which lie `within` shares of a side, in a `span`."""
    low, high = ((end - within[0]) / (within[1] - within[0]) * count for end in span)
    return max(0, math.floor(low)), min(count, math.ceil(high))


def colours_of(frame: Tensor) -> Tensor:
    """Return the colours of premultiplied frames (1, 4, H, W), carried on past the rim."""
    alpha = frame[:, 3:]
    return extrapolate(frame[:, :3] / alpha.clamp_min(SURE), alpha)
