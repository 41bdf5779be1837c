"""Completes a thumbnail by patches of what it shows elsewhere.

From coarse to fine, every patch with a gap gets the known patch that is most like it, and what is
missing becomes the mean of the patches that cover it (https://doi.org/10.1109/TPAMI.2007.60). Fine
thumbnails take the matches of coarser ones, and look nearby and where neighbours found theirs
(https://doi.org/10.1145/1531326.1531330).

Pictures are (1, C, H, W), masks (1, 1, H, W) of 0 and 1, and patches rows of numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import SURE, resized, shrunk_to
from swiftpie.masks import grow

PATCH_PX = 7
# Rounds by the longer side of a thumbnail, and the longest in which all patches are compared.
ROUNDS, ALL_PX = {24: 6, 32: 6, 45: 4, 64: 4, 90: 2, 128: 2}, 64
# What counts besides colours: how far away a patch is along and down, where perspective changes
# things, and how strong its texture is. How much less it says for each pixel that it is further
# from what is known. Chosen by eye on 16 removals.
ALONG, DOWN, STRENGTH, FADE = 2.5, 8.6, 2.0, 1.3
ENOUGH = 0.5  # least share of known patches in a coarse thumbnail over that in the finest one
# Rows and columns by which a source is off, and at which neighbours are asked for theirs.
OFF = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
ASKED = [(0, 1), (0, -1), (1, 0), (-1, 0), (0, 3), (0, -3), (3, 0), (-3, 0)]


class Completed(NamedTuple):
    """A completed thumbnail, and from how far its patches come."""

    pixels: Tensor  # (1, 3, h, w)
    shifts: Tensor  # (N, 2) rows and columns of pixels


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
    pixels: Tensor,
    known: Tensor,
    start: Tensor,
    *,
    strength: Tensor,
    on_round: Callable[[], object],
) -> Completed | None:
    """Return a thumbnail (1, 3, h, w) completed where it is not `known`; None without a patch.

    Args:
        pixels: The thumbnail.
        known: Where it is known.
        start: The same, with a smooth guess of what is missing.
        strength: How much finer texture there is to be everywhere, (1, 1, h, w).
        on_round: Called after each round; may raise to stop.
    """
    found: Completed | None = None
    coarser: _Grid | None = None
    whole = F.avg_pool2d(known, min(PATCH_PX, *known.shape[2:]), 1) > 1 - SURE
    least = ENOUGH * float(whole.float().mean())
    for side, rounds in ROUNDS.items():
        size = shrunk_to(side, (pixels.shape[2], pixels.shape[3]))
        weight = resized(known, size)
        there, usual = weight > 1 - SURE, STRENGTH * resized(strength, size)
        if (grid := _grid_of(there.to(weight), least)) is None:
            continue
        given = resized(pixels * known, size) / weight.clamp_min(SURE)
        guess = resized(start if found is None else found.pixels, size, mode="bilinear")
        filled = torch.where(there, given, guess)
        shifts = None
        if side > ALL_PX and found is not None and coarser is not None:
            shifts = _enlarged(found.shifts.T, coarser, grid)
        for _ in range(rounds):
            rows = F.unfold(torch.cat([filled, usual], dim=1), PATCH_PX)[0].T
            patches = torch.cat([rows, grid.places], dim=1)  # colours first
            if shifts is None or side <= ALL_PX:
                shifts = _nearest(patches, grid)
            else:
                shifts = _better(patches, grid, shifts)
            filled = torch.where(there, given, _means(patches, grid, shifts, size))
            on_round()
        assert shifts is not None, "there are rounds"
        found, coarser = Completed(filled, shifts.T), grid
    return found


def _grid_of(known: Tensor, least: float) -> _Grid | None:
    """Return the patches of a thumbnail; None if too few are known, or it is smaller than one."""
    if min(known.shape[2:]) < PATCH_PX:
        return None
    is_source = F.avg_pool2d(known, PATCH_PX, 1)[0, 0] > 1 - SURE
    if not float(is_source.float().mean()) > least:
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
    cover[:count, targets] = patches[grid.numbers(grid.corners + shifts), :count].T * grid.weights
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
