"""Estimates where things stand in a photograph: its ground, its horizon and its own subject."""

import functools
import logging
import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import InputError
from swiftpie.geometry.ground import ASSETS, BELOW, BUST, MARGIN, SMALL_M, Ground, boxes_on, fitting
from swiftpie.imageio.images import bounding_box, to_tensor
from swiftpie.masks import HALF, Box, resize_mask
from swiftpie.photo.cutout import cutout_network

logger = logging.getLogger(__name__)

WEIGHTS = "estimate.safetensors"  # the file that `python -m benchmarks.ground --fit` writes
SIDE_PX, CELLS = 256, 16
ALONE_PX = 128  # side of a frame in which a subject's height is estimated
LEVELS = slice(3, 5)  # the encoder's levels that the estimate reads; heights read the first
# The first is the height of a camera as people hold it, in metres. The others, chosen by eye, place
# it above a table or a wall, seen from above.
CAMERA_M, NEAR_CAMERA_M, NEAR_HORIZON = 1.6, 0.55, -0.2
# Such a place has, by eye, a horizon above the first or lowest rows with a mean above the last.
LOOKS_DOWN, NEAR_ROWS, NEAR_SCORE = 0.2, 6, 0.3
SURE = 0.0  # mean score under the feet, below which the ground is unsure
# Score that ground has somewhere around what is seen from near, unless that is a flower or a bird,
# and at the foot of a portrait: of 101 photographs of a thing 94 have it, and of 13 of others 3.
LEAST_GROUND = -0.3
BARE, CLOSE = -0.6, 0.85  # mean scores as below flowers: hardly ground, and seen from so near
# By eye: the height of a subject, which decides where on the ground it stands, the share of its
# height over which the ground goes on behind its feet, and how far below the horizon ground begins.
WANTED, DEEP, BELOW_HORIZON = 0.43, 0.12, 0.03
FLOOR, LOWEST = 0.94, 0.8  # of the height: the lowest place of feet, and where things lie flat
LEAST_SEEN = 0.12  # least height of a subject without a box, as a share of the picture's
# By how much a subject may be off its usual size, unwarned, and how much smaller or larger at all.
# Heights are estimated within a factor of 1.5 in 68 % of cases, see `SHOWN_M`, so within its square
# in 95 %: what has to be smaller still would look it.
OFF, SMALLEST, LARGEST = 1.75, 1.5**2, 7.0
# Longest side on unsure ground and height of a portrait; parts of it for what has little room.
LARGE, PARTS = 0.4, (1.4, 1.2, 1.0, 0.85, 0.7, 0.55)
# Of a thing seen from near: its least height, how far below the horizon it stands at least, and
# the least mean certainty in it, which 93 % of 73 photographs of a thing have, and 14 % of 89
# places in which something may be one.
NEAR_VIEW, NEAR_BELOW, CERTAIN = 0.15, 0.1, 0.87
# Metres that the height of such a photograph shows, less than the mean of 102, 0.35, as what is too
# small is seen more; at most, where what comes is larger; and their weight beside the estimate. Of
# 454 insertions with room beside a thing 68 % are within a factor 1.5, and 51 % by other values.
SHOWN_M, MOST_M, USUALLY = 0.28, 1.4, 0.6
# Of what comes beside it: shares of the smaller of both that overlap on the same line and before
# it; by what it is smaller with a gap at its sides, in which hardly anything overlaps, and without;
# how far in front of it the subject may stand; how much less sure its ground may be.
TOUCHES, HIDES, GAP, LESS_SURE = 0.02, 0.1, 0.02, 0.3
SMALLER = ((1.0, GAP), (0.85, GAP), (0.75, GAP), (1.0, 0.0), (0.85, 0.0), (0.7, 0.0))
FORWARD = (0.0, 0.06, 0.12, 0.18)
APART, PLACES = 0.05, 24  # distance from the thing, and places in a row that are tried
# A backdrop: most steps between so few pixels a side, in [-1, 1], and the greatest of these.
COARSE_PX, MOST_STEPS, STEP = 64, 0.99, 0.03
BLACK, UNEVEN = 24, 4  # the brightest of black bars, and by how many of 256 rows two may differ
REMEDY = "Say by a box where it goes, as in `box=(0.3, 0.5, 0.6, 0.9)`."
UNSURE = "The photograph shows no certain ground for the subject to stand on."
NO_ROOM = "Next to the close-up object there is no free ground as wide as the subject."


class GroundEstimate(NamedTuple):
    """Where things stand in a photograph; lengths are shares of its sides."""

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
        is_thing = self.thing > HALF
        if not is_thing.any():
            return None
        _, top, _, foot = box = bounding_box(self.thing[None, None])
        is_near = foot - top >= NEAR_VIEW and foot >= self.horizon + NEAR_BELOW
        return box if is_near and self.thing[is_thing].mean().item() >= CERTAIN else None


def box_on_ground(
    photograph: Image.Image,
    extent: tuple[float, float],
    height_m: float,
    *,
    lean: float | None = None,
    is_cut: bool = False,
    warn: Callable[[str], object] = logger.warning,
) -> Box:
    """Return the box of a subject that stands on the estimated ground of a photograph.

    It stands beside what the network for cut-outs finds there: in a view from near on the same line
    or a little before it, and as large as the heights of both say. A warning names what is doubtful
    about the size, and the remedy.

    Args:
        photograph: Any size.
        extent: Width and height of the subject, of which only the ratio matters.
        height_m: Its usual height.
        lean: By how much taller than flat what lies is seen, see `LEANS`; None: it stands.
        is_cut: The lower border of its photograph cuts it off, and that of this one does so.
        warn: Takes the warning.

    Raises:
        InputError: There is no ground and no backdrop, no room, or only for a giant or a dwarf.
    """
    across, down = bars_of(photograph)
    left, top = across * photograph.width, down * photograph.height
    picture = photograph.crop((left, top, photograph.width - left, photograph.height - top))
    shape = (extent[0] / picture.width, extent[1] / picture.height)
    estimate = ground_in(picture)
    box, doubt, is_hopeless = find_box(estimate, shape, height_m, lean=lean, is_cut=is_cut)
    small = to_tensor(picture.convert("RGB").resize((COARSE_PX, COARSE_PX), reducing_gap=3.0))
    steps = torch.cat([small.diff(dim=axis).abs().flatten() for axis in (2, 3)])
    if doubt and steps.quantile(MOST_STEPS) > STEP:  # before a plain backdrop anything stands
        if is_hopeless:
            raise InputError(f"{doubt} {REMEDY}")
        warn(f"{doubt} {REMEDY}")
    (left, top, right, foot), wide, high = box, 1 - 2 * across, 1 - 2 * down
    return across + wide * left, down + high * top, across + wide * right, down + high * foot


def bars_of(photograph: Image.Image) -> tuple[float, float]:
    """Return how wide black bars beside a photograph are, and how high those above and below."""
    small = photograph.resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST).convert("L")
    inside = small.point(lambda value: 255 * (value > BLACK)).getbbox() or (0, 0, SIDE_PX, SIDE_PX)
    across, down = (
        inside[side] / SIDE_PX if abs(inside[side] + inside[side + 2] - SIDE_PX) <= UNEVEN else 0.0
        for side in (0, 1)
    )
    return across, down


def find_box(
    estimate: GroundEstimate,
    extent: tuple[float, float],
    height_m: float,
    *,
    lean: float | None = None,
    is_cut: bool = False,
) -> tuple[Box, str, bool]:
    """Return the box of a subject in a photograph, what is doubtful about it, and whether too much.

    `extent` is its width and height as shares of those of the photograph, up to a factor.
    For other arguments see `box_on_ground`.
    """
    near_box, thing = estimate.near_thing, (estimate.thing > HALF).float()
    area = thing.mean().item() + 1e-6
    ground = _ground_for(estimate, near_box, height_m)
    flat = 1.0 if lean is None else ground.depth_at(LOWEST, lean)
    extent, wide = (extent[0], flat * extent[1]), max(1.0, extent[0] / extent[1])
    least_seen = flat * LEAST_SEEN / math.sqrt(wide)  # what is wide is seen as well
    tall = (BUST if is_cut else flat) * height_m
    stands = F.avg_pool2d(estimate.scores[None, :1], 3, 1, 1, count_include_pad=False)[0, 0]
    rows = [] if is_cut else _far_rows(stands, ground, tall)
    if near_box is not None:
        lower = _mean_in(stands, (0.0, near_box[3], 1.0, 1.0))
        is_bare = lower < BARE and estimate.scores[2, -NEAR_ROWS:].mean() > CLOSE
        has_ground = not is_bare and stands.max() >= LEAST_GROUND
        rows = _near_rows(stands, near_box, ground, tall) if has_ground else []
    xs = sorted((x / PLACES for x in range(PLACES + 1)), key=lambda x: abs(x - 0.5))
    large = LARGE * min(1.0, extent[1] / extent[0])
    sizes = [(*smaller, math.inf) for smaller in SMALLER]
    sizes += [(1.0, 0.0, part * large) for part in PARTS if near_box is not None]
    for (smaller, gap, most), row in product(sizes, rows):
        height = min(smaller * max(row.usual, least_seen), row.y - MARGIN, most)
        size = fitting(height, extent)
        foot, middle = 1 + BELOW * size[1] if is_cut else row.y, row.x + row.side * size[0] / 2
        boxes = zip(xs, boxes_on(foot, xs, size), strict=True)
        for _, box in sorted(boxes, key=lambda pair: abs(pair[0] - middle)):
            below = (box[0], foot - (DEEP if lean is None else 1.0) * size[1], box[2], foot)
            hides = _mean_in(thing, box, aside=gap) * max(1.0, size[0] * size[1] / area)
            if hides <= (TOUCHES if gap else row.hides) and _mean_in(stands, below) >= row.least:
                return box, *_size_doubt(row.usual, size[1])
    size = fitting(large, extent)
    foot = 1 + BELOW * size[1] if is_cut else FLOOR
    box = min(boxes_on(foot, xs, size), key=lambda box: _mean_in(thing, box))
    below = (box[0], FLOOR, box[2], 1.0)
    is_on = is_cut and near_box is None and _mean_in(stands, below) >= LEAST_GROUND
    return box, "" if is_on else NO_ROOM if rows and near_box is not None else UNSURE, not is_on


class Row(NamedTuple):
    """Where feet may be at a height `y`, from the best place on."""

    y: float
    usual: float  # height of the subject there
    x: float  # best place of the left side, the middle or the right side of the subject,
    side: int  # which is 1, 0 or -1
    least: float  # mean score under its feet at least
    hides: float  # share of its box, or of the near thing if that is smaller, that may overlap


def _ground_for(estimate: GroundEstimate, near_box: Box | None, height_m: float) -> Ground:
    """Return how tall a metre is seen on the ground, as one without an area, for a height."""
    top, camera = estimate.horizon, CAMERA_M
    if near_box is not None:
        likely_m = min(max(SHOWN_M, 2 * height_m), MOST_M)
        thing_height = near_box[3] - near_box[1]
        shown_m = likely_m**USUALLY * (estimate.thing_m / thing_height) ** (1 - USUALLY)
        camera = shown_m * (near_box[3] - top)
    elif estimate.is_near and (height_m < SMALL_M or top >= LOOKS_DOWN):
        top, camera = NEAR_HORIZON, NEAR_CAMERA_M
    return Ground((), ((top, 0.0), (top + camera, 1.0)), is_near=False)


def _far_rows(stands: Tensor, ground: Ground, tall: float) -> list[Row]:
    """Return rows of the ground, first the one on which a subject has the wanted height."""
    ahead = stands.clamp_min(0)
    middles = (ahead * torch.arange(0.5, CELLS)).sum(1) / CELLS / (ahead.sum(1) + 1e-3)
    ys = [FLOOR - row / CELLS for row in range(CELLS - 1)]
    first = ground.horizon + BELOW_HORIZON
    rows = [
        Row(y, tall * ground.metre_at(y), middles[int(y * CELLS)].item(), 0, SURE, HIDES)
        for y in ys
        if y > first
    ]
    return sorted(rows, key=lambda row: abs(WANTED - row.usual))


def _near_rows(stands: Tensor, near_box: Box, ground: Ground, tall: float) -> list[Row]:
    """Return rows on and before the line of what is seen from near, on its wider side."""
    left, _, right, foot = near_box
    x, side = (right + APART, 1) if left < 1 - right else (left - APART, -1)
    line = _mean_in(stands, (left, foot, right, foot)) - LESS_SURE
    ys = [min(1 - MARGIN, foot + way) for way in FORWARD]
    rows = [Row(y, tall * ground.metre_at(y), x, side, line, HIDES) for y in ys]
    rows[0] = rows[0]._replace(least=-math.inf, hides=TOUCHES)
    # If the border cuts off where the thing stands, nothing tells of its line.
    return rows if foot <= 1 - MARGIN else [row._replace(least=SURE) for row in rows]


def _size_doubt(usual: float, height: float) -> tuple[str, bool]:
    """Return a warning if a height is far from the usual one, and whether it is too far to draw."""
    off = max(1e-6, height / max(usual, 1e-6))
    doubt = (
        f"At its usual size the subject would have {max(0, usual):.0%} of the photograph's height, "
        f"which is too {'little to be seen' if off > 1 else 'much to fit'}."
    )
    return doubt if max(off, 1 / off) > OFF else "", not 1 / SMALLEST <= off <= LARGEST


def _mean_in(values: Tensor, box: Box, *, aside: float = 0.0) -> float:
    """Return the mean of values (h, w) in a widened box, of one row if it has no height."""
    high, wide = values.shape
    left, right = max(0, int(wide * (box[0] - aside))), int(wide * (box[2] + aside))
    top = max(0, min(high - 1, int(high * box[1])))
    return values[top : max(top + 1, round(high * box[3])), left : right + 1].mean().item()


def ground_in(photograph: Image.Image) -> GroundEstimate:
    """Estimate where things stand, by linear layers over features of the cut-out network."""
    features, thing = features_of(photograph)
    scores = F.conv2d(features, _weights()["weight"][..., None, None], _weights()["bias"])
    return GroundEstimate(scores[0], thing[0, 0], height_of(features, thing))


def features_of(photograph: Image.Image) -> tuple[Tensor, Tensor]:
    """Return what layers read of a photograph, (1, C, 16, 16), and its subject, (1, 1, h, w)."""
    size, network = (SIDE_PX, SIDE_PX), cutout_network()
    picture = photograph.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    levels = network.levels(to_tensor(picture))
    thing = network.decoder(levels).sigmoid()
    fine, coarse = levels[LEVELS]
    coarse = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear")
    y = ((torch.arange(CELLS) + 0.5) / CELLS - 0.5).view(1, 1, -1, 1).expand(1, 1, CELLS, CELLS)
    return torch.cat([fine, coarse, 4 * y, 8 * y**2], dim=1), thing


def height_of(features: Tensor, thing: Tensor) -> float:
    """Return the estimated height in metres of a thing (1, 1, h, w) by features where it is."""
    weight, bias = _weights()["height_weight"], _weights()["height_bias"]
    return float((mean_in(features[:, : len(weight)], thing) @ weight + bias).exp())


def mean_in(features: Tensor, thing: Tensor) -> Tensor:
    """Return the mean (1, C) of features (1, C, h, w) in a thing (1, 1, H, W)."""
    share = resize_mask(thing, (features.shape[2], features.shape[3]))
    return (features * share).sum((2, 3)) / (share.sum() + 1e-3)


def own_height(pixels: Tensor, mask: Tensor) -> float:
    """Return the estimated height in metres of the subject of a frame (1, 3, H, W), by its mask."""
    small = F.interpolate(pixels.float().cpu(), (ALONE_PX,) * 2, mode="bilinear", antialias=True)
    return height_of(cutout_network().levels(small)[LEVELS.start], mask.float().cpu())


@functools.cache
def _weights() -> dict[str, Tensor]:
    return load_file(ASSETS / WEIGHTS)
