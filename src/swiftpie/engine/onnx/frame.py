"""Cuts a subject out of its picture and fits it into its frame, in numpy.

Rounding apart, this computes what `swiftpie.models.cutout` and `swiftpie.imageio.images` compute
for a whole picture without hints. Resizing is linear along each axis, so it is a matrix on either
side.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swiftpie.imageio.cutout import (
    CUTOUT_PX,
    DOUBTFUL,
    GUIDE_PIXELS,
    GUIDE_RADIUS_PX,
    GUIDE_SOFTNESS,
    KEPT,
    MAX_FRAME_PX,
    MAX_SHARE,
    MIN_SHARE,
    OUTLINE_CONTRAST,
    WORK_SIDE_PX,
    Area,
    Way,
    around,
    centred,
    sharpen,
    shrunk_to,
)

Array = NDArray[np.float32]
Guess = Callable[[Array], Array]
"""Maps a view (1, 3, n, n) in [-1, 1] to logits (1, 1, n, n) of where the subject is."""


SUBJECT_FILL = 0.9  # as of swiftpie.geometry.layout


class Found(NamedTuple):
    """Where the subject of a picture is, and how that was told."""

    mask: Array  # (H, W) in [0, 1]
    way: Way
    confidence: float | None


def find(image: Image.Image, guess: Guess) -> Found | None:
    """Return where the subject is, by transparency or by the network, if there is no doubt."""
    if "A" in image.getbands():
        alpha = _plane(image.getchannel("A"))
        if alpha.min() < 1:
            return Found(alpha, Way.TRANSPARENCY, 1.0) if alpha.any() else None
    photo = image if image.mode == "RGB" else image.convert("RGB")
    mask = _seen(photo, guess)
    if not _is_usable(mask):
        return None
    sure = round(_agreement(np.stack([guess(one[None])[0, 0] for one in _views(photo)])), 4)
    mask = _seen_closer(photo, mask, guess)
    return Found(mask, Way.NETWORK, sure) if sure >= DOUBTFUL and _is_usable(mask) else None


def fit(
    image: Image.Image, mask: Array, *, size_px: int, fill: float = SUBJECT_FILL
) -> tuple[Array, Array]:
    """Return pixels (1, 3, S, S) in [-1, 1], grey outside of the subject, and mask (1, 1, S, S).

    `mask` (H, W) shows a subject; `fill` is the share of a side that its longer side takes.
    """
    left, top, side = _square_around(mask, fill)
    times = math.ceil(side / MAX_FRAME_PX)
    box = (max(0, left), max(0, top), min(image.width, left + side), min(image.height, top + side))
    part, cover = image.crop(box), mask[box[1] : box[3], box[0] : box[2]]
    if times > 1:
        part, cover = image.reduce(times, box), _reduce(cover, times)
    left, top, side = _square_around(cover, fill)
    height, width = cover.shape
    frame = np.zeros((4, side, side), np.float32)  # what lies beyond the photo stays grey
    rows = slice(max(0, top), min(height, top + side))
    columns = slice(max(0, left), min(width, left + side))
    inside = np.concatenate([to_pixels(part), cover[None]])[:, rows, columns]
    down, across = rows.start - top, columns.start - left
    frame[:, down : down + inside.shape[1], across : across + inside.shape[2]] = inside
    fitted = _resized(frame, (size_px, size_px), _smooth)
    return (fitted[:3] * fitted[3:])[None], fitted[3:][None]


def to_pixels(image: Image.Image) -> Array:
    """Return (3, H, W) in [-1, 1]; transparency is ignored."""
    values = np.array(image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1)
    return values / np.float32(127.5) - np.float32(1)


def _plane(image: Image.Image) -> Array:
    return np.array(image, dtype=np.float32) / np.float32(255)


def _views(photo: Image.Image) -> list[Array]:
    """Return a photo, its mirror image, and its lower corners, as the network looks at them."""
    side = 2 * CUTOUT_PX
    square = to_pixels(photo.resize((side, side), Image.Resampling.BOX))
    edge = round(KEPT * side)
    lower = square[:, -edge:]
    views = (square, square[..., ::-1], lower[..., :edge], lower[..., -edge:])
    return [_resized(one, (CUTOUT_PX, CUTOUT_PX), _areas) for one in views]


def _agreement(logits: Array) -> float:
    """Return the least agreement of guesses about `_views` (4, n, n), in [0, 1]."""
    whole, mirrored, *corners = 1 / (1 + np.exp(-logits))
    cells = round(KEPT * CUTOUT_PX)
    left, right = (_resized(one, (cells, cells), _lines) for one in corners)
    seen = whole[-cells:]
    pairs = ((mirrored[:, ::-1], whole), (left, seen[:, :cells]), (right, seen[:, -cells:]))
    return min(float(np.minimum(a, b).sum() / np.maximum(a, b).sum()) for a, b in pairs)


def _is_usable(mask: Array) -> bool:
    return bool(MIN_SHARE < mask.mean() <= MAX_SHARE)


def _seen(photo: Image.Image, guess: Guess) -> Array:
    """Return the mask (H, W) that a photo and smaller views from its middle give together."""
    total = _guessed(photo, (0, 0, *photo.size), guess)
    count = np.ones_like(total)
    for area in centred(photo.size):
        seen = _guessed(photo, area, guess)
        rows, columns = (
            slice(*(round(area[axis + end] * CUTOUT_PX / side) for end in (0, 2)))
            for axis, side in ((1, photo.height), (0, photo.width))
        )
        shape = total[rows, columns].shape
        if 0 not in shape:
            total[rows, columns] += _resized(seen, shape, _areas)
            count[rows, columns] += 1
    return _outlined(photo, total / count)


def _seen_closer(photo: Image.Image, mask: Array, guess: Guess) -> Array:
    """Return the mask (H, W) that a closer look at what was found gives."""
    left, top, right, bottom = _extent(mask)
    box = (left / photo.width, top / photo.height, right / photo.width, bottom / photo.height)
    left, top, right, bottom = area = around(box, photo.size)
    closer = np.zeros_like(mask)
    closer[top:bottom, left:right] = _outlined(photo.crop(area), _guessed(photo, area, guess))
    return closer


def _guessed(photo: Image.Image, area: Area, guess: Guess) -> Array:
    square = photo.resize((CUTOUT_PX,) * 2, Image.Resampling.BOX, box=area)
    return guess(to_pixels(square)[None])[0, 0]


def _outlined(photo: Image.Image, logits: Array) -> Array:
    """Return the mask (H, W) that colours and edges of a photo make of a guess (n, n) about it."""
    size = shrunk_to(WORK_SIDE_PX, photo.size)
    small = photo.resize(size, Image.Resampling.BOX)
    guess = _resized(logits, size[::-1], _lines)
    coarse = sharpen(guess, np.array(small, dtype=np.float32) / np.float32(255))
    times = math.ceil(math.sqrt(photo.width * photo.height / GUIDE_PIXELS))
    guide = photo if times < 2 else photo.reduce(times)
    mask = _follow_edges(coarse, _plane(small.convert("L")), _plane(guide.convert("L")))
    return mask if guide is photo else _resized(mask, (photo.height, photo.width), _lines)


def _follow_edges(mask: Array, guide: Array, full: Array) -> Array:
    """Enlarge `mask` along the photo's edges (fast guided filter, He and Sun, 2015)."""
    mean_mask, mean_guide = _box_mean(mask), _box_mean(guide)
    variance = _box_mean(guide * guide) - mean_guide**2
    slope = (_box_mean(guide * mask) - mean_guide * mean_mask) / (variance + GUIDE_SOFTNESS)
    lines = np.stack([_box_mean(slope), _box_mean(mean_mask - slope * mean_guide)])
    slopes, offsets = _resized(lines, full.shape, _lines)
    refined = slopes * full + offsets
    return np.asarray(np.clip((refined - 0.5) * OUTLINE_CONTRAST + 0.5, 0, 1), np.float32)


def _box_mean(field: Array) -> Array:
    """Return the mean of `field` (h, w) around each pixel, over the pixels that exist."""
    return _resized(field, field.shape, _windows)


def _square_around(mask: Array, fill: float) -> tuple[int, int, int]:
    """Return left, top and side in pixels of the square around what is above 0.5."""
    left, top, right, bottom = _extent(mask)
    side = max(1, round(max(bottom - top, right - left) / fill))
    return (left + right - side) // 2, (top + bottom - side) // 2, side


def _extent(mask: Array) -> Area:
    """Return what is just around `mask` (H, W) above 0.5; all of it if nothing is."""
    solid = mask > 0.5
    rows, columns = (np.flatnonzero(solid.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, mask.shape[1], mask.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _reduce(mask: Array, times: int) -> Array:
    """Shrink `mask` as Pillow's `reduce` does pictures; a line too thin for that stays whole."""
    starts = [np.arange(0, side, times) for side in mask.shape]

    def blocks(ufunc: np.ufunc, field: Array) -> Array:
        return np.asarray(
            ufunc.reduceat(ufunc.reduceat(field, starts[0], 0), starts[1], 1), np.float32
        )

    small: Array = blocks(np.add, mask) / blocks(np.add, np.ones_like(mask))
    whole: Array = blocks(np.maximum, mask)
    return small if small.max() > 0.5 else whole


Rows = Callable[[int, int], Array]
"""Makes the matrix (m, n) that resizes n values to m."""


def _resized(field: Array, size: tuple[int, ...], rows: Rows) -> Array:
    """Return `field` (..., h, w) at `size` (height, width)."""
    height, width = field.shape[-2:]
    made = rows(size[0], height) @ field @ rows(size[1], width).T
    return np.asarray(made, np.float32)


def _lines(new: int, old: int) -> Array:
    """Make what is linear between the centres of two neighbours."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    below = np.minimum(places.astype(int), old - 1)
    share = places - below
    rows = np.zeros((new, old), np.float32)
    rows[np.arange(new), below] += 1 - share
    rows[np.arange(new), np.minimum(below + 1, old - 1)] += share
    return rows


def _areas(new: int, old: int) -> Array:
    """Make means over all values that a new one touches, as PyTorch's adaptive pooling."""
    index = np.arange(old)
    rows = [
        (index >= place * old // new) & (index < -(-(place + 1) * old // new))
        for place in range(new)
    ]
    return _normed(np.array(rows, np.float32))


def _smooth(new: int, old: int) -> Array:
    """Make triangles as wide as what shrinks, as Pillow's bilinear filter."""
    scale = old / new
    reach = max(scale, 1.0)
    centres = (np.arange(new)[:, None] + 0.5) * scale
    return _normed(np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - centres) / reach))


def _windows(new: int, old: int) -> Array:
    """Make means over a window around each value."""
    apart = np.abs(np.arange(new)[:, None] - np.arange(old))
    return _normed(apart <= GUIDE_RADIUS_PX)


def _normed(rows: NDArray[np.generic]) -> Array:
    sums: Array = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    return sums
