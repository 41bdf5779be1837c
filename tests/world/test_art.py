from pathlib import Path

import numpy as np
import torch
from PIL import Image

from swiftpie.imageio.images import to_pil
from swiftpie_world import art
from swiftpie_world.features import Place
from swiftpie_world.fields import read_fields
from swiftpie_world.places import SCENE_PLACES, draw_places, settings

SHEET = Path(__file__).with_name("places.png")  # a row a place; to renew it, save `thumbnails()`
SIDE_PX, DRAWN_PX = 8, 64
# Levels of 255; versions of PyTorch and other processors move single values by 1.
MAX_MEAN, MAX_MOST = 0.1, 3


def thumbnails():
    """Daylight and the last setting of each place, (8 times places, 16, 3)."""
    chosen = {}
    for setting in settings(len(SCENE_PLACES)):
        chosen.setdefault(setting.place, [setting, setting])[1] = setting
    rows = []
    for number, pair in chosen.items():
        noise = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(number))
        fields = read_fields(noise.expand(2, -1, -1, -1), size_px=DRAWN_PX)
        pictures = to_pil(2 * draw_places(fields, pair).pixels - 1)
        size = (SIDE_PX, SIDE_PX)
        small = [np.asarray(picture.resize(size, Image.Resampling.BOX)) for picture in pictures]
        rows.append(np.concatenate(small, axis=1))
    return np.concatenate(rows)


def test_places_look_as_they_did():
    stored = np.asarray(Image.open(SHEET)).astype(int)
    drawn = thumbnails()
    assert drawn.shape == stored.shape
    gap = np.abs(drawn - stored).reshape(len(SCENE_PLACES), -1)
    names = [place.name for place in SCENE_PLACES]
    differing = (gap.mean(axis=1) > MAX_MEAN) | (gap.max(axis=1) > MAX_MOST)
    assert [name for name, differs in zip(names, differing, strict=True) if differs] == []


def test_a_module_of_art_is_found_and_gives_no_other_place_a_new_number(tmp_path, monkeypatch):
    source = "from swiftpie_world.features import place\n\n\n@place('at a pond')\n"
    (tmp_path / "pond.py").write_text(f"{source}def pond(f, air):\n    return air.sky\n")
    monkeypatch.setattr(art, "__path__", [*art.__path__, str(tmp_path)])
    known, scenes = art.find_places()
    assert isinstance(scenes[-1], Place)
    assert (scenes[-1].name, scenes[-1].phrases) == ("pond", ("at a pond",))
    assert (known, scenes[:-1]) == (art.KNOWN, art.SCENES)
