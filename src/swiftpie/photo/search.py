"""Where to look for the subject of a picture, as users spell it; it loads no tensor library."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from swiftpie.errors import InputError
from swiftpie.photo.networks import NETWORKS
from swiftpie.validation import Box, check_box, parse_box

NUMBER = r"-?(?:\d+\.?\d*|\.\d+)"
PLACE = re.compile(f"(?P<not>not:)?(?P<numbers>{NUMBER}(?:,{NUMBER})+)")  # a box or a point

Point = tuple[float, float]
"""Across and down, in [0, 1]."""


@dataclass(frozen=True)
class Search:
    """How to look for the subject of a picture that comes without a mask."""

    is_whole: bool = False  # the whole picture; else transparency, else a network, else colour
    box: Box | None = None  # left, top, right and bottom in [0, 1]: the subject is inside of it
    points: tuple[Point, ...] = ()  # on the subject
    background: tuple[Point, ...] = ()  # on what is not the subject
    network: str = ""  # one of `NETWORKS` that looks in place of the built-in one

    def __post_init__(self) -> None:
        if self.network and not NETWORKS[self.network].mean:
            raise InputError(
                f"The network {self.network!r} fills holes and cuts nothing out. Choose another, "
                "as isnet."
            )
        reads_points = bool(self.network and NETWORKS[self.network].settings)
        if self.network and (self.points or self.background) and not reads_points:
            raise InputError(
                f"The network {self.network!r} cannot be combined with points: it sees what stands "
                "out, and reads no points. Give a box, or leave its name out."
            )
        if reads_points and not self.has_hints:
            raise InputError(
                f"The network {self.network!r} sees what a box or points are on. Give one, as in "
                f"'{self.network} 0.5,0.4', or choose another network, as isnet."
            )
        if self.box is not None:
            check_box(self.box)
        for point in (*self.points, *self.background):
            if not all(0 <= number <= 1 for number in point):
                raise InputError(
                    f"The point {point} lies beyond the picture. Give fractions of its width and "
                    "height from 0 to 1, for example 0.5,0.4."
                )
        if self.is_whole and self.has_hints:
            raise InputError(
                "`cutout=none` cannot be combined with a box or points: it takes the whole "
                "picture. Leave one out."
            )

    @property
    def has_hints(self) -> bool:
        """Whether a box or points say where the subject is."""
        return self.box is not None or bool(self.points or self.background)

    def __str__(self) -> str:
        way = "none" if self.is_whole else self.network or "auto"
        places = [] if self.box is None else [self.box]
        spelled = [",".join(map(str, place)) for place in (*places, *self.points)]
        return " ".join([way, *spelled, *(f"not:{x},{y}" for x, y in self.background)])


ANYWHERE = Search()


def parse_search(text: str) -> Search | None:
    """Read "auto", "none" or a network's name, and then, or alone, where the subject is.

    That is "left,top,right,bottom" for a box, "x,y" for a point on the subject and "not:x,y" for
    one off it, separated by spaces. Returns None for a text that begins with none of these.

    Raises:
        InputError: It begins so, and goes on in another way.
    """
    words = text.split()
    way = "auto"
    if words and words[0] in {"auto", "none", *NETWORKS}:
        way, *words = words
    elif not words or PLACE.fullmatch(words[0]) is None:
        return None
    boxes = [word for word in words if word.count(",") == 3]
    points = [word for word in words if word.count(",") != 3]
    if len(boxes) > 1:
        raise InputError(f"{text!r} has {len(boxes)} boxes. Give one, and points in it.")
    search = search_at(points, box=parse_box(boxes[0]) if boxes else None)
    network = "" if way in {"auto", "none"} else way
    return replace(search, is_whole=way == "none", network=network)


def search_of(text: str | Search) -> Search:
    """Return the search that `text` is, or spells as `parse_search` reads it."""
    search = text if isinstance(text, Search) else parse_search(text)
    if search is None:
        raise InputError(
            f"cutout={text!r} is no way to cut a subject out. 'auto', 'none', a box or points "
            "are needed, as in '0.2,0.1,0.8,0.95', or a network: isnet, birefnet or sam2. A mask "
            "goes into `masks=`."
        )
    return search


def search_at(points: Sequence[Point | str], *, box: Box | None = None) -> Search:
    """Return the search for the thing at `points`, in text "x,y" on it or "not:x,y" off it."""
    points_by_sign: dict[bool, list[Point]] = {True: [], False: []}
    for point in points:
        place = PLACE.fullmatch(point) if isinstance(point, str) else None
        numbers = tuple(map(float, place["numbers"].split(","))) if place else point
        if isinstance(numbers, str) or len(numbers) != 2:
            raise InputError(
                f"{point!r} is not a point. Give x,y as fractions of the picture, each from 0 to "
                "1, as in 0.2,0.65, not:0.4,0.9 for a point to keep, or a box L,T,R,B."
            )
        points_by_sign[bool(place and place["not"])].append((numbers[0], numbers[1]))
    return Search(
        box=box, points=tuple(points_by_sign[False]), background=tuple(points_by_sign[True])
    )
