"""Shadows of drawn subjects: on the ground, around the feet and where they touch it."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import sample
from swiftpie.geometry.shading import eased

# Shares of the frame's side: how high a foot may be in it, how far an outline may rise beside it,
# and how far apart feet stand.
_STANDING, _RISING, _BESIDE = 0.2, 0.05, 0.06
_FLATTEN = 0.45  # a length along the line of sight, on ground seen from a standing height
_THIN = 0.2  # a shadow thrown sideways keeps this height: what casts it is not flat
_PENUMBRA = 0.4  # how soft the shadow is where it begins, of 1 at its far end
_FADES = 0.6  # share of its darkness that a shadow loses at its far end
_BEGINS = 0.08  # height, in sides of the frame, over which the shadow that is thrown begins
# Around feet and where they touch it, ground loses so many times the darkness of the shadow, up to
# these shares: a subject hides the sky from it, so that hardly depends on the light.
_OCCLUSION, _MOST_SHADED, _MOST_OCCLUDED = 4.0, 0.5, 0.8
# Over which ways down and to the sides both darknesses fade, in widths of the frame.
_CONTACT_FADES, _CONTACT_SOFT, _CLOSE_FADES, _CLOSE_SOFT = 0.1, 0.07, 0.028, 0.01


class Shadow(NamedTuple):
    """The shadow that subjects cast on the ground, one row each."""

    darkness: Tensor  # (B,) share of the ground's light that is lost, 0 to 0.5
    length: Tensor  # (B,) over the height of what casts it
    direction: Tensor  # (B, 3) unit, towards the light


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


def cast_shadow(contacts: ContactPoints, cast: Shadow) -> Tensor:
    """Return how much of the ground's light subjects take, (B, 1, R, R) in [0, 0.9].

    Their outline laid on the ground away from the light, a dark patch where they stand, and hardly
    any light where they touch the ground.
    """
    darkness, half = cast.darkness.view(-1, 1, 1, 1), contacts.stands.shape[-1]
    y = ((torch.arange(half, device=darkness.device) + 0.5) / half)[:, None]
    gap, cells = (contacts.lowest - y).abs() / contacts.wide, float(contacts.wide.max()) * half
    touching, around = (
        softened(contacts.stands * torch.exp(-gap / fades), soft * cells)
        for fades, soft in ((_CLOSE_FADES, _CLOSE_SOFT), (_CONTACT_FADES, _CONTACT_SOFT))
    )
    touched = touching * (_OCCLUSION * darkness).clamp(max=_MOST_OCCLUDED)
    shaded = around * (_OCCLUSION * darkness).clamp(max=_MOST_SHADED)
    lost = 1 - (1 - torch.maximum(shaded, thrown(contacts, cast))) * (1 - touched)
    return F.interpolate(lost, size=(contacts.side, contacts.side), mode="bilinear")


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


def _feet(sharp: Tensor, base: Tensor, wide: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest rows of outlines (B, 1, h, w), and where these are feet, (B, 1, 1, w).

    A foot is where an outline comes down, each at its own height. Heights are `y` of the rows.
    """
    lowest = (y * (sharp > 0.5)).amax(dim=2, keepdim=True)  # the lowest solid row of each column
    reach = max(1, round(_RISING * float(wide.max()) * sharp.shape[-1]))
    beside = F.max_pool2d(lowest, (1, 2 * reach + 1), 1, (0, reach))
    stands = eased(1 - (base - lowest) / (_STANDING * wide)) * (lowest > 0)
    return lowest, stands * eased(1 - (beside - lowest) / (_RISING * wide))


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
    on_ground, share = eased((share / _BEGINS + 1) / 2), share.clamp(0, 1)
    soft = eased(_PENUMBRA + 2 * share)
    outline = torch.lerp(outlines[:, :1], outlines[:, 1:], soft)
    shade = outline * on_ground * (1 - _FADES * share)
    return shade * cast.darkness.view(-1, 1, 1, 1)


def _at_points(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return values (B, C, h, w) at points (B, 1, H, W) of them, in [0, 1] each."""
    return sample(values, 2 * torch.stack([x, y], dim=-1)[:, 0] - 1)
