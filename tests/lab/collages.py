"""Small collections of pictures, to put others together from."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from swiftpie.imageio.decoding import load_image
from swiftpie.library import subject_library
from swiftpie_lab.data.collages import Collection


def write_pictures(folder: Path, mode: str, *, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        random = np.random.default_rng(number)
        clouds = random.integers(0, 255, (5, 6, 3)).astype(np.uint8)
        picture = Image.fromarray(clouds).resize((96, 80), Image.Resampling.BICUBIC)
        if mode == "RGBA":
            disc = Image.new("L", picture.size)
            ImageDraw.Draw(disc).ellipse((10, 8, 80 + number % 8, 72), fill=255)
            picture.putalpha(disc)
        picture.save(folder / f"{number}.png")
    return folder


def collection_of(folder: Path) -> Collection:
    places = write_pictures(folder / "photos", "RGB", count=6)
    photos = [load_image(path) for path in sorted(places.iterdir())]
    names = subject_library().names()
    sprites = [subject_library().image(name).convert("RGBA") for name in names[:: len(names) // 20]]
    return Collection(photos, sprites, sprites)
