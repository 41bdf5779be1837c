"""The subjects of the sticker scenes and their split into train and held out."""

import hashlib
import importlib.resources
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from swiftpie.errors import ConfigError

Split = Literal["train", "held_out"]

TILE_PX = 96  # in memory; 1,200 subjects take 45 MB
CROWN, TOP_HAT = "1f451", "1f3a9"
INDEX_NAME = "subjects.json"

_HELD_OUT_SHARE = 10  # one subject in ten is kept from training


@dataclass(frozen=True, eq=False)
class Subjects:
    """Sprites with their names; row i of every field belongs to subject i."""

    tiles: Tensor  # (S, 4, 96, 96) uint8, premultiplied RGBA
    codes: tuple[str, ...]  # lower-case hexadecimal code points joined by "-"
    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    held_out: Tensor  # (S,) bool, True for subjects that no training picture shows

    def __len__(self) -> int:
        return len(self.codes)

    def indices(self, split: Split) -> list[int]:
        """Return the subjects of one half of the split, in order."""
        wanted = self.held_out if split == "held_out" else ~self.held_out
        return [int(i) for i in wanted.nonzero().flatten()]

    def index(self, code: str) -> int:
        """Return the row of the subject with this code.

        Raises:
            ConfigError: The pack lacks it.
        """
        if code not in self.codes:
            raise ConfigError(
                f"The pack has no subject {code}; it needs the sprites of all accessories. "
                "Rebuild it with `swiftpie data prepare`."
            )
        return self.codes.index(code)


def is_held_out(code: str) -> bool:
    """Tell the side of the split from the code alone, so that it never changes."""
    if code in {CROWN, TOP_HAT}:
        return False  # they are accessories, which training must show
    return int(hashlib.sha256(code.encode()).hexdigest(), 16) % _HELD_OUT_SHARE == 0


def load_subjects(path: Path) -> Subjects:
    """Read a pack: a zip file or a folder with `subjects.json` and one WebP a subject.

    Raises:
        ConfigError: There is no pack at `path`, or it cannot be read.
    """
    if path.is_dir():
        return _read(lambda name: (path / name).read_bytes(), path)
    if not path.is_file():
        raise ConfigError(
            f"There is no sticker pack at {path}. Sticker scenes need one; build it with "
            "`swiftpie data prepare`."
        )
    if not zipfile.is_zipfile(path):
        raise ConfigError(_unreadable(path))
    with zipfile.ZipFile(path) as pack:
        return _read(pack.read, path)


def sample_subjects() -> Subjects:
    """Return the accessories' sprites and a dozen held-out subjects that ship with the package."""
    samples = importlib.resources.files("swiftpie") / "assets" / "samples"
    with importlib.resources.as_file(samples) as folder:
        return load_subjects(folder)


def _read(read: Callable[[str], bytes], path: Path) -> Subjects:
    try:
        entries = json.loads(read(INDEX_NAME))
        tiles = [_decode(read(f"{entry['code']}.webp")) for entry in entries]
        codes = tuple(entry["code"] for entry in entries)
        names = tuple(entry["name"] for entry in entries)
        synonyms = tuple(tuple(entry["synonyms"]) for entry in entries)
        stacked = torch.from_numpy(np.stack(tiles))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ConfigError(_unreadable(path)) from error
    held_out = torch.tensor([is_held_out(code) for code in codes])
    return Subjects(stacked, codes, names, synonyms, held_out)


def _decode(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(BytesIO(data)) as image:
        tile = image.convert("RGBA").convert("RGBa")
    tile = tile.resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC)
    planes = np.asarray(tile).transpose(2, 0, 1)
    return planes.clip(max=planes[3:])  # resampling overshoots a little


def _unreadable(path: Path) -> str:
    return (
        f"The sticker pack {path} cannot be read; it needs {INDEX_NAME} and one WebP image for "
        "each subject in it. Rebuild it with `swiftpie data prepare`."
    )
