"""Cuts a subject out of its picture and fits it into its frame, in numpy.

To rounding, results equal those of `swiftpie.models.cutout` for a picture without hints. Both
share the averaging of views and the outline of `swiftpie.imageio.cutout`.
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
    KEPT,
    MAX_FRAME_PX,
    MAX_SHARE,
    MIN_SHARE,
    Area,
    CutoutMethod,
    around,
    averaged,
    centred,
    enlarged,
    means,
    outlined,
    plane,
    resized,
)

Array = NDArray[np.float32]
Guess = Callable[[Array], Array]
"""Maps a view (1, 3, n, n) in [-1, 1] to logits (1, 1, n, n) of where the subject is."""


SUBJECT_FILL = 0.9  # as of swiftpie.geometry.layout


class SubjectMask(NamedTuple):
    """Where the subject of a picture is, and how it was found."""

    mask: Array  # (H, W) in [0, 1]
    way: CutoutMethod
    confidence: float | None


def find(image: Image.Image, guess: Guess) -> SubjectMask | None:
    """Return where the subject is, by transparency or by the network; None if that is in doubt."""
    if "A" in image.getbands():
        alpha = plane(image.getchannel("A"))
        if alpha.min() < 1:
            return SubjectMask(alpha, CutoutMethod.TRANSPARENCY, 1.0) if alpha.any() else None
    photo = image if image.mode == "RGB" else image.convert("RGB")
    mask = _seen(photo, guess)
    if not _is_usable(mask):
        return None
    sure = round(_agreement(np.stack([guess(view[None])[0, 0] for view in _views(photo)])), 4)
    mask = _seen_closer(photo, mask, guess)
    return (
        SubjectMask(mask, CutoutMethod.NETWORK, sure)
        if sure >= DOUBTFUL and _is_usable(mask)
        else None
    )


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
    fitted = resized(frame, (size_px, size_px))
    return (fitted[:3] * fitted[3:])[None], fitted[3:][None]


def to_pixels(image: Image.Image) -> Array:
    """Return (3, H, W) in [-1, 1]; transparency is ignored."""
    values = np.array(image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1)
    return values / np.float32(127.5) - np.float32(1)


def _views(photo: Image.Image) -> list[Array]:
    """Return a photo, its mirror image, and its lower corners, as the network looks at them."""
    side = 2 * CUTOUT_PX
    square = to_pixels(photo.resize((side, side), Image.Resampling.BOX))
    edge = round(KEPT * side)
    lower = square[:, -edge:]
    views = (square, square[..., ::-1], lower[..., :edge], lower[..., -edge:])
    return [means(view, (CUTOUT_PX, CUTOUT_PX)) for view in views]


def _agreement(logits: Array) -> float:
    """Return the least agreement of guesses about `_views` (4, n, n), in [0, 1]."""
    whole, mirrored, *corners = 1 / (1 + np.exp(-logits))
    cells = round(KEPT * CUTOUT_PX)
    left, right = (enlarged(corner, (cells, cells)) for corner in corners)
    seen = whole[-cells:]
    pairs = ((mirrored[:, ::-1], whole), (left, seen[:, :cells]), (right, seen[:, -cells:]))
    return min(float(np.minimum(a, b).sum() / np.maximum(a, b).sum()) for a, b in pairs)


def _is_usable(mask: Array) -> bool:
    return bool(MIN_SHARE < mask.mean() <= MAX_SHARE)


def _seen(photo: Image.Image, guess: Guess) -> Array:
    """Return the mask (H, W) that a photo and smaller views from its middle give together."""
    views = [(0, 0, *photo.size), *centred(photo.size)]
    guesses = np.stack([_guessed(photo, view, guess) for view in views])
    return outlined(photo, averaged(guesses, views))


def _seen_closer(photo: Image.Image, mask: Array, guess: Guess) -> Array:
    """Return the mask (H, W) that a closer look at what was found gives."""
    left, top, right, bottom = _extent(mask)
    box = (left / photo.width, top / photo.height, right / photo.width, bottom / photo.height)
    left, top, right, bottom = area = around(box, photo.size)
    closer = np.zeros_like(mask)
    closer[top:bottom, left:right] = outlined(photo.crop(area), _guessed(photo, area, guess))
    return closer


def _guessed(photo: Image.Image, area: Area, guess: Guess) -> Array:
    square = photo.resize((CUTOUT_PX,) * 2, Image.Resampling.BOX, box=area)
    return guess(to_pixels(square)[None])[0, 0]


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
