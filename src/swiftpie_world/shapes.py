"""Shapes and textures that places are drawn with, each in few passes over the pixels."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie_world.fields import SIDE, Fields


def blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return `first` where `share` is 0 and `second` where it is 1; all broadcast.

    With more than one factor to broadcast, `torch.lerp` is three times slower.
    """
    return ((second - first) * share).add_(first)


def ramp(low: float | Tensor, high: float | Tensor, value: Tensor) -> Tensor:
    """Rise straight from 0 at `low` to 1 at `high`; a third of the work of a smooth step."""
    scale = 1 / (high - low)
    return ((value - low) * scale).clamp_(0, 1)


def within(value: Tensor, half: float | Tensor, edge: float | Tensor) -> Tensor:
    """Return 1 where `value` is below `half` and 0 above, with an edge of +-`edge`."""
    return ((half - value) * (0.5 / edge) + 0.5).clamp_(0, 1)


def below(f: Fields, line: float | Tensor, soft: float | None = None) -> Tensor:
    """Return 1 below the height `line`, 0 above, with a soft edge."""
    slope = f.size_px / 2.4 if soft is None else 0.5 / soft
    return (f.y * slope - (line * slope - 0.5)).clamp_(0, 1)  # scaled before it is a picture


def depth(f: Fields, line: float | Tensor, reach: float | Tensor) -> Tensor:
    """Return 0 at the height `line`, rising to 1 at `reach` below it."""
    return (f.y / reach - line / reach).clamp_(0, 1)


def disc(f: Fields, x: float | Tensor, y: float | Tensor, radius: float | Tensor) -> Tensor:
    """Return a disc (B, 1, R, R) with a soft edge."""
    slope = f.size_px / (3 * radius)
    across = (f.x - x).square() * slope - (radius * radius * slope + 0.5)
    return (-across - (f.y - y).square() * slope).clamp_(0, 1)


def box(
    f: Fields,
    left: float | Tensor,
    right: float | Tensor,
    top: float | Tensor,
    bottom: float | Tensor,
) -> Tensor:
    """Return an upright rectangle (B, 1, R, R) with soft edges."""
    across, down = _span(f.x, left, right), _span(f.y, top, bottom)
    return across * down


def _span(value: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    slope = max(value.shape) / 2  # the edge lies between a pixel outside and one inside
    inside = torch.minimum(value - low, high - value)
    return (inside * slope + 0.5).clamp_(0, 1)


def gaussian(f: Fields, x: float | Tensor, y: float | Tensor, wide: float, tall: float) -> Tensor:
    """Return a soft spot (B, 1, R, R), 1 in its centre."""
    across = torch.exp(-((f.x - x) / wide).square())
    return across * torch.exp(-((f.y - y) / tall).square())


def pool(field: Tensor, tall: int, wide: int) -> Tensor:
    """Return box sums of `field` (B, 1, h, w), scaled to unit deviation where it is noise."""
    if tall == wide == 1:
        return field
    padded = F.pad(field, (wide // 2, wide // 2, tall // 2, tall // 2), mode="reflect")
    return F.avg_pool2d(padded, (tall, wide), 1) * (tall * wide) ** 0.5


def enlarge(f: Fields, field: Tensor) -> Tensor:
    """Return `field` (B, C, 32, 32) at the size of the picture.

    Two products with a matrix of weights take a third of the time of `F.interpolate`.
    """
    weights = _weights(f.size_px, f.x.device)
    return weights @ field @ weights.T


@cache
def _weights(size_px: int, device: torch.device) -> Tensor:
    """Return what each cell contributes to each pixel of a line, (R, 32)."""
    cells = torch.eye(SIDE, device=device).unsqueeze(0)
    return F.interpolate(cells, size=size_px, mode="linear")[0].T.contiguous()


def slopes(field: Tensor, side: Tensor) -> Tensor:
    """Return how light from above and from `side` (-1 = left) falls on the hills of `field`."""
    padded = F.pad(field, (0, 1, 0, 1), mode="replicate")
    return padded[:, :, 1:, :-1] - field - side * (padded[:, :, :-1, 1:] - field)


def texture(f: Fields, channel: int, tall: int = 1, wide: int = 1) -> Tensor:
    """Return noise of about unit deviation (B, 1, R, R), drawn out to `tall` x `wide` cells."""
    return enlarge(f, pool(f.noise[:, channel : channel + 1], tall, wide))


def scatter(
    f: Fields, count: int, *, size: int, place: int, above: float, radius: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Scatter soft discs, at most one in each cell of a `count` x `count` lattice.

    Args:
        f: Noise and pixels.
        count: Cells a side; divides 32.
        size: Field whose cells decide whether there is a disc, and how large it is.
        place: Field that places the disc in its cell from the left; the next one does from above.
        above: A cell holds a disc when its number is above this.
        radius: Largest radius in cells.

    Returns:
        Coverage, a number in (0, 1) for each disc, and the squared distance from its centre in
        shares of the largest radius; all (B, 1, R, R).
    """
    side = SIDE // count
    channels = [size, place, (place + 1) % 3]
    value, right, down = (F.avg_pool2d(f.noise[:, channels], side) * side).split(1, dim=1)
    reach = (0.6 + 0.4 * torch.tanh(value - above)) * (value > above)
    lattice = torch.cat([reach.square(), torch.tanh(right), torch.tanh(down)], dim=1)
    reach, right, down = F.interpolate(lattice, size=(f.size_px, f.size_px)).split(1, dim=1)
    # A disc stays in its cell, and is measured in radii.
    shift = (0.5 - radius) / radius
    across = (torch.frac(f.x * count) - 0.5) / radius - shift * right
    square = across.square_() + ((torch.frac(f.y * count) - 0.5) / radius - shift * down).square_()
    coverage = ((reach - square) * (f.size_px * radius / (2.4 * count))).clamp_(0, 1)
    return coverage, 0.5 + 0.5 * right, square
