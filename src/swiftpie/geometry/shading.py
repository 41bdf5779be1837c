"""Relights subjects by their relief, and casts their shadows.

The light of a reference is removed by the same formula that adds the light of the picture, so a
subject matches its new surroundings before any network draws it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import Layout, rotation_of, sample
from swiftpie.geometry.relief import height, normals
from swiftpie.validation import Box, PixelBox

WRAP = 0.5  # light reaches this far round the edge, as it does on soft and furry things
LEVEL = 0.5  # n·l of a front that is lit as bright as the sprite
_RELIEF = 0.85  # the relief is steep at the outline: its slopes count for less than its front
_LIFT = 0.5  # how far what is lit brighter than the sprite moves towards white
# Shares of the frame's side: how high a foot may be in it, how far an outline may rise beside it,
# and how far apart feet stand.
_STANDING, _RISING, _BESIDE = 0.2, 0.05, 0.06
_FLATTEN = 0.45  # a length along the line of sight, on ground seen from a standing height
_THIN = 0.2  # a shadow thrown sideways keeps this height: what casts it is not flat
_PENUMBRA = 0.4  # how soft the shadow is where it begins, of 1 at its far end
_FAINTEST, _DARKER = 0.1, 0.45  # shadow without light from one side, and what that adds
# Share of a clear sun in all light, by which a softer one has less, and darkness that it adds.
_SUNNY, _CLEARS, _SUN_DARKER = 0.75, 0.3, 0.08
_BEGINS = 0.08  # height, in sides of the frame, over which the shadow that is thrown begins
_MEAN_OF = 8  # pixels whose mean the soft end of a shadow is made of
# Light that ground loses over the share of sky that is hidden, the share that is left out, the most
# that it loses, cells of a side that tell it, and how far it is seen, in widths of the frame. By
# eye, near what fits a can and a ball that Cycles drew in 28 of the library's places, as `_DEPTH`.
_SKY, _SKY_UNSEEN, _MOST_SHADED, _SKY_CELLS, _SKY_REACH = 0.5, 0.02, 0.5, 40, 0.9
# Where a subject touches the ground, by eye: light that it loses, how many times as much the ground
# does at once, and at most. In widths of the frame: over which way up and to the sides that fades,
# and the rows from and to a foot in which it is seen.
_DIMMED, _CREASE, _MOST_CREASED = 0.3, 1.2, 0.6
_DIM_FADES, _DIM_SOFT, _HIGHEST, _BEFORE, _CREASE_CELLS = 0.05, 0.01, 0.3, 0.08, 160
_DEPTH, _FADE, _SIDEWAYS = 0.1, 0.8, 0.045  # of photographed subjects, see `Shadow`; soft sides
_LONGEST = 1.35  # shadow, in heights of what casts it
FEET = 0.5  # opacity of the lowest row of a subject
_DARKEST = 0.15  # share of a subject's brightness that its own light leaves at least
_WHITEST = 0.9  # brightness of what is white, in full light
# Light of the ground on a subject, over the ground's colour in linear light, and twice that where
# it faces down: fitted to renderings of 5 things on coloured and grey paper. Exponent of bytes.
_BOUNCE, _GAMMA, _MIXED = 0.25, 2.2, 0.02  # and the opacity from which a cell shows both
_USUAL, _BLACK = 0.75, 0.01  # share of upper parts that have less of its hue; light without a hue
_WHITISH = 0.3  # hue, a logarithm, of colours that count half as white; by eye on 28 photographs
_BRIGHTEST = 0.1  # share of a picture whose mean colour tells its light
_FULL_LIGHT, _FULL_LIGHT_BELOW = 0.75, 0.35  # brightness of that by day, and around the feet
_BACKLIT = 0.8  # least light on a front over that on one that the sun is on by half
_LEAST_BELOW = 0.25  # least light at the feet, as a share of the picture's; darker things are black
_MOST_TINT = 0.15  # greatest tint of the light; a stronger colour belongs to the things themselves
_DARK = 1e-3  # brightness without a tint

Part = tuple[EllipsisType, slice, slice]  # rows and columns of a picture


class Illumination(NamedTuple):
    """Light on subjects, one row each: some from everywhere and some from one side."""

    ambient: Tensor  # (B, 3) factor of a subject's colours
    colour: Tensor  # (B, 3) the same of a front that the other light falls on by half
    direction: Tensor  # (B, 3) unit, towards that light: x right, y down, z to the viewer

    def expand(self, rows: int) -> "Illumination":
        """Return a single row as so many."""
        return Illumination(*(value.expand(rows, -1) for value in self))

    def on_cpu(self) -> "Illumination":
        return Illumination(*(value.cpu() for value in self))


class Lighting(NamedTuple):
    """The light that a reference was photographed in, and the light of the place it comes to."""

    own: Illumination  # direction in coordinates of the reference's frame
    scene: Illumination  # direction in coordinates of the picture

    def select(self, rows: Tensor | slice) -> "Lighting":
        return Lighting(*(Illumination(*(value[rows] for value in light)) for light in self))


class Shadow(NamedTuple):
    """The shadow that subjects cast on the ground, one row each."""

    darkness: Tensor  # (B,) share of the ground's light that is lost, 0 to 0.5
    length: Tensor  # (B,) over the height of what casts it
    direction: Tensor  # (B, 3) unit, towards the light
    softness: Tensor = torch.ones(1, 1, 1, 1)  # a row each; less where most light is the sun's
    depth: float = 0.0  # of what casts it, as its ground is seen, in sides of the frame
    fade: float = 0.6  # share of its darkness that a soft one loses at its far end


class ContactPoints(NamedTuple):
    """What the shadows of subjects that stand in a square have in common in any light.

    Fields are at half of the size: shadows are soft, so it shows all of them.
    """

    side: int  # of the square in which shadows are cast
    base: Tensor  # height of the lowest point, (B, 1, 1, 1) in sides of the square
    wide: Tensor  # width of the frame, likewise
    outlines: Tensor  # (B, 2, h, h): as it is, and as soft as at the far end of a shadow
    lowest: Tensor  # (B, 1, 1, h) lowest solid rows, in sides of the square
    stands: Tensor  # (B, 1, 1, h) share to which they are feet
    lift: Tensor  # (B, 1, 1, h) how far above the base, in sides of the square, the next feet are


class Albedo(NamedTuple):
    """Subjects without the light that they were photographed in."""

    plain: Tensor  # (B, 3, H, W) premultiplied, in [0, 1]
    mask: Tensor  # (B, 1, H, W)
    normal: Tensor  # (B, 3, h, w), as light sees them


def brightness(normal: Tensor, light: Illumination) -> Tensor:
    """Return the factor (B, 3, h, w) of `light` on surfaces of `normal`, in its coordinates."""
    lambert = (normal * light.direction[..., None, None]).sum(dim=1, keepdim=True)
    wrapped = (lambert + WRAP).clamp_min(0) / (LEVEL + WRAP)
    return light.ambient[..., None, None] + light.colour[..., None, None] * wrapped


def in_sun(light: Illumination, suns: Sequence[Sequence[float] | None]) -> Illumination:
    """Return lights, one row each, from such `Ground.sun`, as bright on a front; None stays."""
    turned, share = light.direction.clone(), light.colour / (light.ambient + light.colour)
    for row, sun in enumerate(suns):
        if sun is not None:
            turned[row], share[row] = turned.new_tensor(sun[:3]), sun[3]
    viewer, there = turned.new_tensor([0.0, 0.0, 1.0]), Illumination(1 - share, share, turned)
    front, whole = (brightness(viewer.view(1, 3, 1, 1), side)[..., 0, 0] for side in (light, there))
    times = front / whole.clamp_min(_BACKLIT)
    return Illumination((1 - share) * times, share * times, turned)


def match_exposure(light: Illumination, photo: Tensor, box: Box) -> Illumination:
    """Return a light as dim as a photograph shows it, and of the hue of the light there.

    The brightest tenth shows the light, as in the white balance of a camera: of all of the picture
    and of the ground around the feet, which stays dark below a bright sky at dusk. The hue is what
    the whitest of that ground and of all above `box` share, as a yellow toy lends none. A small
    `photo`, (1, 3, H, W) in [-1, 1], is enough.
    """
    left, top, right, foot = box
    height, width = photo.shape[2:]
    wide, tall = right - left, (foot - top) / 4
    rows = slice(int((foot - tall) * height), math.ceil((foot + tall) * height))
    columns = slice(max(0, int((left - wide) * width)), math.ceil((right + wide) * width))
    sky, ground = photo[..., : max(1, int(top * height)), :], photo[..., rows, columns]
    in_all = _brightest(photo).mean() / _FULL_LIGHT
    below = _brightest(ground).mean() / _FULL_LIGHT_BELOW
    share = torch.minimum(in_all, torch.maximum(below, in_all * _LEAST_BELOW)).clamp(max=1)
    whites = (_brightest(part, torch.amin) for part in (sky, ground))
    hue, near = (white / white.mean().clamp_min(_DARK) - 1 for white in whites)
    tint = hue.clamp(near.clamp(max=0), near.clamp(min=0)).clamp(-_MOST_TINT, _MOST_TINT)
    gain = share * (1 + tint * F.cosine_similarity(hue, near).clamp_min(0))
    return light._replace(ambient=light.ambient * gain, colour=light.colour * gain)


def _brightest(photo: Tensor, by: Callable[..., Tensor] = torch.mean) -> Tensor:
    """Return the mean colour (1, 3) in [0, 1] of the brightest part of a picture in [-1, 1]."""
    colours = photo.flatten(2) / 2 + 0.5
    count = math.ceil(_BRIGHTEST * colours.shape[2])
    return colours[..., by(colours, dim=1)[0].topk(count).indices].mean(dim=2)


def gains(factor: Tensor, highlight: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the factor of colours in [0, 1], and what is added to them, in so bright a light.

    What is lit brighter than the sprite is lifted towards white; a `highlight` is added to that.
    """
    lift = (_LIFT * (factor - 1).clamp_min(0) + highlight).clamp(max=1)
    return factor.clamp(max=1) * (1 - lift), lift


def soften(normal: Tensor) -> Tensor:
    """Return normals (B, 3, h / 2, w / 2) as light sees them, less steep than those of a relief."""
    slopes = F.avg_pool2d(normal[:, :2], 2) * _RELIEF
    front = (1 - slopes.square().sum(dim=1, keepdim=True)).clamp_min(0).sqrt()
    return torch.cat([slopes, front], dim=1)


def in_frame(direction: Tensor, layout: Layout) -> Tensor:
    """Turn directions (B, 3) of the picture into those of the frame, as `to_affine` does.

    The frame is meant as its pose shows it.
    """
    cos, sin = torch.cos(layout.rotation), torch.sin(layout.rotation)
    x, y, z = direction.unbind(1)
    return torch.stack([(1 - 2 * layout.flip) * (cos * x + sin * y), cos * y - sin * x, z], dim=1)


def usual_shadow(light: Illumination, *, is_soft: bool = False) -> Shadow:
    """Return the shadow that goes with a light: long where that is low, dark where it is strong.

    Its outline `is_soft` where no sun shines, as in a room, or else as its share of the light says.
    """
    colour, ambient = light.colour.mean(dim=1), light.ambient.mean(dim=1)
    softness = ((_SUNNY - colour / (ambient + colour).clamp_min(_DARK)) / _CLEARS).clamp(
        float(is_soft), 1
    )
    darkness = _FAINTEST + _DARKER * colour.clamp(0, 1) + _SUN_DARKER * (1 - softness)
    along = torch.hypot(light.direction[:, 0], light.direction[:, 2])
    length = (along / (-light.direction[:, 1]).clamp_min(1e-3)).clamp(max=_LONGEST)
    return Shadow(darkness, length, light.direction, softness.view(-1, 1, 1, 1), _DEPTH, _FADE)


def relit(pixels: Tensor, mask: Tensor, lighting: Lighting, layout: Layout) -> Tensor:
    """Return reference frames as the light of their new place shows them, (B, 3, H, W).

    Frames (B, 3, H, W) in [-1, 1] are grey (0) outside of their `mask` (B, 1, H, W). Rotation,
    flip and view of the `layout` turn the light.
    """
    subject = without_light(pixels, mask, lighting.own)
    return 2 * lit(subject, lighting.scene, layout) - mask


def without_light(pixels: Tensor, mask: Tensor, light: Illumination | None) -> Albedo:
    """Return reference frames without their own `light`; None leaves it on. Others as `relit`."""
    normal, colours = soften(normals(height(mask))), (pixels + mask) / 2
    if light is not None:
        received = torch.maximum(brightness(normal, light), _least_received(colours, mask, normal))
        factor, lift = _enlarged(gains(received), colours)
        colours = (colours - mask * lift) / factor.clamp_min(_DARKEST)
        colours = torch.minimum(colours.clamp_min(0), mask)
    return Albedo(colours, mask, normal)


def _least_received(rgb: Tensor, mask: Tensor, like: Tensor) -> Tensor:
    """Return the least light (B, 1, h, w) that premultiplied colours prove: none is whiter."""
    cells = F.adaptive_avg_pool2d(torch.cat([rgb.amax(1, True), mask], dim=1), 4 * like.shape[2])
    bright = F.max_pool2d(cells[:, :1] / cells[:, 1:].clamp_min(FEET), 4)
    return F.avg_pool2d(bright, 3, 1, 1, count_include_pad=False).clamp(max=_WHITEST) / _WHITEST


def without_bounce(pixels: Tensor, mask: Tensor) -> Tensor:
    """Take off the light that coloured ground throws on a subject, most where that faces down.

    Low parts also lose what they have of its hue beyond upper parts, and white upper sides the blue
    of the sky. Brightness stays. `pixels` (1, 3, H, W) in [-1, 1] show the ground around the lower
    quarter of the `mask` (1, 1, H, W). Where they show none, they stay as they are.
    """
    relief, rgb = height(mask), pixels / 2 + 0.5
    cells = torch.cat([mask, rgb, rgb * mask], dim=1)
    cover, photo, subject = F.adaptive_avg_pool2d(cells, relief.shape[-1]).split([1, 3, 3], dim=1)
    above = cover.sum(dim=3, keepdim=True).cumsum(dim=2) / cover.sum()
    around = (above > 0.75) & (F.max_pool2d(cover, 7, 1, 3) > FEET) & (cover < _MIXED)
    if not around.any():
        return pixels
    ground = (photo.pow(_GAMMA) * around).sum((2, 3), keepdim=True) / around.sum()
    down = F.interpolate(soften(normals(relief))[:, 1:2], relief.shape[2:], mode="bilinear")
    tint = ground - ground.mean()
    light = 1 + _BOUNCE * (1 + down.clamp_min(0)) * tint
    most = (1 + tint).log()  # where parts face each other and the ground, and see nothing else
    hue = F.normalize(most - most.mean(), dim=1)
    colours = (subject / cover.clamp_min(_MIXED)).pow(_GAMMA) / light
    along = (colours.clamp_min(_BLACK).log() * hue).sum(dim=1, keepdim=True)
    usual = F.pad(along[(cover > FEET) & (above < 0.5)], (0, 1)).quantile(_USUAL).clamp_min(0)
    excess = (along - usual).clamp_min(0).minimum((most * hue).sum()) * (cover > FEET)
    lent = bounce_light(colours, cover > 1 - _MIXED, most, down)
    light = light * (excess * _eased(above) * hue + lent).exp()
    light = F.interpolate(light, (mask.shape[2], mask.shape[3]), mode="bilinear").pow(1 / _GAMMA)
    plain = rgb / light
    exposure = rgb.mean(dim=1, keepdim=True) / plain.mean(dim=1, keepdim=True).clamp_min(_DARK)
    return 2 * (plain * exposure).clamp(0, 1) - 1


def bounce_light(colours: Tensor, solid: Tensor, most: Tensor, down: Tensor) -> Tensor:
    """Return the logarithm of the hue (1, 3, h, w) that light lends `solid` white `colours`."""
    hues, ground = (logs - logs.mean(1, True) for logs in (colours.clamp_min(_BLACK).log(), most))
    white = solid / (1 + (hues.norm(dim=1, keepdim=True) / _WHITISH) ** 4)
    bright = solid * colours.mean(dim=1, keepdim=True) ** 6
    hue = (bright * white * hues).sum((2, 3), keepdim=True) / bright.sum().clamp_min(_DARK)
    # The sky makes it blue in shade. Another hue may be its own, unless the ground lends the same.
    shared = (hue * ground).sum() / hue.square().sum().clamp_min(_DARK**2)
    lent = hue * (1.0 if hue.diff(dim=1).min() > 0 else shared.clamp(0, 1))
    # Of a thing that is white by half, it also makes upper sides blue, and lower ones less so.
    apart = white * (down - (white * down).sum() / white.sum().clamp_min(_DARK))
    slope = (apart * hues).sum((2, 3), keepdim=True) / (apart * down).sum().clamp_min(_DARK)
    is_sky = slope.diff(dim=1).max() < 0 and white.sum() > solid.sum() / 2
    return lent + is_sky * slope * down


def lit(subject: Albedo, scene: Illumination, layout: Layout) -> Tensor:
    """Return subjects in the light of their new place, (B, 3, H, W) premultiplied, in [0, 1]."""
    direction = in_frame(scene.direction, layout)
    # Turning the subject under a light equals turning the light around the subject.
    view = rotation_of(layout.pose[:, 0], layout.pose[:, 1])
    scene = scene._replace(direction=(view.transpose(1, 2) @ direction[..., None])[..., 0])
    factor, lift = _enlarged(gains(brightness(subject.normal, scene)), subject.mask)
    return factor.mul_(subject.plain).add_(lift.mul_(subject.mask))  # in place: frames have many


def _enlarged(light: Sequence[Tensor], like: Tensor) -> Iterator[Tensor]:
    return (F.interpolate(part, like.shape[2:], mode="bilinear") for part in light)


def cast_on_ground(opacity: Tensor, layout: Layout, cast: Shadow) -> Tensor:
    """Return the share of its light that ground loses by a subject of `opacity`, (1, 1, H, W)."""
    contacts, sky = _contacts_in(opacity, layout.scale.view(-1)[:1] * opacity.shape[3])
    return _cast(contacts, sky, cast)[..., : opacity.shape[2], : opacity.shape[3]]


def _contacts_in(opacity: Tensor, wide_px: Tensor) -> tuple[ContactPoints, Tensor]:
    """Return where one subject touches a picture, made a square, and the sky that it hides."""
    side = max(opacity.shape[2:])
    square = F.pad(opacity, (0, side - opacity.shape[3], 0, side - opacity.shape[2]))
    numbers = torch.arange(1, side + 1, device=opacity.device).view(1, 1, -1)
    base = ((square > FEET).to(opacity).amax(dim=3) * numbers).amax(dim=2) / side
    contacts = contact_points(square, wide_px / side, base.view(1, 1, 1, 1))
    return contacts, _hidden_sky(contacts)


def _cast(contacts: ContactPoints, sky: Tensor, cast: Shadow) -> Tensor:
    shade = 1 - (1 - thrown(contacts, cast)) * (1 - sky)
    return F.interpolate(shade, size=(contacts.side, contacts.side), mode="bilinear")


def _hidden_sky(contacts: ContactPoints) -> Tensor:
    """Return the light that ground loses as a subject hides the sky from it, (1, 1, h, h).

    It is an upright screen at its feet and one behind its depth. Over each azimuth a screen hides
    the difference of sin² of its upper and lower elevation (Nusselt's analogue).
    """
    outline, cells = contacts.outlines[:, :1], _SKY_CELLS
    cover = F.interpolate(outline, (cells, cells), mode="bilinear")[0, 0] > FEET
    at = (torch.arange(cells, device=cover.device) + 0.5) / cells
    feet = (contacts.base - F.interpolate(contacts.lift, (1, cells), mode="bilinear")).view(-1)
    upper = (feet - torch.where(cover, at[:, None], 2.0).amin(dim=0)).clamp_min(0).square()
    lowest = (at[:, None] * cover).amax(dim=0) + 2 / cells  # a foot may be so far off its row
    lower = (feet - lowest).clamp_min(0).square().minimum(upper)
    aside, way = (at - at[:, None]).square(), at[:, None] - feet
    depth, hidden = _DEPTH * contacts.wide.view(()), torch.zeros_like(way)
    for screen, sees in ((way, way > -depth), (way + depth, way < 0)):
        far = (screen.abs() / _FLATTEN).clamp_min(0.5 / cells)[..., None]
        squares = far.square() + aside
        share = upper / (upper + squares) - lower / (lower + squares)
        hidden += (share * far / squares).sum(dim=2) / (2 * math.pi * cells) * sees
    shade = (_SKY * (hidden - _SKY_UNSEEN)).clamp(0, _MOST_SHADED)
    return F.interpolate(shade[None, None], outline.shape[-2:], mode="bilinear")


def cast_around(
    opacity: Tensor,
    extent: PixelBox,
    layout: Layout,
    cast: Shadow,
    *,
    cache: dict[tuple[object, ...], Any] | None = None,
) -> tuple[Part, Tensor]:
    """Return the part of a picture that a subject shades, and what `cast_on_ground` finds there.

    Other arguments are those of `cast_on_ground`; outside of `extent` nothing is opaque by half.
    `cache` takes what is the same in any light, for later calls.
    """
    left, top, right, foot = extent
    size = (opacity.shape[2], opacity.shape[3])
    wide, tall = float(layout.scale.view(-1)[0]) * size[1], foot - top
    x, _, z = cast.direction[0].tolist()
    long = float(cast.length) * tall / max(1e-3, math.hypot(x, z))
    across, down = -x * long, max(_THIN * tall, abs(z) * long * _FLATTEN)
    touched = _SKY_REACH * wide
    rows = (min(top, foot - down - _STANDING * wide), foot + max(down, touched), size[0])
    side = (min(left - touched, left + across), max(right + touched, right + across))
    ends: list[int] = []
    for low, high, count in (rows, (*side, size[1])):
        first = max(0, math.floor(low / _MEAN_OF - 3) * _MEAN_OF)
        ends += [first, min(count, math.ceil(high / _MEAN_OF + 3) * _MEAN_OF)]
    top, bottom, left, right = ends
    part = (..., slice(top, bottom), slice(left, right))
    cache, key = {} if cache is None else cache, ("contacts", *ends)
    if key not in cache:
        cache[key] = _contacts_in(opacity[part], layout.scale.view(-1)[:1] * size[1])
    contacts, sky = cache[key]
    return part, _cast(contacts, sky, cast)[..., : bottom - top, : right - left]


def contact_points(alpha: Tensor, wide: Tensor, base: Tensor) -> ContactPoints:
    """Return what the shadows of subjects of coverage (B, 1, R, R) in squares have in common.

    `wide` (B,) are the widths of their frames, `base` (B, 1, 1, 1) the heights of their lowest
    points, in sides of the squares.
    """
    half = alpha.shape[-1] // 2
    x = torch.arange(half, device=alpha.device)
    y, wide = ((x + 0.5) / half)[:, None], wide.view(-1, 1, 1, 1)
    sharp = F.avg_pool2d(alpha, 2)
    soft = F.avg_pool2d(F.avg_pool2d(sharp, 4), 3, stride=1, padding=1)
    outlines = torch.cat([sharp, F.interpolate(soft, sharp.shape[-2:], mode="bilinear")], dim=1)
    lowest, stands = _feet(sharp, base, wide, y)
    weights = torch.exp((x[:, None] - x).abs() / (-_BESIDE * float(wide.max()) * half))
    lift = ((base - lowest) * stands) @ weights / (stands @ weights).clamp_min(1e-9)
    return ContactPoints(alpha.shape[-1], base, wide, outlines, lowest, stands, lift)


def contact_shadow(
    colours: Tensor, ground: Tensor, opacity: Tensor, layout: Layout, width: float
) -> None:
    """Darken a subject's `colours` (1, 3, H, W) and the `ground`, in place, where they touch.

    Both are a part of a picture of that width in pixels, in any unit, the ground also bytes.
    `opacity` (1, 1, H, W) is the subject's there.
    """
    wide_px = float(layout.scale.view(-1)[0]) * width
    px = max(1, round(wide_px / _CREASE_CELLS))  # a side of a cell
    cells, frame = F.avg_pool2d(opacity, px, ceil_mode=True), wide_px / px
    solid, wide = (cells > FEET).any(dim=3).view(-1), frame / cells.shape[3]
    foot = int((solid * torch.arange(1, len(solid) + 1)).max())
    if foot in (0, len(solid)):  # there is nothing, or its feet are below the picture
        return
    first = max(0, foot - round(_HIGHEST * frame))
    low = cells[..., first : foot + round(_BEFORE * frame), :]
    y = (torch.arange(low.shape[2])[:, None] + 0.5) / low.shape[3]
    lowest, stands = _feet(low, y[foot - first - 1], torch.tensor(wide), y)
    closeness = torch.exp((lowest - y).abs() / (-_DIM_FADES * wide))
    # Bytes are cut off, so nothing is left of what is fainter than a level or two.
    crease = (_CREASE * stands * closeness.square().square() - 0.01).clamp(0, _MOST_CREASED)
    shade = softened(torch.cat([_DIMMED * stands * closeness, crease], dim=1), _DIM_SOFT * frame)
    shade = F.interpolate(shade, scale_factor=px, mode="bilinear")[..., : opacity.shape[3]]
    part = slice(px * first, px * first + shade.shape[2])
    dim, dark = (1 - shade[..., : colours[..., part, :].shape[2], :]).split(1, dim=1)
    colours[..., part, :].mul_(dim)
    ground[..., part, :] = ground[..., part, :] * dark


def _feet(sharp: Tensor, base: Tensor, wide: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest rows of outlines (B, 1, h, w), and where these are feet, (B, 1, 1, w).

    A foot is where an outline comes down, each at its own height. Heights are `y` of the rows.
    """
    lowest = (y * (sharp > 0.5)).amax(dim=2, keepdim=True)  # the lowest solid row of each column
    reach = max(1, round(_RISING * float(wide.max()) * sharp.shape[-1]))
    beside = F.max_pool2d(lowest, (1, 2 * reach + 1), 1, (0, reach))
    stands = _eased(1 - (base - lowest) / (_STANDING * wide)) * (lowest > 0)
    return lowest, stands * _eased(1 - (beside - lowest) / (_RISING * wide))


def softened(shade: Tensor, cells: float) -> Tensor:
    """Return a shade (B, 1, h, w) whose sides fade over so many cells."""
    reach = max(1, round(cells))
    for _ in range(2):
        shade = F.avg_pool2d(shade, (1, 2 * reach + 1), stride=1, padding=(0, reach))
    return shade


def thrown(contacts: ContactPoints, cast: Shadow) -> Tensor:
    """Return the light that ground loses by outlines that are laid on it, (B, 1, h, h).

    A height above the feet is a way along the ground, away from the light.
    """
    base, outlines = contacts.base, contacts.outlines
    x_way, _, z_way = (-cast.direction).view(-1, 3, 1, 1, 1).unbind(1)
    long = cast.length.view(-1, 1, 1, 1) / torch.hypot(x_way, z_way).clamp_min(1e-3)
    down = long * z_way * _FLATTEN
    down = torch.where(down > 0, down.clamp_min(_THIN), down.clamp_max(-_THIN))
    x = (torch.arange(outlines.shape[-1], device=base.device) + 0.5) / outlines.shape[-1]
    y, lift = x.view(1, 1, -1, 1) - base, torch.zeros_like(base)
    for _ in range(2):  # which foot shades a point of the ground depends on where that stands
        column = x - long * x_way / down * (y + lift)
        lift = _at_points(contacts.lift, column, torch.full_like(column, 0.5))
    height = (y + lift) / down
    outlines = _at_points(outlines, x - long * x_way * height, base - lift - height)
    share = height / contacts.wide
    on_ground, share = _eased((share / _BEGINS + 1) / 2), share.clamp(0, 1)
    # Where a row of low ground shows many of an outline, the soft one has mixed them.
    low = (1.4 - 2 * down.abs()).clamp(0, 1)
    soft = torch.lerp(low, _eased(_PENUMBRA + 2 * share), cast.softness)
    outline = torch.lerp(outlines[:, :1], outlines[:, 1:], soft)
    shade = outline * on_ground * (1 - cast.softness * cast.fade * share)
    shade = shade * cast.darkness.view(-1, 1, 1, 1)
    cells = float(contacts.wide.max()) * shade.shape[2]
    rows, up = round(cast.depth * cells), 1
    while rows > 0:  # what is deep shades so many rows more behind its feet
        up = min(up, rows)
        shade = torch.maximum(shade, F.pad(shade[..., up:, :], (0, 0, 0, up)))
        rows, up = rows - up, 2 * up
    return softened(shade, cells * _SIDEWAYS) if cast.depth else shade


def _at_points(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return values (B, C, h, w) at points (B, 1, H, W) of them, in [0, 1] each."""
    return sample(values, 2 * torch.stack([x, y], dim=-1)[:, 0] - 1)


def _eased(share: Tensor) -> Tensor:
    """Return 0 below 0, 1 above 1, and between them a way without a bend."""
    share = share.clamp(0, 1)
    return share.square() * (3 - 2 * share)
