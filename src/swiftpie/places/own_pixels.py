"""A subject's own pixels and outline, in the light of its new place.

What a picture shows of a subject is its photograph, to the last opaque pixel. The light of the
photograph is taken off by the relief of its outline, and that of the place is put on. What the
denoiser's small drawing shows beyond that comes as a soft field of gains.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.geometry.layout import Layout, to_affine, warp
from swiftpie.geometry.relief import height, normals, turn
from swiftpie.geometry.shading import Illumination, brightness, in_frame, soften, without_light
from swiftpie.imageio.images import SURE, extent_of, halved, luma
from swiftpie.photo.compositing import OnBand
from swiftpie.places.looks import COLOURS, MATERIALS, ToneCurve, recolour, remake
from swiftpie.types import Identity
from swiftpie.validation import Box, PixelBox

Cached = TypeVar("Cached")
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
GREY = "grey scale"  # a look without colours, which the drawing then gives
MOST_COVERED = 1.5  # pixels of a frame in one of a picture: resampling would skip more
LIGHT_STRIDE = 4  # Light is so soft that one of so many pixels across and down tells it.
# Chosen by eye: the factor of the detail of a frame of half the size, as resampling loses some, the
# share of the next coarser level's detail that a camera leaves a level, and the least that stays.
CRISP, OCTAVE_SHARE, LEAST_DETAIL = 1.3, 0.9, 0.6
SOLID = 0.99  # Pixels with more opacity tell how much detail there is.
SMALLEST_PX = 64  # A level below this side shows nothing that a picture needs.
# Chosen by eye on 8 cut-outs and 40 photographs: cells of the field of gains along the longer side
# of a drawing, cells around one that share a gain, what is added to dark colours, whose ratios say
# nothing, and the least and greatest gain.
CELLS, RADIUS, FLOOR, GAINS = 32, 2, 0.01, (0.15, 3.0)


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

    def sprite_at(self, layout: Layout, scene: Illumination, *, picture_px: int) -> "PlacedSprite":
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
    cache: dict[tuple[object, ...], Any] | None = None
    grey: float = 0.0  # share of its colours that eyes do not see, as at night

    def in_light(self, scene: Illumination) -> Self:
        """Return the same subject in another light."""
        turned = scene._replace(direction=in_frame(scene.direction, self.layout))
        return self._replace(scene=scene, light=brightness(self.normal, turned))

    def _cached(self, make: Callable[..., Cached], *key: object) -> Cached:
        """Return what `make(*key)` does, which is kept if several pictures show it alike."""
        if self.cache is None:
            return make(*key)
        if key not in self.cache:
            self.cache[key] = make(*key)
        value: Cached = self.cache[key]
        return value

    def outline_in(self, size: tuple[int, int]) -> tuple[Tensor, PixelBox | None]:
        """Return opacity (1, 1, H, W) and extent in its picture of this height and width."""
        return self._cached(self._outline_in, size)

    def _outline_in(self, size: tuple[int, int]) -> tuple[Tensor, PixelBox | None]:
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

    def render(
        self,
        size: tuple[int, int],
        place: Box = WHOLE,
        *,
        gains: Tensor | None = None,
        on_band: OnBand = int,
    ) -> Tensor:
        """Return the subject in its light in a patch of the picture, premultiplied (1, 4, h, w).

        Args:
            size: Height and width of the patch in pixels.
            place: Where it lies in the picture.
            gains: Further factors of colour for all of the picture, smooth, (1, 3, n, m).
            on_band: See `OnBand`.
        """
        coarse = (math.ceil(size[0] / LIGHT_STRIDE), math.ceil(size[1] / LIGHT_STRIDE))
        affine = within(to_affine(self.layout), place)
        light = warp(self.light, affine, coarse, padding="border")
        if gains is not None:
            part = within(torch.eye(2, 3)[None], place)
            light = light * warp(gains, part, coarse, padding="border", mode="bicubic")
        light = F.interpolate(light, size, mode="bilinear")
        on_band()
        frame = self._cached(partial(in_patch, self.levels, self.layout), size, place)
        plain, alpha = frame.split((3, 1), dim=1)
        if self.grey:
            plain = plain.lerp(plain.mean(dim=1, keepdim=True), self.grey)
        on_band()
        # Where light is more than without, black stays black and white stays white.
        excess = (light - 1).clamp_(0, 1)
        colours = torch.addcmul(plain * light.clamp_(max=1), excess, plain * (alpha - plain))
        on_band()
        return torch.cat([colours, alpha], dim=1)


def own_pixels(
    components: Components, identity: Identity, own_light: Illumination, *, look: str = ""
) -> OwnPixels:
    """Return the first frame of a subject without its own light, as sharp as it is known.

    With a `look`, it has one of `COLOURS`, is made of one of `MATERIALS`, or is grey by `GREY`.
    """
    plain = components.keep("own pixels", identity, lambda: without_own_light(identity, own_light))
    if not look:
        return plain
    is_drawn = identity.named is not None  # in photographs the sun bleaches what is no feature

    def with_look(level: Tensor) -> Tensor:
        frame = level.float().div_(255)
        if look == GREY:
            frame[:, :3] = ToneCurve(frame).luminance * frame[:, 3:]
        elif look in COLOURS:
            frame = recolour(frame, [look], features=is_drawn)
        else:
            frame = remake(frame, normals(plain.relief), [look], MATERIALS)
        return frame.mul_(255).round_().to(torch.uint8)

    def make() -> OwnPixels:
        return plain._replace(levels=tuple(map(with_look, plain.levels)))

    return components.keep(f"own pixels, {look}", identity, make)


def without_own_light(identity: Identity, own_light: Illumination) -> OwnPixels:
    """Return what `own_pixels` does, made anew."""
    mask = identity.mask[:1].float().cpu()
    if identity.large is None:
        frame = (identity.pixels[:1].float().cpu(), mask)
    else:
        large = identity.large.float() / 255
        frame = (2 * large[:, :3] - large[:, 3:], large[:, 3:])
    plain = without_light(*frame, own_light.on_cpu()).plain
    # The light of a photograph is a guess, and to take it off gives no more colour.
    before, after = (rgb.amax(1, True) - rgb.amin(1, True) for rgb in (frame[0] / 2, plain))
    plain = torch.lerp(luma(plain), plain, (before / after.clamp_min(SURE)).clamp(max=1))
    levels, power = [torch.cat([plain, frame[1]], dim=1)], 0.0
    while levels[-1].shape[-1] >= 2 * SMALLEST_PX:
        levels.append(halved(levels[-1]))
    for number, level in reversed([*enumerate(levels)]):
        # A quarter of the pixels tells the power of the detail.
        samples, around, coarser = level[..., ::2, ::2], F.avg_pool2d(level, 3, 2, 1), power
        solid = around[:, 3:] > SOLID
        power = float(((samples - around) * solid).square().sum() / solid.sum().clamp_min(1))
        even = OCTAVE_SHARE * math.sqrt(coarser / max(power, SURE**2)) if coarser else CRISP
        gain = min(CRISP if number else 1.0, max(LEAST_DETAIL, even))
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
    while frame.shape[-1] > 1 and _pixels_covered(frame, affine, max(size)) > MOST_COVERED:
        frame = halved(frame)
    return warp(frame, affine, size)


def _from_size(levels: Sequence[Tensor], affine: Tensor, picture_px: int) -> Sequence[Tensor]:
    """Return levels from the one that a picture with that longer side shows, or the last."""
    covered = (_pixels_covered(level, affine, picture_px) for level in levels)
    first = (number for number, pixels in enumerate(covered) if pixels <= MOST_COVERED)
    return levels[next(first, len(levels) - 1) :]


def gains_between(
    sprites: Tensor, drawing: Tensor, drawn_mask: Tensor, *, by_day: float | None = None
) -> Tensor:
    """Return by how much a drawing is lighter than the subjects in it, as a soft field.

    Args:
        sprites: The subjects as their own pixels show them there, premultiplied, (1, 4, h, w).
        drawing: What the denoiser drew, (1, 3, h, w) in [-1, 1].
        drawn_mask: Where it drew subjects, (1, 1, h, w).
        by_day: How far it is day, in [0, 1]. Light has one hue for all subjects, and none by day.
            None: each part takes on the colours of the drawing, as a look needs.

    Returns:
        (1, 3, n, m): factors of colour, for all of the drawing. Where both do not agree that there
        is a subject, those from around it.
    """
    weight = (torch.minimum(sprites[:, 3:], drawn_mask) - 0.5).clamp_min(0) * 2
    before = _soft(sprites[:, :3] / sprites[:, 3:].clamp_min(SURE) * weight)
    after = _soft((drawing + 1) / 2 * weight)
    whole = [field.sum((2, 3), keepdim=True) + SURE for field in (after, before)]
    hue = torch.ones_like(whole[0])
    if by_day is not None:
        tint = whole[0] / whole[1]
        after, before, *whole = map(luma, (after, before, *whole))
        hue = torch.lerp(tint * whole[1] / whole[0], hue, by_day)
    return (hue * (after + FLOOR * whole[0] / whole[1]) / (before + FLOOR)).clamp(*GAINS)


def _soft(values: Tensor) -> Tensor:
    """Return the mean (1, C, n, m) of values around each cell of the field of gains."""
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


def _pixels_covered(frame: Tensor, affine: Tensor, picture_px: int) -> float:
    """Return how many pixels of a frame are in one of a picture with that longer side."""
    return float(affine[0, :, :2].norm(dim=0).amax()) * frame.shape[-1] / picture_px
