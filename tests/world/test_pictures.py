"""What the world draws, as thumbnails on one sheet: a row a case, new places last.

To renew it: `python -m tests.world.test_pictures`; then look at what changed.
"""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_world import art
from swiftpie_world.captions import POSES, VIEWS, SceneSpec
from swiftpie_world.changes import ANSWERS, WorldChange, with_answer
from swiftpie_world.features import Place
from swiftpie_world.fields import read_fields
from swiftpie_world.places import PLACES, SCENE_PLACES, Setting, draw_places, settings
from swiftpie_world.sampler import World
from swiftpie_world.textures import make_textures
from tests.world.test_changes import redrawn

SHEET = Path(__file__).with_name("pictures.png")
SIDE_PX = 8
# Levels of 255; versions of PyTorch and other processors move single values by 1.
MAX_MEAN, MAX_MOST = 0.1, 3
MEADOW = SceneSpec(Setting(next(i for i, one in enumerate(PLACES) if one.name == "meadow")))


def draw_noise(count, seed):
    return torch.randn(count, 32, 16, 16, generator=torch.Generator().manual_seed(seed))


@functools.cache
def world():
    subjects = sample_subjects()
    return World(subjects, "held_out", surfaces=make_textures(8, subjects.tiles, seed=0))


def place(number):
    """Daylight and the last setting of a place."""
    here = [setting for setting in settings(len(SCENE_PLACES)) if setting.place == number]
    fields = read_fields(draw_noise(1, number).expand(2, -1, -1, -1), size_px=64)
    return 2 * draw_places(fields, [here[0], here[-1]]).pixels - 1


def answers(specs, *, seed=1, **options):
    """A picture of each spec, with a subject, a look and a place of its own, and its reference."""
    count, pool = len(specs), world().pool
    numbers = torch.rand(count, 16, generator=torch.Generator().manual_seed(seed))
    chosen = [pool[row % len(pool)] for row in range(count)]
    drawn = world().answer(draw_noise(count, seed), chosen, specs, numbers=numbers, **options)
    return drawn.rendering.pixels, drawn.reference


def posed():
    """All that can be worn, by subjects that are turned and posed in turn."""
    _, names = ANSWERS[WorldChange.PUT_ON]
    both = zip(names, [*POSES] * 2, [*VIEWS] * 3, strict=False)
    return answers([SceneSpec(MEADOW.setting, accessory=a, pose=p, view=v) for a, p, v in both])[0]


def batch(**options):
    drawn = world().batch(3, 2, seed=5, **options)
    return [drawn.pixels, drawn.background, drawn.reference, world().other_sides(drawn, seed=1)[0]]


def insertions():
    """Subjects and bystanders in a grey photograph, and their references."""
    photo, pool = torch.full((1, 3, 128, 128), 0.5), world().pool
    drawn = [world().insert(photo, pool[seed : seed + 3], seed=seed).answer for seed in range(4)]
    return [picture for one in drawn for picture in (one.rendering.pixels, one.reference)]


def edits():
    """The second picture of each change, and where it differs from the first."""
    after = [after for _, after, _ in redrawn().values()]
    return [part for one in after for part in (one.pixels, 2 * one.mask.expand(-1, 3, -1, -1) - 1)]


CASES = {
    **{
        f"{change}": lambda change=change: answers(
            [with_answer(MEADOW, ANSWERS[change][0], answer) for answer in ANSWERS[change][1]]
        )[0]
        for change in ANSWERS
    },
    "worn and posed": posed,
    "lit from the other side": lambda: answers([MEADOW] * 6, opposed=True)[1],
    "batch": batch,
    "batch of pairs": lambda: batch(pairs=True),
    "off distribution": lambda: batch(off_distribution=True),
    "sceneries": lambda: world().scenery(6, seed=1).given[:, :3],
    "insertions": insertions,
    "edits": edits,
    "larger": lambda: World(sample_subjects(), "held_out", size_px=256).batch(2, 1, seed=5).pixels,
    "surfaces": lambda: make_textures(24, sample_subjects().tiles, seed=3) / 127.5 - 1,
    **{one.name: functools.partial(place, row) for row, one in enumerate(SCENE_PLACES)},
}


def thumbnails(name):
    drawn = CASES[name]()
    pictures = torch.cat([*drawn]) if isinstance(drawn, list) else drawn
    small = F.adaptive_avg_pool2d((pictures + 1) * 127.5, SIDE_PX)
    return small.round().to(torch.uint8).permute(2, 0, 3, 1).flatten(1, 2).numpy()


def sheet():
    rows = [thumbnails(name) for name in CASES]
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows]
    return Image.fromarray(np.concatenate(padded))


@pytest.mark.parametrize("name", CASES)
def test_pictures_are_what_they_were(name):
    drawn, row = thumbnails(name), SIDE_PX * [*CASES].index(name)
    stored = np.asarray(Image.open(SHEET))[row : row + SIDE_PX]
    assert not stored[:, drawn.shape[1] :].any(), "it was of more pictures"
    gap = np.abs(drawn.astype(int) - stored[:, : drawn.shape[1]])
    assert gap.mean() <= MAX_MEAN
    assert gap.max() <= MAX_MOST


def test_a_module_of_art_is_found_and_gives_no_other_place_a_new_number(tmp_path, monkeypatch):
    source = "from swiftpie_world.features import place\n\n\n@place('at a pond')\n"
    (tmp_path / "pond.py").write_text(f"{source}def pond(f, air):\n    return air.sky\n")
    monkeypatch.setattr(art, "__path__", [*art.__path__, str(tmp_path)])
    known, scenes = art.find_places()
    assert isinstance(scenes[-1], Place)
    assert (scenes[-1].name, scenes[-1].phrases) == ("pond", ("at a pond",))
    assert (known, scenes[:-1]) == (art.KNOWN, art.SCENES)


if __name__ == "__main__":
    sheet().save(SHEET, optimize=True)
