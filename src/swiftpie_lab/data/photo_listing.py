"""The photos in a folder, by subject; nothing is decoded."""

import re
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MASK_SUFFIX = ".mask.png"
MAX_TEXT_BYTES = 65_536  # limit of a caption file; no text encoder reads a thousandth of it


@dataclass(frozen=True)
class PhotoEntry:
    """One photo of one subject."""

    name: str  # how messages call it
    subject: str
    picture: Path
    mask: Path | None = None  # None: by transparency, or found
    caption: str = ""  # empty: made from the subject's name


def caption_of(entry: PhotoEntry) -> str:
    """Return the caption, or a plain one from the subject's name."""
    return entry.caption or f"a photo of a {words_of(entry.subject)}"


def words_of(subject: str) -> str:
    """Return the words in a subject's name: `red_vase2` is a red vase."""
    text = re.sub(r"[\W_]+|\d+", " ", Path(subject).name).strip()
    return text or "thing"


def list_folder(folder: Path) -> tuple[PhotoEntry, ...]:
    """List `folder/<subject>/<name>.jpg`; photos right in `folder` show one subject.

    `<name>.mask.png` next to a photo is its mask, and `<name>.txt` its caption.
    """
    subjects = [(folder.resolve().name, folder)]
    subjects += [(path.name, path) for path in _sorted(folder) if path.is_dir()]
    return tuple(
        PhotoEntry(
            name=photo.relative_to(folder).as_posix(),
            subject=subject,
            picture=photo,
            mask=mask_beside(photo),
            caption=_caption_beside(photo),
        )
        for subject, place in subjects
        for photo in photos_in(place)
    )


def photos_in(folder: Path) -> list[Path]:
    """Return the photos right in a folder, by name and without their masks."""
    return [
        path
        for path in _sorted(folder)
        if path.suffix.lower() in SUFFIXES
        and not path.name.lower().endswith(MASK_SUFFIX)
        and path.is_file()
    ]


def mask_beside(photo: Path) -> Path | None:
    """Return the file with the mask of a photo, if there is one."""
    mask = photo.with_name(photo.stem + MASK_SUFFIX)
    return mask if mask.is_file() else None


def _caption_beside(photo: Path) -> str:
    """Return the caption on one line, without bytes that are no text."""
    text = photo.with_suffix(".txt")
    if not text.is_file():
        return ""
    with text.open("rb") as file:
        return " ".join(file.read(MAX_TEXT_BYTES).decode("utf-8", errors="ignore").split())


def _sorted(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
