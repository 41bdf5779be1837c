"""Where subjects stand on the ground of a photograph, and how tall they are there.

It loads no tensor library.
"""

import json
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from swiftpie.errors import InputError
from swiftpie.validation import Box

ASSETS = Path(__file__).parents[1] / "assets" / "ground"
HEIGHTS = "heights.json"  # metres of what names mean
SMALL_M = 0.35  # a thing lower than this gets a near place, such as a table
# Chosen by eye, as are all numbers of this file that name no other source.
# Wanted height of a subject as a share of the picture's, by seed, in any place and in a near one.
AIM, NEAR_AIM = (0.34, 0.52), (0.4, 0.56)
NEAR_LEAST = 0.2  # least height of a subject in a near place, or width of a wide one
# Greatest width of a subject in a near place, and on average of those beside each other in any.
WIDEST, WIDEST_OF_SEVERAL = 0.42, 0.31
LEAST, MOST = 0.12, 0.86  # least and greatest height of a subject, as shares of the picture's
UNKNOWN = 0.42  # height of a subject whose real size is unknown, as such a share
MARGIN = 0.02  # share of the picture that stays free around a subject
# Height of a subject that the lower border cuts, by seed, alone and beside one that stands.
PORTRAIT, GROUP = (0.8, 0.92), (0.54, 0.66)
BELOW, UNDER = 0.05, 0.1  # share of its size beyond the side that cuts a subject, and below
# Share of its width on which a subject rests, in any place and on near ground, which ends at an
# edge, and share of its height over which near ground goes on behind its foot.
BASE, NEAR_BASE, NEAR_DEPTH = 0.6, 0.9, 0.2
NEAR_WAY = (0.45, 0.82)  # how far from the far end of near ground things stand, of its rows
# How many times a subject is enlarged at most, as if the camera were nearer, and in a near place.
LARGER, NEAR_LARGER = 8.0, 1.6
GAP = 0.25  # distance between subjects, as a share of their mean width
LEAST_PART = 0.16  # least height of a subject, as a share of the tallest's; less of what lies
BUST = 0.62  # share of its height that a portrait shows, larger since the others stand behind it
# Shares of a wide picture's height above its ground, at most if the horizon is much higher, and
# above the horizon.
SKY, LOWEST, ABOVE = 0.45, 0.8, 0.3
ROOM, LEAST_DEPTH = 0.03, 0.06  # shares above a summit, and of ground that stays below it
FOCAL = 1.2  # usual focal length of a photograph, over its height
SHALLOWEST, DEEPEST = 0.15, 0.7  # how tall what lies is seen, over how deep it is
# By how much taller than flat what lies is seen, by name: folded arms hold up the front of glasses.
LEANS = {"glasses": 0.4, "sunglasses": 0.4, "spectacles": 0.4, "coin": 0.0, "coaster": 0.0}
LEANS |= dict.fromkeys(("pizza", "plate", "dish", "pancake", "omelette", "frisbee", "rug"), 0.0)
LEANS |= {"record": 0.0, "carpet": 0.0}
LONG, LONG_M = frozenset(("shoe", "sneaker", "shoes", "sneakers")), 0.28  # and their length
ROWS = 24  # number of rows of the ground that are tried
LEAST_GROUP = 0.5  # how much smaller subjects are drawn at least, so that the ground holds them all


class Ground(NamedTuple):
    """Where subjects stand in a photograph; lengths are shares of the picture's height or width."""

    corners: tuple[tuple[float, float], ...]  # x and y of a polygon
    metre: tuple[tuple[float, float], tuple[float, float]]  # y, and the height of a metre there
    is_near: bool  # a place for small things, as a table
    summit: float = 1.0  # y of the top of what stands there, as a castle; 1 for nothing
    # Direction towards its light, if that is seen, and the share of that in all light on a front.
    sun: tuple[float, ...] | None = None  # right, down, to the viewer; share
    is_diffuse: bool = False  # whether all its light is known, as in a room, and none is a sun's
    light: float | list[float] = 1.0  # over that in a subject's photograph; or red, green, blue
    green: float = 0.0  # share of the green of summer that winter leaves

    def metre_at(self, y: float) -> float:
        """Return the height of a metre whose foot is at `y`."""
        (first, low), (second, high) = self.metre
        return low + (high - low) * (y - first) / (second - first)

    def near_and_far(self) -> tuple[float, float]:
        """Return the lowest and the highest row on which a subject may stand."""
        ys = [y for _, y in self.corners]
        near = min(1 - MARGIN, max(ys))
        return near, min(near, max(MARGIN + LEAST, min(ys)))

    def depth_at(self, y: float, lean: float = 0.0) -> float:
        """Return how tall what lies at `y` is seen, over how deep it is; see `LEANS`."""
        return min(1.0, min(DEEPEST, max(SHALLOWEST, (y - self.horizon) / FOCAL)) + lean)

    @property
    def horizon(self) -> float:
        """The height at which a metre has no height."""
        (first, low), (second, high) = self.metre
        return first - low * (second - first) / (high - low)

    def part_shown(
        self, size: tuple[int, int], *, whole: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """Return the part of a `whole` photograph that a picture of width and height shows.

        A wider picture shows the ground, and what stands at the horizon beyond it, to its summit
        as far as some ground stays.
        """
        wider = size[0] * whole[1] / (size[1] * whole[0])
        across, down = min(1, wider), min(1, 1 / wider)
        far = min((y for _, y in self.corners), default=1.0)
        top = far - SKY * down
        if not self.is_near:
            top = max(far - LOWEST * down, min(top, self.horizon - ABOVE * down))
        top = min(top, max(self.summit - ROOM, far + LEAST_DEPTH - down))
        top = max(0.0, min(1 - down, top))
        return (0.5 - across / 2, top, 0.5 + across / 2, top + down)

    def seen_in(self, view: tuple[float, float, float, float]) -> "Ground":
        """Return the ground of a part of the picture: left, top, right and bottom."""
        left, top, right, bottom = view
        wide, high = right - left, bottom - top
        corners = tuple(((x - left) / wide, (y - top) / high) for x, y in self.corners)
        first, second = (((y - top) / high, metre / high) for y, metre in self.metre)
        return self._replace(corners=corners, metre=(first, second))

    def span_at(self, y: float) -> tuple[float, float]:
        """Return the left and the right end of the ground at a height, within the picture."""
        rows, ends = [row for _, row in self.corners], list[float]()
        y = min(max(rows), max(min(rows), y))
        for (x1, y1), (x2, y2) in zip(
            self.corners, self.corners[1:] + self.corners[:1], strict=True
        ):
            if min(y1, y2) <= y <= max(y1, y2):
                ends += [x1, x2] if y1 == y2 else [x1 + (x2 - x1) * (y - y1) / (y2 - y1)]
        return max(0.0, min(ends)), min(1.0, max(ends))


@cache
def heights() -> dict[str, float]:
    """Return the usual height in metres by noun."""
    rows = json.loads((ASSETS / HEIGHTS).read_text(encoding="utf-8"))
    return {noun: float(metres) for metres, nouns in rows.items() for noun in nouns.split()}


def heights_in(words: Sequence[str]) -> list[float]:
    """Return the usual heights in metres of the things that words name, in their order.

    Words in a row name one thing: a "teddy bear" is as tall as a teddy.
    """
    by_word = heights()
    metres = [by_word.get(word, by_word.get(word.removesuffix("s"))) for word in words]
    runs = groupby(metres, key=lambda height: height is not None)
    return [min(metre for metre in run if metre is not None) for is_known, run in runs if is_known]


def thing_in(words: Sequence[str]) -> str:
    """Return the first of the words that names a thing; empty if none does."""
    return next((word for word in words if heights_in([word])), "")


def height_seen(words: Sequence[str], extent: tuple[float, float]) -> float | None:
    """Return the height in metres of what words name first; any view of a shoe shows its length."""
    if thing_in(words) in LONG:
        return LONG_M * min(1.0, extent[1] / extent[0])
    return next(iter(heights_in(words)), None)


def fitting(height: float, extent: tuple[float, float]) -> tuple[float, float]:
    """Return width and height of a subject of an extent that is so high, or as wide as fits."""
    height = min(height, (1 - 2 * MARGIN) * extent[1] / extent[0])
    return height * extent[0] / extent[1], height


def at_borders(box: Box, cut_at: str, *, ground: Ground | None = None) -> Box:
    """Return the box of a subject moved to the side that cuts it off in its photograph.

    It stands where the ground reaches that side, or nearest in front of it. What the upper border
    cuts, or both sides do, is enlarged until it hangs over them.

    Raises:
        InputError: No such box fits into the picture.
    """
    left, top, right, foot = box
    cuts = {*cut_at.split()}
    height, shape, centre = foot - top, (right - left) / (foot - top), (left + right) / 2
    if ground is not None and cuts & {"left", "right"}:
        near_end = max(foot, ground.near_and_far()[0])
        rows = [foot + (near_end - foot) * row / ROWS for row in range(ROWS + 1)]
        side = int("left" not in cuts)
        stood = next((y for y in rows if abs(ground.span_at(y)[side] - side) < MARGIN), near_end)
        height = min(stood - MARGIN, height * ground.metre_at(stood) / ground.metre_at(foot))
        foot = stood
    is_wide = {"left", "right"} <= cuts
    if is_wide:
        height = (1 + 2 * BELOW) / shape
    if "top" in cuts:
        height = max(
            height if is_wide else 0.0, 1 / (1 - BELOW - UNDER) if foot > 1 else foot / (1 - BELOW)
        )
    foot = foot if foot <= 1 else 1 + UNDER * height
    width, top = shape * height, foot - height
    left = centre - width / 2
    if (width > 1 and not is_wide) or (top < 0) is not ("top" in cuts):
        raise InputError(
            f"The subject is cut off in its photograph (border: {cut_at}), but that border of the "
            "picture has no room for it. Give a photograph of the whole subject, or place it by a "
            "box, as in `box=0.2,0.3,0.8,0.95`."
        )
    if cuts & {"left", "right"}:
        left = -BELOW * width if "left" in cuts else 1 - (1 - BELOW) * width
    return left, top, left + width, foot


def box_on(foot: float, x: float, size: tuple[float, float]) -> Box:
    """Return a box of width and height on `foot`, its middle as near to `x` as the sides let it."""
    return boxes_on(foot, (x,), size)[0]


def boxes_on(foot: float, xs: Sequence[float], size: tuple[float, float]) -> list[Box]:
    """Return a box for each of `xs`; see `box_on`."""
    width, height = size
    centres = [min(1 - MARGIN - width / 2, max(MARGIN + width / 2, x)) for x in xs]
    return [(x - width / 2, foot - height, x + width / 2, foot) for x in centres]


def times_larger(ground: Ground, height_m: float, *, share: float) -> float:
    """Return how many times as tall the tallest subject is drawn, so that it can be seen well.

    A camera that is near a dog shows it large, and the castle behind it whole. A photograph of the
    castle alone has its lower border further away.
    """
    near, far = ground.near_and_far()
    tall = ground.metre_at(far + NEAR_WAY[1] * (near - far) if ground.is_near else near) * height_m
    most = NEAR_LARGER if ground.is_near else LARGER
    return min(most, max(1.0, aim_of(ground, share) / tall))


def aim_of(ground: Ground, share: float) -> float:
    """Return the height that a subject shall have in the picture, by a share in [0, 1)."""
    least, most = NEAR_AIM if ground.is_near else AIM
    return least + (most - least) * share


def scaled(box: Box, times: float) -> Box:
    """Return a box so many times as large on the same foot, as far as the picture has room."""
    left, top, right, foot = box
    times = min(times, (1 - 2 * MARGIN) / (right - left), max(1.0, (foot - MARGIN) / (foot - top)))
    size = (times * (right - left), times * (foot - top))
    return box_on(foot, (left + right) / 2, size)


def stand(
    ground: Ground,
    extent: tuple[float, float],
    height_m: float | None,
    *,
    share: float,
    x: float,
    way: float | None = None,
    lies: bool = False,
    count: int = 1,
) -> Box:
    """Return the box of a subject that stands on the ground of a photograph.

    Args:
        ground: Of the picture.
        extent: Width and height of the subject, of which only the ratio to a picture's width and
            height matters.
        height_m: Its usual height; None if nothing says how tall it is.
        share: Uniform in [0, 1): how near it stands.
        x: In [0, 1]: where on the ground, from the left.
        way: In [0, 1], from the far to the near end of the ground; None: where its height fits.
        lies: All of it has to be on the ground, up to its far side.
        count: How many subjects stand beside each other in the box, all of them on the ground.
    """
    near, far = ground.near_and_far()
    if way is None:
        way = 0.4 + 0.5 * share
        if height_m is not None:
            first, second = ground.metre_at(far) * height_m, ground.metre_at(near) * height_m
            fits = 1.0 if second == first else (aim_of(ground, share) - first) / (second - first)
            furthest, nearest = NEAR_WAY if ground.is_near else (0.0, 1.0)
            way = min(nearest, max(furthest, fits))
    start = far + (near - far) * way
    wide = min(1, extent[1] / extent[0])
    least = max(LEAST * wide ** (lies / 2), NEAR_LEAST * wide * ground.is_near)

    def standing_at(foot: float) -> tuple[float, Box]:
        height = UNKNOWN if height_m is None else ground.metre_at(foot) * height_m
        height = min(MOST, foot - MARGIN, max(least, height))
        height = min(height, max(LEAST, foot - far)) if lies else height
        widest = WIDEST if ground.is_near and height_m is not None else 1.0
        widest = WIDEST_OF_SEVERAL * count if count > 1 else widest
        width = min(widest, 1 - 2 * MARGIN, height * extent[0] / extent[1])
        height = width * extent[1] / extent[0]
        base, depth = (NEAR_BASE, NEAR_DEPTH) if ground.is_near else (BASE, 0.0)
        base = max(base, 1 - (1 - base) / count)
        depth = 1.0 if lies else depth
        lefts, rights = zip(*(ground.span_at(foot - y) for y in (0, depth * height)), strict=True)
        aside = MARGIN + (1 - base) / 2 * width if ground.is_near else 0.0  # of the base
        left, right = max(*lefts, aside), min(*rights, 1 - aside)
        spare = right - left - base * width
        centre = (left + right) / 2 + max(0.0, spare) * (x - 0.5)
        behind = foot - depth * height - far
        return min(0.0, spare, behind), box_on(foot, centre, (width, height))

    best = standing_at(start)
    for row in range(1, ROWS + 1):
        if best[0] == 0:  # the first that is wide enough
            break
        best = max(best, standing_at(start + (near - start) * row / ROWS), key=itemgetter(0))
    spare, box = best
    return scaled(box, max(LEAST_GROUP, 1 + spare / (box[2] - box[0]))) if count > 1 else box


class Member(NamedTuple):
    """A subject that has no box yet."""

    shape: float  # its width over its height, in shares of the picture's
    height_m: float | None  # see `stand`
    times: float = 1.0  # how many times as large as usual it is drawn
    is_bust: bool = False  # whether the lower border cuts it, as in its photograph
    cut_at: str = ""  # other borders that do; "left" of the first of several, "right" of the last
    lies: bool = False


def stand_together(
    ground: Ground, members: Sequence[Member], *, share: float, x: float, way: float | None = None
) -> list[Box]:
    """Return the boxes of subjects from left to right on one row, as large as usual to each other.

    For `share`, `x` and `way` see `stand`. The borders of the picture cut what is cut.
    """
    count, tallest_m = len(members), max(member.height_m or 0.0 for member in members) or None
    tall, lies = tallest_m or 1.0, count == 1 and members[0].lies
    highs = [
        member.times
        * (BUST if member.is_bust else 1.0)
        * max(LEAST_PART / member.shape ** (member.lies / 2), (member.height_m or tall) / tall)
        for member in members
    ]
    if busts := [high for high, member in zip(highs, members, strict=True) if member.is_bust]:
        highs = [min(high, max(busts)) for high in highs]
    wides = [high * member.shape for high, member in zip(highs, members, strict=True)]
    gap, high = GAP * sum(wides) / count, max(highs)
    extent = (sum(wides) + gap * (count - 1), high)
    if busts:
        least, most = PORTRAIT if len(busts) == count else GROUP
        size = fitting(least + (most - least) * share, extent)
        box = box_on(1 + UNDER * size[1], x, size)
    else:
        box = stand(ground, extent, tallest_m, share=share, x=x, way=way, lies=lies, count=count)
        box = scaled(box, high)
    if count == 1:
        return [at_borders(box, members[0].cut_at, ground=ground)]
    is_left, is_right = members[0].cut_at == "left", members[-1].cut_at == "right"
    unit, foot = (box[2] - box[0]) / extent[0], min(box[3], ground.near_and_far()[0])
    if (is_left or is_right) and not busts:
        number, side = (0, "left") if is_left else (-1, "right")
        alone = box_on(foot, x, (unit * wides[number], unit * highs[number]))
        _, top, _, foot = at_borders(alone, side, ground=ground)
        unit = min((foot - top) / highs[number], (foot - MARGIN) / high, 1 / extent[0])
    first, last = -BELOW * unit * wides[0], 1 + unit * (BELOW * wides[-1] - extent[0])
    at, boxes = first if is_left else last if is_right else box[0], list[Box]()
    gap += (last - first) / unit / (count - 1) if is_left and is_right else 0.0
    for member, width, height in zip(members, wides, highs, strict=True):
        down = 1 + UNDER * unit * height if member.is_bust else foot
        boxes.append((at, down - unit * height, at + unit * width, down))
        at += unit * (width + gap)
    return boxes
