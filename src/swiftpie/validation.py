"""Checks of seeds, sizes, boxes and texts, before anything heavy is loaded."""

import json
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress

from swiftpie.errors import ConfigError, InputError, short_reason

MAX_IMAGES = 64  # Images of one call.
MAX_REFERENCES = 8  # pictures of one subject
MAX_SEED = 2**63 - 1
MIN_FPS, MAX_FPS = 1.0, 50.0  # frames a second: what GIF and browsers show
USUAL_FPS = 8.0
MAX_METADATA_BYTES = 60_000  # a JPEG's EXIF block holds 64 KiB at most
MAX_FACTS_BYTES = 2000  # limit of what a picture's record says besides prompts
MAX_STORED_PROMPT = 4000  # characters; no model reads as many
DRAWN_SEEDS = 2**31  # random seeds stay short enough to type
MAX_SHOWN = 40  # letters of a size in messages
SIZE = re.compile(r"(\d{1,9})x(\d{1,9})", re.ASCII)  # int() refuses thousands of digits

Box = tuple[float, float, float, float]  # left, top, right and bottom in [0, 1]
PixelBox = tuple[int, int, int, int]  # the same in pixels
Size = tuple[int, int]  # height and width in pixels

JOINERS = "\u200c\u200d" + "".join(map(chr, range(0x1F3FB, 0x1F400)))  # in words and emoji
# Windows keeps these names for devices.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')  # in names on Windows, some elsewhere too


def is_of_word(letter: str) -> bool:
    """Whether a letter may be part of a word of any script, or is an emoji or part of one."""
    kind = unicodedata.category(letter)
    return kind[0] in "LMN" or kind == "So" or letter in JOINERS


def words_in_name(name: str, *, between: str = " ") -> str:
    """Return the words of a file's name, composed as most systems write them."""
    composed = unicodedata.normalize("NFC", name)
    apart = "".join(letter if is_of_word(letter) else " " for letter in composed)
    return between.join(apart.split())


def is_portable_name(name: str) -> bool:
    """Whether a file may be called so on Linux, macOS and Windows."""
    is_whole = bool(name) and not name.endswith((".", " "))
    return is_whole and not DEVICES.fullmatch(name) and not FORBIDDEN.search(name)


def check_references(num_pictures: int) -> None:
    """Refuse a number of pictures of one subject, before they are decoded."""
    if not 1 <= num_pictures <= MAX_REFERENCES:
        raise InputError(
            f"{num_pictures} reference pictures were given; an identity needs 1 to "
            f"{MAX_REFERENCES} of one subject."
        )


def parse_size(text: str) -> Size:
    """Read "WIDTHxHEIGHT" in pixels; the preset checks whether it can draw that size."""
    found = SIZE.fullmatch(text.strip().lower())
    if found is None:
        raise ConfigError(
            f"The size is {short_reason(text[:MAX_SHOWN])!r}. Width and height in pixels are "
            "needed. Write them as in 512x768."
        )
    return int(found[2]), int(found[1])


def parse_box(text: str) -> Box:
    """Read "left,top,right,bottom" as fractions of the picture."""
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(_no_box(text)) from None
    return check_box((left, top, right, bottom), name=text)


def check_box(box: Box, *, name: str = "") -> Box:
    """Return `box`, after a check; `name` stands for it in messages.

    Raises:
        InputError: It is empty, or reaches beyond the picture.
    """
    with suppress(TypeError, ValueError):  # no four numbers
        left, top, right, bottom = box
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:  # Comparisons with NaN are false.
            return box
    listed = isinstance(box, Sequence) and not isinstance(box, str)
    raise InputError(_no_box(name or (",".join(map(str, box)) if listed else str(box))))


def check_stored(**texts: str) -> None:
    """Refuse prompts that pictures cannot keep, before anything is drawn.

    Raises:
        InputError: They are too long together.
    """
    length = len(json.dumps({name: text[:MAX_STORED_PROMPT] for name, text in texts.items()}))
    limit = MAX_METADATA_BYTES - MAX_FACTS_BYTES
    if length > limit:
        raise InputError(
            f"The prompts take {length} bytes in a picture, where other letters than English ones "
            f"take more. At most {limit} fit. Shorten them."
        )


def _no_box(text: str) -> str:
    return (
        f"'{text}' is not a box. Give left,top,right,bottom as fractions of the picture, each "
        "from 0 to 1, with left < right and top < bottom, for example 0.25,0.5,0.75,1."
    )
