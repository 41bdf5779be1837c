"""Finds the outline of a subject from a guess and the colours of the picture.

Two steps, on a picture of a few hundred pixels a side:

1. *Colour models* of subject and background as smoothed Lab histograms, as in GrabCut
   (Rother et al., SIGGRAPH 2004).
2. *Cut* along edges: the convex form of the min-cut (Chan, Esedoglu and Nikolova, 2006), solved
   by the primal-dual method of Chambolle and Pock (2011).

Arrays are float32; a picture is (h, w, 3), a field (h, w).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import plane, shrunk_to
from swiftpie.masks import HALF, grow
from swiftpie.validation import Box, PixelBox, Size

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]
Span = tuple[float, float, int]  # start and end as shares of a side; length of the side in pixels

CUTOUT_PX = 256  # side of the pictures that the network looks at
GUESS_PX = 128  # side of what it says about them
WORK_SIDE_PX = 160  # its guess is sharpened at this size; the outline is refined afterwards
GUIDE_PIXELS = 2048**2  # the outline follows a photo with more of them in a smaller copy
MIN_SHARE, MAX_SHARE = 0.02, 0.95  # outside of this range nothing usable was found
BORDER_SHARE = 0.33  # what covers more of three borders is no subject but a part of the picture
GUIDE_RADIUS_PX = 2  # at working size: the outline follows the photo's edges this far
GUIDE_SOFTNESS = 1e-3  # squared contrast in [0, 1] below which an edge is ignored
OUTLINE_CONTRAST = 1.7  # steepens the outline, which also drops the filter's faint halo
MATTE_SOFTNESS = 3e-6  # squared contrast in [0, 1] below which a matte ignores an edge
# Of a matte: what a guess counts, edges 1; steps of the solver, and what keeps them finite.
GUESS_TRUST, NUM_MATTE_STEPS, TINY = 0.003, 40, 1e-12
LEAST_SPREAD = 2e-3  # Squared, of colours in [-1, 1]: light differs as much along an outline.
FOCUS_PX = 512  # Side at which the sharpness along an outline is looked at.
NEAR_PX, PIECE_PX = 7, 15  # Sides of what is around a pixel there, and of a piece at half of it.
FOCUS = (0.15, 0.85)  # Shares of the outline that are less sharp, for its softest and sharpest.
SHARPER = 0.6  # Share of a mask that is less sharp than its sharper part.
CLOSER = 0.25  # share of a box's sides that is seen around the box

NUM_COLOUR_BINS = 20  # a Lab axis
NUM_ROUNDS = 2  # colour models are refitted this often
MAX_LOG_ODDS = 4.0  # limit of the guess and of colour: neither overrules the other alone
GUESS_WEIGHT = 0.7  # the network was trained on collages and is overconfident on photographs
SEED_LOG_ODDS = 20.0  # weight of what is known; colours and guess together weigh less
NUM_CUT_STEPS = 80
CUT_SMOOTHNESS = 1.3  # cost of one pixel of outline on a flat colour, in log-odds
SMALL_HOLE = 0.02  # holes below this share of the subject are filled: they are spots, not openings
LEAST_GROUND = 0.05  # share of a picture that tells what its ground is like
WHITE = 97.0  # lightness of paper and clipped light
PLAINEST = 6.0  # spread of a ground's colours in Lab; more is texture, which a subject may have too
SPREADS, JUST_SEEN = 2.5, 2.5  # colours within so many spreads, and a just visible one, are alike
ALIKE = 12.0  # greatest distance in Lab between a seed and the opening around it
SMALL_PART = 0.1  # parts below this share of the largest part are dropped


def around(box: Box, size: Size) -> PixelBox:
    """Return what is seen of a photo of (width, height) when one looks at a box in [0, 1]."""
    left, top, right, bottom = box
    across, down = CLOSER * (right - left), CLOSER * (bottom - top)
    return area_of((left - across, right + across, size[0]), (top - down, bottom + down, size[1]))


def area_of(across: Span, down: Span) -> PixelBox:
    """Return the pixels of two spans as far as they are there; at least one of each."""
    (left, right), (top, bottom) = (
        (min(side - 1, max(0, math.floor(low * side))), min(side, math.ceil(high * side)))
        for low, high, side in (across, down)
    )
    return left, top, max(right, left + 1), max(bottom, top + 1)


def averaged(guesses: Array, views: Sequence[PixelBox]) -> Array:
    """Return the mean (n, n) of guesses (V, n, n) about views within the first."""
    total, count = guesses[0].copy(), np.ones_like(guesses[0])
    cells = len(total)
    left, top, right, bottom = views[0]
    across, down = cells / (right - left), cells / (bottom - top)
    for guess, view in zip(guesses[1:], views[1:], strict=True):
        columns = slice(round((view[0] - left) * across), round((view[2] - left) * across))
        rows = slice(round((view[1] - top) * down), round((view[3] - top) * down))
        height, width = total[rows, columns].shape
        if height and width:
            resampled = F.adaptive_avg_pool2d(torch.from_numpy(guess)[None], (height, width))
            total[rows, columns] += resampled[0].numpy()
            count[rows, columns] += 1
    return total / count


def outlined(photo: Image.Image, logits: Array, seeds: Array | None = None) -> Tensor:
    """Return the mask (1, 1, H, W) that a photo's colours and edges make of a guess (n, n).

    `seeds` (h, w) of `sharpen` have the size `shrunk_to(WORK_SIDE_PX, photo.size)`.
    """
    size = shrunk_to(WORK_SIDE_PX, photo.size)
    small = photo.resize(size, Image.Resampling.BOX)
    guess = F.interpolate(torch.from_numpy(logits)[None, None], size[::-1], mode="bilinear")
    coarse = sharpen(guess[0, 0].numpy(), np.array(small, np.float32) / np.float32(255), seeds)
    times = math.ceil(math.sqrt(photo.width * photo.height / GUIDE_PIXELS))
    guide = photo if times < 2 else photo.reduce(times)
    guides = plane(small.convert("L")), plane(guide.convert("L"))
    mask = _follow_edges(torch.from_numpy(coarse)[None, None], *guides)
    return mask if guide is photo else F.interpolate(mask, photo.size[::-1], mode="bilinear")


def evenly_sharp(photo: Image.Image, mask: Tensor) -> float:
    """Return how sharp the softest parts of an outline are in a photo, as a share of the sharpest.

    Sharpness is the steepest step from one pixel to the next over the contrast around it, as a mean
    along a piece of the outline.
    """
    grey, step = _steps(photo, FOCUS_PX)
    surroundings = pooled(torch.cat([step, grey, -grey], dim=1), NEAR_PX, stride=2)
    rim = F.interpolate(mask, surroundings.shape[2:], mode="area")
    rim = pooled(rim, 3) + pooled(-rim, 3) > HALF
    fields = torch.cat([surroundings[:, :1], surroundings[:, 1:].sum(dim=1, keepdim=True)], dim=1)
    steps, contrasts = pooled(fields * rim, PIECE_PX, F.avg_pool2d)[0]
    sharpness = (steps / contrasts.clamp_min(1e-6))[rim[0, 0]]
    if not len(sharpness):
        return 1.0
    softest, sharpest = sharpness.quantile(torch.tensor(FOCUS)).tolist()
    return float(softest / max(sharpest, 1e-6))


def sharpest_part(photo: Image.Image, mask: Tensor) -> Tensor:
    """Return the largest piece (1, 1, h, w) of a mask's sharper part, for its box: 0 or 1."""
    _, step = _steps(photo, FOCUS_PX // 2)
    sharp = pooled(pooled(step, 5), 9, F.avg_pool2d)
    inside = F.interpolate(mask, sharp.shape[2:], mode="area") > HALF
    sharper = inside & (sharp > sharp[inside].quantile(SHARPER))
    parts = connected_parts((pooled(sharper.float(), 9) > HALF)[0, 0].numpy())
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return torch.from_numpy(parts == sizes.argmax())[None, None].float()


def _steps(photo: Image.Image, side: int) -> tuple[Tensor, Tensor]:
    """Return a photo in grey (1, 1, h, w), `side` px long, and its steepest steps to neighbours."""
    luminance = plane(photo.resize(shrunk_to(side, photo.size), Image.Resampling.BOX).convert("L"))
    down, across = F.pad(luminance.diff(dim=2), (0, 0, 0, 1)), F.pad(luminance.diff(dim=3), (0, 1))
    return luminance, torch.maximum(down.abs(), across.abs())


def pooled(
    field: Tensor, side: int, pool: Callable[..., Tensor] = F.max_pool2d, *, stride: int = 1
) -> Tensor:
    """Pool squares of `side` pixels by their columns, then by their rows, which is sooner."""
    columns = pool(field, (side, 1), (stride, 1), (side // 2, 0))
    return pool(columns, (1, side), (1, stride), (0, side // 2))


def _follow_edges(mask: Tensor, guide: Tensor, full: Tensor) -> Tensor:
    """Enlarge `mask` along the photo's edges (fast guided filter, He and Sun, 2015)."""
    mean_mask, mean_guide = box_mean(mask), box_mean(guide)
    variance = box_mean(guide * guide) - mean_guide**2
    slope = (box_mean(guide * mask) - mean_guide * mean_mask) / (variance + GUIDE_SOFTNESS)
    lift = OUTLINE_CONTRAST * box_mean(mean_mask - slope * mean_guide)
    size = (full.shape[2], full.shape[3])
    fields = torch.cat([OUTLINE_CONTRAST * box_mean(slope), lift + 0.5 - 0.5 * OUTLINE_CONTRAST])
    slope, lift = F.interpolate(fields, size, mode="bilinear")[:, None]
    return slope.mul_(full).add_(lift).clamp_(0, 1)


def box_mean(field: Tensor, reach: int = GUIDE_RADIUS_PX) -> Tensor:
    """Return the mean of `field` (1, C, h, w) around each pixel, over the pixels that exist."""
    return F.avg_pool2d(field, 2 * reach + 1, 1, padding=reach, count_include_pad=False)


def matted(pixels: Tensor, guess: Tensor, weight: Tensor, *, unknown: Tensor) -> Tensor:
    """Return the closed-form matte (Levin et al., 2008) of `pixels` (1, 3, H, W) near a guess.

    In each square of 3 x 3 pixels, opacity depends on colour linearly: the matte is what red, green
    and blue count at each pixel, and a constant, (1, 4, H, W), which may be enlarged. Where it is
    `unknown`, the guess counts by its `weight`; elsewhere it stays. All three are (1, 1, H, W).
    """
    width, (down, across) = unknown.shape[3], torch.cartesian_prod(*[torch.arange(-1, 2)] * 2).T
    inner = grow(unknown.to(pixels), 1)[0, 0, 1:-1, 1:-1]
    centres = (inner.nonzero() + 1) @ torch.tensor([width, 1])
    squares = centres[:, None] + down * width + across  # (N, 9)
    colours = pixels[0].flatten(1).T[squares] / 2
    means = colours.mean(dim=1, keepdim=True)
    colours -= means
    root = torch.linalg.cholesky(colours.mT @ colours / 9 + MATTE_SOFTNESS * torch.eye(3))
    scaled = torch.linalg.solve_triangular(root, colours.mT, upper=False)
    bends = torch.eye(9) - (1 + scaled.mT @ scaled) / 9  # (N, 9, 9)
    touched = torch.zeros(unknown.numel()).index_fill(0, squares.flatten(), 1).nonzero()[:, 0]
    place = torch.zeros(unknown.numel(), dtype=torch.int32)  # looked up in a fifteenth of the time
    place[touched] = torch.arange(len(touched), dtype=torch.int32)
    fields = torch.cat([guess, GUESS_TRUST * weight, unknown.to(pixels)])
    values, trust, free = fields.flatten(1)[:, touched]
    index, steps = place[squares], torch.arange(-2, 3)
    # What 5 x 5 pixels around each count in the sum of all squares.
    places = 5 * (down - down[:, None]) + across - across[:, None] + 12  # (9, 9)
    counts = torch.zeros(25 * len(touched))
    counts.index_add_(0, (places * len(touched) + index[..., None]).flatten(), bends.flatten())
    counts = counts.view(25, len(touched))
    counts[12] += trust
    neighbours = (touched + (steps[:, None] * width + steps).view(25, 1)).clamp(0, len(place) - 1)
    neighbours = place[neighbours].flatten()

    def pull(field: Tensor) -> Tensor:
        return free * (counts * field.index_select(0, neighbours).view_as(counts)).sum(dim=0)

    # Conjugate gradients, each row by its diagonal.
    scale = 1 / counts[12]
    rest = free * trust * values - pull(values)
    step, size = torch.zeros_like(rest), torch.ones(())
    for _ in range(NUM_MATTE_STEPS):
        before, size = size, (rest * scale * rest).sum() + TINY
        step = scale * rest + size / before * step
        pulled = pull(step)
        far = size / ((step * pulled).sum() + TINY)
        values, rest = values + far * step, rest - far * pulled
    opacities = values.clamp(0, 1)[index][..., None]
    slope = torch.linalg.solve_triangular(root.mT, scaled @ opacities / 9, upper=True)
    line = torch.cat([slope / 2, opacities.mean(dim=1, keepdim=True) - means @ slope], dim=1)
    lines = F.pad(guess, (0, 0, 0, 0, 3, 0)).flatten(2)
    lines.index_copy_(2, centres, line[..., 0].T[None])
    return box_mean(lines.view(1, 4, -1, width), 1)


def colours_apart(pixels: Tensor, sides: Tensor, reach_px: int) -> Tensor:
    """Return the Mahalanobis distance (1, 1, H, W) of colours (1, 3, H, W) on both sides of a rim.

    `sides` (2, 1, H, W) in [0, 1] show them. The distance is 0 where one is out of reach.
    """
    (first, second), distances = torch.triu_indices(3, 3), torch.zeros_like(sides[:1])
    rim = (grow(sides, reach_px).prod(dim=0)[0] > 0).nonzero(as_tuple=True)
    pairs = pixels[:, first] * pixels[:, second]
    fields = sides * torch.cat([torch.ones_like(pixels[:, :1]), pixels, pairs], dim=1)
    sums = pooled(fields, 2 * reach_px + 1, F.avg_pool2d)[:, :, rim[0], rim[1]]  # (2, 10, N)
    means, pairs = (sums[:, 1:] / sums[:, :1]).split([3, 6], dim=1)
    spread = (LEAST_SPREAD * torch.eye(3)).repeat(len(rim[0]), 1, 1)  # its lower half is read
    spread[:, second, first] += (pairs - means[:, first] * means[:, second]).sum(dim=0).T
    root = torch.linalg.cholesky(spread)
    whitened = torch.linalg.solve_triangular(root, (means[0] - means[1]).T[..., None], upper=False)
    distances[0, 0][rim] = whitened.square().sum(dim=(1, 2)).sqrt()
    return distances


def sharpen(logits: Array, rgb: Array, seeds: Array | None = None) -> Array:
    """Return how much each pixel belongs to the subject (h, w), in [0, 1].

    Args:
        logits: log-odds (h, w) of the subject, as guessed.
        rgb: picture (h, w, 3) in [0, 1]; cost grows with its area, so shrink it first.
        seeds: what is known (h, w): 1 is the subject, -1 is not, 0 is to be found.
    """
    lab = to_lab(rgb)
    bins, costs = _colour_bins(lab), edge_costs(lab)
    guess = np.clip(GUESS_WEIGHT * logits, -MAX_LOG_ODDS, MAX_LOG_ODDS)
    seed_odds = np.zeros_like(guess) if seeds is None else SEED_LOG_ODDS * seeds
    share = np.asarray(1 / (1 + np.exp(-guess - seed_odds)), dtype=np.float32)
    for _ in range(NUM_ROUNDS):
        share = cut(guess + seed_odds + _colour_odds(bins, share), costs)
    share = main_parts(share, seeds)
    share[openings(share, lab, seeds)] = 0
    return share


def openings(share: Array, lab: Array, seeds: Array | None = None) -> Flags:
    """Return what of a subject shows the ground (h, w): openings, as of rings and glasses.

    The ground is a plane in Lab, if it is as plain as that. White as of paper opens nothing, since
    labels and bellies are as white; there a seed of -1 in the opening says that it is one.
    """
    solid = share > 0.5
    rows, columns = np.mgrid[-1 : 1 : share.shape[0] * 1j, -1 : 1 : share.shape[1] * 1j]
    basis = np.stack([np.ones_like(rows), rows, columns], axis=-1)
    seeded_openings = np.zeros_like(solid)
    outside = ~solid
    if seeds is not None and (seeds[solid] < 0).any():
        seeded = solid & (seeds < 0)
        distance = np.sqrt(_squares(lab - lab[seeded].mean(axis=0)))
        parts = connected_parts(solid & ((distance < ALIKE) | seeded))
        seeded_openings = np.isin(parts, parts[seeded])
    if outside.mean() < LEAST_GROUND or lab[outside, 0].mean() > WHITE:
        return seeded_openings
    terms = basis[outside]  # by the normal equations, which take a tenth of the time
    plane = basis @ np.linalg.lstsq(terms.T @ terms, terms.T @ lab[outside], rcond=None)[0]
    distance = np.sqrt(_squares(lab - plane))
    spread = float(np.sqrt(np.square(distance[outside]).mean()))
    if spread > PLAINEST:
        return seeded_openings
    parts = connected_parts(solid & (distance < SPREADS * spread + JUST_SEEN))
    is_opening = np.bincount(parts.ravel()) > SMALL_HOLE * solid.sum()
    is_opening[0] = False
    for axis in (0, 1):  # what reaches the outside is no opening
        for step in (-1, 1):
            is_opening[parts[np.roll(outside, step, axis)]] = False
    return np.asarray(seeded_openings | is_opening[parts], dtype=np.bool_)


def to_lab(rgb: Array) -> Array:
    """Convert sRGB (h, w, 3) in [0, 1] to CIE Lab with a D65 white point."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ (matrix / matrix.sum(axis=1, keepdims=True)).T
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def cut(odds: Array, costs: tuple[Array, Array]) -> Array:
    """Return the labelling (h, w) in [0, 1] that follows `odds` with a short outline along edges.

    Args:
        odds: log-odds (h, w) of subject over background.
        costs: of the outline along rows and columns, as `edge_costs` has them.
    """
    rate = 0.35  # below 1 / sqrt(8), the bound for convergence
    # Rows are joined, which takes half the time: no flow passes their ends, whose weights are 0.
    flows = []
    for apart, cost in zip((odds.shape[1], 1), costs, strict=True):
        most = cost.ravel() / rate
        flows.append((apart, np.zeros_like(most), -most, most))
    share = (odds > 0).astype(np.float32).ravel()
    pull = rate * odds.ravel()
    ahead, updated, step = share.copy(), np.empty_like(share), np.empty_like(share)
    for _ in range(NUM_CUT_STEPS):  # the loop works in place, since new arrays take a third longer
        for number, (apart, flow, least, most) in enumerate(flows):
            np.subtract(ahead[apart:], ahead[:-apart], out=step[apart:])
            flow[:-apart] += step[apart:]
            np.maximum(flow, least, out=flow)  # both in half the time of `np.clip`
            np.minimum(flow, most, out=flow)
            np.add(updated if number else 0, flow, out=updated)
            updated[apart:] -= flow[:-apart]
        updated *= rate**2
        updated += pull
        updated += share
        np.maximum(updated, 0, out=updated)
        np.minimum(updated, 1, out=updated)
        np.multiply(updated, 2, out=ahead)
        ahead -= share
        share, updated = updated, share
    return share.reshape(odds.shape)


def main_parts(share: Array, seeds: Array | None = None) -> Array:
    """Keep the largest connected part and those near its size, and fill their small holes.

    Where `seeds` (h, w) are 1 somewhere, the parts that they lie in are kept instead, if they are
    more than specks.
    """
    solid = share > 0.5
    labels = connected_parts(solid)
    sizes = np.bincount(labels[solid], minlength=labels.size + 1)
    keep = sizes > SMALL_PART * sizes.max()
    if seeds is not None and (seeds > 0).any():
        seeded = np.bincount(labels[solid & (seeds > 0)], minlength=labels.size + 1) > 0
        # A speck around a point says less than what was found without it.
        keep = seeded if sizes[seeded].sum() > SMALL_PART * sizes.max() else seeded | keep
    whole = solid & keep[labels]
    # Small holes are filled, but for those of a size that a handle or a ring has.
    parts = connected_parts(~whole)
    fills = np.bincount(parts.ravel()) < SMALL_HOLE * whole.sum()
    fills[np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1], [0]])] = False
    if seeds is not None:
        fills[parts[seeds < 0]] = False
    return np.where(fills[parts], 1, np.where(solid & ~whole, 0, share)).astype(np.float32)


def connected_parts(solid: Flags) -> Labels:
    """Number the 4-connected parts of `solid` (h, w) from 1; 0 where it is false."""
    # A row has far fewer runs than pixels. A column that is false ends them.
    row = solid.shape[1] + 1
    flat = np.pad(solid, [(0, 0), (0, 1)]).ravel()
    starts, ends = np.flatnonzero(np.diff(flat, prepend=False)).reshape(-1, 2).T
    # First run below that touches each run.
    first = np.searchsorted(ends, starts + row, side="right")
    count = np.searchsorted(starts, ends + row) - first
    above = np.repeat(np.arange(len(starts)), count)
    below = np.arange(len(above)) + np.repeat(first - np.cumsum(count) + count, count)
    parent = np.arange(len(starts))
    while True:
        upper, lower = parent[above], parent[below]
        if (upper == lower).all():
            break
        np.minimum.at(parent, np.maximum(upper, lower), np.minimum(upper, lower))
        while (parent != parent[parent]).any():
            parent = parent[parent]
    labels = np.zeros(solid.shape, np.int64)
    # The number of a run is the index of its first pixel, plus 1.
    numbers = starts - starts // row + 1
    labels[solid] = np.repeat(numbers[parent], ends - starts)
    return labels


def _colour_bins(lab: Array) -> Labels:
    """Return the bin of the colour histogram in which each pixel is, (h, w)."""
    bins = np.zeros(lab.shape[:2], np.int64)
    for channel in np.moveaxis(lab, -1, 0):
        low = channel.min()
        width = max((channel.max() - low) / (NUM_COLOUR_BINS - 1), 2.0)
        bins = NUM_COLOUR_BINS * bins + ((channel - low) / width + 0.5).astype(np.int64)
    return bins


def _colour_odds(bins: Labels, share: Array) -> Array:
    """Return log-odds (h, w) of the subject by colour, if `share` (h, w) were the subject."""
    subject, background = _histogram(bins, share), _histogram(bins, 1 - share)
    odds = np.log((subject + 1e-5) / (background + 1e-5))[bins]
    return np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS).astype(np.float32)


def _histogram(bins: Labels, weights: Array) -> NDArray[np.float64]:
    """Return the share of each bin, smoothed along the three axes of colour."""
    counts = np.bincount(bins.ravel(), weights=weights.ravel(), minlength=NUM_COLOUR_BINS**3)
    cube = torch.from_numpy(counts).view([1, 1] + [NUM_COLOUR_BINS] * 3)
    cube = F.avg_pool3d(F.avg_pool3d(F.pad(cube, (1,) * 6, mode="replicate"), 2, 1), 2, 1)
    return np.asarray(cube.flatten().numpy() / max(float(cube.sum()), 1e-6))


def edge_costs(lab: Array) -> tuple[Array, Array]:
    """Return the costs (h, w) of an outline between each pixel and the next below, and rightwards.

    Edges of the picture (h, w, 3) make it cheap; at the ends it is 0.
    """
    costs = np.zeros((2, *lab.shape[:2]), np.float32)
    for axis, inner in enumerate((costs[0, :-1], costs[1, :, :-1])):
        difference = _squares(np.diff(lab, axis=axis))
        sigma = 2 * difference.sum() / max(1, difference.size) + 1e-3
        inner[:] = CUT_SMOOTHNESS * (0.05 + 0.95 * np.exp(-difference / sigma))
    return costs[0], costs[1]


def _squares(vectors: Array) -> Array:
    """Return the squared lengths (h, w) of vectors (h, w, 3)."""
    lengths: Array = np.einsum("hwc,hwc->hw", vectors, vectors)  # faster than a sum of three
    return lengths
