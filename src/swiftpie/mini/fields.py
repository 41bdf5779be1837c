"""Pixel arithmetic of finished pictures: fields of noise, and local affine maps of colour."""

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.noise import grain
from swiftpie.pipelines.filling import brightness

CELLS = 32  # a side, of the four noise fields
Colour = tuple[int, int, int]
RADIUS = 6  # pixels around one, of about 256 a side, that share an affine map
LAMP = 0.08  # how much brighter or warmer than expected, in [-1, 1], begins to be a lamp
HALO_PX = 4  # around a lamp, of about 256 px a side
FAINT = (0.04, 0.08)  # change over brightness that is an error, and that is meant
DARK = 0.05  # brightness of 1 that is added, since a share of nothing says nothing
FAINT_PX = 2  # around a pixel, of about 256 px a side, over which both are averaged
ROUNDED = 1e-6  # added to squares of colours: those that differ by rounding tell nothing
RIDGE = 4e-3  # pulls local maps to the one of the whole picture, in units of colour squared


def smoothstep(low: float | Tensor, high: float | Tensor, value: Tensor) -> Tensor:
    """Rise smoothly from 0 at `low` to 1 at `high`; falls when `low` is above `high`."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def centres(count: int, like: Tensor) -> Tensor:
    """Return the places of pixel centres in [0, 1]."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def over(picture: Tensor, colour: Tensor, coverage: Tensor) -> Tensor:
    """Paint `colour` on `picture` (B, 3, H, W) where `coverage` in [0, 1] says so."""
    return torch.lerp(picture, colour, coverage)


def paste(picture: Tensor, sprite: Tensor) -> Tensor:
    """Put a premultiplied RGBA `sprite` (B, 4, H, W) on `picture` (B, 3 or 4, H, W)."""
    return picture * (1 - sprite[:, 3:]) + sprite[:, : picture.shape[1]]


def coarse_fields(noise: Tensor) -> Tensor:
    """Return the fields (B, 4, 32, 32) that pictures are drawn from, whatever their size."""
    field = grain(noise)
    factor = field.shape[-1] // CELLS
    # A mean of n normals has deviation 1 / sqrt(n).
    return field if factor == 1 else F.avg_pool2d(field, factor) * factor


def local_affine_maps(before: Tensor, after: Tensor) -> Tensor:
    """Return the affine map of colour around each pixel that best makes `after` of `before`.

    Most of what a network changes in a picture is colour and light. Such maps say it, and carry
    over to a large picture, as in a guided filter (He et al., 2013) and in HDRNet
    (arXiv:1707.02880).

    Args:
        before: One picture, (1, 3, h, w).
        after: The changed picture, (1, 3, h, w).

    Returns:
        (1, 12, h, w): nine factors, rows by columns, and three offsets. Where `before` is flat,
        the map is the one of the whole picture with another offset.
    """
    whole = _whole_map(before, after)
    rest = (after - apply_maps(_everywhere(whole), before))[0]
    colours = before[0]
    mean, rest_mean = _smooth(colours), _smooth(rest)
    spread = _smooth(_products(colours, colours)) - _products(mean, mean)
    shared = _smooth(_products(rest, colours)) - _products(rest_mean, mean)
    square = (3, 3)
    factors = _solved(spread.unflatten(0, square), shared.unflatten(0, square), ridge=RIDGE)
    offsets = rest_mean - (factors * mean).sum(dim=1)
    factors = _smooth(factors.flatten(0, 1)) + whole[:, :3].reshape(9, 1, 1)
    offsets = _smooth(offsets) + whole[:, 3:, None]
    return torch.cat([factors, offsets])[None]


def without_lamps(before: Tensor, after: Tensor) -> Tensor:
    """Return `after` with what is lit up beyond the change of the whole picture taken back.

    A network that lights windows at night takes bright fur, faces and flowers for windows.

    Args:
        before: One picture, (1, 3, h, w) in [-1, 1].
        after: The same by night, (1, 3, h, w).
    """
    expected = apply_maps(_everywhere(_whole_map(before, after)), before)
    excess = after - expected
    warmer = (excess[:, :1] - excess[:, 2:]) / 2
    lit = ((torch.maximum(brightness(excess), warmer) - LAMP) / (2 * LAMP)).clamp(0, 1)
    lit = F.max_pool2d(lit, 2 * HALO_PX + 1, stride=1, padding=HALO_PX)
    lit = F.avg_pool2d(F.pad(lit, (HALO_PX,) * 4, mode="replicate"), 2 * HALO_PX + 1, stride=1)
    return torch.lerp(after, expected, lit)


def meant_change(before: Tensor, after: Tensor) -> Tensor:
    """Return where `after` is no slip of `before`, both (1, 3, h, w) in [-1, 1]: (1, 1, h, w).

    Seasons change plants and ground. That the air and walls come out a little different is an
    error of the network that drew both, and in other light than by day it is larger. The eye sees
    shares: of what is dark, a faint change is meant.

    Returns:
        0 where hardly anything differs, 1 where much does.
    """
    side = 2 * FAINT_PX + 1
    change = (after - before).abs().amax(dim=1, keepdim=True)
    light = torch.maximum(before, after).amax(dim=1, keepdim=True) / 2 + 0.5
    change, light = (
        F.avg_pool2d(plane, side, 1, FAINT_PX, count_include_pad=False) for plane in (change, light)
    )
    return smoothstep(*FAINT, change / (light + DARK))


def changes_between(before: Tensor, after: Tensor) -> Tensor:
    """Return how `after` follows from `before`, both (1, 3, h, w), smooth enough to be enlarged.

    Returns:
        (1, 12, h, w): maps for `apply_maps`. Their factors are local affine maps of colour, and
        their offsets hold also what no change of colour explains.
    """
    maps = local_affine_maps(before, after)
    maps[:, 9:] += after - apply_maps(maps, before)
    return maps


def apply_maps(maps: Tensor, pixels: Tensor) -> Tensor:
    """Return pixels (1, 3, h, w) with their colours changed by maps (1, 12, h, w)."""
    factors, made = maps[:, :9].unflatten(1, (3, 3)), maps[:, 9:]
    for colour, plane in enumerate(pixels.split(1, dim=1)):
        made = torch.addcmul(made, factors[:, :, colour], plane)
    return made


def _whole_map(before: Tensor, after: Tensor) -> Tensor:
    """Return the affine map of colour (3, 4) that best makes `after` of `before`."""
    # In double precision, because the last bits of a sum depend on where its numbers lie in memory.
    colours, wanted = before[0].flatten(1).double(), after[0].flatten(1).double()
    mean, wanted_mean = (plane.mean(dim=1, keepdim=True) for plane in (colours, wanted))
    apart = colours - mean
    shares = apart.T / apart.shape[1]
    factors = _solved(apart @ shares, (wanted - wanted_mean) @ shares, ridge=ROUNDED)
    return torch.cat([factors, wanted_mean - factors @ mean], dim=1).to(before)


def _solved(spread: Tensor, shared: Tensor, *, ridge: float) -> Tensor:
    """Return the maps A (out, in, h, w) with A @ (spread + ridge) = shared, at each pixel.

    By Cholesky's decomposition of all pixels together, which takes a tenth of a loop over them.

    Args:
        spread: Symmetric matrices, (in, in, h, w), or one (in, in).
        shared: (out, in, h, w), or one (out, in).
        ridge: Added to the diagonal. Of many solutions, as for greys, the least is then found.
    """
    first, second, third = (spread[place, place] + ridge for place in range(3))
    low, lower = spread[1, 0] / first, spread[2, 0] / first
    second = second - low * spread[1, 0]
    rest = spread[2, 1] - lower * spread[1, 0]
    last = rest / second
    third = third - lower * spread[2, 0] - last * rest
    red, green, blue = shared.unbind(1)
    green = green - low * red
    blue = (blue - lower * red - last * green) / third
    green = green / second - last * blue
    red = red / first - low * green - lower * blue
    return torch.stack([red, green, blue], dim=1)


def within(maps: Tensor, share: Tensor) -> Tensor:
    """Return maps (1, 12, h, w) of which only a `share` (1, 1, h, w) in [0, 1] is applied."""
    nothing = F.pad(torch.eye(3).flatten(), (0, 3)).view(1, 12, 1, 1).to(maps)
    return torch.lerp(nothing, maps, share)


def _everywhere(whole: Tensor) -> Tensor:
    """Return a map (3, 4) as maps (1, 12, 1, 1)."""
    return torch.cat([whole[:, :3].flatten(), whole[:, 3]]).view(1, 12, 1, 1)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Return all products of channels, (3 * 3, h, w)."""
    return (first[:, None] * second[None]).flatten(0, 1)


def _smooth(values: Tensor) -> Tensor:
    """Return the mean around each pixel of (C, h, w)."""
    sums = F.pad(values[None], (RADIUS,) * 4, mode="replicate")[0]
    return _window_sums(_window_sums(sums, -1), -2) / (2 * RADIUS + 1) ** 2


def _window_sums(values: Tensor, axis: int) -> Tensor:
    """Return the sums of `2 * RADIUS + 1` neighbours along an axis, which gets so much shorter."""
    # Windows that double are added up, an eighth of the work of pooling.
    side, done, windows = 2 * RADIUS + 1, 0, values
    count = values.shape[axis] - side + 1
    found = torch.zeros_like(values.narrow(axis, 0, count))
    for bit in range(side.bit_length()):
        if bit:
            rest = windows.shape[axis] - 2 ** (bit - 1)
            windows = windows.narrow(axis, 0, rest) + windows.narrow(axis, -rest, rest)
        if side >> bit & 1:
            found += windows.narrow(axis, done, count)
            done += 2**bit
    return found
