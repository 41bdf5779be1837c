"""One edit of the benchmark, in words; pictures follow from its seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from types import MappingProxyType


class EditKind(StrEnum):
    """What changes between the two renderings of a case."""

    OBJECT = "object"  # another subject in the same place
    HAT = "hat"  # the subject gets a crown or a top hat
    SECOND = "second"  # a second subject beside the first
    DELETE = "delete"  # the subject goes
    SIZE = "size"  # the subject becomes tiny or huge
    SIDE = "side"  # the subject goes to the other side
    GREY = "grey"  # colours go
    SWAP = "swap"  # crown becomes top hat, or the reverse
    SCENE = "scene"  # another place of much the same light
    COLOUR = "colour"  # colours come
    LIGHT = "light"  # night, sunset or aurora


TYPES: Mapping[int, str] = MappingProxyType(
    {
        0: "random mix",
        1: "change object",
        2: "add",
        3: "delete",
        4: "change size",
        5: "change place",
        6: "change colour",
        7: "change hat",
        8: "change background",
        9: "change style",
    }
)
"""Names of the ten types; numbers and shares are those of PIE-Bench."""

_SLOTS: tuple[tuple[int, EditKind, int], ...] = (  # type, kind, how many of 28
    (1, EditKind.OBJECT, 4),
    (2, EditKind.HAT, 2),
    (2, EditKind.SECOND, 2),
    (3, EditKind.DELETE, 4),
    (4, EditKind.SIZE, 2),
    (5, EditKind.SIDE, 2),
    (6, EditKind.GREY, 2),
    (7, EditKind.SWAP, 2),
    (8, EditKind.SCENE, 4),
    (9, EditKind.COLOUR, 2),
    (9, EditKind.LIGHT, 2),
)
_NUM_RANDOM = 7  # a deal of 35 then has one fifth of type 0
DEAL_SIZE = 35


@dataclass(frozen=True)
class Slot:
    """A case before it has a subject."""

    type_id: int
    kind: EditKind
    variant: int  # 0 or 1: which of two ways to do it


@dataclass(frozen=True)
class EditCase:
    """A rendering before and one after, both of the same noise."""

    name: str  # unique in its benchmark; also the stem of its files
    type_id: int  # key of TYPES
    kind: EditKind
    code: str  # the subject before
    scene: str  # before
    seed: int
    source_prompt: str
    target_prompt: str
    keyword: str  # the words of the source prompt that shall change; empty where there are none
    target_scene: str
    before: str = ""  # the attribute that the source prompt tells, as judges spell it
    after: str = ""  # the attribute that the target prompt tells
    other_code: str = ""  # the subject that comes; empty where none does
    has_reference: bool = False  # a picture of the new subject is given


def deal(number: int, *, seed: int) -> Slot:
    """Return what case `number` asks for; every 35 cases hold all types by their shares."""
    lap, place = divmod(number, DEAL_SIZE)
    random = Random(f"{seed}:deal:{lap}")
    slots = [
        Slot(type_id, kind, variant % 2)
        for type_id, kind, count in _SLOTS
        for variant in range(count)
    ]
    mixed = [random.choice(slots) for _ in range(_NUM_RANDOM)]
    slots += [Slot(0, slot.kind, slot.variant) for slot in mixed]
    random.shuffle(slots)
    return slots[place]
