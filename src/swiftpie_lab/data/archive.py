"""Builds the pack of subjects, the library of them, and the library of scenes."""

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from swiftpie.config import home_folder
from swiftpie.errors import ConfigError, InputError, short_reason
from swiftpie.geometry.layout import SUBJECT_FILL
from swiftpie.imageio.atomic import atomic_file, write_file
from swiftpie.imageio.images import to_pil
from swiftpie.library import ASSETS, INDEX, LICENCE
from swiftpie.noise import COUPLED_CHANNELS
from swiftpie.scenes import INDEX as SCENE_INDEX
from swiftpie.scenes import scene_library
from swiftpie_lab.data.subjects import INDEX_NAME, MAX_MEMBER_BYTES
from swiftpie_world.air import Setting
from swiftpie_world.features import Place
from swiftpie_world.fields import read_fields
from swiftpie_world.places import PLACES, SCENE_PLACES, draw_places

Build = Callable[[bytes, bytes], dict[str, bytes]]
"""Takes the archives of sprites and of names; returns files by name."""

SPRITE_PX = 160

_GROUPS = {0, 1, 3, 4, 5, 6, 7}  # faces, people, animals, food, places, activities, objects
_VISIBLE_ALPHA = 8  # fainter pixels, of 255, are the soft edge of a shadow
_WEBP_QUALITY = 88  # the whole pack stays well below 20 MiB
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # a fixed date: equal sprites give an equal file


@dataclass(frozen=True)
class Package:
    """An npm package at one version, known by its checksum."""

    name: str
    version: str
    sha256: str  # sum of the .tgz

    @property
    def file_name(self) -> str:
        """The name `npm pack` gives the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


SPRITES = Package(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
)
NAMES = Package(
    name="emojibase-data",
    version="17.0.0",
    sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
)


def default_pack() -> Path:
    """Return where the pack is kept: $SWIFTPIE_HOME, or ~/.cache/swiftpie."""
    return home_folder() / "subjects.zip"


def build_from_archives(
    out: Path, build: Build, *, sprites: Path | None = None, names: Path | None = None
) -> None:
    """Write a pack to `out` from two archives, by default of npm, or raise ConfigError."""
    with tempfile.TemporaryDirectory() as folder:
        sprite_data = _obtain(SPRITES, sprites, Path(folder))
        name_data = _obtain(NAMES, names, Path(folder))
    write_pack(out, build(sprite_data, name_data))


def read_archives(
    sprite_data: bytes, name_data: bytes
) -> tuple[list[dict[str, object]], dict[str, bytes]]:
    """Return the table of names, and the sprites by name of their files."""
    table = json.loads(read_members(name_data, r"package/en/data\.json")["data.json"])
    return table, read_members(sprite_data, r"package/assets/[0-9a-f-]+\.webp")


def build_pack(sprite_data: bytes, name_data: bytes) -> dict[str, bytes]:
    """Return the files of the pack, made from the two archives."""
    table, images = read_archives(sprite_data, name_data)
    entries = [entry for entry in list_subjects(table) if f"{entry['code']}.webp" in images]
    names = [f"{entry['code']}.webp" for entry in entries]
    packed = {name: normalise(images[name]) for name in names}
    packed[INDEX_NAME] = json.dumps(entries, ensure_ascii=False, indent=0).encode()
    return packed


def read_members(archive: bytes, pattern: str) -> dict[str, bytes]:
    """Return the regular files whose whole path matches `pattern`, by base name.

    Nothing is written to disk, so a path in the archive cannot reach outside of it.

    Raises:
        ConfigError: A file is too large to be what it should be.
    """
    found = {}
    with tarfile.open(fileobj=BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            if not (member.isreg() and re.fullmatch(pattern, member.name)):
                continue
            if member.size > MAX_MEMBER_BYTES:
                raise ConfigError(
                    f"{member.name} in the archive takes {member.size} bytes; at most "
                    f"{MAX_MEMBER_BYTES} are expected. Download the archive again."
                )
            stream = tar.extractfile(member)
            assert stream is not None, "a regular file has content"
            found[member.name.rpartition("/")[2]] = stream.read()
    return found


def list_subjects(table: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return code, name, group and synonyms of all emoji that make a subject, by code.

    Of the words of a name only the last is a synonym: it is the noun the others describe.
    """
    entries = []
    for row in table:
        if row.get("group") not in _GROUPS:
            continue
        name = _plain_words(str(row["label"]))
        tags = row.get("tags") or []
        assert isinstance(tags, list), "emojibase lists tags"
        words = {_plain_words(str(tag)) for tag in tags} - set(name.split()[:-1])
        synonyms = sorted(word for word in words if len(word) > 2 and word != name)
        code = str(row["hexcode"]).lower()
        entries.append({"code": code, "name": name, "group": row["group"], "synonyms": synonyms})
    return sorted(entries, key=lambda entry: str(entry["code"]))


def normalise(data: bytes, *, side_px: int = SPRITE_PX) -> bytes:
    """Crop a sprite to what is visible, centre it in a tile and encode it as WebP."""
    with Image.open(BytesIO(data)) as opened:
        image = opened.convert("RGBA")
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > _VISIBLE_ALPHA)).getbbox()
    image = image.crop(box)
    zoom = SUBJECT_FILL * side_px / max(image.size)
    width, height = (max(1, round(side * zoom)) for side in image.size)
    tile = Image.new("RGBA", (side_px, side_px))
    corner = ((side_px - width) // 2, (side_px - height) // 2)
    tile.paste(image.resize((width, height), Image.Resampling.LANCZOS), corner)
    buffer = BytesIO()
    tile.save(buffer, "WEBP", quality=_WEBP_QUALITY, method=4)
    return buffer.getvalue()


def write_pack(out: Path, files: dict[str, bytes]) -> None:
    """Write `files` as the zip file `out`, whole at every moment, or raise InputError."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_file(out) as unfinished,
            zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as pack,
        ):
            for name, content in sorted(files.items()):
                pack.writestr(zipfile.ZipInfo(name, _ZIP_DATE), content)
    except OSError as error:
        raise InputError(
            f"The pack of subjects {out} cannot be written ({short_reason(error)}). A folder with "
            "20 MiB of room is needed. Choose another one."
        ) from error


def _obtain(package: Package, given: Path | None, folder: Path) -> bytes:
    path = _download(package, folder) if given is None else given
    if not path.is_file():
        raise ConfigError(
            f"There is no archive {path}; {package.file_name} is needed. Check the path, or leave "
            "it out to download the archive with npm."
        )
    data = path.read_bytes()
    checksum = hashlib.sha256(data).hexdigest()
    if checksum != package.sha256:
        raise ConfigError(
            f"{path} has the SHA-256 checksum {checksum}; {package.file_name} has "
            f"{package.sha256}. Get it with `npm pack {package.name}@{package.version}`."
        )
    return data


def _download(package: Package, folder: Path) -> Path:
    wanted = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(
            f"npm is not installed; it downloads {wanted}. Install Node.js, or fetch "
            f"{package.file_name} elsewhere and give it with --archive."
        )
    command = [npm, "pack", wanted, "--silent", "--ignore-scripts"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ConfigError(
            f"`npm pack {wanted}` failed: {result.stderr.strip() or 'no message'}. It needs the "
            f"npm registry; or fetch {package.file_name} elsewhere and give it with --archive."
        )
    return folder / package.file_name


def _plain_words(text: str) -> str:
    kept = re.sub(r"[^a-z0-9' -]", "", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    return " ".join(kept.replace("-", " ").split())


SIDE_PX = 128  # the reference frame of mini; no more of a sprite is seen

_VARIANT = "-fe0f"  # asks for a picture in place of a letter; tables and files differ in writing it

EVERYDAY: Mapping[str, tuple[str, ...]] = {
    name: tuple(words)
    for name, words in json.loads(
        (files("swiftpie_lab") / "assets" / "everyday.json").read_bytes()
    ).items()
}
"""What people call a subject whose name is another, or who is but one of many with that tag."""


def build_library(sprite_data: bytes, name_data: bytes) -> dict[str, bytes]:
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
    for entry in entries:
        file_name = f"{entry['code']}.webp"
        files[file_name] = normalise(sprites[file_name], side_px=SIDE_PX)
        entry["meant"] = EVERYDAY.get(str(entry["name"]), ())
    files[INDEX] = json.dumps(entries, ensure_ascii=False, indent=0).encode()
    return files


SCENE_PX = 512
PICTURES = 4  # pictures of each place
FIRST_SEED = 4_000_000  # far from the seeds of training and of every benchmark
# What people also write behind a preposition; the captions of the training say the rest.
ALIASES = {
    "above the clouds": ("clouds",),
    "arctic ice": ("arctic", "iceberg"),
    "beach": ("seaside", "shore", "sandy shore", "coast"),
    "campsite": ("camp", "campfire"),
    "city street": ("street", "town", "downtown", "busy street"),
    "country road": ("dirt road", "path", "lane"),
    "farm field": ("field", "barn"),
    "forest": ("wood",),
    "harbour": ("harbor", "port", "marina", "at sea", "on the ocean", "dock"),
    "lake": ("pond", "lakeside"),
    "library": ("bookshelf", "books"),
    "living room": ("sofa", "couch", "carpet", "room", "in front of the tv"),
    "log cabin": ("cabin", "hut", "lodge"),
    "meadow": ("grass", "lawn", "flowers"),
    "mountains": ("mountain", "hills", "alps"),
    "museum": ("gallery", "art gallery"),
    "park": ("park bench", "bench"),
    "ruins": ("ruined temple",),
    "savanna": ("savannah", "plains", "grassland"),
    "stage": ("theatre", "theater", "spotlight"),
    "underwater": (
        *("ocean floor", "coral reef", "reef", "under the sea", "in the sea", "in the ocean"),
        *("under the ocean", "aquarium"),
    ),
    "wooden table": ("table", "desk", "wood table"),
}
STILL_DRAWN = frozenset(("cinema", "lighthouse"))  # scenes alone that no photograph shows
STAND_INS = {True: "in a park", False: "in a living room"}  # places in such a light
QUALITY, FINE_QUALITY = 82, 78  # qualities of WebP; places of scenes alone have more detail
LATENT_CHANNELS = 2 * COUPLED_CHANNELS


def write_scene_pack(path: Path, *, force: bool) -> int:
    """Write the pack and return its number of pictures; InputError if it cannot be written."""
    buffer, count = BytesIO(), 0
    with zipfile.ZipFile(buffer, "w") as pack:
        for name, data in _pictures():
            pack.writestr(zipfile.ZipInfo(name), data)  # a `ZipInfo` holds no time of day
            count += 1
        rows = [
            {
                "name": place.name,
                "phrases": place.phrases,
                "aliases": ALIASES.get(place.name, ()),
                "pictures": PICTURES,
                "is_ground": place.grounded,
                "is_known": number < len(PLACES),
                "stand_in": place.phrases[0] if number < len(PLACES) else STAND_INS[place.outdoors],
            }
            for number, place in packed_places()
        ]
        pack.writestr(zipfile.ZipInfo(SCENE_INDEX), json.dumps(rows, indent=1))
    write_file(path, buffer.getvalue(), force=force)
    return count


def packed_places() -> list[tuple[int, Place]]:
    """Return the places of the pack with their numbers: what the network knows, and some others."""
    return [
        (number, place)
        for number, place in enumerate(SCENE_PLACES)
        if number < len(PLACES)
        or place.name in STILL_DRAWN
        or scene_library().is_photographed(place.name)
    ]


def _pictures() -> Iterator[tuple[str, bytes]]:
    for row, (number, _) in enumerate(packed_places()):
        quality = QUALITY if number < len(PLACES) else FINE_QUALITY
        generator = torch.Generator().manual_seed(FIRST_SEED + number)
        shape = (PICTURES, LATENT_CHANNELS, SCENE_PX // 8, SCENE_PX // 8)
        fields = read_fields(torch.randn(shape, generator=generator), size_px=SCENE_PX)
        # A sun would have to go by night and under clouds, and leave a faint disc.
        drawn = draw_places(fields, [Setting(number)] * PICTURES, shows_sun=False).pixels
        for index, image in enumerate(to_pil(2 * drawn - 1)):
            data = BytesIO()
            image.save(data, "WEBP", quality=quality, method=6)
            yield f"{row}-{index}.webp", data.getvalue()
