"""Grounds that look like no place of the world, lit from a known side, as photographs are."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import SUBJECT_FILL, Layout
from swiftpie_world.lighting import Light
from swiftpie_world.places import Background
from swiftpie_world.snapshots import SnapshotParts

_LOW, _HIGH = 0.2, 1.35  # height of the light above the horizon, radians
_BEHIND = -0.4  # how far behind the subject a light may stand
_WEAK, _STRONG = 0.25, 0.85  # share of the light that comes from one side
_FRONT = 0.7  # share of the light from one side that a front gets, about
_TINT = 0.15  # tint of that light, warm or cold; light from everywhere has the opposite
_DARKEST, _LIGHTEST = 0.5, 0.12  # cast shadows
_LONGEST = 1.6  # shadow, in heights of what casts it
_FALL = 0.5  # how much brighter the side is that the light comes from


class DrawnGround(NamedTuple):
    """Pictures for subjects to be put into; they and what was put in go through one camera."""

    background: Background
    develop: Callable[[Tensor], Tensor]  # pictures (B, 3, R, R) in [0, 1] to what a camera takes


def draw_ground(
    tiles: Tensor, surfaces: Tensor, *, base: Tensor, layout: Layout, size_px: int, seed: int
) -> DrawnGround:
    """Draw surfaces in perspective, furniture and things out of focus, in a light of their own.

    They do not depend on any noise that a model reads, so a model can complete such a picture only
    from its given part. The light that has a direction makes the side brighter that it comes
    from, and tints everything.

    Args:
        tiles: Sprites (S, 4, h, w) in 8 bit, premultiplied, to stand out of focus at the edge.
        surfaces: Textures (T, 3, t, t) in 8 bit, on the same device.
        base: Where the subjects stand, (B, 1, 1, 1) in sides of the picture.
        layout: Of the subjects.
        size_px: Side R of the pictures.
        seed: The same seed gives the same pictures, on devices of one kind.
    """
    generator = torch.Generator(base.device).manual_seed(seed)
    parts = SnapshotParts(tiles, surfaces, len(base), generator, size_px=size_px)
    light = _draw_light(parts)
    picture = parts.with_furniture(parts.surroundings(base, layout.scale * SUBJECT_FILL))
    picture = parts.with_backdrop(picture, parts.frames())
    picture = _lit(picture, light, parts)
    return DrawnGround(Background(picture, light, base), parts.camera(picture))


def photographed_ground(photos: Tensor, *, base: Tensor, seed: int) -> DrawnGround:
    """Take photographs as grounds, in a light of their own as `draw_ground` does.

    Whatever light they were taken in, they get another one on top, and what stands in them is lit
    and shaded by that alone. It shows no more of them than before: their camera is not known.

    Args:
        photos: Pictures (B, 3, R, R) in [0, 1].
        base: Where the subjects stand, (B, 1, 1, 1) in sides of the picture.
        seed: Decides the light.
    """
    generator = torch.Generator(photos.device).manual_seed(seed)
    nothing = photos.new_zeros(0)
    parts = SnapshotParts(nothing, nothing, len(photos), generator, size_px=photos.shape[-1])
    light = _draw_light(parts)
    return DrawnGround(Background(_lit(photos, light, parts), light, base), lambda seen: seen)


def _lit(picture: Tensor, light: Light, parts: SnapshotParts) -> Tensor:
    """Make the side of `picture` brighter that the light comes from, and tint all of it."""
    x, y, _ = (number.view(-1, 1, 1, 1) for number in light.direction.unbind(1))
    share = light.strength.view(-1, 1, 1, 1)
    side = 1 + _FALL * share * (x * (parts.x - 0.5) + y * (parts.y - 0.5))
    tint = light.ambient + _FRONT * light.strength[:, None] * light.colour
    return (picture * side * tint[..., None, None]).clamp(0, 1)


def _draw_light(parts: SnapshotParts) -> Light:
    rise, turn = parts.rows(_LOW, _HIGH), parts.rows(0, 2 * math.pi)
    flat = torch.cos(rise)
    depth = (flat * torch.cos(turn)).clamp_min(_BEHIND)
    direction = torch.stack([flat * torch.sin(turn), -torch.sin(rise), depth], dim=1)
    strength = parts.rows(_WEAK, _STRONG)
    tint = direction.new_tensor([1.0, 0.0, -1.0]) * parts.uniform(-_TINT, _TINT, 1)
    ambient = (1 - _FRONT * strength)[:, None] * (1 - tint)
    hardness = parts.rows() * strength / _STRONG
    return Light(
        direction=F.normalize(direction, dim=1),
        colour=1 + tint,
        ambient=ambient,
        strength=strength,
        shadow=_LIGHTEST + (_DARKEST - _LIGHTEST) * hardness,
        length=(1 / torch.tan(rise)).clamp(max=_LONGEST),
    )
