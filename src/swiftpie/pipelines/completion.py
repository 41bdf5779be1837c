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
# Rows and columns by which a source is off, and at which neighbours are asked for theirs.
OFF = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
ASKED = [(0, 1), (0, -1), (1, 0), (-1, 0), (0, 3), (0, -3), (3, 0), (-3, 0)]


class Completed(NamedTuple):
    """A completed thumbnail, and from how far its patches come."""

    pixels: Tensor  # (1, 3, h, w)
    shifts: Tensor  # (N, 2) rows and columns of pixels


class _Grid(NamedTuple):
    """The patches of a thumbnail by their corners, row by row."""

    size: tuple[int, int]  # rows and columns of patches
    sources: Tensor  # (n,) numbers of those without a gap
    targets: Tensor  # (N,) of the others
    weights: Tensor  # (N,) how much a target counts
    places: Tensor  # (all, 2) whose squared distances are what it costs to come from far


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
    grid: _Grid | None = None
    for side, rounds in ROUNDS.items():
        size = shrunk_to(side, (pixels.shape[2], pixels.shape[3]))
        weight = resized(known, size)
        there, usual = weight > 1 - SURE, STRENGTH * resized(strength, size)
        coarser, grid = grid, _grid_of(there.to(weight))
        if grid is None:
            continue
        given = resized(pixels * known, size) / weight.clamp_min(SURE)
        guess = resized(start if found is None else found.pixels, size, mode="bilinear")
        filled, chosen = torch.where(there, given, guess), None
        if side > ALL_PX and found is not None and coarser is not None:
            chosen = _carried_on(found.shifts, coarser, grid)
        for _ in range(rounds):
            patches = _patches(filled, usual, grid)
            if chosen is None or side <= ALL_PX:
                chosen = _nearest(patches, grid)
            else:
                chosen = _better(patches, grid, chosen)
            filled = torch.where(there, given, _means(patches, grid, chosen, size))
            on_round()
        assert chosen is not None, "there are rounds"
        found = Completed(filled, _apart(chosen, grid))
    return found


def _grid_of(known: Tensor) -> _Grid | None:
    """Return the patches of a thumbnail; None if none is known, or it is smaller than a patch."""
    if min(known.shape[2:]) < PATCH_PX:
        return None
    share = F.avg_pool2d(known, PATCH_PX, 1)
    is_known = (share > 1 - SURE).flatten()
    if not bool(is_known.any()):
        return None
    depth, rest = torch.zeros_like(known), 1 - known
    while bool(rest.any()):
        depth, rest = depth + rest, -grow(-rest, 1)
    rows, columns = share.shape[2:]
    first = PATCH_PX // 2
    depth = depth[0, 0, first : first + rows, first : first + columns].flatten()
    targets = (~is_known).nonzero()[:, 0]
    ys, xs = torch.arange(rows), torch.arange(columns)
    far = known.new_tensor([DOWN, ALONG]) / max(known.shape[2:])
    places = torch.cartesian_prod(ys, xs) * far
    weights = (FADE ** -depth[targets]).clamp_min(SURE)
    return _Grid((rows, columns), is_known.nonzero()[:, 0], targets, weights, places)


def _patches(filled: Tensor, usual: Tensor, grid: _Grid) -> Tensor:
    """Return all patches, colours first: (all, D)."""
    rows = F.unfold(torch.cat([filled, usual], dim=1), PATCH_PX)[0].T
    return torch.cat([rows, grid.places], dim=1)


def _nearest(patches: Tensor, grid: _Grid) -> Tensor:
    """Return the number of the most similar source of each target, (N,)."""
    sources = patches[grid.sources]
    squares = sources.square().sum(dim=1)
    scores = torch.addmm(squares, patches[grid.targets], sources.T, alpha=-2)
    return grid.sources[scores.argmin(dim=1)]


def _better(patches: Tensor, grid: _Grid, chosen: Tensor) -> Tensor:
    """Return better sources than those `chosen`, (N,), found near them and by neighbours."""
    rows, columns = grid.size
    corners = torch.stack([grid.targets // columns, grid.targets % columns])
    apart = torch.zeros(2, rows * columns, dtype=torch.long)
    apart[:, grid.targets] = _apart(chosen, grid).T
    is_source = torch.zeros(rows * columns, dtype=torch.bool)
    is_source[grid.sources] = True
    last = torch.tensor([[rows - 1], [columns - 1]])

    def number_of(places: Tensor) -> Tensor:
        down, right = torch.minimum(places.clamp_min(0), last)
        return down * columns + right

    own = corners + apart[:, grid.targets]
    asked = [number_of(corners + away) for away in torch.tensor(ASKED)[..., None]]
    tried = [number_of(own + off) for off in torch.tensor(OFF)[..., None]]
    tried += [number_of(corners + apart[:, neighbour]) for neighbour in asked]
    wanted = patches[grid.targets]
    costs = torch.stack([(patches[each] - wanted).square().sum(dim=1) for each in tried])
    numbers = torch.stack(tried)
    best = torch.where(is_source[numbers], costs, torch.inf).min(dim=0)
    return torch.where(best.values < torch.inf, numbers.gather(0, best.indices[None])[0], chosen)


def _means(patches: Tensor, grid: _Grid, chosen: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the means (1, 3, h, w) of the patches that cover each pixel."""
    numbers = 3 * PATCH_PX**2
    cover = patches.new_zeros(numbers + PATCH_PX**2, len(patches))
    cover[:numbers, grid.targets] = patches[chosen, :numbers].T * grid.weights
    cover[numbers:, grid.targets] = grid.weights
    sums = F.fold(cover[None], size, PATCH_PX)
    return sums[:, :3] / sums[:, 3:].clamp_min(SURE**2)


def _apart(chosen: Tensor, grid: _Grid) -> Tensor:
    """Return how many rows and columns sources are from their targets, (N, 2)."""
    columns = grid.size[1]
    return torch.stack(
        [chosen // columns - grid.targets // columns, chosen % columns - grid.targets % columns], 1
    )


def _carried_on(shifts: Tensor, coarser: _Grid, grid: _Grid) -> Tensor:
    """Return the sources (N,) of a grid as a coarser one has them."""
    whole = shifts.new_zeros(2, coarser.size[0] * coarser.size[1], dtype=torch.float32)
    whole[:, coarser.targets] = shifts.T.float()
    enlarged = F.interpolate(whole.view(1, 2, *coarser.size), grid.size)[0].flatten(1)
    rows, columns = grid.size
    scale = (rows + PATCH_PX - 1) / (coarser.size[0] + PATCH_PX - 1)
    down, right = (enlarged[:, grid.targets] * scale).round().long()
    down = (grid.targets // columns + down).clamp(0, rows - 1)
    right = (grid.targets % columns + right).clamp(0, columns - 1)
    chosen = down * columns + right
    is_source = torch.zeros(rows * columns, dtype=torch.bool)
    is_source[grid.sources] = True
    nearest = grid.sources[torch.bucketize(chosen, grid.sources).clamp_max(len(grid.sources) - 1)]
    return torch.where(is_source[chosen], chosen, nearest)
