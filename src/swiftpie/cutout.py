"""Find the subject of a photo without a model: superpixel saliency, then a colour min-cut.

Three steps, all on a picture of a few hundred pixels a side:

1. *Saliency* of superpixels by robust background detection (Zhu et al., CVPR 2014): a region that
   touches the picture's border for long, compared to its area, is background.
2. *Colour models* of subject and background as smoothed Lab histograms, as in GrabCut
   (Rother et al., SIGGRAPH 2004).
3. *Cut* along edges: the convex form of the min-cut (Chan, Esedoglu and Nikolova, 2006), solved
   by the primal-dual method of Chambolle and Pock (2011).

Arrays are float32; a picture is (h, w, 3), a field (h, w).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]

NUM_SUPERPIXELS = 300
COLOUR_SIGMA = 10.0  # Lab units within which two regions count as alike
SAME_COLOUR_SIGMA = 2.0  # Lab units within which a colour is taken for that of the background
SPACE_SIGMA = 0.4  # reach of regional contrast, in picture diagonals
COMPACTNESS = 12.0  # Lab units that weigh as much as one superpixel of distance
NUM_COLOUR_BINS = 20  # a Lab axis
NUM_ROUNDS = 3  # colour models are refitted this often
NUM_CUT_STEPS = 80
CUT_SMOOTHNESS = 1.3  # cost of one pixel of outline on a flat colour, in log-odds
SMALL_HOLE = 0.05  # holes below this share of the subject are filled: they are spots, not openings
SMALL_PART = 0.1  # parts below this share of the largest part are dropped


def find_subject(rgb: Array) -> Array:
    """Return how much each pixel belongs to the subject (h, w), in [0, 1].

    Args:
        rgb: picture (h, w, 3) in [0, 1]; cost grows with its area, so shrink it first.
    """
    lab = to_lab(rgb)
    prior = saliency(lab)
    share = (prior > otsu(prior)).astype(np.float32)
    for _ in range(NUM_ROUNDS):
        share = cut(_log_odds(lab, share, prior), lab)
    return main_parts(share)


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


def saliency(lab: Array) -> Array:
    """Return how much each superpixel stands out from the background (h, w), in [0, 1]."""
    labels = superpixels(lab)
    count = int(labels.max()) + 1
    height, width = labels.shape
    # Places are shares of the longer side.
    grid = np.moveaxis(np.mgrid[:height, :width], 0, -1) / max(height, width)
    colour = _group_means(lab, labels, count)
    place = _group_means(grid.astype(np.float32), labels, count)
    area = (np.bincount(labels.ravel(), minlength=count) / labels.size).astype(np.float32)
    on_border = np.zeros(count, dtype=bool)
    on_border[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = True
    contrast = np.linalg.norm(colour[:, None] - colour[None], axis=-1)
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1)
    touches = on_border[:, None] & on_border[None]
    for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        touches[first, second] = touches[second, first] = True

    alike = np.exp(-(_geodesic(contrast, touches) ** 2) / (2 * COLOUR_SIGMA**2))
    spans = alike @ area / area.mean()
    border_length = alike @ on_border
    background = 1 - np.exp(-((border_length / np.sqrt(spans)) ** 2) / 2)
    same_colour = np.exp(-(contrast**2) / (2 * SAME_COLOUR_SIGMA**2))
    background = (same_colour * background).max(axis=1)  # seen through an opening of the subject
    near = np.exp(-(distance**2) / (2 * SPACE_SIGMA**2))
    subject = (contrast * near * area) @ background
    centred = np.exp(-((place - 0.5 * place.max(axis=0)) ** 2).sum(axis=1) / (2 * 0.35**2))
    subject = subject * centred
    subject = (subject / np.quantile(subject, 0.92).clip(1e-6)).clip(0, 1)

    smooth = touches * (np.exp(-(contrast**2) / (2 * COLOUR_SIGMA**2)) + 0.1)
    np.fill_diagonal(smooth, 0)
    system = np.diag(background * 2 + subject + smooth.sum(axis=1) + 1e-6) - smooth
    solved = np.linalg.solve(system, subject)
    solved = (solved - solved.min()) / np.ptp(solved).clip(1e-6)
    field: Array = solved.astype(np.float32)[labels]
    return field


def superpixels(lab: Array, *, num_steps: int = 5) -> Labels:
    """Return superpixel numbers (h, w): k-means of colour and place around a grid (SLIC)."""
    height, width = lab.shape[:2]
    step = max(2.0, (height * width / NUM_SUPERPIXELS) ** 0.5)
    rows, columns = max(1, round(height / step)), max(1, round(width / step))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    scale = COMPACTNESS / step
    features = np.concatenate([lab, scale * np.stack([y, x], axis=-1)], axis=-1)
    home_row = (y * rows / height).astype(np.int64)
    home_column = (x * columns / width).astype(np.int64)
    labels = home_row * columns + home_column
    candidates = [
        (home_row + dy).clip(0, rows - 1) * columns + (home_column + dx).clip(0, columns - 1)
        for dy in (0, -1, 1)
        for dx in (0, -1, 1)
    ]
    for _ in range(num_steps):
        centres = _group_means(features, labels, rows * columns)
        best = np.full((height, width), np.inf, dtype=np.float32)
        for candidate in candidates:
            cost = np.square(features - centres[candidate]).sum(axis=-1)
            closer = cost < best
            best[closer], labels[closer] = cost[closer], candidate[closer]
    return np.unique(labels, return_inverse=True)[1].reshape(height, width)


def cut(odds: Array, lab: Array) -> Array:
    """Return the labelling (h, w) in [0, 1] that follows `odds` with a short outline along edges.

    Args:
        odds: log-odds (h, w) of subject over background.
        lab: picture (h, w, 3) whose edges attract the outline.
    """
    down, right = _edge_weights(lab, axis=0), _edge_weights(lab, axis=1)
    share = (odds > 0).astype(np.float32)
    ahead = share.copy()
    flow_y, flow_x = np.zeros_like(share), np.zeros_like(share)
    rate = 0.35  # below 1 / sqrt(8), the bound for convergence
    for _ in range(NUM_CUT_STEPS):
        flow_y[:-1] += rate * (ahead[1:] - ahead[:-1])
        flow_x[:, :-1] += rate * (ahead[:, 1:] - ahead[:, :-1])
        np.clip(flow_y, -down, down, out=flow_y)
        np.clip(flow_x, -right, right, out=flow_x)
        change = odds + flow_y + flow_x
        change[1:] -= flow_y[:-1]
        change[:, 1:] -= flow_x[:, :-1]
        updated = np.clip(share + rate * change, 0, 1)
        ahead = 2 * updated - share
        share = updated
    return share


def main_parts(share: Array) -> Array:
    """Keep the largest connected part and those near its size, and fill their small holes."""
    solid = share > 0.5
    labels = connected_parts(solid)
    sizes = np.bincount(labels[solid], minlength=labels.size + 1)
    keep = sizes > SMALL_PART * sizes.max()
    kept = solid & keep[labels]
    hole = fill_small_holes(kept) & ~kept
    return np.where(hole, 1, np.where(solid & ~kept, 0, share)).astype(np.float32)


def fill_small_holes(solid: Flags) -> Flags:
    """Fill what `solid` (h, w) encloses, but for openings of a size a handle or a ring has."""
    parts = connected_parts(~solid)
    sizes = np.bincount(parts.ravel())
    fills = sizes < SMALL_HOLE * solid.sum()
    fills[np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])] = False
    fills[0] = True  # the solid pixels themselves
    filled: Flags = fills[parts]
    return filled


def connected_parts(solid: Flags) -> Labels:
    """Number the 4-connected parts of `solid` (h, w) from 1; 0 where it is false."""
    height, width = solid.shape
    parent = np.arange(height * width + 1)
    numbers = np.arange(1, height * width + 1).reshape(height, width)
    pairs = np.concatenate(
        [
            np.stack([numbers[1:], numbers[:-1]], -1)[solid[1:] & solid[:-1]],
            np.stack([numbers[:, 1:], numbers[:, :-1]], -1)[solid[:, 1:] & solid[:, :-1]],
        ]
    )
    while True:
        first, second = parent[pairs[:, 0]], parent[pairs[:, 1]]
        if (first == second).all():
            return np.where(solid, parent[numbers], 0)
        np.minimum.at(parent, np.maximum(first, second), np.minimum(first, second))
        while (parent != parent[parent]).any():
            parent = parent[parent]


def _log_odds(lab: Array, share: Array, prior: Array) -> Array:
    """Return log-odds (h, w) of subject by colour, weighed with where saliency expects it."""
    low, high = lab.min(axis=(0, 1)), lab.max(axis=(0, 1))
    width = np.maximum((high - low) / (NUM_COLOUR_BINS - 1), 2.0)
    index = ((lab - low) / width + 0.5).astype(np.int64).clip(0, NUM_COLOUR_BINS - 1)
    flat = np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), (NUM_COLOUR_BINS,) * 3)
    subject = _histogram(flat, share)
    background = _histogram(flat, 1 - share)
    colour = np.log((subject + 1e-5) / (background + 1e-5))[flat]
    expected = np.log((prior + 0.02) / (otsu(prior) + 0.02))
    side = max(share.shape)
    closed = close(share > 0.5, radius=side // 96).astype(np.float32)
    around = 4 * (blur(closed, radius=max(2, side // 16)) - 0.5)
    odds = 0.5 * np.clip(colour, -4, 4) + np.clip(expected, -2, 2) + around
    return np.asarray(odds, dtype=np.float32)


def close(solid: Flags, *, radius: int) -> Flags:
    """Bridge gaps of up to twice `radius` in `solid` (h, w), then fill the small holes."""
    margin = 2 * radius + 1
    padded = np.pad(solid, margin).astype(np.float32)
    grown = blur(padded, radius=radius) > 1e-6
    bridged = blur(grown.astype(np.float32), radius=radius) > 1 - 1e-6
    return fill_small_holes(bridged)[margin:-margin, margin:-margin] | solid


def otsu(field: Array) -> float:
    """Return the threshold in [0, 1] that best splits `field` (h, w) in two (Otsu, 1979)."""
    counts, edges = np.histogram(field, bins=64, range=(0, 1))
    centres = (edges[1:] + edges[:-1]) / 2
    low, low_sum = np.cumsum(counts)[:-1], np.cumsum(counts * centres)[:-1]
    high, high_sum = counts.sum() - low, (counts * centres).sum() - low_sum
    gap = low_sum / low.clip(1) - high_sum / high.clip(1)
    return float(edges[1:-1][np.argmax(low * high * gap**2)])


def blur(field: Array, *, radius: int) -> Array:
    """Return the mean of `field` (h, w) over three nested boxes, close to a Gaussian."""
    for axis in (0, 1, 0, 1):
        pad = [(radius + 1, radius) if a == axis else (0, 0) for a in range(2)]
        sums = np.cumsum(np.pad(field, pad, mode="edge"), axis=axis, dtype=np.float64)
        size = field.shape[axis]
        ahead = np.take(sums, range(2 * radius + 1, 2 * radius + 1 + size), axis=axis)
        mean = (ahead - np.take(sums, range(size), axis=axis)) / (2 * radius + 1)
        field = mean.astype(np.float32)
    return field


def _histogram(flat: Labels, weights: Array) -> NDArray[np.float64]:
    counts = np.bincount(flat.ravel(), weights=weights.ravel(), minlength=NUM_COLOUR_BINS**3)
    cube = counts.reshape((NUM_COLOUR_BINS,) * 3)
    for axis in range(3):
        padded = np.pad(cube, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        left, middle, right = (
            np.take(padded, range(s, s + NUM_COLOUR_BINS), axis=axis) for s in range(3)
        )
        cube = 0.25 * left + 0.5 * middle + 0.25 * right
    share: NDArray[np.float64] = cube.ravel() / max(float(cube.sum()), 1e-6)
    return share


def _edge_weights(lab: Array, *, axis: int) -> Array:
    """Return the outline cost (h, w) between each pixel and the next along `axis`; 0 at the end."""
    difference = np.square(np.diff(lab, axis=axis)).sum(axis=-1)
    sigma = 2 * difference.sum() / max(1, difference.size) + 1e-3
    weights = CUT_SMOOTHNESS * (0.05 + 0.95 * np.exp(-difference / sigma))
    padded = np.pad(weights, [(0, 1), (0, 0)] if axis == 0 else [(0, 0), (0, 1)])
    return np.asarray(padded, dtype=np.float32)


def _group_means(values: Array, labels: Labels, count: int) -> Array:
    flat = labels.ravel()
    sums = [
        np.bincount(flat, weights=v.ravel(), minlength=count) for v in np.moveaxis(values, -1, 0)
    ]
    sizes = np.bincount(flat, minlength=count).clip(1)
    return np.asarray(np.stack(sums, axis=-1) / sizes[:, None], dtype=np.float32)


def _geodesic(contrast: Array, touches: Flags) -> Array:
    """Return the least summed contrast (n, n) on a path over touching superpixels."""
    least = np.where(touches, contrast, np.inf)
    floor = np.sort(np.where(touches & (contrast > 0), contrast, np.inf), axis=1)[:, 0]
    clip = floor[np.isfinite(floor)].mean() if np.isfinite(floor).any() else 0.0
    least = np.maximum(least - clip, 0)  # texture alone must not add up to distance
    np.fill_diagonal(least, 0)
    for via in range(len(least)):
        np.minimum(least, least[:, via, None] + least[None, via], out=least)
    return least.astype(np.float32)
