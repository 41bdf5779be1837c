"""Photos in uncompressed tar shards, in the layout of WebDataset.

Files of one photo share their path up to the first dot of the name: `dog/1.jpg`, `dog/1.mask.png`,
`dog/1.txt`, `dog/1.json`. Shards are indexed once and then read at any place, so a draw needs no
stream and a run goes on where it stopped.
"""

import tarfile
from pathlib import Path, PurePosixPath

from swiftpie.data.real.entries import (
    MASK_SUFFIX,
    MAX_ENCODED_BYTES,
    MAX_TEXT_BYTES,
    SUFFIXES,
    Entry,
    Listing,
    TarMember,
    decode_object,
    decode_text,
)
from swiftpie.errors import short_reason

MASK, TEXT, FIELDS = MASK_SUFFIX, ".txt", ".json"
LIMITS = {TEXT: MAX_TEXT_BYTES, FIELDS: MAX_TEXT_BYTES}

Sample = dict[str, TarMember]


def list_shards(path: Path) -> Listing:
    """List the photos of one tar, or of all tars in a folder.

    The subject is `"subject"` in the photo's JSON, or else the folder of its path; the caption is
    the text file, or `"caption"` in the JSON.
    """
    tars = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    entries: list[Entry] = []
    skipped: dict[str, str] = {}
    for tar in tars:
        for key, sample in _samples(tar, skipped).items():
            name = f"{tar.name}:{key}"
            entry = _entry(name, key, sample)
            if isinstance(entry, Entry):
                entries.append(entry)
            else:
                skipped[name] = entry
    return Listing(tuple(sorted(entries, key=lambda one: one.name)), skipped)


def _samples(tar: Path, skipped: dict[str, str]) -> dict[str, Sample]:
    """Return the files of each photo by their suffix; a broken end of the tar is noted."""
    samples: dict[str, Sample] = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                stem, dot, rest = place.name.partition(".")
                suffix = (dot + rest).lower()
                if not member.isreg() or not stem:
                    continue
                if member.size > LIMITS.get(suffix, MAX_ENCODED_BYTES):
                    skipped[f"{tar.name}:{member.name}"] = "it is too large"
                    continue
                found = TarMember(tar, member.offset_data, member.size)
                samples.setdefault(str(place.parent / stem), {})[suffix] = found
    except (tarfile.TarError, OSError, ValueError) as error:
        skipped[tar.name] = f"it is no complete, uncompressed tar ({short_reason(error)})"
    return samples


def _entry(name: str, key: str, sample: Sample) -> Entry | str:
    """Return the photo, or why there is none."""
    pictures = sorted(SUFFIXES & sample.keys())
    if not pictures:
        return f"it has no picture ({', '.join(sorted(SUFFIXES))})"
    fields = decode_object(sample[FIELDS].read()) if FIELDS in sample else {}
    folder = PurePosixPath(key).parent.as_posix()
    subject = fields.get("subject") or ("" if folder == "." else folder)
    if not subject:
        return 'its subject is unknown: its JSON needs "subject", or its path a folder'
    caption = decode_text(sample[TEXT].read()) if TEXT in sample else fields.get("caption", "")
    return Entry(name, subject, sample[pictures[0]], sample.get(MASK), caption)
