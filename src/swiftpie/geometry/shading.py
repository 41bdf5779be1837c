"""Relights subjects by their relief, and casts their shadows.

The light of a reference is removed by the same formula that adds the light of the picture, so a
subject matches its new surroundings before any network draws it.
"""

import math
from types import EllipsisType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import Layout, rotation_of, warp
from swiftpie.geometry.relief import height, normals
from swiftpie.validation import Box

WRAP = 0.5  # light reaches this far round the edge, as it does on soft and furry things
LEVEL = 0.5  # n·l of a front that is lit as bright as the sprite
_RELIEF = 0.85  # the relief is steep at the outline: its slopes count for less than its front
_LIFT = 0.5  # how far what is lit brighter than the sprite moves towards white
# Around feet and where they touch it, ground loses so many times the darkness of the shadow, up to
# these shares: a subject hides the sky from it, so that hardly depends on the light.
_OCCLUSION, _MOST_SHADED, _MOST_OCCLUDED = 4.0, 0.5, 0.6
# Shares of the frame's side: how high a foot may be in it, how far an outline may rise beside it,
# and over which ways down and to the sides both darknesses fade.
_STANDING, _RISING = 0.2, 0.05
_CONTACT_FADES, _CONTACT_SOFT, _CLOSE_FADES, _CLOSE_SOFT = 0.1, 0.07, 0.018, 0.01
_NOTHING = 4.5  # times the way over which a shade fades, after which none is seen
_FLATTEN = 0.45  # a length along the line of sight, on ground seen from a standing height
_THIN = 0.2  # a shadow thrown sideways keeps this height: what casts it is not flat
_FADE = 0.6  # share of the darkness that the far end of the shadow has lost
_FAINTEST, _DARKER = 0.1, 0.45  # shadow without light from one side, and what that adds
_BEGINS = 0.03  # height, in sides of the picture, over which the shadow that is thrown begins
_MEAN_OF = 8  # pixels whose mean the soft end of a shadow is made of
_LONGEST = 1.6  # shadow, in heights of what casts it
FEET = 0.5  # opacity of the lowest row of a subject
_DARKEST = 0.15  # share of a subject's brightness that its own light leaves at least

_BRIGHTEST = 0.1  # share of a picture whose mean colour tells its light
_FULL_LIGHT, _FULL_LIGHT_BELOW = 0.75, 0.35  # brightness of that by day, and around the feet
# Least light at the feet, as a share of the picture's light; darker things are black.
_LEAST_BELOW = 0.25
_MOST_TINT = 0.15  # greatest tint of the light; a stronger colour belongs to the things themselves
_DARK = 1e-3  # brightness without a tint


Part = tuple[EllipsisType, slice, slice]
"""Rows and columns of a picture."""

Extent = tuple[int, int, int, int]
"""Left, top, right and bottom of something in a picture, in its pixels."""


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

    def on_cpu(self) -> "Lighting":
        return Lighting(self.own.on_cpu(), self.scene.on_cpu())


class Shadow(NamedTuple):
    """The shadow that subjects cast on the ground, one row each."""

    darkness: Tensor  # (B,) share of the ground's light that is lost, 0 to 0.5
    length: Tensor  # (B,) over the height of what casts it
    direction: Tensor  # (B, 3) unit, towards the light


class Footing(NamedTuple):
    """What the shadows of subjects that stand in a square have in common in any light.

    Fields are at half of the size: shadows are soft, so it shows all of them.
    """

    side: int  # of the square in which shadows are cast
    base: Tensor  # height of the lowest point, (B, 1, 1, 1) in sides of the square
    wide: Tensor  # width of the frame, likewise
    begins: float  # height, likewise, over which the shadow that is thrown begins
    outlines: Tensor  # (B, 2, h, h): as it is, and as soft as at the far end of a shadow
    contact: Tensor  # (B, 1, h, h) where the ground is around its feet
    touching: Tensor  # (B, 1, h, h) where the ground is close to them


class Unlit(NamedTuple):
    """Subjects without the light that they were photographed in."""

    plain: Tensor  # (B, 3, H, W) premultiplied, in [0, 1]
    mask: Tensor  # (B, 1, H, W)
    normal: Tensor  # (B, 3, h, w), as light sees them


class Gains(NamedTuple):
    """What light does to colours: a factor, and a lift of bright parts towards white."""

    factor: Tensor  # (B, 3, h, w) in [0, 1]
    lift: Tensor  # (B, 3, h, w) in [0, 1], added where the subject is


def brightness(normal: Tensor, light: Illumination) -> Tensor:
    """Return the factor (B, 3, h, w) of `light` on surfaces of `normal`, in its coordinates."""
    lambert = (normal * light.direction[..., None, None]).sum(dim=1, keepdim=True)
    wrapped = (lambert + WRAP).clamp_min(0) / (LEVEL + WRAP)
    return light.ambient[..., None, None] + light.colour[..., None, None] * wrapped


def as_dark_as(light: Illumination, photo: Tensor, box: Box) -> Illumination:
    """Return a light as dim as a photograph shows it, and tinted by it in the dark.

    The brightest tenth shows the light, as in the white balance of a camera: of all of the picture
    and of the ground around the feet, which stays dark below a bright sky at dusk. A photograph in
    full light changes nothing. `photo` is (1, 3, H, W) in [-1, 1]; a small copy is enough.
    """
    whole, ground = _brightest(photo), _brightest(_ground(photo, box))
    in_all, below = whole.mean() / _FULL_LIGHT, ground.mean() / _FULL_LIGHT_BELOW
    share = torch.minimum(in_all, torch.maximum(below, in_all * _LEAST_BELOW)).clamp(max=1)
    shown = ground if below < in_all else whole
    tint = (shown / shown.mean().clamp_min(_DARK)).clamp(1 - _MOST_TINT, 1 + _MOST_TINT)
    gain = share * tint.lerp(torch.ones_like(tint), share)
    return light._replace(ambient=light.ambient * gain, colour=light.colour * gain)


def _ground(photo: Tensor, box: Box) -> Tensor:
    """Return what of a picture (1, 3, H, W) is around the feet of a subject in `box`."""
    left, top, right, foot = box
    height, width = photo.shape[2:]
    wide, tall = right - left, (foot - top) / 4
    rows = slice(int((foot - tall) * height), math.ceil((foot + tall) * height))
    columns = slice(max(0, int((left - wide) * width)), math.ceil((right + wide) * width))
    return photo[..., rows, columns]


def _brightest(photo: Tensor) -> Tensor:
    """Return the mean colour (1, 3) in [0, 1] of the brightest part of a picture in [-1, 1]."""
    colours = photo.flatten(2) / 2 + 0.5
    count = math.ceil(_BRIGHTEST * colours.shape[2])
    return colours[..., colours.mean(dim=1)[0].topk(count).indices].mean(dim=2)


def gains(factor: Tensor, highlight: Tensor | float = 0.0) -> Gains:
    """Return what light of so much brightness (B, 3, h, w) does to colours in [0, 1].

    What is lit brighter than the sprite is lifted towards white; a `highlight` is added to that.
    """
    lift = (_LIFT * (factor - 1).clamp_min(0) + highlight).clamp(max=1)
    return Gains(factor.clamp(max=1) * (1 - lift), lift)


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


def usual_shadow(light: Illumination) -> Shadow:
    """Return the shadow that goes with a light: long where that is low, dark where it is strong."""
    share = light.colour.mean(dim=1)
    height = -light.direction[:, 1]
    along = torch.hypot(light.direction[:, 0], light.direction[:, 2])
    length = (along / height.clamp_min(1e-3)).clamp(max=_LONGEST)
    return Shadow(_FAINTEST + _DARKER * share.clamp(0, 1), length, light.direction)


def relit(pixels: Tensor, mask: Tensor, lighting: Lighting, layout: Layout) -> Tensor:
    """Return reference frames as the light of their new place shows them, (B, 3, H, W).

    Args:
        pixels: Reference frames (B, 3, H, W) in [-1, 1], grey (0) outside of the subject.
        mask: The subject in them, (B, 1, H, W).
        lighting: What light to take off and what to put on.
        layout: Where the subjects will stand; its rotation, flip and view turn the light.
    """
    subject = without_light(pixels, mask, lighting.own)
    return 2 * lit(subject, lighting.scene, layout) - mask


def without_light(pixels: Tensor, mask: Tensor, own: Illumination | None) -> Unlit:
    """Return reference frames without their `own` light; None leaves it on. Others as `relit`."""
    normal, shown = soften(normals(height(mask))), (pixels + mask) / 2
    return Unlit(shown if own is None else _unlit(shown, mask, normal, own), mask, normal)


def lit(subject: Unlit, scene: Illumination, layout: Layout) -> Tensor:
    """Return subjects in the light of their new place, (B, 3, H, W) premultiplied, in [0, 1]."""
    direction = in_frame(scene.direction, layout)
    # Turning the subject under a light equals turning the light around the subject.
    view = rotation_of(layout.pose[:, 0], layout.pose[:, 1])
    direction = (view.transpose(1, 2) @ direction[..., None])[..., 0]
    new = gains(brightness(subject.normal, scene._replace(direction=direction)))
    factor, lift = _enlarged(new, subject.mask)
    return factor.mul_(subject.plain).add_(lift.mul_(subject.mask))  # in place: frames have many


def _unlit(shown: Tensor, mask: Tensor, normal: Tensor, own: Illumination) -> Tensor:
    """Return premultiplied colours (B, 3, H, W) in [0, 1] without their light."""
    taken = _enlarged(gains(brightness(normal, own)), shown)
    plain = (shown - mask * taken.lift) / taken.factor.clamp_min(_DARKEST)
    return torch.minimum(plain.clamp_min(0), mask)


def _enlarged(light: Gains, like: Tensor) -> Gains:
    size = (like.shape[2], like.shape[3])
    return Gains(*(F.interpolate(values, size, mode="bilinear") for values in light))


def cast_on_ground(opacity: Tensor, layout: Layout, cast: Shadow) -> Tensor:
    """Return the share of its light that ground loses by a subject of `opacity`, (1, 1, H, W)."""
    size = (opacity.shape[2], opacity.shape[3])
    return cast_shadow(_footing(opacity, layout), cast)[..., : size[0], : size[1]]


def _footing(opacity: Tensor, layout: Layout, *, zoom: float = 1.0) -> Footing:
    """Return the footing of one subject in a picture, which becomes a square."""
    size = (opacity.shape[2], opacity.shape[3])
    side = max(size)
    square = F.pad(opacity, (0, side - size[1], 0, side - size[0]))
    numbers = torch.arange(1, side + 1, device=opacity.device).view(1, 1, -1)
    base = ((square > FEET).to(opacity).amax(dim=3) * numbers).amax(dim=2) / side
    shares = layout.centre.new_tensor([size[1] / side, size[0] / side])
    scale = (layout.scale.view(1, -1) * shares)[:, 0]
    within = layout._replace(centre=layout.centre * shares, scale=scale)
    return footing_of(square, within, base.view(1, 1, 1, 1), zoom=zoom)


def cast_around(
    opacity: Tensor,
    extent: Extent,
    layout: Layout,
    cast: Shadow,
    *,
    kept: dict[tuple[object, ...], Any] | None = None,
) -> tuple[Part, Tensor]:
    """Return the part of a picture that a subject shades, and what `cast_on_ground` finds there.

    Other arguments are those of `cast_on_ground`; outside of `extent` nothing is opaque by half.
    `kept` takes what is the same in any light, for later calls.
    """
    left, top, right, foot = extent
    size = (opacity.shape[2], opacity.shape[3])
    wide, tall = float(layout.scale.view(-1)[0]) * size[1], foot - top
    x, _, z = cast.direction[0].tolist()
    long = float(cast.length) * tall / max(1e-3, math.hypot(x, z))
    across, down = -x * long, max(_THIN * tall, abs(z) * long * _FLATTEN)
    touched = _NOTHING * _CONTACT_FADES * wide
    rows = (min(top, foot - down), foot + max(down, touched), size[0])
    side = (min(left - touched, left + across), max(right + touched, right + across))
    ends: list[int] = []
    for low, high, count in (rows, (*side, size[1])):
        first = max(0, math.floor(low / _MEAN_OF - 3) * _MEAN_OF)
        ends += [first, min(count, math.ceil(high / _MEAN_OF + 3) * _MEAN_OF)]
    kept, key = {} if kept is None else kept, ("footing", *ends)
    if key not in kept:
        kept[key] = _footing_in(opacity, layout, *ends)
    shadow = cast_shadow(kept[key], cast)
    top, bottom, left, right = ends
    part = (..., slice(top, bottom), slice(left, right))
    return part, shadow[..., : bottom - top, : right - left]


def _footing_in(
    opacity: Tensor, layout: Layout, top: int, bottom: int, left: int, right: int
) -> Footing:
    """Return the footing in a part of a picture."""
    shown = opacity[..., top:bottom, left:right]
    part = layout.centre.new_tensor([right - left, bottom - top])
    whole = part.new_tensor([opacity.shape[3], opacity.shape[2]])
    there = layout._replace(
        centre=(layout.centre * whole - part.new_tensor([left, top])) / part,
        scale=layout.scale.view(1, -1) * whole / part,
    )
    return _footing(shown, there, zoom=max(opacity.shape[2:]) / max(shown.shape))


def footing_of(alpha: Tensor, layout: Layout, base: Tensor, *, zoom: float = 1.0) -> Footing:
    """Return what the shadows of subjects in squares have in common.

    Args:
        alpha: Coverage of what stands there, in the picture, (B, 1, R, R).
        layout: Of the subject, which tells where it stands and how wide.
        base: Height of its lowest point, (B, 1, 1, 1) in sides of the picture.
        zoom: Longer side of the whole picture over that of the part that is given.
    """
    half = alpha.shape[-1] // 2
    centres = (torch.arange(half, device=alpha.device) + 0.5) / half
    y, wide = centres.view(1, 1, -1, 1), layout.scale.view(-1, 1, 1, 1)
    sharp = F.avg_pool2d(alpha, 2)
    soft = F.avg_pool2d(F.avg_pool2d(sharp, 4), 3, stride=1, padding=1)
    soft = F.interpolate(soft, size=sharp.shape[-2:], mode="bilinear")
    contact, touching = _around_feet(sharp, base, wide, y)
    outlines = torch.cat([sharp, soft], dim=1)
    return Footing(alpha.shape[-1], base, wide, _BEGINS * zoom, outlines, contact, touching)


def cast_shadow(footing: Footing, cast: Shadow) -> Tensor:
    """Return how much of the ground's light subjects take, (B, 1, R, R) in [0, 0.9].

    Their outline laid on the ground away from the light, a dark patch where they stand, and hardly
    any light where they touch the ground.
    """
    darkness = cast.darkness.view(-1, 1, 1, 1)
    shaded = footing.contact * (_OCCLUSION * darkness).clamp(max=_MOST_SHADED)
    touched = footing.touching * (_OCCLUSION * darkness).clamp(max=_MOST_OCCLUDED)
    shadow = torch.maximum(shaded, _thrown(footing, cast) * darkness)
    lost = 1 - (1 - shadow) * (1 - touched)
    return F.interpolate(lost, size=(footing.side, footing.side), mode="bilinear")


def _around_feet(sharp: Tensor, base: Tensor, wide: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shade around feet and that where they touch the ground, (B, 1, h, h) each.

    A foot is where an outline (B, 1, h, h) comes down, each at its own height. Ground loses most
    light there, and less the further it is away, without a bend that would lift the subject.
    """
    lowest = (y * (sharp > 0.5)).amax(dim=2, keepdim=True)  # the lowest solid row of each column
    cells = float(wide.max()) * sharp.shape[-1]
    reach = max(1, round(_RISING * cells))
    beside = F.max_pool2d(lowest, (1, 2 * reach + 1), 1, (0, reach))
    stands = _eased(1 - (base - lowest) / (_STANDING * wide)) * (lowest > 0)
    stands = stands * _eased(1 - (beside - lowest) / (_RISING * wide))
    gap = (lowest - y).abs() / wide
    contact = _softened(stands * torch.exp(-gap / _CONTACT_FADES), _CONTACT_SOFT * cells)
    touching = _softened(stands * torch.exp(-gap / _CLOSE_FADES), _CLOSE_SOFT * cells)
    return contact, touching


def _softened(shade: Tensor, cells: float) -> Tensor:
    """Return a shade (B, 1, h, w) whose sides fade over so many cells."""
    reach = max(1, round(cells))
    for _ in range(2):
        shade = F.avg_pool2d(shade, (1, 2 * reach + 1), stride=1, padding=(0, reach))
    return shade


def _thrown(footing: Footing, cast: Shadow) -> Tensor:
    """Lay the outline on the ground: a height above the feet is a way along the ground."""
    base, count = footing.base, footing.outlines.shape[-1]
    x_way, _, z_way = (-cast.direction).unbind(1)
    ground = torch.hypot(x_way, z_way).clamp_min(1e-3)
    across = cast.length * x_way / ground
    down = cast.length * z_way / ground * _FLATTEN
    down = torch.where(down > 0, down.clamp_min(_THIN), down.clamp_max(-_THIN))
    # Of a point of the ground as far below the feet as `down` times the height it is shaded by.
    lean = across / down
    foot = 2 * base.view(-1) - 1
    one, nil = torch.ones_like(down), torch.zeros_like(down)
    rows = [one, -lean, lean * foot, nil, -1 / down, foot + foot / down]
    affine = torch.stack(rows, dim=1).unflatten(1, (2, 3))
    outlines = warp(footing.outlines, affine, (count, count))
    y = ((torch.arange(count, device=base.device) + 0.5) / count).view(1, 1, -1, 1)
    height = (y - base) / down.view(-1, 1, 1, 1)
    on_ground = _eased((height / footing.begins + 1) / 2)
    share = (height / footing.wide).clamp(0, 1)
    outline = torch.lerp(outlines[:, :1], outlines[:, 1:], _eased(2 * share))
    return outline * on_ground * (1 - _FADE * share)


def _eased(share: Tensor) -> Tensor:
    """Return 0 below 0, 1 above 1, and between them a way without a bend."""
    share = share.clamp(0, 1)
    return share.square() * (3 - 2 * share)
