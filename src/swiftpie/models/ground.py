"""Estimates where things stand in a photograph: its ground, its horizon and its own subject."""

import functools
import logging
import math
from itertools import product
from typing import NamedTuple

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import warn
from swiftpie.geometry.ground import ASSETS, MARGIN, SMALL_M, UNKNOWN, Ground, box_on, scaled, stand
from swiftpie.imageio.images import to_tensor
from swiftpie.masks import HALF, Box, resize_mask
from swiftpie.models.cutout import cutout_network

logger = logging.getLogger(__name__)

WEIGHTS = "estimate.safetensors"  # the file that `python -m benchmarks.ground --fit` writes
SIDE_PX, CELLS = 256, 16
ALONE_PX = 128  # side of a frame in which a subject's height is estimated
LEVELS = slice(3, 5)  # the encoder's levels that the estimate reads; heights read the first
CAMERA_M = 1.6  # height of the camera above the ground, as people hold theirs
NEAR_CAMERA_M, NEAR_HORIZON = 0.55, -0.2  # above a table or a wall, seen from above
# What shows such a place to small things: a horizon above the first, or a mean score of the lowest
# rows above the last.
LOOKS_DOWN, NEAR_ROWS, NEAR_SCORE = 0.2, 6, 0.3
SURE = 0.0  # mean score under the feet, below which the ground is unsure
BEFORE_CELLS = 6  # rows below a thing that stay free where there is other ground
LEAST_CELLS = 3  # narrower ground carries nothing
BELOW_HORIZON = 0.03  # ground begins this far below the horizon, as a share of the height
FLOOR = 0.94  # the lowest place of feet on the ground, as a share of the height
LOWEST = 0.8  # ground that ends above this share of the height is unsure
LEAST_SEEN = 0.2  # least height of a subject without a box, as a share of the picture's
# How many times its size a subject is drawn at most: where it is known, and where heights are
# estimated.
MOST_OFF, MOST_OFF_ESTIMATED = 1.75, 2.2
# Of a thing seen from near: its least height, how far below the horizon it stands at least, and
# the least mean certainty in it, which 93 % of 73 photographs of a thing have, and 14 % of 89
# places in which something may be one.
NEAR_VIEW, NEAR_BELOW, CERTAIN = 0.15, 0.1, 0.87
# Of what comes beside it: by what it may be smaller, how far before it it may stand, what share of
# its box may lie on the thing on the same line and before it, and how much less sure the ground
# may be than under the thing.
SMALLER, FORWARD = (1.0, 0.85, 0.7, 0.55), (0.0, 0.06, 0.12, 0.18)
TOUCHES, HIDES, LESS_SURE = 0.02, 0.1, 0.3
APART, PLACES = 0.05, 32  # distance from the thing, and places in a row that are tried
BLACK, UNEVEN = 24, 4  # the brightest of black bars, and by how many of 256 rows two may differ
LEAST_PORTRAIT = 0.65  # of its usual height
REMEDY = "Say by a box where it goes, as in `box=(0.3, 0.5, 0.6, 0.9)` or `--box 0.3,0.5,0.6,0.9`."
UNSURE = "It remains unsure where the photograph has ground on which the subject could stand."
NO_ROOM = "Beside what the photograph shows from near is no free ground as wide as the subject."


class Sight(NamedTuple):
    """What a photograph shows of where things stand; lengths are shares of its sides."""

    scores: Tensor  # (3, 16, 16), above 0 where things stand, below the horizon, and seen from near
    thing: Tensor  # (h, w) in [0, 1], its own subject
    thing_m: float  # the estimated height of that

    @property
    def horizon(self) -> float:
        """How far down the horizon is."""
        return 1 - (self.scores[1] / 2 + 0.5).clamp(0, 1).mean().item()

    @property
    def is_near(self) -> bool:
        """Whether it shows a place for small things from near, as a table."""
        return self.horizon < LOOKS_DOWN or self.scores[2, -NEAR_ROWS:].mean().item() > NEAR_SCORE

    @property
    def near_thing(self) -> Box | None:
        """The box of what it shows from near; None if there is no such thing."""
        seen = self.thing > HALF
        high, wide = seen.shape
        rows, columns = ((seen.sum(dim) > 1).nonzero().flatten().tolist() for dim in (1, 0))
        if not rows or not columns:
            return None
        left, right = columns[0] / wide, (columns[-1] + 1) / wide
        top, foot = rows[0] / high, (rows[-1] + 1) / high
        is_near = foot - top >= NEAR_VIEW and foot >= self.horizon + NEAR_BELOW
        is_sure = self.thing[seen].mean().item() >= CERTAIN
        return (left, top, right, foot) if is_near and is_sure else None


def box_on_ground(
    photograph: Image.Image,
    extent: tuple[float, float],
    height_m: float,
    *,
    is_known: bool = True,
    lies: bool = False,
) -> Box:
    """Return the box of a subject that stands on the estimated ground of a photograph.

    It stands beside what the network for cut-outs finds there: in a view from near on the same line
    or a little before it, and as large as the heights of both say. A warning names what is doubtful
    about the box, and the remedy.

    Args:
        photograph: Any size.
        extent: Width and height of the subject, of which only the ratio matters.
        height_m: Its usual height.
        is_known: Its name says the height, which is estimated else.
        lies: It lies flat, and its extent is that from above.
    """
    across, down = bars_of(photograph)
    width, height = photograph.size
    part = (across * width, down * height, (1 - across) * width, (1 - down) * height)
    shown = photograph.crop(part) if across or down else photograph
    shape = (extent[0] / shown.width, extent[1] / shown.height)
    box, doubt = placed(sight_of(shown), shape, height_m, is_known=is_known, lies=lies)
    if doubt:
        warn(logger, f"{doubt} {REMEDY}")
    left, top, right, foot = (
        bar + (1 - 2 * bar) * edge for bar, edge in zip((across, down) * 2, box, strict=True)
    )
    return left, top, right, foot


def bars_of(photograph: Image.Image) -> tuple[float, float]:
    """Return how wide black bars beside a photograph are, and how high those above and below."""
    small = photograph.resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST).convert("L")
    inside = small.point(lambda value: 255 * (value > BLACK)).getbbox() or (0, 0, SIDE_PX, SIDE_PX)
    across, down = (
        (inside[side] + SIDE_PX - inside[side + 2]) / 2 / SIDE_PX
        if abs(inside[side] + inside[side + 2] - SIDE_PX) <= UNEVEN
        else 0.0
        for side in (0, 1)
    )
    return across, down


def placed(
    sight: Sight,
    extent: tuple[float, float],
    height_m: float,
    *,
    is_known: bool = True,
    lies: bool = False,
) -> tuple[Box, str]:
    """Return the box of a subject in a photograph, and what is doubtful about it.

    `extent` is its width and height as shares of those of the photograph, up to a factor.
    For other arguments see `box_on_ground`.
    """
    tall, horizon = height_m, sight.horizon
    is_near = sight.is_near and (tall < SMALL_M or horizon >= LOOKS_DOWN)
    top, camera = (NEAR_HORIZON, NEAR_CAMERA_M) if is_near else (horizon, CAMERA_M)
    metre = ((top, 0.0), (top + camera, 1.0))
    if lies:
        depth = Ground((), metre, is_near).depth_at(LOWEST)
        extent, tall = (extent[0], depth * extent[1]), depth * tall
    if (own := sight.near_thing) is not None:
        return _beside(sight, own, extent, tall, is_known=is_known)
    things = F.adaptive_avg_pool2d(sight.thing[None, None], CELLS)
    stands = F.avg_pool2d(sight.scores[None, :1], 3, 1, 1, count_include_pad=False)[0, 0]
    above = F.pad(things, (0, 0, BEFORE_CELLS, 0))
    is_before = F.max_pool2d(above, (BEFORE_CELLS + 1, 1), 1)[0, 0] > HALF
    for free in (stands.masked_fill(is_before, -1.0), stands):
        corners = _corners_in(free, horizon)
        if corners:
            ground = Ground(corners, metre, is_near)
            box = stand(ground, extent, tall, share=0.5, x=0.5, lies=lies)
            if _mean_in(free, (box[0], box[3], box[2], box[3])) >= SURE:
                break
    else:
        corners = ((MARGIN, FLOOR), (1 - MARGIN, FLOOR))
        return stand(Ground(corners, metre, is_near), extent, None, share=0.5, x=0.5), UNSURE
    least = LEAST_SEEN * depth if lies else LEAST_SEEN
    usual = ground.metre_at(box[3]) * tall
    larger = scaled(box, max(1.0, least / (box[3] - box[1])))
    return larger, _size_doubt(usual, larger, MOST_OFF if is_known else MOST_OFF_ESTIMATED)


def _size_doubt(usual: float, box: Box, most: float) -> str:
    """Return what is wrong with a box for a subject of a usual height, as a share of the height."""
    off = (box[3] - box[1]) / max(usual, 1e-6)
    if 1 / most <= off <= most:
        return ""
    return (
        f"At its usual size the subject would have {max(0, usual):.0%} of the photograph's height, "
        f"which is too {'little to be seen' if off > 1 else 'much to fit'}."
    )


def _mean_in(values: Tensor, box: Box) -> float:
    """Return the mean of values (h, w) in a box, of one row if it has no height."""
    high, wide = values.shape
    left, right = max(0, int(wide * box[0])), int(wide * box[2])
    top = min(high - 1, int(high * box[1]))
    return values[top : max(top + 1, round(high * box[3])), left : right + 1].mean().item()


def _beside(
    sight: Sight, own: Box, extent: tuple[float, float], tall: float, *, is_known: bool
) -> tuple[Box, str]:
    """Return a box beside what a photograph shows from near, or before it, and what is wrong."""
    left, top, right, foot = own
    ratio, stands, seen = extent[0] / extent[1], sight.scores[0], (sight.thing > HALF).float()
    usual = (foot - top) * tall / sight.thing_m
    usual = usual if is_known else math.sqrt(usual * UNKNOWN)
    height, is_right = min(max(usual, LEAST_SEEN), foot - MARGIN), left < 1 - right
    height = min(height, (1 - 2 * MARGIN) / ratio)
    box = box_on(min(1 - MARGIN, foot), float(is_right), (height * ratio, height))
    if doubt := _size_doubt(usual, box, MOST_OFF_ESTIMATED):
        return box, doubt
    line = _mean_in(stands, (left, foot + 0.5 / CELLS, right, foot))
    for smaller, forward in product(SMALLER, FORWARD):
        y = min(1 - MARGIN, foot + forward)
        high = smaller * height * (y - sight.horizon) / (foot - sight.horizon)
        if not min(LEAST_SEEN, height) <= high <= min(y - MARGIN, (1 - 2 * MARGIN) / ratio):
            continue
        aside = APART + high * ratio / 2
        middle = right + aside if is_right else left - aside
        hides, least = (HIDES, line - LESS_SURE) if forward else (TOUCHES, -math.inf)
        least = SURE if foot > 1 - MARGIN else least  # the border cuts off where the thing stands
        for x in sorted((x / PLACES for x in range(PLACES + 1)), key=lambda x: abs(x - middle)):
            tried = box_on(y, x, (high * ratio, high))
            under = (tried[0], y, tried[2], y)
            if _mean_in(seen, tried) <= hides and _mean_in(stands, under) >= least:
                return tried, ""
    return box, NO_ROOM


def portrait_beside(photograph: Image.Image, box: Box) -> Box:
    """Return the box of a portrait moved beside what a photograph shows from near."""
    own, (left, top, right, foot) = sight_of(photograph).near_thing, box
    if own is None:
        return box
    room, middle = max((own[0], own[0] / 2), (1 - own[2], (1 + own[2]) / 2))
    smaller = min(1.0, room / (right - left))
    if smaller < LEAST_PORTRAIT:
        warn(logger, f"{NO_ROOM} {REMEDY}")
        smaller = LEAST_PORTRAIT
    half = smaller * (right - left) / 2
    return (middle - half, foot - smaller * (foot - top), middle + half, foot)


def _corners_in(stands: Tensor, horizon: float) -> tuple[tuple[float, float], ...]:
    """Return the polygon of the ground that scores show below a horizon; empty without one."""
    spans = [_widest(row) for row in (stands > 0).tolist()]
    rows = [
        row
        for row, (first, end) in enumerate(spans)
        if end - first >= LEAST_CELLS and (row + 0.5) / CELLS > horizon + BELOW_HORIZON
    ]
    while rows and len(rows) <= rows[-1] - rows[0]:
        rows = rows[1:]  # what lies behind a gap is another ground
    if not rows or (rows[-1] + 1) / CELLS < LOWEST:
        return ()
    ends = [(rows[0], rows[0] / CELLS), *((row, (row + 0.5) / CELLS) for row in rows)]
    corners = [(spans[row][0] / CELLS, y) for row, y in reversed(ends)]
    corners += [(spans[row][1] / CELLS, y) for row, y in ends]
    return tuple((x, min(FLOOR, y)) for x, y in corners)


def sight_of(photograph: Image.Image) -> Sight:
    """Return what a photograph shows.

    One linear layer over the features of the network for cut-outs scores the ground and what is
    below the horizon, another one over its features in the subject tells the height of that.
    """
    features, thing = features_of(photograph)
    stored = _weights()
    scores = F.conv2d(features, stored["weight"][..., None, None], stored["bias"])
    return Sight(scores[0], thing[0, 0], height_of(features, thing))


def features_of(photograph: Image.Image) -> tuple[Tensor, Tensor]:
    """Return what the layer reads of a photograph, (1, C, 16, 16), and where its subject is.

    The subject is (1, 1, h, w) in [0, 1].
    """
    size, network = (SIDE_PX, SIDE_PX), cutout_network()
    picture = photograph.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    with torch.no_grad():
        levels = network.levels(to_tensor(picture))
        thing = network.decoder(levels).sigmoid()
    fine, coarse = levels[LEVELS]
    coarse = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear")
    y = ((torch.arange(CELLS) + 0.5) / CELLS - 0.5).view(1, 1, -1, 1).expand(1, 1, CELLS, CELLS)
    return torch.cat([fine, coarse, 4 * y, 8 * y**2], dim=1), thing


def height_of(features: Tensor, thing: Tensor) -> float:
    """Return the estimated height in metres of a thing (1, 1, h, w) by features where it is."""
    stored = _weights()
    weight = stored["height_weight"]
    return float(
        (mean_in(features[:, : len(weight)], thing) @ weight + stored["height_bias"]).exp()
    )


def mean_in(features: Tensor, thing: Tensor) -> Tensor:
    """Return the mean (1, C) of features (1, C, h, w) in a thing (1, 1, H, W)."""
    share = resize_mask(thing, (features.shape[2], features.shape[3]))
    return (features * share).sum((2, 3)) / (share.sum() + 1e-3)


def own_height(pixels: Tensor, mask: Tensor) -> float:
    """Return the estimated height in metres of the subject of a frame (1, 3, H, W), by its mask."""
    small = F.interpolate(pixels.float().cpu(), (ALONE_PX,) * 2, mode="bilinear", antialias=True)
    with torch.no_grad():
        features = cutout_network().levels(small)[LEVELS.start]
    return height_of(features, mask.float().cpu())


def _widest(row: list[bool]) -> tuple[int, int]:
    """Return where the longest run of cells begins and ends."""
    best, first = (0, 0), 0
    for cell, is_ground in enumerate([*row, False]):
        if is_ground:
            continue
        best, first = max(best, (first, cell), key=lambda run: run[1] - run[0]), cell + 1
    return best


@functools.cache
def _weights() -> dict[str, Tensor]:
    return load_file(ASSETS / WEIGHTS)
