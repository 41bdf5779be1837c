"""A subject's own pixels and outline, in the light of its new place.

What a picture shows of a subject is its photograph, to the last opaque pixel. The light of the
photograph is taken off by the relief of its outline, and that of the place is put on. What the
denoiser's small drawing shows beyond that comes as a soft field of gains.

In a photograph the ground keeps its pixels. Its shading is the difference between a drawing with
the subject and one without it from the same noise; shapes are those of `photo.filling`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from types import EllipsisType
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.geometry.layout import Layout, to_affine, warp
from swiftpie.geometry.relief import height, normals, turn
from swiftpie.geometry.shading import (
    Illumination,
    brightness,
    cast_on_ground,
    contact_shadow,
    in_frame,
    soften,
    usual_shadow,
    without_light,
)
from swiftpie.imageio.images import SURE, extent_of, extrapolate, halved, luma
from swiftpie.photo.filling import (
    CanvasDrawing,
    OnBand,
    blurred,
    draw_over,
    enlarged_part,
    log_ratio,
    matching_grain,
    split,
    without_model_error,
)
from swiftpie.places.looks import COLOURS, MATERIALS, ToneCurve, recolour, remake
from swiftpie.types import Identity
from swiftpie.validation import Box, PixelBox

Kept = TypeVar("Kept")
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
GREY = "grey scale"  # a look without colours, which the drawing then gives
SHARPEST = 1.5  # more pixels of a frame in one of a picture would be skipped
COARSER = 4  # light is so soft that one of so many pixels across and down tells it
# CRISP multiplies the detail of a frame of half the size, as resampling loses some. A camera leaves
# EVEN of the next octave's detail, and at least DULLEST stays of it. SOLID is a judged opacity.
CRISP, EVEN, DULLEST, SOLID = 1.3, 0.9, 0.6, 0.99
SMALLEST_PX = 64  # a level below this side shows nothing that a picture needs
# These four were chosen by eye on 8 cut-outs and 40 photographs: cells of the field along the
# longer side of a drawing, cells around one that share a gain, what is added to dark colours,
# whose ratios say nothing, and the least and greatest gain.
CELLS, RADIUS, FLOOR, GAINS = 32, 2, 0.01, (0.15, 3.0)

UNEXPECTED_LIGHT = 0.3  # natural logarithm; predicted light wins up to here
FINER = 4  # pixels of a shadow in one of the canvas: where a subject stands it is narrow
MOST_RELIGHTING = 1.0  # greatest change of a subject's light, as a natural logarithm
EDGE_PX, LIGHT_PX = 2.0, 2.0  # deviations of blurs, on the canvas
INSIDE = (0.6, 0.95)  # opacities between which a drawn colour comes to be the subject's alone
AROUND = 0.1  # share of a subject's longer side within which the photograph around it counts
SEEN_OCTAVES = 2  # finest octaves, in which cameras differ by focus and grain


class OwnPixels(NamedTuple):
    """A reference frame without its light, the same for all pictures."""

    relief: Tensor  # (1, 1, h, w)
    # Premultiplied (1, 4, S, S) of bytes: as large as the photograph shows it, then halved.
    levels: tuple[Tensor, ...]
    normal: Tensor  # (1, 3, h, w) of the relief, as light sees it

    @classmethod
    def of(cls, relief: Tensor, levels: tuple[Tensor, ...]) -> Self:
        """Return pixels with the normals of their relief."""
        return cls(relief, levels, soften(normals(relief)))

    def standing(self, layout: Layout, scene: Illumination, *, picture_px: int) -> "PlacedSprite":
        """Return the subject in its place in a picture with that longer side, and its light."""
        levels, normal = _from_size(self.levels, to_affine(layout), picture_px), self.normal
        if layout.pose.any():
            frame = levels[0].float().div_(255)
            frame, _, normal = turn(frame, self.relief, layout.pose)
            levels, normal = (frame,), soften(normal)
        return PlacedSprite(levels, normal, layout, scene, normal).in_light(scene)


class PlacedSprite(NamedTuple):
    """A subject turned for its place in a picture, and the light there; one row, on the CPU."""

    # Premultiplied (1, 4, S, S) without light: bytes, or in [0, 1]; each half of the one before.
    levels: Sequence[Tensor]
    normal: Tensor  # (1, 3, h, w) of what is seen, as light sees it
    layout: Layout
    scene: Illumination
    light: Tensor  # (1, 3, h, w), brightness of what is seen over that without light
    # What several pictures show alike, by size and place; None: nothing is kept.
    patches: dict[tuple[object, ...], Any] | None = None
    grey: float = 0.0  # share of its colours that eyes do not see, as at night

    def in_light(self, scene: Illumination) -> Self:
        """Return the same subject in another light."""
        turned = scene._replace(direction=in_frame(scene.direction, self.layout))
        return self._replace(scene=scene, light=brightness(self.normal, turned))

    def _once(self, make: Callable[..., Kept], *key: object) -> Kept:
        """Return what `make(*key)` does, which is kept if several pictures show it alike."""
        if self.patches is None:
            return make(*key)
        if key not in self.patches:
            self.patches[key] = make(*key)
        kept: Kept = self.patches[key]
        return kept

    def seen(self, size: tuple[int, int]) -> tuple[Tensor, PixelBox | None]:
        """Return opacity (1, 1, H, W) and extent in its picture of this height and width."""
        return self._once(self._seen, size)

    def _seen(self, size: tuple[int, int]) -> tuple[Tensor, PixelBox | None]:
        turned = self.layout.rotation[0].cos().abs() + self.layout.rotation[0].sin().abs()
        centre, count = self.layout.centre[0], torch.tensor(size[::-1])
        reach = self.layout.scale[0].expand(2) / 2 * turned
        left, top = ((centre - reach) * count).floor().clamp_min(0).int().tolist()
        right, bottom = ((centre + reach) * count).ceil().minimum(count).int().tolist()
        if right <= left or bottom <= top:
            return self.light.new_zeros(1, 1, *size), None
        place = (left / size[1], top / size[0], right / size[1], bottom / size[0])
        alpha = [level[:, 3:] for level in self.levels]
        visible = in_patch(alpha, self.layout, (bottom - top, right - left), place)
        opacity = F.pad(visible, (left, size[1] - right, top, size[0] - bottom))
        return opacity, extent_of((opacity > SURE).to(opacity))

    def at(
        self,
        size: tuple[int, int],
        place: Box = WHOLE,
        *,
        drawn: Tensor | None = None,
        on_band: OnBand = int,
    ) -> Tensor:
        """Return the subject in its light in a patch of the picture, premultiplied (1, 4, h, w).

        Args:
            size: Height and width of the patch in pixels.
            place: Where it lies in the picture.
            drawn: Further factors of colour for all of the picture, smooth, (1, 3, n, m).
            on_band: Called after each part of the work; may raise to stop.
        """
        coarse = (math.ceil(size[0] / COARSER), math.ceil(size[1] / COARSER))
        affine = within(to_affine(self.layout), place)
        light = warp(self.light, affine, coarse, padding="border")
        if drawn is not None:
            there = within(torch.eye(2, 3)[None], place)
            more = warp(drawn, there, coarse, padding="border", mode="bicubic")
            light = light * more
        light = F.interpolate(light, size, mode="bilinear")
        on_band()
        frame = self._once(partial(in_patch, self.levels, self.layout), size, place)
        plain, alpha = frame.split((3, 1), dim=1)
        if self.grey:
            plain = plain.lerp(plain.mean(dim=1, keepdim=True), self.grey)
        on_band()
        # Where light is more than without, black stays black and white stays white.
        more = (light - 1).clamp_(0, 1)
        lit = torch.addcmul(plain * light.clamp_(max=1), more, plain * (alpha - plain))
        on_band()
        return torch.cat([lit, alpha], dim=1)


def own_pixels(
    components: Components, identity: Identity, own: Illumination, *, look: str = ""
) -> OwnPixels:
    """Return the first frame of a subject without its `own` light, as sharp as it is known.

    With a `look`, it has one of `COLOURS`, is made of one of `MATERIALS`, or is grey by `GREY`.
    """
    plain = components.keep("own pixels", identity, lambda: without_own_light(identity, own))
    if not look:
        return plain
    is_drawn = identity.named is not None  # in photographs the sun bleaches what is no feature

    def changed(level: Tensor) -> Tensor:
        frame = level.float().div_(255)
        if look == GREY:
            frame[:, :3] = ToneCurve(frame).luminance * frame[:, 3:]
        elif look in COLOURS:
            frame = recolour(frame, [look], features=is_drawn)
        else:
            frame = remake(frame, normals(plain.relief), [look], MATERIALS)
        return frame.mul_(255).round_().to(torch.uint8)

    def made() -> OwnPixels:
        return plain._replace(levels=tuple(map(changed, plain.levels)))

    return components.keep(f"own pixels, {look}", identity, made)


def without_own_light(identity: Identity, own: Illumination) -> OwnPixels:
    """Return what `own_pixels` does, made anew."""
    mask = identity.mask[:1].float().cpu()
    if identity.large is None:
        frame = (identity.pixels[:1].float().cpu(), mask)
    else:
        large = identity.large.float() / 255
        frame = (2 * large[:, :3] - large[:, 3:], large[:, 3:])
    plain = without_light(*frame, own.on_cpu()).plain
    # The light of a photograph is a guess, and to take it off gives no more colour.
    shown, left = (rgb.amax(1, True) - rgb.amin(1, True) for rgb in (frame[0] / 2, plain))
    plain = torch.lerp(luma(plain), plain, (shown / left.clamp_min(SURE)).clamp(max=1))
    levels, power = [torch.cat([plain, frame[1]], dim=1)], 0.0
    while levels[-1].shape[-1] >= 2 * SMALLEST_PX:
        levels.append(halved(levels[-1]))
    for number, level in reversed([*enumerate(levels)]):
        few, around, coarser = level[..., ::2, ::2], F.avg_pool2d(level, 3, 2, 1), power
        solid = around[:, 3:] > SOLID  # a quarter of the pixels tells
        power = float(((few - around) * solid).square().sum() / solid.sum().clamp_min(1))
        even = EVEN * math.sqrt(coarser / max(power, SURE**2)) if coarser else CRISP
        gain = min(CRISP if number else 1.0, max(DULLEST, even))
        if gain != 1:
            around = F.avg_pool2d(level, 3, 1, 1)
            crisp = torch.lerp(around, level, gain).clamp_min(0).minimum(level[:, 3:])
            levels[number] = torch.where(around[:, 3:] > SOLID, crisp, level)
    stored = [level.mul_(255).round_().to(torch.uint8) for level in levels]
    return OwnPixels.of(height(mask), tuple(stored))


def in_patch(
    levels: Sequence[Tensor], layout: Layout, size: tuple[int, int], place: Box = WHOLE
) -> Tensor:
    """Return a frame (1, C, S, S) in the part of a picture at `place`, (1, C, h, w) of `size`.

    It may have `levels`, each half of the one before. Where it shrinks, no pixel is skipped.
    """
    affine = within(to_affine(layout), place)
    frame = _from_size(levels, affine, max(size))[0]
    if not frame.is_floating_point():
        frame = frame.float().div_(255)
    while frame.shape[-1] > 1 and _pixels(frame, affine, max(size)) > SHARPEST:
        frame = halved(frame)
    return warp(frame, affine, size)


def _from_size(levels: Sequence[Tensor], affine: Tensor, picture_px: int) -> Sequence[Tensor]:
    """Return levels from the one that a picture with that longer side shows, or the last."""
    first = (n for n, level in enumerate(levels) if _pixels(level, affine, picture_px) <= SHARPEST)
    return levels[next(first, len(levels) - 1) :]


def gains_between(
    own: Tensor, drawing: Tensor, drawn_mask: Tensor, *, by_day: float | None = None
) -> Tensor:
    """Return by how much a drawing is lighter than the subjects in it, as a soft field.

    Args:
        own: The subjects as their own pixels show them there, premultiplied, (1, 4, h, w).
        drawing: What the denoiser drew, (1, 3, h, w) in [-1, 1].
        drawn_mask: Where it drew subjects, (1, 1, h, w).
        by_day: How far it is day, in [0, 1]. Light has one hue for all subjects, and none by day.
            None: each part takes on the colours of the drawing, as a look needs.

    Returns:
        (1, 3, n, m): factors of colour, for all of the drawing. Where both do not agree that there
        is a subject, those from around it.
    """
    weight = (torch.minimum(own[:, 3:], drawn_mask) - 0.5).clamp_min(0) * 2
    before = _soft(own[:, :3] / own[:, 3:].clamp_min(SURE) * weight)
    after = _soft((drawing + 1) / 2 * weight)
    whole = [field.sum((2, 3), keepdim=True) + SURE for field in (after, before)]
    hue = torch.ones_like(whole[0])
    if by_day is not None:
        tint = whole[0] / whole[1]
        after, before, *whole = map(luma, (after, before, *whole))
        hue = torch.lerp(tint * whole[1] / whole[0], hue, by_day)
    return (hue * (after + FLOOR * whole[0] / whole[1]) / (before + FLOOR)).clamp(*GAINS)


def _soft(values: Tensor) -> Tensor:
    cell = max(1, round(max(values.shape[2:]) / CELLS))
    values = F.avg_pool2d(values, cell, ceil_mode=True, count_include_pad=False)
    for _ in range(2):
        values = F.avg_pool2d(values, 2 * RADIUS + 1, 1, RADIUS)
    return values


def within(affine: Tensor, place: Box) -> Tensor:
    """Return the map from a patch at `place` for that from the whole picture, (1, 2, 3)."""
    if place == WHOLE:
        return affine
    left, top, right, bottom = place
    scale = affine.new_tensor([right - left, bottom - top])
    offset = affine.new_tensor([left + right - 1, top + bottom - 1])
    moved = affine[..., 2] + (affine[..., :2] * offset).sum(dim=-1)
    return torch.cat([affine[..., :2] * scale, moved[..., None]], dim=-1)


def _pixels(frame: Tensor, affine: Tensor, picture_px: int) -> float:
    """Return how many pixels of a frame are in one of a picture with that longer side."""
    return float(affine[0, :, :2].norm(dim=0).amax()) * frame.shape[-1] / picture_px


def composite_patch(
    patch: Tensor,
    drawing: CanvasDrawing,
    placed: PlacedSprite,
    *,
    ground: Tensor | None,
    place: Box,
    seed: int,
    on_band: OnBand = int,
) -> Tensor:
    """Return a `patch` of the photograph, at `place` on the canvas, with a subject `placed` in it.

    The `ground` is the same without what goes; None: that is all of it, and the drawing shows.
    `on_band` is called after each part of the work, and may raise to stop.
    """
    size = (patch.shape[2], patch.shape[3])
    drawing = without_model_error(drawing)
    if ground is None:
        gone = torch.ones_like(patch[:, :1])
        ground = draw_over(patch, drawing.alone, gone=gone, place=place, seed=seed, on_band=on_band)
    shade = _shade(drawing.changes, placed).exp()
    ground = ground * enlarged_part(shade, place, size, on_band=on_band)
    on_band()
    subject = _subject(drawing, placed, place=place, size=size, on_band=on_band)
    if subject is None:
        return ground.clamp(0, 1)
    around, known = patch[subject.where], torch.ones_like(subject.alpha)
    colours = match_sharpness(
        *(around, subject.colours, subject.alpha), num_octaves=SEEN_OCTAVES, on_band=on_band
    )
    on_band()
    colours += matching_grain(around, known, num_octaves=SEEN_OCTAVES, seed=seed, is_even=True)
    on_band()
    width_px = size[1] / (place[2] - place[0])
    contact_shadow(colours, ground[subject.where], subject.alpha, placed.layout, width_px)
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


def _shade(changes: Tensor, placed: PlacedSprite) -> Tensor:
    """Return the log change of the ground's brightness by the subject, (1, 1, H, W).

    It is the shadow on flat ground of the predicted light, and fades to nothing at the edge of
    what `changes` on the canvas. Shades that a network draws are further from the truth.
    """
    inner = (2 * blurred(changes, EDGE_PX) - 1).clamp(0, 1)
    inner = F.interpolate(inner, scale_factor=FINER, mode="bilinear", align_corners=False)
    opacity, _ = placed.seen((inner.shape[2], inner.shape[3]))
    return (1 - cast_on_ground(opacity, placed.layout, usual_shadow(placed.scene))).log() * inner


class _Shown(NamedTuple):
    """A subject in the part of a patch around it."""

    where: tuple[EllipsisType, slice, slice]  # its part of the patch
    alpha: Tensor  # (1, 1, h, w)
    colours: Tensor  # (1, 3, h, w)


def _subject(
    drawing: CanvasDrawing,
    placed: PlacedSprite,
    *,
    place: Box,
    size: tuple[int, int],
    on_band: OnBand,
) -> _Shown | None:
    """Return the subject of a patch of `size` that lies at `place`; None if it shows nothing."""
    small = placed.at((drawing.after.shape[2], drawing.after.shape[3]))
    sides = _sides(small[:, 3:], place, size)
    if sides is None:
        return None
    low, high = INSIDE
    inside = ((small[:, 3:] - low) / (high - low)).clamp(0, 1)
    inside = inside * blurred(inside, LIGHT_PX).square()  # thin parts are mixed with the ground
    light = log_ratio(luma(drawing.after), luma(colours_of(small)), inside, LIGHT_PX)
    light = light.clamp(-MOST_RELIGHTING, MOST_RELIGHTING)
    # Small values become 0, large ones stay: the garrote, https://doi.org/10.1080/00401706.1995.10484371
    light = light * (1 - (UNEXPECTED_LIGHT / light.abs().clamp_min(UNEXPECTED_LIGHT)).square())
    (top, bottom), (left, right) = sides
    wide, tall = (place[2] - place[0]) / size[1], (place[3] - place[1]) / size[0]
    start = (place[0] + left * wide, place[1] + top * tall)
    place = (*start, place[0] + right * wide, place[1] + bottom * tall)
    size = (bottom - top, right - left)
    large = placed.at(size, place, on_band=on_band)
    on_band()
    colours = colours_of(large)
    on_band()
    colours *= enlarged_part(light.exp(), place, size, on_band=on_band)
    return _Shown((..., slice(top, bottom), slice(left, right)), large[:, 3:], colours)


def _sides(
    alpha: Tensor, place: Box, size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return first and last row and column of a patch that `alpha` (1, 1, h, w) on canvas needs."""
    extent = extent_of((alpha > SURE).to(alpha))
    if extent is None:
        return None
    left, top, right, bottom = extent
    more = 1 + AROUND * max(right - left, bottom - top)
    spans = ((top - more, bottom + more), (left - more, right + more))
    ends = []
    for side, (span, count) in enumerate(zip(spans, size, strict=True)):
        first, last = place[1 - side], place[3 - side]
        low, high = ((end / alpha.shape[2 + side] - first) / (last - first) * count for end in span)
        ends.append((max(0, math.floor(low)), min(count, math.ceil(high))))
    return (ends[0], ends[1]) if all(low < high for low, high in ends) else None


def colours_of(frame: Tensor) -> Tensor:
    """Return the colours of premultiplied frames (1, 4, H, W), carried on past the rim."""
    alpha = frame[:, 3:]
    return extrapolate(frame[:, :3] / alpha.clamp_min(SURE), alpha)
