"""Whole photos with captions, for inverting what no generator made."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from PIL import Image, ImageOps
from torch import Tensor

from swiftpie.data.real.entries import Entry, bytes_of
from swiftpie.data.real.folder import list_folder
from swiftpie.errors import InputError
from swiftpie.files import load_image
from swiftpie.images import to_tensor


@dataclass(frozen=True)
class Pictures:
    """Photos, decoded when asked for."""

    entries: tuple[Entry, ...]
    size_px: int

    @property
    def captions(self) -> list[str]:
        """What all photos show; empty where nobody said."""
        return [one.caption for one in self.entries]

    def batch(self, size: int, draw: int) -> tuple[Tensor, list[str]]:
        """Return the middle squares (B, 3, S, S) in [-1, 1] of chosen photos, and captions.

        Raises:
            ImageError: A photo cannot be read.
        """
        random = Random(draw)
        chosen = [random.choice(self.entries) for _ in range(size)]
        pixels = [to_tensor(self._square(one)) for one in chosen]
        return torch.cat(pixels), [one.caption for one in chosen]

    def _square(self, entry: Entry) -> Image.Image:
        image = load_image(bytes_of(entry.picture)).convert("RGB")
        return ImageOps.fit(image, (self.size_px, self.size_px), Image.Resampling.BICUBIC)


def open_pictures(folder: Path, *, size_px: int) -> Pictures:
    """List the photos in `folder`; `<name>.txt` beside one is its caption, else it has none.

    Raises:
        InputError: There are none.
    """
    entries = list_folder(folder).entries if folder.is_dir() else ()
    if not entries:
        raise InputError(
            f"There are no photos in '{folder}'. JPEG, PNG or WebP files are needed, with captions "
            "beside them if there are any. Check the path."
        )
    return Pictures(entries, size_px)
