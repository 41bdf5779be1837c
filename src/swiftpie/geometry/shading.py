"""Relights subjects by their relief.

The light of a reference is removed by the same formula that adds the light of the picture, so a
subject matches its new surroundings before any network draws it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import Layout, rotation_of
from swiftpie.geometry.relief import height, normals
from swiftpie.validation import Box

WRAP = 0.5  # light reaches this far round the edge, as it does on soft and furry things
LEVEL = 0.5  # n·l of a front that is lit as bright as the sprite
_RELIEF = 0.85  # the relief is steep at the outline: its slopes count for less than its front
_LIFT = 0.5  # how far what is lit brighter than the sprite moves towards white
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


def light_on_front(light: Illumination) -> Tensor:
    """Return the factor (B, 3, 1, 1) of a light on what faces the viewer."""
    viewer = light.direction.new_tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    return brightness(viewer, light)


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
    light = light * (excess * eased(above) * hue + lent).exp()
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


def eased(share: Tensor) -> Tensor:
    """Return 0 below 0, 1 above 1, and between them a way without a bend."""
    share = share.clamp(0, 1)
    return share.square() * (3 - 2 * share)
