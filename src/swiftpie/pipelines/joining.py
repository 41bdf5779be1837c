"""How what a model drew small becomes part of a photograph at its own size.

The ground keeps the photograph's pixels: it is darkened and lightened as one drawing with the
subject differs from another without it, which shares the noise. The subject keeps the pixels of its
reference, in the light that the drawing shows it in. Where something went, nothing of the
photograph can stay: there the drawing is given the grain of its surroundings.

All pictures here are (1, 3, H, W) in [0, 1] and masks (1, 1, H, W) in [0, 1]. A *canvas* is what
the model is shown, a window of the photograph in its own size; a *patch* is a part of the
photograph.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.layout import Layout, to_affine, warp
from swiftpie.masks import grow
from swiftpie.relief import height, turn

DARKEST = 0.03  # added to both sides of a ratio of colours, so that black is no infinity
MOST_DARKENING = 1.6  # of the ground, natural logarithms
MOST_LIGHTENING = 0.1  # likewise: subjects cast shadows, and little light
LEAST_SHADE = 0.1  # likewise: two drawings differ by as much without any shadow
MOST_TINT = 0.05  # likewise, of a colour beside the others
MOST_RELIGHTING = 1.0  # of the subject, likewise
SHADE_PX, EDGE_PX, LIGHT_PX, FAULT_PX = 1.2, 2.0, 2.0, 4.0  # deviations of blurs, on the canvas
INSIDE = (0.6, 0.95)  # opacities between which a drawn colour comes to be the subject's alone
MOST_GRAIN = 2.0  # medians; what stands out further is an edge
BORDER_PX = 2  # of what is drawn for what went, compared with its surroundings
SEEN_OCTAVES = 2  # in which cameras differ by focus and grain
PLAIN_PX, PLAINEST = 8, 0.05  # side of a block, and the share of the blocks that are plain
MOST_NOISE = 0.008  # deviation of a camera's noise; more is texture, where all is textured
DEVIATION = 1.25  # of a normal distribution over the mean size of its values
LUMA = (0.299, 0.587, 0.114)
SURE = 1e-3  # weight below which a pixel knows nothing
WELL_KNOWN = 0.05  # share of a blur's weight that has to be known

Area = tuple[float, float, float, float]
"""Left, top, right and bottom of a patch as shares of a canvas."""


class Drawing(NamedTuple):
    """A window before and after the model drew, on the canvas."""

    before: Tensor  # (1, 3, h, w)
    after: Tensor  # (1, 3, h, w)
    alone: Tensor  # (1, 3, h, w) the same drawn without the subject; as `after` if there is none
    changes: Tensor  # (1, 1, h, w) where it may differ
    gone: Tensor  # (1, 1, h, w) where nothing of what was there may stay
    subject: Tensor  # (1, 1, h, w) the subject's opacity, as the model saw it


class Reference(NamedTuple):
    """A subject as its reference frame shows it, and its place on the canvas."""

    pixels: Tensor  # (1, 3, S, S), black outside of the subject
    mask: Tensor  # (1, 1, S, S)
    layout: Layout

    def on_cpu(self) -> "Reference":
        """Return the same on the processor, in float32."""
        layout = Layout(*(one.float().cpu() for one in self.layout))
        return Reference(self.pixels.float().cpu(), self.mask.float().cpu(), layout)


def joined(
    patch: Tensor, drawing: Drawing, reference: Reference | None, *, place: Area, seed: int
) -> Tensor:
    """Return a `patch` of the photograph, which lies at `place`, with what was drawn there."""
    size = (patch.shape[2], patch.shape[3])
    drawing = _without_fault(drawing)
    ground = patch
    if bool(drawing.gone.any()):
        unknown = _enlarged(drawing.changes, place, size).clamp(0, 1)
        cell_px = size[1] / (drawing.alone.shape[3] * (place[2] - place[0]))
        texture = grain_like(patch, 1 - unknown, num_octaves=_octaves(cell_px), seed=seed)
        filled = _enlarged(_fitted(drawing), place, size) + texture
        ground = torch.lerp(patch, filled, _enlarged(drawing.gone, place, size).clamp(0, 1))
    if reference is not None:
        ground = ground * _enlarged(_shade(drawing), place, size).exp()
        alpha, colours = _subject(drawing, reference, place=place, size=size)
        colours = as_sharp_as(patch, colours, alpha, num_octaves=SEEN_OCTAVES)
        colours += grain_like(
            patch, torch.ones_like(alpha), num_octaves=SEEN_OCTAVES, seed=seed, is_even=True
        )
        ground = torch.lerp(ground, colours, alpha)
    return ground.clamp(0, 1)


def continued(values: Tensor, weight: Tensor) -> Tensor:
    """Return `values` (1, C, H, W) where `weight` (1, 1, H, W) is 1, and what is near elsewhere.

    Each coarser level fills what the finer one does not know.
    """
    rows, columns = values.shape[-2:]
    if rows == columns == 1:
        return values
    known = F.avg_pool2d(weight, 2, ceil_mode=True, count_include_pad=False)
    sums = F.avg_pool2d(values * weight, 2, ceil_mode=True, count_include_pad=False)
    coarse = continued(sums / known.clamp_min(SURE), (4 * known).clamp(max=1))
    around = F.interpolate(coarse, (rows, columns), mode="bilinear", align_corners=False)
    return torch.lerp(around, values, weight)


def grain_like(
    patch: Tensor, known: Tensor, *, num_octaves: int, seed: int, is_even: bool = False
) -> Tensor:
    """Return texture (1, 1, H, W) as fine and as strong as that of `patch` where it is `known`.

    It is random by `seed`: in each octave noise with the spread found nearby, to which edges count
    no more than what is usual. If it `is_even`, the spread is that of the plainest places: what the
    camera adds everywhere.
    """
    generator = torch.Generator().manual_seed(seed % 2**63)
    luma = _luma(patch)
    texture, size = torch.zeros_like(luma), luma.shape[-2:]
    for _ in range(num_octaves):
        band, luma = _split(luma)
        if not (known > 0.5).any():
            break  # all of it is to be drawn
        if is_even:
            blocks = F.avg_pool2d(band.abs(), PLAIN_PX, ceil_mode=True, count_include_pad=False)
            plain = DEVIATION * blocks.flatten().sort().values[int(PLAINEST * blocks.numel())]
            spread = plain.clamp(max=MOST_NOISE)
        else:
            usual = MOST_GRAIN * float(band.abs()[known > 0.5].median())
            spread = continued(band.clamp(-usual, usual).square(), known).clamp_min(0).sqrt()
        noise, _ = _split(torch.randn(band.shape, generator=generator))
        noise = spread * noise / noise.std().clamp_min(SURE)
        texture += F.interpolate(noise, size, mode="bilinear", align_corners=False)
        known = F.avg_pool2d(known, 2, ceil_mode=True, count_include_pad=False)
        known = (known > 1 - SURE).to(known)
        if min(luma.shape[-2:]) < 2:
            break
    return texture


def as_sharp_as(photo: Tensor, colours: Tensor, inside: Tensor, *, num_octaves: int) -> Tensor:
    """Return `colours` (1, 3, H, W), of which what is `inside` counts, no sharper than `photo`.

    Where nothing is out of focus, octaves are about equally strong. As much as one is weaker in the
    photograph beside the next coarser one than it is in the colours, it is weakened in these.
    """
    low, rest = colours, photo
    bands, strengths = [], []
    for _ in range(num_octaves + 1):
        if min(low.shape[-2:]) < 4:
            break
        band, low = _split(low)
        other, rest = _split(rest)
        weight = inside / inside.mean().clamp_min(SURE)
        strengths.append(((band.square() * weight).mean().sqrt(), other.square().mean().sqrt()))
        inside = F.avg_pool2d(inside, 2, ceil_mode=True, count_include_pad=False)
        bands.append(band)
    gain, coarser = 1.0, None
    for band, (own, given) in zip(reversed(bands), reversed(strengths), strict=True):
        if coarser is not None:
            wanted = float(given / coarser[1].clamp_min(SURE**2))
            gain = min(1.0, gain * wanted / max(float(own / coarser[0].clamp_min(SURE**2)), SURE))
        size = (band.shape[2], band.shape[3])
        low = F.interpolate(low, size, mode="bilinear", align_corners=False) + gain * band
        coarser = own, given
    return low


def _without_fault(drawing: Drawing) -> Drawing:
    """Return what was drawn without what the model changes where it was shown all."""
    shown = (_blurred(drawing.changes, SHADE_PX) < SURE).to(drawing.changes)
    fault = _blurred(_log_ratio(drawing.alone, drawing.before, shown, FAULT_PX), FAULT_PX)

    def mended(pixels: Tensor) -> Tensor:
        return ((pixels + DARKEST) * (-fault).exp() - DARKEST).clamp(0, 1)

    return drawing._replace(after=mended(drawing.after), alone=mended(drawing.alone))


def _fitted(drawing: Drawing) -> Tensor:
    """Return the drawing without the subject, in tone with what is around where something went.

    Colours around are carried on inwards, and so are those of its own border: by their ratio it is
    changed, as in blending by a membrane (https://doi.org/10.1145/882262.882269).
    """
    is_gone = (drawing.gone > 0.5).to(drawing.gone)
    border = is_gone * grow(1 - is_gone, BORDER_PX)
    around = continued(drawing.before, 1 - is_gone) + DARKEST
    own = continued(drawing.alone, border) + DARKEST
    ratio = _blurred((around / own).log(), SHADE_PX).clamp(-MOST_DARKENING, MOST_DARKENING)
    return ((drawing.alone + DARKEST) * ratio.exp() - DARKEST).clamp(0, 1)


def _shade(drawing: Drawing) -> Tensor:
    """Return by which logarithms the ground is drawn lighter for the subject's sake, (1, 3, h, w).

    That is nothing at the edge of what may change.
    """
    ground = (1 - 2 * _blurred(drawing.subject, SHADE_PX)).clamp(0, 1)
    shade = _log_ratio(drawing.after, drawing.alone, ground, SHADE_PX)
    inner = (2 * _blurred(drawing.changes, EDGE_PX) - 1).clamp(0, 1)
    grey = shade.mean(dim=1, keepdim=True)
    tint = (shade - grey).clamp(-MOST_TINT, MOST_TINT)
    told = grey.clamp(-MOST_DARKENING, MOST_LIGHTENING) + tint
    return F.softshrink(told, LEAST_SHADE) * inner


def _subject(
    drawing: Drawing, reference: Reference, *, place: Area, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return opacity and colours of the subject in a patch of `size`."""
    frame = torch.cat([reference.pixels * reference.mask, reference.mask], dim=1)
    if bool(reference.layout.pose.any()):
        frame = turn(frame, height(reference.mask), reference.layout.pose).frame
    affine = to_affine(reference.layout)
    small = warp(frame, affine, (drawing.after.shape[2], drawing.after.shape[3]))
    large = warp(frame, _within(affine, place), size)
    low, high = INSIDE
    inside = ((small[:, 3:] - low) / (high - low)).clamp(0, 1)
    inside = inside * _blurred(inside, LIGHT_PX).square()  # thin parts are drawn with the ground
    light = _log_ratio(drawing.after, _colours(small), inside, LIGHT_PX)
    light = light.clamp(-MOST_RELIGHTING, MOST_RELIGHTING)
    return large[:, 3:], _colours(large) * _enlarged(light, place, size).exp()


def _colours(frame: Tensor) -> Tensor:
    """Return the colours of premultiplied frames (1, 4, H, W), carried on past the rim."""
    alpha = frame[:, 3:]
    return continued(frame[:, :3] / alpha.clamp_min(SURE), alpha)


def _log_ratio(first: Tensor, second: Tensor, known: Tensor, deviation_px: float) -> Tensor:
    """Return the smooth logarithm of `first` over `second`, (1, 3, h, w), where that is `known`.

    Elsewhere it is carried on.
    """
    weight = _blurred(known, deviation_px)
    sums = [_blurred(one * known, deviation_px) + DARKEST * weight for one in (first, second)]
    ratio = (sums[0].clamp_min(SURE**2) / sums[1].clamp_min(SURE**2)).log()
    return continued(ratio, (weight > WELL_KNOWN * weight.amax()).to(weight))


def _enlarged(canvas: Tensor, place: Area, size: tuple[int, int]) -> Tensor:
    """Return the part of a canvas at `place`, smooth, in `size`."""
    rows = canvas.new_tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    grid = F.affine_grid(_within(rows, place), [1, 1, *size], align_corners=False)
    return F.grid_sample(canvas, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _within(affine: Tensor, place: Area) -> Tensor:
    """Return the map from a patch at `place` for that from the whole canvas, (1, 2, 3)."""
    left, top, right, bottom = place
    scale = affine.new_tensor([right - left, bottom - top])
    offset = affine.new_tensor([left + right - 1, top + bottom - 1])
    moved = affine[..., 2] + (affine[..., :2] * offset).sum(dim=-1)
    return torch.cat([affine[..., :2] * scale, moved[..., None]], dim=-1)


def _split(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the finest octave of `values`, and the rest at half the size."""
    half = F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)
    size = (values.shape[2], values.shape[3])
    return values - F.interpolate(half, size, mode="bilinear", align_corners=False), half


def _octaves(cell_px: float) -> int:
    """Return how many octaves of the photograph are finer than the canvas."""
    return round(math.log2(max(1.0, cell_px))) + 1


def _luma(pixels: Tensor) -> Tensor:
    return (pixels * pixels.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _blurred(values: Tensor, deviation_px: float) -> Tensor:
    reach = math.ceil(3 * deviation_px)
    places = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    kernel = (-(places / deviation_px).square() / 2).exp()
    kernel = (kernel / kernel.sum()).expand(values.shape[1], 1, -1)
    padded = F.pad(values, (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel[:, :, None, :], groups=values.shape[1])
    return F.conv2d(rows, kernel[:, :, :, None], groups=values.shape[1])
