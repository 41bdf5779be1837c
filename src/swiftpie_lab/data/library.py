"""Builds the library of subjects by name, which the package holds."""

import json
from collections.abc import Mapping
from importlib.resources import files

from swiftpie.library import ASSETS, INDEX, LICENCE
from swiftpie_lab.data.archive import Progress, list_subjects, normalise, read_archives

SIDE_PX = 128  # the reference frame of mini; no more of a sprite is seen

_VARIANT = "-fe0f"  # asks for a picture in place of a letter; tables and files differ in writing it

EVERYDAY: Mapping[str, tuple[str, ...]] = {
    name: tuple(words)
    for name, words in json.loads(
        (files("swiftpie_lab") / "assets" / "everyday.json").read_bytes()
    ).items()
}
"""What people call a subject whose name is another, or who is but one of many with that tag."""


def build_library(
    sprite_data: bytes, name_data: bytes, progress: Progress | None = None
) -> dict[str, bytes]:
    """Return the files of the library, made from the archives of the pack of subjects.

    It holds all subjects of the pack, those too that no training shows, and some more: it is for
    users. Nothing that is measured reads it.
    """
    table, images = read_archives(sprite_data, name_data)
    sprites = {name.replace(_VARIANT, ""): data for name, data in images.items()}
    files, entries = {LICENCE: (ASSETS / LICENCE).read_bytes()}, []
    for entry in list_subjects(table):
        file_name = f"{entry['code']}.webp".replace(_VARIANT, "")
        if file_name in sprites:
            entries.append(entry | {"code": file_name.removesuffix(".webp")})
    for done, entry in enumerate(entries, start=1):
        file_name = f"{entry['code']}.webp"
        files[file_name] = normalise(sprites[file_name], side_px=SIDE_PX)
        entry["meant"] = EVERYDAY.get(str(entry["name"]), ())
        if progress is not None:
            progress(done, len(entries))
    files[INDEX] = json.dumps(entries, ensure_ascii=False, indent=0).encode()
    return files
