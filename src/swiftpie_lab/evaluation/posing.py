"""How a subject is turned and posed in a picture: its reference is drawn in many ways and compared.

A network that should tell angles from a picture and a reference learned none. A program that draws
a subject from everywhere needs none: the way of drawing that looks most like the picture is the
answer. It reads no right answer but where about the subject is.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import pixel_grid
from swiftpie.geometry.relief import height, turn
from swiftpie_lab.judges import JUDGE_PX, cut, subject_crops
from swiftpie_world.captions import POSES

# Columns of a way to draw a subject: pose as `relief.turn` takes it, place in the crop, the share
# of its roundness, and whether it is mirrored.
_YAW, _PITCH, _STRETCH, _BEND, _ROTATION, _X, _Y, _ZOOM, _ROUNDNESS, _FLIP = range(10)
_DEGREE = math.pi / 180
# What is tried first: yaw and pitch in degrees, and small rotations, of views,
_YAWS, _PITCHES, _SWAYS = range(-45, 46, 9), (-15, 0, 15), (-0.25, 0.0, 0.25)
_POSED = {  # poses, each with a yaw and a pitch of 0
    _ROTATION: (-0.42, 0.42, -1.57, 1.57, math.pi, -2.95, 2.95),
    _STRETCH: (-0.33, -0.22, 0.22, 0.33),
    _BEND: (-0.42, -0.28, 0.28, 0.42),
}
_ROUND = 0.8  # outlines tell nothing of it; 0.6 to 1 occur
_FURTHER = 5 * _DEGREE
# How far apart the ways lie that are tried around one, by column.
_SPREAD = (_FURTHER, _FURTHER, 0.06, 0.07, 0.07, 0.05, 0.05, 0.05, 0.12, 0.0)
# How far a way may go: views are upright, and poses not far from where no view is requested. A
# little stretch or bend is none: with it almost any view can be explained.
_FURTHEST_VIEW, _FURTHEST_POSED = (55 * _DEGREE, 28 * _DEGREE), (22 * _DEGREE, 10 * _DEGREE)
_SWAY = 0.55
_POSED_RANGES = {_ROTATION: (0.25, 4.0), _STRETCH: (0.18, 0.4), _BEND: (0.22, 0.5)}
_PLACE_RANGE, _ROUND_RANGE = (-0.3, 0.3), (0.55, 1.0)
_PARENTS = 4  # number of the best trials, whose middle is tried next
_UNLIKELY = 0.06  # so much more alike must be what is posed than what is only turned
_WIDE = 1.4  # half sides within which a rotated frame is whole
_WINDOW = 9 / JUDGE_PX  # contrast is compared within this share of the crop's side
_FAINT_CONTRAST = 0.08  # fainter contrasts, in the range [-1, 1], count less
_CLEAR_EDGE = 0.3
_OWN, _WHOLE, _OUTLINE = 1.0, 0.5, 0.4  # weights of details, of colours at large, of the outline
# How far apart poses are: a rotation, a stretch and a bend that are about as easy to see.
_UNITS = (0.4, 0.27, 0.35)


class _Round(NamedTuple):
    side_px: int  # side of the drawings
    views: int  # views kept from the round before
    poses: int  # poses of each sort kept from the round before
    tried: int  # around each
    share: float  # share of `_SPREAD`


_ROUNDS = (
    _Round(32, 6, 3, 16, 1.0),
    _Round(32, 4, 2, 16, 0.8),
    _Round(64, 3, 1, 16, 0.6),
    _Round(64, 2, 1, 16, 0.5),
    _Round(64, 2, 1, 16, 0.35),
    _Round(64, 2, 1, 16, 0.25),
)


class SeenPose(NamedTuple):
    """How a subject is turned, posed and placed."""

    view: tuple[float, float]  # yaw and pitch in degrees, as the picture shows them
    rotation: float  # radians, positive turns clockwise on screen
    stretch: float  # in the unit of `relief.turn`
    bend: float

    @property
    def name(self) -> str:
        """The nearest of `POSES`; one that jumps looks like one that stands."""
        seen = (abs(self.rotation), self.stretch, abs(self.bend))

        def apart(name: str) -> float:
            middles = [least + more / 2 for least, more in _ranges(name)]
            rest = zip(seen, middles, _UNITS, strict=True)
            return math.hypot(*((value - middle) / unit for value, middle, unit in rest))

        return min((name for name in POSES if name != "jumping"), key=apart)


def _ranges(name: str) -> list[tuple[float, float]]:
    rotation, turn_more, stretch, stretch_more, bend, bend_more = POSES[name]
    # Where nothing asks for a rotation, what is added to it is not used.
    turns = (rotation, turn_more) if rotation else (0.0, 0.0)
    return [turns, (stretch, stretch_more), (bend, bend_more)]


@torch.no_grad()
def find_pose(pixels: Tensor, mask: Tensor, reference: Tensor) -> SeenPose:
    """Return how `pixels` show a subject.

    Args:
        pixels: The picture (1, 3, H, W) in [-1, 1].
        mask: Where about the subject is in it, (1, 1, H, W); only its box is used.
        reference: The subject's reference frame, premultiplied, (1, 4, R, R) in [0, 1].
    """
    close = cut(pixels, subject_crops(mask))
    relief = height(reference[:, 3:])
    generator = torch.Generator().manual_seed(0)
    spread, (ways, sorts) = reference.new_tensor(_SPREAD), _first_ways()
    middles = ways = ways.to(reference)
    likeness = _likeness(_draw(reference, relief, ways, _ROUNDS[0].side_px), close)
    for stage in _ROUNDS:
        best = _best_of_each(likeness, sorts, stage)
        ways, middles, sorts = ways[best], middles[best], sorts[best]
        moves = torch.randn(len(ways), stage.tried, 10, generator=generator).to(reference)
        around = _limited(middles[:, None] + moves * (stage.share * spread), sorts)
        # The best so far is judged again, at the size of this round, and so is the middle.
        around[:, 0], around[:, 1] = ways, middles
        drawn = _draw(reference, relief, around.flatten(0, 1), stage.side_px)
        each = _likeness(drawn, close).view(-1, stage.tried)
        top = each.topk(_PARENTS).indices[..., None].expand(-1, -1, 10)
        parents = around.gather(1, top)
        likeness, ways, middles = each.amax(dim=1), parents[:, 0], parents.mean(dim=1)
    likeness = likeness - _UNLIKELY * (sorts > 0).to(likeness)
    way = ways[likeness.argmax()].tolist()
    sign = 1 - 2 * way[_FLIP]
    view = (sign * way[_YAW] / _DEGREE, way[_PITCH] / _DEGREE)
    return SeenPose(view, way[_ROTATION], way[_STRETCH], way[_BEND])


def _first_ways() -> tuple[Tensor, Tensor]:
    """Return views and poses as seen and mirrored, (N, 10), and their sorts, (N,).

    The sort is the column that poses it, and 0 for what is only turned.
    """
    axes = (torch.tensor([*map(float, each)]) for each in (_YAWS, _PITCHES, _SWAYS))
    yaws, pitches, sways = torch.cartesian_prod(*axes).unbind(1)
    views = torch.zeros(len(yaws), 10)
    views[:, _YAW], views[:, _PITCH] = yaws * _DEGREE, pitches * _DEGREE
    views[:, _ROTATION] = sways
    rows, sorts = [views], [torch.zeros(len(views))]
    for column, values in _POSED.items():
        posed = torch.zeros(len(values), 10)
        posed[:, column] = torch.tensor(values)
        rows.append(posed)
        sorts.append(torch.full((len(values),), float(column)))
    ways = torch.cat(rows)
    ways[:, _ROUNDNESS] = _ROUND
    mirrored = ways.clone()
    mirrored[:, _FLIP] = 1
    return torch.cat([ways, mirrored]), torch.cat(sorts).repeat(2)


def _limited(ways: Tensor, sorts: Tensor) -> Tensor:
    """Return `ways` (N, T, 10) within what their sorts (N,) may do."""
    posed = (sorts > 0).view(-1, 1)
    for column, (view, with_pose) in enumerate(zip(_FURTHEST_VIEW, _FURTHEST_POSED, strict=True)):
        furthest = torch.where(posed, with_pose, view).to(ways)
        value = ways[..., column]
        ways[..., column] = value.sign() * torch.minimum(value.abs(), furthest)
    for column, (least, most) in _POSED_RANGES.items():
        value, is_free = ways[..., column], sorts.view(-1, 1) == column
        otherwise = value.clamp(-_SWAY, _SWAY) if column == _ROTATION else torch.zeros_like(value)
        kept = value.sign() * value.abs().clamp(least, most)
        ways[..., column] = torch.where(is_free, kept, otherwise)
    ways[..., _X : _ZOOM + 1] = ways[..., _X : _ZOOM + 1].clamp(*_PLACE_RANGE)
    ways[..., _ROUNDNESS] = ways[..., _ROUNDNESS].clamp(*_ROUND_RANGE)
    return ways


def _best_of_each(likeness: Tensor, sorts: Tensor, stage: _Round) -> Tensor:
    """Return the rows of the best of each sort: early, a wrong one may be ahead."""
    order = likeness.argsort(descending=True)
    chosen = [order[sorts[order] == sort] for sort in sorts.unique()]
    kept = [stage.views, *[stage.poses] * (len(chosen) - 1)]
    return torch.cat([rows[:count] for rows, count in zip(chosen, kept, strict=True)])


def _draw(frame: Tensor, relief: Tensor, ways: Tensor, side_px: int) -> Tensor:
    """Return crops (N, 4, S, S) of the subject drawn in each of `ways`, each filling its crop."""
    count = len(ways)
    frame, relief = (F.interpolate(part, size=side_px, mode="area") for part in (frame, relief))
    heights = relief * ways[:, _ROUNDNESS].view(-1, 1, 1, 1)
    turned = turn(frame.expand(count, -1, -1, -1), heights, ways[:, :4]).frame
    cos, sin = ways[:, _ROTATION].cos()[:, None, None], ways[:, _ROTATION].sin()[:, None, None]
    mirror = (1 - 2 * ways[:, _FLIP])[:, None, None]
    grid = pixel_grid(side_px, side_px, like=frame)

    def look(picture: Tensor, centre: Tensor, half: Tensor) -> Tensor:
        x, y = (grid * half[:, None, None, None] + centre[:, None, None]).unbind(-1)
        places = torch.stack([mirror * (cos * x + sin * y), cos * y - sin * x], dim=-1)
        return F.grid_sample(picture, places, align_corners=False)

    whole = ways.new_full((count,), _WIDE)
    box = subject_crops(look(turned[:, 3:], torch.zeros_like(ways[:, :2]), whole))
    half = box.side / 2 * _WIDE * (-ways[:, _ZOOM]).exp()
    return look(turned, box.centre * _WIDE - ways[:, [_X, _Y]] * half[:, None], half)


def _likeness(drawn: Tensor, close: Tensor) -> Tensor:
    """Return how alike drawn subjects (N, 4, S, S) and a picture (1, 3, 64, 64) are, (N,).

    Only where the subject is drawn, and apart from the light: by correlation of details, whose
    mean and contrast about them are taken off, by that of all colours, and by whether the picture
    has an edge where the subject ends.
    """
    cover = drawn[:, 3:]
    inside = (cover > 0.5).to(cover)
    colours = 2 * drawn[:, :3] / cover.clamp_min(0.05) - 1
    picture = F.interpolate(close, size=drawn.shape[-2:], mode="area").expand_as(colours)
    details = _correlation(_details(colours, inside), _details(picture, inside))
    at_large = _correlation(_centred(colours, inside), _centred(picture, inside))
    steps = (
        F.pad(picture.diff(dim=-1).abs(), (0, 1)),
        F.pad(picture.diff(dim=-2).abs(), (0, 0, 0, 1)),
    )
    edges = torch.cat(steps, dim=1).amax(1, keepdim=True) / _CLEAR_EDGE
    rim = (F.max_pool2d(cover, 3, 1, 1) + F.max_pool2d(-cover, 3, 1, 1)).clamp(0, 1)
    near = F.max_pool2d(edges.clamp_max(1), 3, 1, 1)
    outline = (near * rim).sum((1, 2, 3)) / rim.sum((1, 2, 3)).clamp_min(1)
    return _OWN * details + _WHOLE * at_large + _OUTLINE * outline


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    norms = one.square().sum((1, 2, 3)) * other.square().sum((1, 2, 3))
    return (one * other).sum((1, 2, 3)) / (norms.sqrt() + 1)


def _centred(pixels: Tensor, inside: Tensor) -> Tensor:
    count = inside.sum((2, 3), keepdim=True).clamp_min(1)
    return (pixels - (pixels * inside).sum((2, 3), keepdim=True) / count) * inside


def _details(pixels: Tensor, inside: Tensor) -> Tensor:
    """Return `pixels` without the mean about each, in units of the contrast about it."""
    side = 2 * round(_WINDOW * pixels.shape[-1] / 2) + 1

    def about(values: Tensor) -> Tensor:
        for _ in range(2):
            values = F.avg_pool2d(values, side, 1, side // 2)
        return values

    share = about(inside).clamp_min(0.02)
    apart = (pixels - about(pixels * inside) / share) * inside
    contrast = (about(apart.square().sum(1, keepdim=True)) / share).sqrt()
    return apart / (contrast + _FAINT_CONTRAST)
