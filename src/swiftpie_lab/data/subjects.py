"""The subjects of training pictures and their split into train and held out."""

import hashlib
import importlib.resources
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from swiftpie.errors import ConfigError, short_reason
from swiftpie.imageio.decoding import open_image
from swiftpie_world.subjects import Subjects

TILE_PX = 96  # side in memory; 1,200 subjects take 45 MB
CROWN, TOP_HAT = "1f451", "1f3a9"
INDEX_NAME = "subjects.json"

CODE = re.compile("[0-9a-f]{1,8}(-[0-9a-f]{1,8}){0,15}")  # also a name of a file, and only that
MAX_SUBJECTS = 10_000
MAX_SYNONYMS = 200  # limit for a subject
MAX_WORD = 200  # characters of a name
MAX_PIXELS = 100_000_000  # limit of all sprites together: 3,900 of 160 px
MAX_BYTES = 256 << 20  # limit of all stored sprites together
MAX_MEMBER_BYTES = 16 << 20  # no sprite or table is larger

_HELD_OUT_SHARE = 10  # one subject in ten is kept from training


def is_held_out(code: str) -> bool:
    """Tell the side of the split from the code alone, so that it never changes."""
    if code in {CROWN, TOP_HAT}:
        return False  # they are accessories, which training must show
    return int(hashlib.sha256(code.encode()).hexdigest(), 16) % _HELD_OUT_SHARE == 0


def load_subjects(path: Path) -> Subjects:
    """Read a pack: a zip file or folder with `subjects.json` and WebPs, or raise ConfigError."""
    if path.is_dir():
        return _read(lambda name: _read_file(path / name), path)
    if not path.is_file():
        raise ConfigError(
            f"There is no pack of subjects at {path}. Training and evaluation need one; build it "
            "with `swiftpie data prepare`."
        )
    try:
        pack = zipfile.ZipFile(path)
    except Exception as error:  # broken archives raise anything
        raise ConfigError(_unreadable(path, error)) from error
    with pack:
        return _read(lambda name: _read_member(pack, name), path)


def sample_subjects() -> Subjects:
    """Return the accessories' sprites and a dozen held-out subjects that ship with the package."""
    samples = importlib.resources.files("swiftpie") / "assets" / "samples"
    with importlib.resources.as_file(samples) as folder:
        return load_subjects(folder)


def _read(read: Callable[[str], bytes], path: Path) -> Subjects:
    try:
        entries = [_checked(entry) for entry in _some(json.loads(read(INDEX_NAME)), MAX_SUBJECTS)]
        codes, names, synonyms = zip(*entries, strict=True)
        if len(set(codes)) < len(codes):
            raise ValueError("a subject is listed twice")
        sprites, bytes_left, pixels_left = [], MAX_BYTES, MAX_PIXELS
        for code in codes:
            data = read(f"{code}.webp")
            sprites.append(open_image(data))  # its header; pixels are decoded when all are known
            bytes_left -= len(data)
            pixels_left -= sprites[-1].width * sprites[-1].height
            if bytes_left < 0 or pixels_left < 0:
                raise ValueError("its sprites have more bytes or pixels together than a pack may")
        stacked = torch.from_numpy(np.stack([_tile(sprite) for sprite in sprites]))
    except Exception as error:  # broken archives, lists and pictures raise anything
        raise ConfigError(_unreadable(path, error)) from error
    held_out = torch.tensor([is_held_out(code) for code in codes])
    return Subjects(stacked, codes, names, synonyms, held_out)


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        raise OSError(f"there is no file {path.name}")
    with path.open("rb") as file:
        data = file.read(MAX_MEMBER_BYTES + 1)
    if len(data) > MAX_MEMBER_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_MEMBER_BYTES} bytes")
    return data


def _read_member(pack: zipfile.ZipFile, name: str) -> bytes:
    size = pack.getinfo(name).file_size  # no more than that is unpacked
    if size > MAX_MEMBER_BYTES:
        raise ValueError(f"{name} has {size} bytes, more than {MAX_MEMBER_BYTES}")
    return pack.read(name)


def _checked(entry: Any) -> tuple[str, str, tuple[str, ...]]:  # noqa: ANN401 - of any type
    code, name, synonyms = entry["code"], entry["name"], _some(entry["synonyms"], MAX_SYNONYMS)
    if not CODE.fullmatch(code) or not all(_is_word(word) for word in (name, *synonyms)):
        raise ValueError("a subject's code or names are no short text")
    return code, name, tuple(synonyms)


def _is_word(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_WORD and text.isprintable()


def _some(found: object, most: int) -> list[Any]:
    if not isinstance(found, list) or len(found) > most:
        raise ValueError(f"no list of up to {most} stands where one belongs")
    return found


def _tile(sprite: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    tile = sprite.convert("RGBA").convert("RGBa")
    tile = tile.resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC)
    planes = np.asarray(tile).transpose(2, 0, 1)
    return planes.clip(max=planes[3:])  # resampling overshoots a little


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"The pack of subjects {path} cannot be read ({short_reason(error)}); it needs "
        f"{INDEX_NAME} "
        "and one WebP image for each subject in it. Rebuild it with `swiftpie data prepare`."
    )
