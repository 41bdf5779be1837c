"""The network of light: what a place's light does to a thing, and a thing to the place's light.

Among what it reads is the light that an upright outline leaves to the ground, by cones to the cells
of a panorama and to a sun.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.geometry.ground import FOCAL
from swiftpie.geometry.layout import warp
from swiftpie.geometry.relief import height, normals
from swiftpie.models.network import Network, keep_settings

NUM_MAPS, NUM_NUMBERS = 17, 106
FILL, FOOT = 0.42, 0.75  # of a patch: the longer side of a thing, and the row on which it stands
ROWS, COLUMNS = 4, 8  # cells of the upper half of a panorama, from the zenith down
BLURS = 0, 1, 2, 4, 8  # pixels to each side by which an outline is blurred
SUN = 0.005  # radians from the middle of a sun to its rim
NEAREST = 1e-3  # to the horizon, in heights of a picture, that ground is seen


class LightNetwork(Network):
    """Draws gains of a place and of a thing in one step, by a U-Net that numbers modulate."""

    @keep_settings
    def __init__(self, widths: Sequence[int] = (24, 48, 64, 96), numbers_width: int = 128) -> None:
        """Make an untrained network, with so many channels at each level."""
        super().__init__()
        self.numbers = nn.Sequential(
            nn.Linear(NUM_NUMBERS, numbers_width),
            nn.SiLU(),
            nn.Linear(numbers_width, numbers_width),
            nn.SiLU(),
        )
        self.enter = nn.Conv2d(NUM_MAPS, widths[0], 3, padding=1)
        finer, coarser = (widths[0], *widths[:-1]), (*widths[1:], widths[-1])
        self.down = nn.ModuleList(
            ModulatedBlock(*pair, numbers_width) for pair in zip(finer, widths, strict=True)
        )
        self.middle = ModulatedBlock(widths[-1], widths[-1], numbers_width)
        self.up = nn.ModuleList(
            ModulatedBlock(wide + below, wide, numbers_width)
            for wide, below in zip(widths, coarser, strict=True)
        )
        self.leave = nn.Conv2d(widths[0], 7, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, maps: Tensor, numbers: Tensor) -> Tensor:
        """Return logarithms of the gains of place and thing, and a logit of what hides the thing.

        Args:
            maps: What `light_maps` returns, (B, 17, H, W).
            numbers: What `light_numbers` returns, (B, 106), or zeros without a probe.

        Returns:
            (B, 7, H, W): three, three and one.
        """
        numbers, hidden = self.numbers(numbers), self.enter(maps)
        levels = []
        for level, block in enumerate(self.down):
            hidden = block(F.avg_pool2d(hidden, 2) if level else hidden, numbers)
            levels.append(hidden)
        hidden = self.middle(hidden, numbers)
        for block, level in zip(self.up[::-1], levels[::-1], strict=True):
            hidden = F.interpolate(hidden, level.shape[-2:]) if hidden is not level else hidden
            hidden = block(torch.cat([hidden, level], 1), numbers)
        left: Tensor = self.leave(hidden)
        return left


class ModulatedBlock(nn.Module):
    """Two convolutions beside a path of one, scaled and shifted by numbers of the picture."""

    def __init__(self, entering: int, leaving: int, numbers_width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(entering, leaving, 3, padding=1)
        self.norm = TracedNorm(8, leaving)
        self.modulation = nn.Linear(numbers_width, 2 * leaving)
        self.second = nn.Conv2d(leaving, leaving, 3, padding=1)
        self.path = nn.Conv2d(entering, leaving, 1)
        with torch.no_grad():
            self.second.weight.mul_(0.1)  # branches that start small learn; zero ones stall
            self.modulation.weight.mul_(0.1)

    def forward(self, maps: Tensor, numbers: Tensor) -> Tensor:
        scale, shift = self.modulation(numbers)[..., None, None].chunk(2, dim=1)
        hidden = F.silu(self.norm(self.first(maps)) * (1 + scale) + shift)
        return self.path(maps) + self.second(hidden)


class TracedNorm(nn.GroupNorm):
    """A group norm that is traced in its parts: fused with modulation, it ends OpenVINO 2026.4."""

    def forward(self, maps: Tensor) -> Tensor:
        if not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return super().forward(maps)
        groups = maps.unflatten(1, (self.num_groups, -1))
        apart = groups - groups.mean((2, 3, 4), keepdim=True)
        deviation = (apart.square().mean((2, 3, 4), keepdim=True) + self.eps).sqrt()
        scale, shift = (part[:, None, None] for part in (self.weight, self.bias))
        return (apart / deviation).flatten(1, 2) * scale + shift


def light_maps(
    place: Tensor, own: Tensor, alpha: Tensor, ground: Tensor, is_ground: Tensor, left: Tensor
) -> Tensor:
    """Return what the network reads of each pixel, (B, 17, S, S).

    Args:
        place: The place without the thing in linear light, (B, 3, S, S).
        own: The thing's own pixels, where they will stand, in linear light.
        alpha: Its opacity, (B, 1, S, S).
        ground: Places on it, right and away from the foot, in heights of the thing, (B, 2, S, S).
        is_ground: Where the ground can be seen, (B, 1, S, S).
        left: Logarithm of the light that the outline would leave to it, (B, 3, S, S).
    """
    relief = height(alpha)
    shape = [F.interpolate(part, alpha.shape[-2:]) * alpha for part in (relief, normals(relief))]
    seen = [pixels.clamp(0, 1) ** (1 / 2.2) for pixels in (place, own)]
    where = (ground / 2).clamp(-3, 3) * is_ground
    return torch.cat([seen[0], seen[1] * alpha, alpha, *shape, where, is_ground, left], 1)


def light_numbers(panorama: Tensor, sun: Tensor) -> Tensor:
    """Return what the network reads of a probe, (B, 106); zeros stand for none.

    Args:
        panorama: Light from around the foot, as bright as the place's pixels, (B, 3, 8, 16): rows
            from the zenith down, its middle ahead.
        sun: Direction to a sun (right, away, up) and its irradiance, (B, 6), zeros without one.
    """
    upper = F.avg_pool2d(panorama[:, :, :4], (1, 2)).flatten(1)
    light = torch.cat([upper, panorama[:, :, 4:].mean((2, 3)), sun[:, 3:]], 1)
    return torch.cat([(light + 0.02).log() / 2, sun[:, :3], torch.ones_like(sun[:, :1])], 1)


class Lens(NamedTuple):
    """A level camera over level ground, in heights of its picture."""

    horizon: float  # from the top
    focal: float = FOCAL  # its focal length


def patches(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Cut the squares around things in which all are of one size and stand on one row.

    Args:
        pixels: (B, C, S, S); 0 beyond.
        alpha: Opacity of the things, (B, 1, S, S).
    """
    left, top, right, foot = boxes(alpha)
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
    side, (_, top, _, foot) = alpha.shape[-1], boxes(alpha)
    row, column = round(FOOT * side), side // 2
    beside = ground[..., row - 1 : row + 1, column - 1 : column + 1].mean(2, keepdim=True)
    tall = (beside[:, :1, :, 1:] - beside[:, :1, :, :1]) * (side * (foot - top))[
        :, None, None, None
    ]
    return (ground - beside.mean(3, keepdim=True)) / tall.clamp_min(1e-3)


def ground_around(
    rows: Tensor, columns: Tensor, *, foot: Tensor | float, tall: Tensor | float, lens: Lens
) -> tuple[Tensor, Tensor]:
    """Return places of level ground in a patch, as `from_foot` does, and where it can be seen.

    Args:
        rows: From the top of the picture, (B, 1, S, 1), all lengths in heights of it.
        columns: Right of the thing's middle, (B, 1, 1, S).
        foot: Row on which the thing stands.
        tall: Its height.
        lens: What took the picture.
    """
    below = rows - lens.horizon
    # Half as far below the horizon as the foot is twice as far away.
    far = (foot - lens.horizon) / below.clamp_min(NEAREST)
    away = (lens.focal * (far - 1) / tall).expand(-1, -1, -1, columns.shape[-1])
    is_ground = (below > NEAREST).to(away).expand_as(away)
    return torch.cat([columns * far / tall, away], 1), is_ground


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
    outlines = torch.cat([_blurred(alpha, px) for px in BLURS], 1)
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


def _blurred(alpha: Tensor, px: int) -> Tensor:
    """Return the mean of so many pixels to each side, 0 beyond; rows and columns by themselves."""
    rows = F.avg_pool2d(alpha, (2 * px + 1, 1), 1, (px, 0))
    return F.avg_pool2d(rows, (1, 2 * px + 1), 1, (0, px))


def _hidden(outlines: Tensor, ground: Tensor, ways: Tensor, radius: float) -> Tensor:
    """Return how much of cones fills an outline that is turned to them, (B, M, H, W).

    Args:
        outlines: Blurred by `BLURS`, (B, L, S, S).
        ground: Where cones begin, (B, 2, H, W).
        ways: Along their axes, (B or 1, M, 3).
        radius: Half of their angle.
    """
    x, y = ground[:, :1], ground[:, 1:]
    right, away, up = ways[..., None, None].unbind(2)
    flat = torch.hypot(right, away).clamp_min(0.01)
    far = -(x * right + y * away) / flat**2
    across = torch.where(away < 0, -1, 1) * (x * away - y * right) / flat
    _, top, _, foot = boxes(outlines[:, :1])
    tall = 2 * (foot - top)[:, None, None, None]
    wide = (far * radius * tall * outlines.shape[-1]).clamp(1, 2 * BLURS[-1]).log2()
    grid = torch.stack([across * tall, 2 * FOOT - 1 - far * up * tall], -1).clamp(-3, 3)
    met = F.grid_sample(outlines, grid.flatten(1, 2), align_corners=False)
    met = met.view(len(met), len(BLURS), *far.shape[1:])
    levels = torch.arange(len(BLURS)).to(wide).view(1, -1, 1, 1, 1)
    shares = (1 - (levels - wide[:, None]).abs()).clamp_min(0)
    return (met * shares).sum(1) * (far > 0)


def boxes(alpha: Tensor) -> tuple[Tensor, ...]:
    """Return the left, upper, right and lower sides of things, four (B,), in shares."""
    axes = [(alpha[:, 0] > 0.5).any(dim).float() for dim in (1, 2)]
    left, top = (axis.argmax(1) / alpha.shape[-1] for axis in axes)
    right, foot = (1 - axis.flip(1).argmax(1) / alpha.shape[-1] for axis in axes)
    return left, top, right, foot
