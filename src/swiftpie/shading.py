"""How light falls on a subject: its relief tells which of its sides face where the light is.

The light of a reference is taken off by the same formula by which the light of a picture is put
on, so a subject can be lit as its new surroundings are before any network draws it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.layout import Layout
from swiftpie.relief import height, normals, rotation_of

WRAP = 0.5  # light reaches this far round the edge, as it does on soft and furry things
LEVEL = 0.5  # n·l of a front that is lit as bright as the sprite
_RELIEF = 0.85  # the relief is steep at the outline: its slopes count for less than its front
_LIFT = 0.5  # how far what is lit brighter than the sprite moves towards white
_DARKEST = 0.15  # share of a subject's brightness that its own light leaves at least


class Illumination(NamedTuple):
    """Light on subjects, one row each: some from everywhere and some from one side."""

    ambient: Tensor  # (B, 3) factor of a subject's colours
    colour: Tensor  # (B, 3) the same of a front that the other light falls on by half
    direction: Tensor  # (B, 3) unit, towards that light: x right, y down, z to the viewer


class Lighting(NamedTuple):
    """The light that a reference was photographed in, and the light of the place it comes to."""

    own: Illumination  # in the coordinates of the reference frame
    scene: Illumination  # in those of the picture

    def select(self, rows: Tensor) -> "Lighting":
        """Return the given rows (B',), which may repeat."""
        return Lighting(*(Illumination(*(value[rows] for value in one)) for one in self))


class Gains(NamedTuple):
    """What light does to colours: they are multiplied, and what is bright moves to white."""

    factor: Tensor  # (B, 3, h, w) in [0, 1]
    lift: Tensor  # (B, 3, h, w) in [0, 1], added where the subject is


def brightness(normal: Tensor, light: Illumination) -> Tensor:
    """Return the factor (B, 3, h, w) by which `light` falls on surfaces of `normal` (B, 3, h, w).

    The light comes in the coordinates of the normals.
    """
    lambert = (normal * light.direction[..., None, None]).sum(dim=1, keepdim=True)
    wrapped = (lambert + WRAP).clamp_min(0) / (LEVEL + WRAP)
    return light.ambient[..., None, None] + light.colour[..., None, None] * wrapped


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


def relit(pixels: Tensor, mask: Tensor, lighting: Lighting, layout: Layout) -> Tensor:
    """Return reference frames as the light of their new place shows them, (B, 3, H, W).

    Args:
        pixels: Reference frames (B, 3, H, W) in [-1, 1], grey (0) outside of the subject.
        mask: The subject in them, (B, 1, H, W).
        lighting: What light to take off and what to put on.
        layout: Where the subjects will stand; its rotation, flip and view turn the light.
    """
    normal = soften(normals(height(mask)))
    direction = in_frame(lighting.scene.direction, layout)
    # Whoever turns the subject under a light may as well turn the light round the subject.
    view = rotation_of(layout.pose[:, 0], layout.pose[:, 1])
    direction = (view.transpose(1, 2) @ direction[..., None])[..., 0]
    own = gains(brightness(normal, lighting.own))
    new = gains(brightness(normal, lighting.scene._replace(direction=direction)))
    size = (pixels.shape[2], pixels.shape[3])
    taken, put = (
        Gains(*(F.interpolate(one, size, mode="bilinear") for one in both)) for both in (own, new)
    )
    shown = (pixels + mask) / 2  # premultiplied, in [0, 1]
    plain = (shown - mask * taken.lift) / taken.factor.clamp_min(_DARKEST)
    plain = torch.minimum(plain.clamp_min(0), mask)
    return 2 * (plain * put.factor + mask * put.lift) - mask
