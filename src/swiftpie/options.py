"""What a field of a value says about itself as an option, and words that lower layers choose by."""

from enum import StrEnum
from typing import NamedTuple


class Option(NamedTuple):
    """How a field appears on the command line, as `name: Annotated[int, Option("What it does.")]`.

    A field without one is for callers from Python alone.
    """

    help: str
    metavar: str | None = None
    flags: tuple[str, ...] = ()  # instead of the field's name with dashes
    kind: object = None  # what users type, where it is not the field's own type
    default: object = None  # of fields whose class has none
    least: float | None = None
    most: float | None = None


class MaskRule(StrEnum):
    """How the difference of two inversions becomes a mask."""

    RELEASED = "released"  # hard, as in SwiftEdit's released code
    SMOOTH = "smooth"  # soft, made as masks from attention are
