"""Light that an upright outline leaves to the ground, by cones to a panorama and a sun."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import warp

FILL, FOOT = 0.42, 0.75  # of a patch: the longer side of a thing, and the row on which it stands
ROWS, COLUMNS = 4, 8  # cells of the upper half of a panorama, from the zenith down
BLURS = 0, 1, 2, 4, 8  # pixels to each side by which an outline is blurred
SUN = 0.005  # radians from the middle of a sun to its rim


def patches(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Cut the squares around things in which all are of one size and stand on one row.

    Args:
        pixels: (B, C, S, S); 0 beyond.
        alpha: Opacity of the things, (B, 1, S, S).
    """
    left, top, right, foot = _boxes(alpha)
    side, none = torch.maximum(right - left, foot - top) / FILL, torch.zeros_like(foot)
    down = 2 * foot - 1 + side * (1 - 2 * FOOT)
    affine = torch.stack([side, none, left + right - 1, none, side, down], 1)
    return warp(pixels, affine.view(-1, 2, 3), (alpha.shape[-2], alpha.shape[-1]))


def from_foot(ground: Tensor, alpha: Tensor) -> Tensor:
    """Return places of the ground in patches, in any unit, from the foot in heights of the thing.

    Args:
        ground: Right of any point and behind it, (B, 2, S, S).
        alpha: Opacity of the things, (B, 1, S, S).
    """
    side, (_, top, _, foot) = alpha.shape[-1], _boxes(alpha)
    row, column = round(FOOT * side), side // 2
    beside = ground[..., row - 1 : row + 1, column - 1 : column + 1].mean(2, keepdim=True)
    tall = (beside[:, :1, :, 1:] - beside[:, :1, :, :1]) * (side * (foot - top))[
        :, None, None, None
    ]
    return (ground - beside.mean(3, keepdim=True)) / tall.clamp_min(1e-3)


def light_left(alpha: Tensor, ground: Tensor, panorama: Tensor, sun: Tensor) -> Tensor:
    """Return logarithms of the light that outlines leave to the ground, (B, 3, S, S).

    Args:
        alpha: Opacity of things in `patches`, (B, 1, S, S).
        ground: What `from_foot` returns, (B, 2, S, S).
        panorama: Light from around, (B, 3, 8, 16), as `swiftpie.models.light` has it.
        sun: (B, 6), the same; zeros without one, as without a panorama.
    """
    ways, facing = cells(like=alpha)
    sky = F.avg_pool2d(panorama[:, :, :ROWS], (1, 2)).flatten(2) * facing
    shares = torch.cat([sky, (sun[:, 3:] * sun[:, 2:3].clamp_min(0))[..., None]], 2)
    shares = shares / shares.sum(2, keepdim=True).clamp_min(1e-6)
    outlines = torch.stack([F.avg_pool2d(alpha, 2 * px + 1, 1, px) for px in BLURS], 2)
    hidden = _hidden(outlines, F.avg_pool2d(ground, 2), ways[None], math.pi / 4 / ROWS)
    lost = torch.einsum("bmhw,bcm->bchw", hidden, shares[..., :-1])
    lost = F.interpolate(lost, alpha.shape[-2:], mode="bilinear")
    lost = lost + _hidden(outlines, ground, sun[:, None, :3], SUN) * shares[..., -1:, None]
    return (1 - lost).clamp_min(1 / 16).log()


def cells(*, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return ways (right, away, up) to the cells, (32, 3), and what ground gets of them."""
    polar = (torch.arange(ROWS).to(like)[:, None] + 0.5) * math.pi / 2 / ROWS
    around = ((torch.arange(COLUMNS).to(like) + 0.5) / COLUMNS - 0.5) * 2 * math.pi
    ways = polar.sin() * around.sin(), polar.sin() * around.cos(), polar.cos() + 0 * around
    facing = (2 * polar).sin() / 2 * (math.pi / 2 / ROWS) * (2 * math.pi / COLUMNS)
    return torch.stack(ways, -1).flatten(0, 1), (facing + 0 * around).flatten()


def lit(maps: Tensor, gains: Tensor) -> Tensor:
    """Return places with things in their light, (B, 3, S, S) in [0, 1], not hidden by grass.

    Args:
        maps: What `light_maps` of the network of light returned.
        gains: What the network returned.
    """
    place, own, alpha = maps[:, :3] ** 2.2, maps[:, 3:6] ** 2.2, maps[:, 6:7]
    light = own * gains[:, 3:6].exp() + (1 - alpha) * place * gains[:, :3].exp()
    return light.clamp(0, 1) ** (1 / 2.2)


def _hidden(outlines: Tensor, ground: Tensor, ways: Tensor, radius: float) -> Tensor:
    """Return how much of cones fills an outline that is turned to them, (B, M, H, W).

    Args:
        outlines: Blurred by `BLURS`, (B, 1, L, S, S).
        ground: Where cones begin, (B, 2, H, W).
        ways: Along their axes, (B or 1, M, 3).
        radius: Half of their angle.
    """
    x, y = ground[:, :1], ground[:, 1:]
    right, away, up = ways[..., None, None].unbind(2)
    flat = torch.hypot(right, away).clamp_min(0.01)
    far = -(x * right + y * away) / flat**2
    across = torch.where(away < 0, -1, 1) * (x * away - y * right) / flat
    _, top, _, foot = _boxes(outlines[:, :, 0])
    tall = 2 * (foot - top)[:, None, None, None]
    wide = (far * radius * tall * outlines.shape[-1]).clamp(1, 2 * BLURS[-1]).log2()
    at = [across * tall, 2 * FOOT - 1 - far * up * tall, (2 * wide + 1) / len(BLURS) - 1]
    grid = torch.stack(at, -1).clamp(-3, 3).flatten(1, 2)[:, None]
    met = F.grid_sample(outlines, grid, align_corners=False)
    return met.view(far.shape) * (far > 0)


def _boxes(alpha: Tensor) -> tuple[Tensor, ...]:
    """Return the left, upper, right and lower sides of things, four (B,), in shares."""
    axes = [(alpha[:, 0] > 0.5).any(dim).float() for dim in (1, 2)]
    left, top = (axis.argmax(1) / alpha.shape[-1] for axis in axes)
    right, foot = (1 - axis.flip(1).argmax(1) / alpha.shape[-1] for axis in axes)
    return left, top, right, foot
