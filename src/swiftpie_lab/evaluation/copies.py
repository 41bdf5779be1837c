"""Whether a subject was copied from its reference: by its details, and by what a turn explains."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.relief import height, turn

SIDE_PX = 96  # at which subjects are compared pixel by pixel
FARTHEST_PX = 15  # shift that is looked at
PADDED_PX = 112  # a fast size for the transform that holds a side and the farthest shift
TURNS_DEG, SIZES = range(-20, 21, 5), (0.82, 0.88, 0.94, 1.0, 1.06, 1.13, 1.2)
FINE_TURNS_DEG, FINE_SIZES = (-2.5, -1.5, -0.75, 0, 0.75, 1.5, 2.5), (0.97, 0.985, 1, 1.015, 1.03)
BLUR_PX = 7  # what is smoother says nothing about details
EDGE_PX = 4  # width of the outline, which is alike in many views
COPIED_AT = 0.78  # correlation of details from which a subject may be a copy
YAWS_DEG, PITCHES_DEG = (-18, -9, 0, 9, 18), (-20, -14, -7, 0, 7, 14, 20)
NEAR_DEG = 10  # a turn that small moves no more than a cut-out's faults do
TURNED_SIZES = (0.97, 1.0, 1.04)  # a turned subject fills its frame otherwise
ROUNDNESS = 0.8  # roundness of the relief; outlines do not show it, 0.6 to 1 occur
CLEARLY = 0.005  # by which correlations have to differ
OPAQUE = 0.02
TINY = 1e-4


class PictureChange(NamedTuple):
    """How the reference is laid on a subject."""

    angle: float  # radians, in the plane of the picture
    size: float
    mirror: int  # -1 to mirror


def is_copy(reference: Image.Image, cutout: Image.Image) -> bool:
    """Return whether the subject of `cutout` is that of `reference`, moved or turned in the plane.

    Both are RGBA. A view from elsewhere moves details against each other, and changes the outline.
    Where details and outline of the reference fit as well or better when it is turned by its
    relief, a turn explains the subject, and it counts as no copy.
    """
    planes, mine = _planes(reference), _planes(cutout)
    flat, change = _best_in_plane(planes, _details(mine)[0])
    if flat <= COPIED_AT:
        return False
    return _best_flat(planes, mine, change) - _best_turned(planes, mine, change) >= CLEARLY


def _best_in_plane(planes: Tensor, mine: Tensor) -> tuple[float, PictureChange]:
    angles = map(math.radians, TURNS_DEG)
    coarse = [PictureChange(*values) for values in itertools.product(angles, SIZES, (1, -1))]
    _, near = _best_of(planes, mine, coarse)
    return _best_of(planes, mine, _around(near))


def _around(near: PictureChange) -> list[PictureChange]:
    return [
        PictureChange(near.angle + math.radians(more), near.size * factor, near.mirror)
        for more in FINE_TURNS_DEG
        for factor in FINE_SIZES
    ]


def _best_of(
    planes: Tensor, mine: Tensor, changes: list[PictureChange]
) -> tuple[float, PictureChange]:
    found = _correlations(_details(_changed(planes, changes)), mine).flatten(1).amax(1)
    best = int(found.argmax())
    return float(found[best]), changes[best]


def _best_flat(planes: Tensor, mine: Tensor, change: PictureChange) -> float:
    """Return how well the reference fits, laid about as `change`; see `_fit`."""
    return _fit(_changed(planes, _around(change)), mine)


def _best_turned(planes: Tensor, mine: Tensor, change: PictureChange) -> float:
    """Return how well the reference seen from clearly elsewhere fits, laid as `change`."""
    views = _seen_from_elsewhere(planes)
    changes = [change._replace(size=change.size * factor) for factor in TURNED_SIZES]
    return max(_fit(_changed(views, [each] * len(views)), mine) for each in changes)


def _fit(planes: Tensor, mine: Tensor) -> float:
    """Return the highest mean correlation of details and outlines, (V, 2, S, S), at one shift."""
    both = [_correlations(of(planes), of(mine)[0]) for of in (_details, _outline)]
    return float(((both[0] + both[1]) / 2).max())


def _seen_from_elsewhere(planes: Tensor) -> Tensor:
    """Return brightness and opacity (V, 2, S, S) of the reference in all turns that are tried."""
    angles = [
        (yaw, pitch)
        for yaw, pitch in itertools.product(YAWS_DEG, PITCHES_DEG)
        if max(abs(yaw), abs(pitch)) > NEAR_DEG
    ]
    poses = torch.zeros(len(angles), 4)
    poses[:, :2] = torch.deg2rad(torch.tensor(angles, dtype=torch.float32))
    grey, opacity = planes.split(1, dim=1)
    frame = torch.cat([(grey * opacity).expand(-1, 3, -1, -1), opacity], dim=1)
    relief = ROUNDNESS * height(opacity)
    shape = (len(poses), -1, -1, -1)
    seen = turn(frame.expand(shape), relief.expand(shape), poses).frame
    cover = seen[:, 3:]
    light = torch.where(cover > OPAQUE, seen[:, :1] / cover.clamp_min(OPAQUE), 1.0)
    return torch.cat([light, cover], dim=1)


def _correlations(views: Tensor, mine: Tensor) -> Tensor:
    """Return the correlation of each of `views` (V, S, S) with `mine` (S, S) at all near shifts."""
    sides = (PADDED_PX, PADDED_PX)
    spectrum = torch.fft.rfft2(mine, s=sides).conj()
    found = torch.fft.irfft2(torch.fft.rfft2(views, s=sides) * spectrum, s=sides)
    for axis in (-1, -2):
        found = found.roll(FARTHEST_PX, axis).narrow(axis, 0, 2 * FARTHEST_PX + 1)
    return found / (views.flatten(1).norm(dim=1) * mine.norm() + TINY)[:, None, None]


def _planes(image: Image.Image) -> Tensor:
    """Return brightness and opacity, (1, 2, S, S) in [0, 1]."""
    small = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, reducing_gap=3.0)
    both = [
        np.asarray(plane, dtype=np.float32) for plane in (small.convert("L"), small.getchannel(3))
    ]
    return torch.from_numpy(np.stack(both))[None] / 255


def _changed(planes: Tensor, changes: Sequence[PictureChange]) -> Tensor:
    """Return `planes` (1 or V, 2, S, S) after each of V changes."""
    rows = [
        [
            [mirror * math.cos(angle) / size, -mirror * math.sin(angle) / size, 0.0],
            [math.sin(angle) / size, math.cos(angle) / size, 0.0],
        ]
        for angle, size, mirror in changes
    ]
    shape = [len(rows), 2, SIDE_PX, SIDE_PX]
    grid = F.affine_grid(torch.tensor(rows), shape, align_corners=False)
    return F.grid_sample(planes.expand(shape), grid, align_corners=False)


def _details(planes: Tensor) -> Tensor:
    """Return by how much subjects differ from what is around, (V, S, S), 0 along the outline."""
    grey, opacity = planes.split(1, dim=1)
    inside = -F.max_pool2d(-opacity, 2 * EDGE_PX + 1, 1, EDGE_PX)
    around = [F.avg_pool2d(part, BLUR_PX, 1, BLUR_PX // 2) for part in (grey * inside, inside)]
    return (inside * (grey - around[0] / (around[1] + TINY)))[:, 0]


def _outline(planes: Tensor) -> Tensor:
    """Return opacity less its mean, (V, S, S)."""
    opacity = planes[:, 1]
    return opacity - opacity.mean((1, 2), keepdim=True)
