"""How a thing stands in its photograph: how far it leans from its base, and which way it faces."""

import json
import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.ground import ASSETS
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, pixel_grid, warp

# Chosen by eye on 110 photographs of 15 things: the least degrees that count, how far the base may
# differ from the axis, the least length over thickness that gives an axis, the least width of a
# base as a share of the thing's, how far from straight it may be as a share of the longer side, and
# the share of the widest base from which another slope's counts.
LEAST, APART, SLENDER, WIDE, STRAIGHT, ALIKE = 3.0, 6.0, 1.3, 0.35, 0.02, 0.97
STEEPEST = 45.0  # No axis differs more from upright or level.
# Of bowls and bottles: the most degrees, the least intersection over union with the mirrored
# outline, by how much it exceeds that at other angles, and the side at which both are compared.
MOST, MIRRORED, EXCEEDS, MIRROR_PX = 25.0, 0.95, 0.1, 64
# Of what lies, the least height over width in a photograph from above, and the shares of
# its box that a round thing takes; a rectangle stands, as a book may.
FROM_ABOVE, ROUND = 0.6, (0.7, 0.88)
FACING = "facing.json"  # written by `python -m benchmarks.facing`, which says how right it is
GRID = 24  # cells a side in which an outline is compared


class Orientation(NamedTuple):
    """How a thing is turned to stand on its base, and where it is in its frame then."""

    turn: float  # degrees, positive turns clockwise
    extent: tuple[float, float]  # width and height as shares of the frame
    centre: tuple[float, float]  # of its box, from the middle of the frame, as shares of the frame


def stance_of(mask: Tensor, *, is_mirrored: bool = False) -> Orientation | None:
    """Return how a thing (1, 1, h, w) in its frame stands; None where it does or is unsure.

    What is as even as a bowl stands by the axis that mirrors its outline, even if a border cuts a
    little of it off, and nothing else does with `is_mirrored`. Of others, the line that supports
    the outline under its centre of mass has to agree with the longest axis, since what is seen from
    a corner has such a line, too. So what lay at a slant, as a wrench, lies along its longest axis.
    """
    solid = mask[0, 0].float().cpu().numpy() > 0.5
    ys, xs = np.nonzero(solid)
    if len(xs) < 2 or not np.ptp(xs) or not np.ptp(ys):
        return None
    lean = _mirror_of(mask.float().cpu())
    if lean is None and not is_mirrored:
        base, axis = _base_of(solid, float(xs.mean())), _axis_of(xs, ys)
        if base is not None and axis is not None and base * axis > 0 and abs(base - axis) <= APART:
            lean = min(base, axis, key=abs)
    if lean is None or abs(lean) < LEAST:
        return None
    points = np.stack([xs + 0.5, ys + 0.5]) / np.array([[solid.shape[1]], [solid.shape[0]]]) - 0.5
    cos, sin = math.cos(math.radians(-lean)), math.sin(math.radians(-lean))
    turned = np.array([[cos, -sin], [sin, cos]]) @ points
    (left, top), (right, foot) = turned.min(axis=1).tolist(), turned.max(axis=1).tolist()
    wide, high = right - left, foot - top
    if np.ptp(turned[0, turned[1] > foot - 2 * STRAIGHT * max(wide, high)]) < WIDE * wide:
        return None
    return Orientation(-lean, (wide, high), (left + wide / 2, top + high / 2))


def _mirror_of(mask: Tensor) -> float | None:
    """Return by how many degrees the axis leans that mirrors an outline; None if none or all do."""
    size = (MIRROR_PX, MIRROR_PX)
    small = F.interpolate(mask, size, mode="area")
    lean = torch.arange(-MOST, MOST + 1)
    cos, sin = (2 * lean).deg2rad().cos(), (2 * lean).deg2rad().sin()
    mirror = torch.stack([-cos, -sin, -sin, cos], dim=1).view(-1, 2, 2)
    middle = (small[0, 0, ..., None] * pixel_grid(*size, like=small)).sum((0, 1)) / small.sum()
    affine = torch.cat([mirror, (middle - mirror @ middle)[..., None]], dim=2)
    mirrored = warp(small.expand(len(lean), -1, -1, -1), affine, size)
    both, either = (join(small, mirrored).sum((1, 2, 3)) for join in (torch.minimum, torch.maximum))
    shares = both / either
    best, others = float(shares.max()), max(float(shares[0]), float(shares[-1]))
    return float(lean[shares.argmax()]) if best >= max(MIRRORED, others + EXCEEDS) else None


def is_flat(mask: Tensor, extent: tuple[float, float]) -> bool:
    """Whether a thing that lies (1, 1, h, w), so large in its frame, is seen from above."""
    (wide, high), (least, most) = extent, ROUND
    return high > FROM_ABOVE * wide and least < float(mask.mean()) / (wide * high) < most


def lay_on_ground(layout: Layout, *, foot: float, share: float) -> Layout:
    """Return an upright layout squeezed to a `share` of its height, above its `foot`."""
    squeezed = layout.centre.new_tensor([1.0, share])
    scale = layout.scale if layout.scale.ndim > 1 else layout.scale[:, None]
    down = layout.centre.new_tensor([0.0, (1 - share) * foot])
    return layout._replace(centre=layout.centre * squeezed + down, scale=scale * squeezed)


def turned_upright(layout: Layout, stance: Orientation) -> Layout:
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
    """Return the slope in degrees of the widest base under the column `middle`; None if narrow."""
    columns = np.flatnonzero(solid.any(axis=0))
    lowest = len(solid) - 1 - solid[::-1, columns].argmax(axis=0)
    size = max(np.ptp(columns), len(solid) - solid.any(axis=1).argmax())
    slopes = np.arange(-STEEPEST, STEEPEST + 1)
    radians = np.radians(slopes)[:, None]
    down = lowest * np.cos(radians) - columns * np.sin(radians)
    is_base = down > down.max(axis=1, keepdims=True) - STRAIGHT * size
    first = np.where(is_base, columns, np.inf).min(axis=1)
    last = np.where(is_base, columns, -np.inf).max(axis=1)
    wide = (last - first) * (first <= middle) * (middle <= last)
    if wide.max() < WIDE * np.ptp(columns):
        return None
    return float(slopes[wide > ALIKE * wide.max()].mean())


class Measure(NamedTuple):
    """A linear measure of outlines, antisymmetric from left to right."""

    weights: NDArray[np.float64]  # (GRID, GRID)
    least: float  # from which a side is said
    left: frozenset[str]  # names of the library whose pictures face left


def facing_of(mask: Tensor, *, name: str = "") -> int:
    """Return 1 for what faces right, -1 for left, and 0 for what does neither surely.

    Args:
        mask: Of the subject in its frame, (1, 1, h, w) in [0, 1].
        name: Of a subject of the library.
    """
    measure = _measure()
    if name in measure.left:
        return -1
    leftward = float((measure.weights * sides(mask)).sum())
    return 0 if abs(leftward) < measure.least else -1 if leftward > 0 else 1


def sides(mask: Tensor) -> NDArray[np.float64]:
    """Return the outline on the base of a square less its mirror image, (GRID, GRID)."""
    outline = Image.fromarray((mask[0, 0].float().cpu().numpy() * 255).astype(np.uint8))
    box = outline.getbbox()
    if box is None:
        return np.zeros((GRID, GRID))
    part = outline.crop(box)
    side = max(part.size)
    square = Image.new("L", (side, side))
    square.paste(part, ((side - part.width) // 2, side - part.height))
    cells = np.asarray(square.resize((GRID, GRID), Image.Resampling.BOX), dtype=np.float64) / 255
    return cells - cells[:, ::-1]


@cache
def _measure() -> Measure:
    stored = json.loads((ASSETS / FACING).read_text(encoding="utf-8"))
    half = np.array(stored["weights"])  # of the left half, thousandths
    weights = np.hstack([half, -half[:, ::-1]]) / 1000
    return Measure(weights, stored["least"], frozenset(stored["left"]))
