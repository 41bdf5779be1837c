"""Turns a thing that its photograph shows leaning upright, onto the base it stands on."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swiftpie.geometry.layout import SUBJECT_FILL, Layout

# Chosen by eye on 110 photographs of 15 things: least and most degrees, how far the base may differ
# from the axis, the least length over thickness that gives an axis, the least width of a base as a
# share of the thing's, what counts as one straight base as a share of its longer side, and the
# steepest part of an outline that is still below a thing.
LEAST, MOST, APART = 3.0, 25.0, 6.0
SLENDER, WIDE, STRAIGHT, STEEPEST = 1.3, 0.35, 0.04, 35.0

# Of what lies, the least height over width in a photograph from above, and the shares of
# its box that a round thing takes; a rectangle stands, as a book may.
FROM_ABOVE, ROUND = 0.6, (0.7, 0.88)

Points = NDArray[np.float64]


class Stance(NamedTuple):
    """How a thing is turned to stand on its base, and where it is in its frame then."""

    turn: float  # degrees, positive turns clockwise
    extent: tuple[float, float]  # width and height as shares of the frame
    centre: tuple[float, float]  # of its box, from the middle of the frame, as shares of the frame


def stance_of(mask: Tensor) -> Stance | None:
    """Return how a thing (1, 1, h, w) in its frame stands; None where it does or is unsure.

    The line that supports its outline under its centre of mass has to agree with its longest axis,
    since what is seen from a corner has such a line, too.
    """
    solid = mask[0, 0].float().cpu().numpy() > 0.5
    ys, xs = np.nonzero(solid)
    if len(xs) < 2 or not np.ptp(xs) or not np.ptp(ys):
        return None
    base, axis = _base_of(solid, float(xs.mean())), _axis_of(xs, ys)
    if base is None or axis is None or base * axis <= 0 or abs(base - axis) > APART:
        return None
    turn = -min(base, axis, key=abs)
    if not LEAST <= abs(turn) <= MOST:
        return None
    points = np.stack([xs + 0.5, ys + 0.5]) / np.array([[solid.shape[1]], [solid.shape[0]]]) - 0.5
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    turned = np.array([[cos, -sin], [sin, cos]]) @ points
    (left, top), (right, foot) = turned.min(axis=1).tolist(), turned.max(axis=1).tolist()
    wide, high = right - left, foot - top
    return Stance(turn, (wide, high), (left + wide / 2, top + high / 2))


def is_flat(mask: Tensor, extent: tuple[float, float]) -> bool:
    """Whether a thing that lies (1, 1, h, w), so large in its frame, is seen from above."""
    wide, high = extent
    if high <= FROM_ABOVE * wide:
        return False
    least, most = ROUND
    return least < float(mask.mean()) / (wide * high) < most


def laid_flat(layout: Layout, *, foot: float, share: float) -> Layout:
    """Return an upright layout squeezed to a `share` of its height, above its `foot`."""
    squeezed = layout.centre.new_tensor([1.0, share])
    scale = layout.scale if layout.scale.ndim > 1 else layout.scale[:, None]
    down = layout.centre.new_tensor([0.0, (1 - share) * foot])
    return layout._replace(centre=layout.centre * squeezed + down, scale=scale * squeezed)


def turned_upright(layout: Layout, stance: Stance) -> Layout:
    """Return a layout from a box of the stance's extent, with the thing turned in that box."""
    fill = SUBJECT_FILL / max(stance.extent)
    shift = layout.centre.new_tensor([stance.centre])
    shift = torch.where(layout.flip[:, None] > 0, shift * shift.new_tensor([-1, 1]), shift)
    scale = layout.scale * fill
    return layout._replace(
        scale=scale,
        centre=layout.centre - shift * (scale if scale.ndim > 1 else scale[:, None]),
        rotation=layout.rotation + math.radians(stance.turn) * (1 - 2 * layout.flip),
    )


def _axis_of(xs: NDArray[np.int64], ys: NDArray[np.int64]) -> float | None:
    """Return by how many degrees the longest axis differs from upright or level; None if round."""
    short, long = (eigen := np.linalg.eigh(np.cov(np.stack([xs, ys])))).eigenvalues
    if long < SLENDER**2 * short:
        return None
    x, y = eigen.eigenvectors[:, 1]
    return (math.degrees(math.atan2(y, x)) + 45) % 90 - 45


def _base_of(solid: NDArray[np.bool_], middle: float) -> float | None:
    """Return the slope in degrees of a wide base under the column `middle`."""
    columns = np.flatnonzero(solid.any(axis=0))
    lowest = len(solid) - 1 - solid[::-1, columns].argmax(axis=0)
    points = np.stack([columns, lowest], axis=1).astype(np.float64)
    hull: list[Points] = []
    for point in points:
        while len(hull) > 1 and _cross(hull[-1] - hull[-2], point - hull[-2]) >= 0:
            hull.pop()
        hull.append(point)
    flat = [pair for pair in pairwise(hull) if abs(_slope(*pair)) <= STEEPEST]
    if not flat:
        return None
    below = [flat[0][0], *(end for _, end in flat)]
    size = max(np.ptp(columns), len(solid) - solid.any(axis=1).argmax())
    straight = _straightened(below, STRAIGHT * float(size))
    for first, last in pairwise(straight):
        if first[0] <= middle <= last[0] and last[0] - first[0] >= WIDE * np.ptp(columns):
            return _slope(first, last)
    return None


def _straightened(points: list[Points], most: float) -> list[Points]:
    """Return the corners of a line without those that lie within `most` of it."""
    first, last = points[0], points[-1]
    along = (last - first) / max(1e-6, float(np.linalg.norm(last - first)))
    away = [abs(_cross(along, point - first)) for point in points]
    farthest = int(np.argmax(away))
    if away[farthest] <= most:
        return [first, last]
    return [
        *_straightened(points[: farthest + 1], most)[:-1],
        *_straightened(points[farthest:], most),
    ]


def _slope(first: Points, last: Points) -> float:
    across, down = last - first
    return math.degrees(math.atan2(down, across))


def _cross(first: Points, second: Points) -> float:
    return float(first[0] * second[1] - first[1] * second[0])
