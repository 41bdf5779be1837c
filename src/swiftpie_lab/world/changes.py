"""What else a picture of the larger world could show: the same noise drawn with another wish."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple
from zlib import crc32

import torch
from torch import Tensor

from swiftpie.geometry.layout import Layout
from swiftpie.masks import grow
from swiftpie_lab.world.air import Setting
from swiftpie_lab.world.captions import (
    ACCESSORY_PHRASES,
    NONE,
    POSE_PHRASES,
    SIDE_WORDS,
    SIZE_WORDS,
    VIEWS,
    Asked,
)
from swiftpie_lab.world.compositor import Figure, Rendering
from swiftpie_lab.world.looks import COLOURS, MATERIALS
from swiftpie_lab.world.placement import place
from swiftpie_lab.world.places import PLACES
from swiftpie_lab.world.renditions import RENDITIONS
from swiftpie_lab.world.sampler import World

MIN_CHANGE_LEVELS = 4  # of 255: less is invisible, and files and autoencoders change as much
GROW_PX = 2  # of what changes: closes gaps where two renderings happen to agree


class WorldChange(StrEnum):
    """What a second prompt asks for."""

    NOTHING = "nothing"  # the same in other words
    PLACE = "place"
    TIME = "time"
    WEATHER = "weather"
    SEASON = "season"
    RENDITION = "rendition"
    COLOUR = "colour"
    MATERIAL = "material"
    PUT_ON = "put_on"  # an accessory, or another one
    TAKE_OFF = "take_off"
    VIEW = "view"
    POSE = "pose"
    SIZE = "size"
    SIDE = "side"
    SUBJECT = "subject"  # another one in its place
    REMOVAL = "removal"
    SECOND = "second"  # another subject beside the first
    WORD = "word"  # a bare word for something in the picture: that is what shall change


MOVED = frozenset(
    {WorldChange.VIEW, WorldChange.POSE, WorldChange.SIZE, WorldChange.SIDE, WorldChange.SUBJECT}
)
ANSWERS: Mapping[WorldChange, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        WorldChange.RENDITION: ("rendition", (NONE, *RENDITIONS)),
        WorldChange.COLOUR: ("colour", (*COLOURS,)),
        WorldChange.MATERIAL: ("material", MATERIALS),
        WorldChange.PUT_ON: ("accessory", (*ACCESSORY_PHRASES,)),
        WorldChange.TAKE_OFF: ("accessory", (NONE,)),
        WorldChange.VIEW: ("view", (*VIEWS,)),
        WorldChange.POSE: ("pose", (*POSE_PHRASES,)),
        WorldChange.SIZE: ("size", (*SIZE_WORDS,)),
        WorldChange.SIDE: ("side", tuple(one for one in SIDE_WORDS if one != NONE)),
    }
)
"""What may be asked for besides the setting, as question and answers.

What no words tell is no answer: how a subject turns that is asked for no view, or its own colour.
"""
LOOKS = ("colour", "material")  # what is dyed is no longer of glass
NOT_DRAWN = frozenset({WorldChange.NOTHING, WorldChange.REMOVAL, WorldChange.WORD})


class Wish(NamedTuple):
    """What the second picture of a row shows."""

    change: WorldChange
    asked: Asked


class Redrawn(NamedTuple):
    """Second pictures, and where they differ from the first."""

    pixels: Tensor  # (B, 3, R, R) in [-1, 1]
    subject: Tensor  # (B, 1, R, R) in [0, 1] the subject or who replaced it; 0 where it is gone
    newcomer: Tensor  # (B, 1, R, R) in [0, 1] a second subject; 0 without one
    layout: Layout  # of `subject`
    mask: Tensor  # (B, 1, R, R) 0 or 1


def alternatives(asked: Asked, change: WorldChange, settings: Sequence[Setting]) -> list[Asked]:
    """Return all that differs from `asked` by this change alone; nothing where there is no way.

    Args:
        asked: What the first picture shows.
        change: What shall be otherwise.
        settings: Those that there are.
    """
    now = asked.setting
    if change in ANSWERS:
        question, answers = ANSWERS[change]
        present = getattr(asked, question)
        return [answered(asked, question, one) for one in answers if one != present]
    match change:
        case WorldChange.PLACE:
            floors = PLACES[now.place].grounded
            others = [one for one in settings if one[1:] == now[1:] and one.place != now.place]
            others = [one for one in others if PLACES[one.place].grounded == floors]
            return [replace(asked, setting=one) for one in others]
        case WorldChange.TIME | WorldChange.WEATHER | WorldChange.SEASON:
            here = [one for one in settings if one.place == now.place]  # most are elsewhere
            others = [one for one in here if _differs_by(change.value, one, now)]
            return [replace(asked, setting=one) for one in others]
        case WorldChange.SECOND:
            # Captions of two tell nothing else, and nothing stands in front of them.
            is_plain = asked == Asked(now, rendition=asked.rendition)
            return [asked] if is_plain and PLACES[now.place].foreground is None else []
        case _:
            return [asked]


def answered(asked: Asked, question: str, answer: str) -> Asked:
    """Return what is asked with another answer to one question; of looks there is but one."""
    wished: dict[str, Any] = dict.fromkeys(LOOKS, NONE) if question in LOOKS else {}
    return replace(asked, **wished | {question: answer})


def redraw(
    world: World,
    noise: Tensor,
    first: Rendering,
    subject: Figure,
    wishes: Sequence[Wish],
    *,
    others: Figure,
) -> Redrawn:
    """Draw second pictures from the `noise` of the first, each as wished.

    Whoever is not moved stays in place to the pixel. All of whom is moved, replaced or removed is
    in the mask, also where it looks like what is behind it.

    Args:
        world: What draws.
        noise: (B, 32, R / 8, R / 8).
        first: The first pictures.
        subject: Who is in them, and where.
        wishes: One a row.
        others: Who replaces each subject, or comes and stands beside it where the layout says.
    """
    kinds, asked = [one.change for one in wishes], [one.asked for one in wishes]

    def which(*chosen: WorldChange) -> Tensor:
        return torch.tensor([one in chosen for one in kinds], device=noise.device)

    replaced, moved = which(WorldChange.SUBJECT), which(*MOVED)
    shown = Figure(
        torch.where(_wide(replaced), others.frames, subject.frames),
        torch.where(_wide(replaced), others.relief, subject.relief),
        subject.layout,
    )
    with torch.autocast(noise.device.type, enabled=False):  # places need all bits
        placed = place(noise, shown.frames, asked)
    layout = Layout(
        *(
            torch.where(moved.view(-1, *[1] * (now.ndim - 1)), new, now)
            for new, now in zip(placed, subject.layout, strict=True)
        )
    )
    shown = shown._replace(layout=layout)
    gone = _wide(which(WorldChange.REMOVAL))
    pixels = torch.where(gone, first.background, first.pixels)
    mask, newcomer = first.mask * ~gone, torch.zeros_like(first.mask)
    for is_pair in (False, True):
        rows = [
            row
            for row, one in enumerate(kinds)
            if one not in NOT_DRAWN and (one is WorldChange.SECOND) == is_pair
        ]
        if rows:
            drawn = world.draw(
                noise[rows],
                _select(shown, rows),
                [asked[row] for row in rows],
                companion=_select(others, rows) if is_pair else None,
            )
            pixels[rows], mask[rows] = drawn.pixels, drawn.mask
            newcomer[rows] = drawn.companion_mask
    whole = _wide(moved) | gone
    changed = visible_change(first.pixels, pixels) > 0
    changed |= whole & ((first.mask > 0) | (mask > 0)) | (newcomer > 0)
    return Redrawn(pixels, mask, newcomer, layout, grow(changed.to(pixels), GROW_PX))


def stand_aside(noise: Tensor, subject: Figure, newcomer: Figure, asked: Sequence[Asked]) -> Figure:
    """Return `newcomer` on that side of `subject` where there is more room, placed by `noise`."""
    sides = ["left" if x > 0.5 else "right" for x in subject.layout.centre[:, 0].tolist()]
    across = [Asked(one.setting, side=side) for one, side in zip(asked, sides, strict=True)]
    with torch.autocast(noise.device.type, enabled=False):
        return newcomer._replace(layout=place(noise, newcomer.frames, across))


class SameWords(Random):
    """Chooses by what there is to choose from alone, so that captions of one seed are worded alike.

    Whatever both say, they say in the same words, as when a user edits a prompt.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._seed = seed

    def choice(self, seq: Sequence[str]) -> str:  # type: ignore[override]  # of words alone
        """Return the same element of the same sequence."""
        return seq[self._number("|".join(seq)) % len(seq)]

    def shuffle(self, x: list[str]) -> None:  # type: ignore[override]  # of words alone
        """Bring words into an order that does not depend on those beside them."""
        x.sort(key=self._number)

    def _number(self, text: str) -> int:
        return crc32(f"{self._seed}|{text}".encode())


def _differs_by(name: str, one: Setting, other: Setting) -> bool:
    return one != other and one._replace(**{name: 0}) == other._replace(**{name: 0})


def _wide(flags: Tensor) -> Tensor:
    return flags.view(-1, 1, 1, 1)


def _select(figure: Figure, rows: list[int]) -> Figure:
    layout = Layout(*(value[rows] for value in figure.layout))
    return Figure(figure.frames[rows], figure.relief[rows], layout)


def visible_change(before: Tensor, after: Tensor) -> Tensor:
    """Return where pictures (B, 3, R, R) in [-1, 1] differ as files of 8 bits, (B, 1, R, R)."""
    first, second = (((one + 1) * 127.5).round() for one in (before, after))
    return ((first - second).abs().amax(dim=1, keepdim=True) > MIN_CHANGE_LEVELS).to(before)
