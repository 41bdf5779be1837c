"""Completes a thumbnail by patches of what it shows elsewhere.

From coarse to fine, every patch with a gap gets the known patch that is most like it, and what is
missing becomes the mean of the patches that cover it (https://doi.org/10.1109/TPAMI.2007.60). Fine
thumbnails take the matches of coarser ones, and look nearby and where neighbours found theirs
(https://doi.org/10.1145/1531326.1531330). Patches tell what is finer than the tone, and lines that
go straight on tell that.

Pictures are (1, C, H, W), masks (1, 1, H, W) of 0 and 1, and patches rows of numbers.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import SURE, extrapolate, resized, shrunk_to
from swiftpie.masks import grow

PATCH_PX = 7
# Rounds by the longer side of a thumbnail, and the longest in which all patches are compared.
ROUNDS, ALL_PX = {45: 3, 64: 2, 90: 1, 128: 2}, 64
# What counts besides colours: how far away a patch is along and down, where perspective changes
# things, and how strong its texture is. How much less it says for each pixel that it is further
# from what is known. Chosen by eye on 16 removals.
ALONG, DOWN, STRENGTH, FADE = 2.5, 8.6, 2.0, 1.3
# Lines that go straight on tell tones, which change evenly; patches tell what is finer than such a
# share of the longer side.
EVEN = 1 / 5
# Directions of lines that are tried, and what a chord costs: where one end leaves the picture, by
# its length over the longer side, and as much in addition if it is upright.
NUM_ANGLES, OPEN, LEVEL, STEEP, NOWHERE = 24, 0.2, 0.1, 0.2, 1e6
# Rows and columns by which a source is off, and at which neighbours are asked for theirs.
OFF = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
ASKED = [(0, 1), (0, -1), (1, 0), (-1, 0), (0, 3), (0, -3), (3, 0), (-3, 0)]


class _Grid(NamedTuple):
    """The patches of a thumbnail by their corners, row by row."""

    size: Tensor  # (2, 1) rows and columns of patches
    is_source: Tensor  # (all,) which have no gap
    corners: Tensor  # (2, N) row and column of each of the others, the targets
    weights: Tensor  # (N,) how much a target counts
    places: Tensor  # (all, 2) whose squared distances are what it costs to come from far

    def numbers(self, corners: Tensor) -> Tensor:
        """Return the numbers (N,) of the patches at, or nearest to, corners (2, N)."""
        down, right = torch.minimum(corners.clamp_min(0), self.size - 1)
        return down * self.size[1] + right


def complete(
    pixels: Tensor, known: Tensor, *, strength: Tensor, on_round: Callable[[], object]
) -> tuple[Tensor, Tensor] | None:
    """Return `pixels` (1, 3, h, w) completed where they are not `known`; None without a patch.

    The second are the rows and columns (N, 2) that its patches come from, away from where they are.
    `strength` (1, 1, h, w) is that of finer texture. `on_round` may raise to stop.
    """
    found: tuple[Tensor, Tensor] | None = None
    coarser, base = None, None
    for side, rounds in ROUNDS.items():
        size = shrunk_to(side, (pixels.shape[2], pixels.shape[3]))
        weight = resized(known, size)
        there, usual = weight > 1 - SURE, STRENGTH * resized(strength, size)
        if (grid := _grid_of(there.to(weight))) is None:
            continue
        given = resized(pixels * known, size) / weight.clamp_min(SURE)
        base = straight_on(given, there.to(weight)) if base is None else base
        even = torch.where(there, given, resized(base, size, mode="bilinear"))
        guess = even if found is None else resized(found[0], size, mode="bilinear")
        filled = torch.where(there, given, guess)
        reach = round(EVEN * side / 2)
        even = F.avg_pool2d(even, 2 * reach + 1, 1, reach, count_include_pad=False)
        detail = F.unfold(given - even, PATCH_PX)[0].T
        shifts = None
        if side > ALL_PX and found is not None and coarser is not None:
            shifts = _enlarged(found[1].T, coarser, grid)
        for _ in range(rounds):
            rows = F.unfold(torch.cat([filled, usual], dim=1), PATCH_PX)[0].T
            patches = torch.cat([rows, grid.places], dim=1)  # colours first
            if shifts is None or side <= ALL_PX:
                shifts = _nearest(patches, grid)
            else:
                shifts = _better(patches, grid, shifts)
            filled = torch.where(there, given, even + _means(detail, grid, shifts, size))
            on_round()
        assert shifts is not None, "there are rounds"
        found, coarser = (filled, shifts.T), grid
    return found


def straight_on(pixels: Tensor, known: Tensor) -> Tensor:
    """Return `pixels` (1, 3, h, w) where they are `known`, and lines that go straight on elsewhere.

    A gap gets the colours of both ends of a chord through it, of that whose ends are most alike.
    """
    reach, rest = max(known.shape[2:]), 1 - known
    result = extrapolate(pixels, known)
    wide = F.pad(_blurred(result), (reach,) * 4, mode="replicate")[0].flatten(1)
    ends = (F.pad(known, (reach,) * 4) > 0).flatten()
    (down, right), stride = rest[0, 0].nonzero().T, known.shape[3] + 2 * reach
    angles = torch.arange(NUM_ANGLES) * math.pi / NUM_ANGLES
    along = torch.stack([angles.sin(), angles.cos()])[..., None] * torch.arange(1, reach + 1)
    steps = along.round().long()[0] * stride + along.round().long()[1]
    start, colours, away = (down + reach) * stride + right + reach, [], []
    for sign in (1, -1):
        at = start[:, None] + sign * steps[:, None]  # (angles, gaps, steps)
        is_end = ends[at]
        first = is_end.int().argmax(dim=2, keepdim=True)
        colours.append(wide[:, at.gather(2, first)[..., 0]])
        away.append(torch.where(is_end.any(dim=2), first[..., 0] + 1.0, NOWHERE))
    length = (away[0] + away[1]).clamp_max(2 * reach)
    apart = (colours[0] - colours[1]).abs().mean(dim=0).where(away[0] + away[1] < NOWHERE, OPEN)
    costs = known.new_zeros(1, NUM_ANGLES, *known.shape[2:])
    costs[0][:, down, right] = apart + (LEVEL + STEEP * angles.sin())[:, None] * length / reach
    best = (_blurred(costs) / _blurred(rest))[0][:, down, right].argmin(dim=0)[None]
    share = (away[1] / (away[0] + away[1])).gather(0, best)
    one, other = (each.gather(1, best.expand(len(each), 1, -1))[:, 0] for each in colours)
    result[0][:, down, right] = torch.lerp(other, one, share)
    return result


def _blurred(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, 3, 1, 1, count_include_pad=False)


def _grid_of(known: Tensor) -> _Grid | None:
    """Return the patches of a thumbnail; None if none is known, or it is smaller than one."""
    if min(known.shape[2:]) < PATCH_PX:
        return None
    is_source = F.avg_pool2d(known, PATCH_PX, 1)[0, 0] > 1 - SURE
    if not bool(is_source.any()):
        return None
    depth, rest = torch.zeros_like(known), 1 - known
    while bool(rest.any()):
        depth, rest = depth + rest, -grow(-rest, 1)
    rows, columns = is_source.shape
    corners = (~is_source).nonzero().T
    down, right = corners + PATCH_PX // 2
    far = known.new_tensor([DOWN, ALONG]) / max(known.shape[2:])
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)) * far
    weights = (FADE ** -depth[0, 0, down, right]).clamp_min(SURE)
    size = torch.tensor([[rows], [columns]])
    return _Grid(size, is_source.flatten(), corners, weights, places)


def _nearest(patches: Tensor, grid: _Grid) -> Tensor:
    """Return how far the most similar source of each target is, (2, N)."""
    numbers = grid.is_source.nonzero()[:, 0]
    sources, targets = patches[numbers], patches[grid.numbers(grid.corners)]
    scores = torch.addmm(sources.square().sum(dim=1), targets, sources.T, alpha=-2)
    chosen = numbers[scores.argmin(dim=1)]
    return torch.stack([chosen // grid.size[1], chosen % grid.size[1]]) - grid.corners


def _better(patches: Tensor, grid: _Grid, shifts: Tensor) -> Tensor:
    """Return shifts (2, N) to sources that are more similar, nearby or as neighbours have them."""
    known = torch.zeros(2, len(patches), dtype=torch.long)
    known[:, grid.numbers(grid.corners)] = shifts
    tried = [shifts + off for off in torch.tensor(OFF)[..., None]]
    for away in torch.tensor(ASKED)[..., None]:
        tried += [known[:, grid.numbers(grid.corners + away)]]
    numbers = torch.stack([grid.numbers(grid.corners + each) for each in tried])
    wanted = patches[grid.numbers(grid.corners)]
    costs = torch.stack([(patches[each] - wanted).square().sum(dim=1) for each in numbers])
    best = torch.where(grid.is_source[numbers], costs, torch.inf).min(dim=0)
    chosen = numbers.gather(0, best.indices[None])[0]
    better = torch.stack([chosen // grid.size[1], chosen % grid.size[1]]) - grid.corners
    return torch.where(best.values < torch.inf, better, shifts)


def _means(patches: Tensor, grid: _Grid, shifts: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the means (1, 3, h, w) of the patches that cover each pixel."""
    count, targets = 3 * PATCH_PX**2, grid.numbers(grid.corners)
    cover = patches.new_zeros(count + PATCH_PX**2, len(patches))
    cover[:count, targets] = patches[grid.numbers(grid.corners + shifts)].T * grid.weights
    cover[count:, targets] = grid.weights
    sums = F.fold(cover[None], size, PATCH_PX)
    return sums[:, :3] / sums[:, 3:].clamp_min(SURE**2)


def _enlarged(shifts: Tensor, coarser: _Grid, grid: _Grid) -> Tensor:
    """Return the shifts (2, N) of a grid as a coarser one has them; they must not lead to gaps."""
    rows, columns = coarser.size.flatten().tolist()
    whole = torch.zeros(1, 2, rows, columns)
    whole[0, :, coarser.corners[0], coarser.corners[1]] = shifts.float()
    down, right = grid.corners
    enlarged = F.interpolate(whole, grid.size.flatten().tolist())[0, :, down, right]
    scale = (grid.size[0, 0] + PATCH_PX - 1) / (rows + PATCH_PX - 1)
    return (enlarged * scale).round().long()
