"""A folder of photos, one folder for each subject inside it."""

from collections.abc import Iterator
from pathlib import Path

from swiftpie.data.real.entries import (
    MASK_SUFFIX,
    MAX_TEXT_BYTES,
    SUFFIXES,
    Entry,
    Listing,
    decode_object,
    decode_text,
)

CAPTIONS = "captions.jsonl"


def list_folder(folder: Path) -> Listing:
    """List `folder/<subject>/<name>.jpg`; photos right in `folder` show one subject.

    Beside a photo, `<name>.mask.png` is its mask and `<name>.txt` its caption. A file
    `captions.jsonl` in either folder holds lines such as `{"file": "dog/1.jpg", "caption": "…"}`,
    with the path from where that file is.
    """
    captions: dict[Path, str] = {}
    skipped: dict[str, str] = {}
    subjects = [one for one in _sorted(folder) if one.is_dir()]
    for where in (folder, *subjects):
        _read_captions(where / CAPTIONS, captions, skipped)
    entries = [_entry(photo, folder.resolve().name, folder, captions) for photo in _photos(folder)]
    for subject in subjects:
        entries += [_entry(photo, subject.name, folder, captions) for photo in _photos(subject)]
    return Listing(tuple(entries), skipped)


def _entry(photo: Path, subject: str, folder: Path, captions: dict[Path, str]) -> Entry:
    mask = photo.with_name(photo.stem + MASK_SUFFIX)
    text = photo.with_suffix(".txt")
    caption = captions.get(photo, "")
    if text.is_file():
        caption = decode_text(_head(text))
    return Entry(
        name=photo.relative_to(folder).as_posix(),
        subject=subject,
        picture=photo,
        mask=mask if mask.is_file() else None,
        caption=caption,
    )


def _photos(folder: Path) -> Iterator[Path]:
    for path in _sorted(folder):
        is_mask = path.name.lower().endswith(MASK_SUFFIX)
        if path.suffix.lower() in SUFFIXES and not is_mask and path.is_file():
            yield path


def _sorted(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _read_captions(path: Path, captions: dict[Path, str], skipped: dict[str, str]) -> None:
    """Add the captions of one file; a line that says nothing is noted."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_TEXT_BYTES), b""), start=1):
            row = decode_object(line)
            if "file" in row and "caption" in row:
                captions[path.parent / row["file"]] = row["caption"]
            elif line.strip():
                skipped[f"{path.name}:{number}"] = 'a line needs "file" and "caption"'


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_TEXT_BYTES)
