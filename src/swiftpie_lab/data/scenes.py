"""Builds the library of scenes: each place of the world, in plain daylight, some times over."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from swiftpie.imageio.atomic import write_file
from swiftpie.imageio.images import to_pil
from swiftpie.mini.scenes import INDEX, scene_library
from swiftpie.noise import COUPLED_CHANNELS
from swiftpie_world.air import Setting
from swiftpie_world.features import Place
from swiftpie_world.fields import read_fields
from swiftpie_world.places import PLACES, SCENE_PLACES, draw_places

SIDE_PX = 512
PICTURES = 4  # of each place
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
QUALITY, FINE_QUALITY = 82, 78  # of WebP; places of scenes alone have more detail
LATENT_CHANNELS = 2 * COUPLED_CHANNELS


def write_scene_pack(path: Path, *, force: bool) -> int:
    """Write the pack and return how many pictures it holds.

    Raises:
        InputError: The file exists and `force` is not set, or cannot be written.
    """
    buffer, count = io.BytesIO(), 0
    with zipfile.ZipFile(buffer, "w") as pack:
        for name, data in _pictures():
            pack.writestr(zipfile.ZipInfo(name), data)  # which holds no time of day
            count += 1
        rows = [
            {
                "name": place.name,
                "phrases": place.phrases,
                "aliases": ALIASES.get(place.name, ()),
                "pictures": 0 if scene_library().is_photographed(place.name) else PICTURES,
                "is_ground": place.grounded,
                "is_known": number < len(PLACES),
                "stand_in": place.phrases[0] if number < len(PLACES) else STAND_INS[place.outdoors],
            }
            for number, place in packed_places()
        ]
        pack.writestr(zipfile.ZipInfo(INDEX), json.dumps(rows, indent=1))
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
    for row, (number, place) in enumerate(packed_places()):
        if scene_library().is_photographed(place.name):
            continue
        quality = QUALITY if number < len(PLACES) else FINE_QUALITY
        generator = torch.Generator().manual_seed(FIRST_SEED + number)
        shape = (PICTURES, LATENT_CHANNELS, SIDE_PX // 8, SIDE_PX // 8)
        fields = read_fields(torch.randn(shape, generator=generator), size_px=SIDE_PX)
        # A sun would have to go by night and under clouds, and leave a faint disc.
        drawn = draw_places(fields, [Setting(number)] * PICTURES, shows_sun=False).pixels
        for index, image in enumerate(to_pil(2 * drawn - 1)):
            data = io.BytesIO()
            image.save(data, "WEBP", quality=quality, method=6)
            yield f"{row}-{index}.webp", data.getvalue()
