"""What a collection of photos lists: pictures, masks and captions by subject, nothing decoded."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MASK_SUFFIX = ".mask.png"
MAX_TEXT_BYTES = 65_536  # of a caption file; no text encoder reads a thousandth of it
MAX_ENCODED_BYTES = 20 << 20  # as for every picture, see `swiftpie.files`


class TarMember(NamedTuple):
    """A file inside an uncompressed tar."""

    tar: Path
    offset: int  # of its first byte
    size: int

    def read(self) -> bytes:
        """Return the file's bytes."""
        with self.tar.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


Place: TypeAlias = Path | TarMember


@dataclass(frozen=True)
class Entry:
    """One photo of one subject."""

    name: str  # how messages call it
    subject: str
    picture: Place
    mask: Place | None = None  # None: by transparency, or found by colour
    caption: str = ""  # empty: made from the subject's name


@dataclass(frozen=True)
class Listing:
    """All photos of a collection, sorted by name, and what could not be used."""

    entries: tuple[Entry, ...]
    skipped: dict[str, str] = field(default_factory=dict)  # reasons by name


def bytes_of(place: Place) -> Path | bytes:
    """Return what the picture loaders take for a place."""
    return place if isinstance(place, Path) else place.read()


def caption_of(entry: Entry) -> str:
    """Return the caption, or a plain one from the subject's name."""
    return entry.caption or f"a photo of a {words_of(entry.subject)}"


def words_of(subject: str) -> str:
    """Return the words in a subject's name: `red_vase2` is a red vase."""
    text = re.sub(r"[\W_]+|\d+", " ", Path(subject).name).strip()
    return text or "thing"


def decode_text(data: bytes) -> str:
    """Return a caption file's text on one line; unreadable bytes are left out."""
    return " ".join(data[:MAX_TEXT_BYTES].decode("utf-8", errors="ignore").split())


def decode_object(data: bytes) -> dict[str, str]:
    """Return the texts in a JSON object by name; empty for anything else."""
    try:
        found = json.loads(data[:MAX_TEXT_BYTES])
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    texts = {name: value for name, value in found.items() if isinstance(value, str)}
    return {str(name): " ".join(value.split()) for name, value in texts.items()}
