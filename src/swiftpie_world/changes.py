"""Edits of the world's pictures: the same noise drawn with another spec."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swiftpie.geometry.layout import Layout
from swiftpie.lexicon import RENDITIONS
from swiftpie.masks import grow
from swiftpie.places.looks import COLOURS
from swiftpie_world.air import Setting
from swiftpie_world.captions import (
    ACCESSORY_PHRASES,
    NONE,
    POSE_PHRASES,
    SIDE_WORDS,
    SIZE_WORDS,
    VIEWS,
    SceneSpec,
)
from swiftpie_world.compositor import PlacedSprite, Rendering
from swiftpie_world.materials import MATERIALS
from swiftpie_world.placement import place
from swiftpie_world.places import PLACES
from swiftpie_world.sampler import World

MIN_CHANGE_LEVELS = 4  # less, of 255, is invisible; files and autoencoders change as much
GROW_PX = 2  # growth of what changes; it closes gaps where two renderings agree


class WorldChange(StrEnum):
    """The difference between the second prompt and the first."""

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
    SECOND = "second"  # another subject next to the first


MOVED = frozenset(
    {WorldChange.VIEW, WorldChange.POSE, WorldChange.SIZE, WorldChange.SIDE, WorldChange.SUBJECT}
)
ANSWERS: Mapping[WorldChange, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        WorldChange.RENDITION: ("rendition", (NONE, *RENDITIONS)),
        WorldChange.COLOUR: ("colour", (*COLOURS,)),
        WorldChange.MATERIAL: ("material", tuple(MATERIALS)),
        WorldChange.PUT_ON: ("accessory", (*ACCESSORY_PHRASES,)),
        WorldChange.TAKE_OFF: ("accessory", (NONE,)),
        WorldChange.VIEW: ("view", (*VIEWS,)),
        WorldChange.POSE: ("pose", (*POSE_PHRASES,)),
        WorldChange.SIZE: ("size", (*SIZE_WORDS,)),
        WorldChange.SIDE: ("side", tuple(side for side in SIDE_WORDS if side != NONE)),
    }
)
"""Attributes besides the setting, as question and answers.

Only answers that words can express are listed: no free view, and not the subject's own colour.
"""
LOOKS = ("colour", "material")  # a dyed subject is no longer of glass
NOT_DRAWN = frozenset({WorldChange.NOTHING, WorldChange.REMOVAL})


class EditSpec(NamedTuple):
    """The second picture of a row."""

    change: WorldChange
    spec: SceneSpec


class EditedPictures(NamedTuple):
    """Second pictures, and where they differ from the first."""

    pixels: Tensor  # (B, 3, R, R) in [-1, 1]
    subject: Tensor  # (B, 1, R, R) in [0, 1] the subject or who replaced it; 0 where it is gone
    second: Tensor  # (B, 1, R, R) in [0, 1] a second subject; 0 without one
    layout: Layout  # where `subject` is
    mask: Tensor  # (B, 1, R, R) 0 or 1


def alternatives(
    spec: SceneSpec, change: WorldChange, settings: Sequence[Setting]
) -> list[SceneSpec]:
    """Return all specs that differ from `spec` by this change alone; empty if there are none.

    Args:
        spec: What the first picture shows.
        change: The difference.
        settings: All settings to choose from.
    """
    now = spec.setting
    if change in ANSWERS:
        question, answers = ANSWERS[change]
        present = getattr(spec, question)
        return [with_answer(spec, question, answer) for answer in answers if answer != present]
    match change:
        case WorldChange.PLACE:
            floors = PLACES[now.place].grounded
            return [
                replace(spec, setting=other)
                for other in settings
                if other[1:] == now[1:]
                and other.place != now.place
                and PLACES[other.place].grounded == floors
            ]
        case WorldChange.TIME | WorldChange.WEATHER | WorldChange.SEASON:
            here = [other for other in settings if other.place == now.place]  # most are elsewhere
            others = [other for other in here if _differs_by(change.value, other, now)]
            return [replace(spec, setting=other) for other in others]
        case WorldChange.SECOND:
            # Captions of two subjects mention nothing else, and nothing stands in front of them.
            is_plain = spec == SceneSpec(now, rendition=spec.rendition)
            return [spec] if is_plain and PLACES[now.place].foreground is None else []
        case _:
            return [spec]


def with_answer(spec: SceneSpec, question: str, answer: str) -> SceneSpec:
    """Return `spec` with another answer to one question; a look replaces the other kind of look."""
    reset: dict[str, Any] = dict.fromkeys(LOOKS, NONE) if question in LOOKS else {}
    return replace(spec, **reset | {question: answer})


def redraw(
    world: World,
    noise: Tensor,
    first: Rendering,
    subject: PlacedSprite,
    edits: Sequence[EditSpec],
    *,
    others: PlacedSprite,
) -> EditedPictures:
    """Draw second pictures from the `noise` of the first, one for each edit.

    A subject that does not move stays in place to the pixel. The mask covers the whole of a subject
    that moves, is replaced or removed, also where it looks like what is behind it.

    Args:
        world: What draws.
        noise: (B, 32, R / 8, R / 8).
        first: The first pictures.
        subject: The subjects in them and their layouts.
        edits: One a row.
        others: The subjects that replace each subject or join it, with their layouts.
    """
    kinds, specs = [edit.change for edit in edits], [edit.spec for edit in edits]

    def which(*chosen: WorldChange) -> Tensor:
        return torch.tensor([kind in chosen for kind in kinds], device=noise.device)

    replaced, moved = which(WorldChange.SUBJECT), which(*MOVED)
    shown = PlacedSprite(
        torch.where(_wide(replaced), others.frames, subject.frames),
        torch.where(_wide(replaced), others.relief, subject.relief),
        subject.layout,
    )
    with torch.autocast(noise.device.type, enabled=False):  # places need all bits
        placed = place(noise, shown.frames, specs)
    layout = Layout(
        *(
            torch.where(moved.view(-1, *[1] * (now.ndim - 1)), new, now)
            for new, now in zip(placed, subject.layout, strict=True)
        )
    )
    shown = shown._replace(layout=layout)
    gone = _wide(which(WorldChange.REMOVAL))
    pixels = torch.where(gone, first.background, first.pixels)
    mask, second = first.mask * ~gone, torch.zeros_like(first.mask)
    for is_pair in (False, True):
        rows = [
            row
            for row, kind in enumerate(kinds)
            if kind not in NOT_DRAWN and (kind is WorldChange.SECOND) == is_pair
        ]
        if rows:
            drawn = world.draw(
                noise[rows],
                _select(shown, rows),
                [specs[row] for row in rows],
                companion=_select(others, rows) if is_pair else None,
            )
            pixels[rows], mask[rows] = drawn.pixels, drawn.mask
            second[rows] = drawn.companion_mask
    whole = _wide(moved) | gone
    changed = visible_change(first.pixels, pixels) > 0
    changed |= whole & ((first.mask > 0) | (mask > 0)) | (second > 0)
    return EditedPictures(pixels, mask, second, layout, grow(changed.to(pixels), GROW_PX))


def stand_aside(
    noise: Tensor, subject: PlacedSprite, second: PlacedSprite, specs: Sequence[SceneSpec]
) -> PlacedSprite:
    """Return `second` on that side of `subject` where there is more room, placed by `noise`."""
    sides = ["left" if x > 0.5 else "right" for x in subject.layout.centre[:, 0].tolist()]
    across = [SceneSpec(spec.setting, side=side) for spec, side in zip(specs, sides, strict=True)]
    with torch.autocast(noise.device.type, enabled=False):
        return second._replace(layout=place(noise, second.frames, across))


def _differs_by(name: str, one: Setting, other: Setting) -> bool:
    return one != other and one._replace(**{name: 0}) == other._replace(**{name: 0})


def _wide(flags: Tensor) -> Tensor:
    return flags.view(-1, 1, 1, 1)


def _select(figure: PlacedSprite, rows: list[int]) -> PlacedSprite:
    layout = Layout(*(value[rows] for value in figure.layout))
    return PlacedSprite(figure.frames[rows], figure.relief[rows], layout)


def visible_change(before: Tensor, after: Tensor) -> Tensor:
    """Return where pictures (B, 3, R, R) in [-1, 1] differ as files of 8 bits, (B, 1, R, R)."""
    first, second = (((pixels + 1) * 127.5).round() for pixels in (before, after))
    return ((first - second).abs().amax(dim=1, keepdim=True) > MIN_CHANGE_LEVELS).to(before)
