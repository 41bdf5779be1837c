"""Which way a subject faces, by the outline that its photograph or drawing shows."""

import json
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from swiftpie.geometry.ground import ASSETS

FACING = "facing.json"  # written by `python -m benchmarks.facing`, which says how right it is
GRID = 24  # cells a side in which an outline is compared


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
