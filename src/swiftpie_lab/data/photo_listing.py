"""What a collection of photos lists, in folders or tar shards; nothing is decoded."""

import json
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

from swiftpie.errors import short_reason

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MASK_SUFFIX = ".mask.png"
MAX_TEXT_BYTES = 65_536  # of a caption file; no text encoder reads a thousandth of it
MAX_ENCODED_BYTES = 20 << 20  # as for every picture, see `swiftpie.imageio.decoding`
CAPTIONS = "captions.jsonl"


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
class PhotoEntry:
    """One photo of one subject."""

    name: str  # how messages call it
    subject: str
    picture: Place
    mask: Place | None = None  # None: by transparency, or found
    caption: str = ""  # empty: made from the subject's name


@dataclass(frozen=True)
class PhotoListing:
    """All photos of a collection, sorted by name, and what could not be used."""

    entries: tuple[PhotoEntry, ...]
    skipped: dict[str, str] = field(default_factory=dict)  # reasons by name


def bytes_of(place: Place) -> Path | bytes:
    """Return what the picture loaders take for a place."""
    return place if isinstance(place, Path) else place.read()


def caption_of(entry: PhotoEntry) -> str:
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
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: " ".join(value.split()) for name, value in pairs if isinstance(value, str)}


def list_folder(folder: Path) -> PhotoListing:
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
    entries = [
        _entry(photo, folder.resolve().name, folder, captions) for photo in photos_in(folder)
    ]
    for subject in subjects:
        entries += [_entry(photo, subject.name, folder, captions) for photo in photos_in(subject)]
    return PhotoListing(tuple(entries), skipped)


def _entry(photo: Path, subject: str, folder: Path, captions: dict[Path, str]) -> PhotoEntry:
    text = photo.with_suffix(".txt")
    caption = captions.get(photo, "")
    if text.is_file():
        with text.open("rb") as file:
            caption = decode_text(file.read(MAX_TEXT_BYTES))
    return PhotoEntry(
        name=photo.relative_to(folder).as_posix(),
        subject=subject,
        picture=photo,
        mask=mask_beside(photo),
        caption=caption,
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


def _sorted(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _read_captions(path: Path, captions: dict[Path, str], skipped: dict[str, str]) -> None:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_TEXT_BYTES), b""), start=1):
            row = decode_object(line)
            if "file" in row and "caption" in row:
                captions[path.parent / row["file"]] = row["caption"]
            elif line.strip():
                skipped[f"{path.name}:{number}"] = 'a line needs "file" and "caption"'


def list_shards(path: Path) -> PhotoListing:
    """List the photos of one uncompressed tar in the layout of WebDataset, or of all in a folder.

    Files of one photo share their path up to the first dot of the name: `dog/1.jpg`,
    `dog/1.mask.png`, `dog/1.txt`, `dog/1.json`. Shards are indexed once and then read at any
    place, so a draw needs no stream and a run goes on where it stopped.

    The subject is `"subject"` in the photo's JSON, or else the folder of its path; the caption is
    the text file, or `"caption"` in the JSON.
    """
    tars = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    entries: list[PhotoEntry] = []
    skipped: dict[str, str] = {}
    for tar in tars:
        for key, sample in _samples(tar, skipped).items():
            name = f"{tar.name}:{key}"
            entry = _entry_of_sample(name, key, sample)
            if isinstance(entry, PhotoEntry):
                entries.append(entry)
            else:
                skipped[name] = entry
    return PhotoListing(tuple(sorted(entries, key=lambda one: one.name)), skipped)


def _samples(tar: Path, skipped: dict[str, str]) -> dict[str, dict[str, TarMember]]:
    samples: dict[str, dict[str, TarMember]] = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                stem, dot, rest = place.name.partition(".")
                suffix = (dot + rest).lower()
                if not member.isreg() or not stem:
                    continue
                limit = MAX_TEXT_BYTES if suffix in {".txt", ".json"} else MAX_ENCODED_BYTES
                if member.size > limit:
                    skipped[f"{tar.name}:{member.name}"] = "it is too large"
                    continue
                found = TarMember(tar, member.offset_data, member.size)
                samples.setdefault(str(place.parent / stem), {})[suffix] = found
    except (tarfile.TarError, OSError, ValueError) as error:
        skipped[tar.name] = f"it is no complete, uncompressed tar ({short_reason(error)})"
    return samples


def _entry_of_sample(name: str, key: str, sample: dict[str, TarMember]) -> PhotoEntry | str:
    pictures = sorted(SUFFIXES & sample.keys())
    if not pictures:
        return f"it has no picture ({', '.join(sorted(SUFFIXES))})"
    fields = decode_object(sample[".json"].read()) if ".json" in sample else {}
    folder = PurePosixPath(key).parent.as_posix()
    subject = fields.get("subject") or ("" if folder == "." else folder)
    if not subject:
        return 'its subject is unknown: its JSON needs "subject", or its path a folder'
    caption = decode_text(sample[".txt"].read()) if ".txt" in sample else fields.get("caption", "")
    return PhotoEntry(name, subject, sample[pictures[0]], sample.get(MASK_SUFFIX), caption)
