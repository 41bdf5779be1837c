"""Estimates where things stand in a photograph: its ground, and its horizon."""

import functools
import logging

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import warn
from swiftpie.geometry.ground import ASSETS, LEAST, MARGIN, SMALL_M, Ground, box_on, stand
from swiftpie.imageio.images import to_tensor
from swiftpie.masks import HALF, Box
from swiftpie.models.cutout import cutout_network

logger = logging.getLogger(__name__)

WEIGHTS = "estimate.safetensors"  # the file that `python -m benchmarks.ground --fit` writes
SIDE_PX, CELLS = 256, 16
LEVELS = slice(3, 5)  # the encoder's levels that the estimate reads
CAMERA_M = 1.6  # height of the camera above the ground, as people hold theirs
NEAR_CAMERA_M, NEAR_HORIZON = 0.55, -0.2  # above a table or a wall, seen from above
LOOKS_DOWN = 0.2  # horizons above this show such a place, if the subject is a small thing
SURE = 0.0  # mean score under the feet, below which the ground is unsure
BEFORE_CELLS = 6  # rows below a thing that stay free where there is other ground
LEAST_CELLS = 3  # narrower ground carries nothing
BELOW_HORIZON = 0.03  # ground begins this far below the horizon, as a share of the height
UNKNOWN_M = 0.6  # height of a thing without a usual height
MOST_OFF = 1.5  # a subject drawn larger than so many times its size gets a warning
FLOOR = 0.94  # where subjects stand if the ground is unsure, as a share of the height
LOWEST = 0.8  # ground that ends above this share of the height is unsure
# Shares of the height, chosen by eye on 16 insertions: the least of a thing that is seen from near,
# and those of what comes beside it, of a small thing there, and of both where there is little room.
NEAR_VIEW, BESIDE, SMALL_BESIDE, LEAST_BESIDE = 0.2, 0.4, 0.28, 0.2
UNSURE = "Where the photograph has ground remains unsure, so the subject stands low in it."
REMEDY = "Say by a box where it goes, as in `box=(0.3, 0.5, 0.6, 0.9)`."


def box_on_ground(
    photograph: Image.Image,
    extent: tuple[float, float],
    height_m: float | None,
    *,
    lies: bool = False,
) -> Box:
    """Return the box of a subject that stands on the estimated ground of a photograph.

    It stands beside what the network for cut-outs finds there, in a view from near on the same line
    and about as large. Where the ground is unsure, so is the scale, and it stands low, as a thing
    of unknown height. A warning names what is doubtful about the box.

    Args:
        photograph: Any size.
        extent: Width and height of the subject, of which only the ratio matters.
        height_m: Its usual height; None is taken as `UNKNOWN_M`.
        lies: It lies flat, and its extent is that from above.
    """
    shape = (extent[0] / photograph.width, extent[1] / photograph.height)
    box, doubt = placed(scores_of(photograph), shape, height_m, lies=lies)
    if doubt:
        warn(logger, f"{doubt} {REMEDY}")
    return box


def placed(
    scores: Tensor, extent: tuple[float, float], height_m: float | None, *, lies: bool = False
) -> tuple[Box, str]:
    """Return the box of a subject in a photograph with `scores_of`, and what is doubtful about it.

    `extent` is its width and height as shares of those of the photograph, up to a factor.
    """
    tall = usual = UNKNOWN_M if height_m is None else height_m
    stands, below, things = scores
    horizon = 1 - (below / 2 + 0.5).clamp(0, 1).mean().item()
    is_near = tall < SMALL_M and horizon < LOOKS_DOWN
    top, camera = (NEAR_HORIZON, NEAR_CAMERA_M) if is_near else (horizon, CAMERA_M)
    metre = ((top, 0.0), (top + camera, 1.0))
    if lies:
        depth = Ground((), metre, is_near).depth_at(LOWEST)
        extent, tall = (extent[0], depth * extent[1]), depth * tall
    size = "deep" if lies else "tall"
    if (beside := _beside(things > HALF, extent, tall)) is not None:
        return beside, ""
    stands = F.avg_pool2d(stands[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    above = F.pad(things[None, None], (0, 0, BEFORE_CELLS, 0))
    is_before = F.max_pool2d(above, (BEFORE_CELLS + 1, 1), 1)[0, 0] > HALF
    for free in (stands.masked_fill(is_before, -1.0), stands):
        corners = _corners_in(free, horizon)
        if corners:
            ground = Ground(corners, metre, is_near)
            box = stand(ground, extent, tall, share=0.5, x=0.5, lies=lies)
            left, _, right, foot = (edge * CELLS for edge in box)
            under = free[min(CELLS - 1, int(foot)), int(left) : int(right) + 1]
            if under.mean().item() >= SURE:
                break
    else:
        first, end = _widest((~is_before[-1]).tolist())
        corners = tuple((x / CELLS, y) for x, y in ((first, FLOOR), (end, FLOOR)))
        box = stand(Ground(corners, metre, is_near), extent, None, share=0.5, x=0.5)
        return box, UNSURE
    seen = usual * (1 - MARGIN - top) / camera
    if seen * MOST_OFF < LEAST:
        return box, (
            f"The subject is about {usual:g} m {size} and would have {max(0, seen):.0%} of the "
            f"photograph's height, so it is drawn larger, with {LEAST:.0%}."
        )
    return box, ""


def free_middle(photograph: Image.Image) -> float:
    """Return where the wider side beside what is seen from near has its middle; else one half."""
    room = _room_beside(features_of(photograph)[1][0, 0] > HALF)
    return 0.5 if room is None else room[1]


def _room_beside(seen: Tensor) -> tuple[float, float, float] | None:
    """Return the wider side's width and middle, and the foot, of what is `seen` from near."""
    rows, columns = (seen.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    if not rows or rows[-1] + 1 - rows[0] < NEAR_VIEW * CELLS:
        return None
    left, right = columns[0] / CELLS, (columns[-1] + 1) / CELLS
    return *max((left, left / 2), (1 - right, (1 + right) / 2)), (rows[-1] + 1) / CELLS


def _beside(seen: Tensor, extent: tuple[float, float], tall: float) -> Box | None:
    """Return a box beside what is `seen` (16, 16) from near, on its line; None for other views."""
    if (found := _room_beside(seen)) is None:
        return None
    room, middle, foot = found
    height = SMALL_BESIDE if tall < SMALL_M else BESIDE
    ratio = extent[0] / extent[1]
    height = min(height, max(LEAST_BESIDE, room / ratio), (1 - 2 * MARGIN) / ratio)
    return box_on(min(1 - MARGIN, foot), middle, (height * ratio, height))


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
    return tuple(corners)


def scores_of(photograph: Image.Image) -> Tensor:
    """Return for 16 x 16 cells whether things may stand, are below the horizon, and stand already.

    (3, 16, 16): the first two, above 0 if so, come from one linear layer over the features of the
    network for cut-outs, and the third, in [0, 1], from that network.
    """
    features, things = features_of(photograph)
    stored = _weights()
    scores = F.conv2d(features, stored["weight"][..., None, None], stored["bias"])
    return torch.cat([scores, things], dim=1)[0]


def features_of(photograph: Image.Image) -> tuple[Tensor, Tensor]:
    """Return what the layer reads of a photograph, (1, C, 16, 16), and where its subject is."""
    size, network = (SIDE_PX, SIDE_PX), cutout_network()
    picture = photograph.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    with torch.no_grad():
        levels = network.levels(to_tensor(picture))
        things = F.adaptive_avg_pool2d(network.decoder(levels).sigmoid(), CELLS)
    fine, coarse = levels[LEVELS]
    coarse = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear")
    y = ((torch.arange(CELLS) + 0.5) / CELLS - 0.5).view(1, 1, -1, 1).expand(1, 1, CELLS, CELLS)
    return torch.cat([fine, coarse, 4 * y, 8 * y**2], dim=1), things


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
