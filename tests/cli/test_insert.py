import json
from random import Random

import numpy as np
import pytest
from PIL import Image

from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.originals import composite, read_original
from swiftpie.imageio.writing import read_metadata
from tests.parity.edit import photograph

BOX = "0.2,0.3,0.6,0.8"
TURNED, MAKER = 0x0112, 0x010F
ROTATED = 6  # EXIF's number for a picture that lies on its side


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    photograph(160, 120).save(path)
    return path


def values(image):
    return np.asarray(image, dtype=np.int32)


@pytest.mark.parametrize(
    "command", ["insert", "remove", pytest.param("replace", marks=pytest.mark.thorough)]
)
def test_a_photograph_is_changed_in_its_region_alone(call, hamster, photo, tmp_path, command):
    out, region = (tmp_path / f"{name}.png" for name in ("out", "region"))
    subject = [] if command == "remove" else [hamster]
    files = ["-o", out, "--save-region", region, "--json"]
    result = call(command, *subject, photo, "--box", BOX, "--seed", 3, *files)
    assert result.exit_code == 0, result.output
    outside = values(load_image(region).convert("L")) == 0
    differs = (values(load_image(out)) != values(load_image(photo))).any(axis=-1)
    assert differs.any()
    assert not differs[outside].any()
    facts = json.loads(result.stdout)
    assert facts["pictures"][0]["path"] == str(out)
    assert read_metadata(out)["seed"] == "3"


USUAL, SPOT = (90, 70), (0.3, 0.4, 0.6, 0.7)


def _on_its_side(path, size=USUAL):
    exif = Image.Exif()
    exif[TURNED], exif[MAKER] = ROTATED, "a camera"
    photograph(*size).save(path, exif=exif)


FORMATS = {
    "palette.gif": lambda path, size=USUAL: photograph(*size).quantize(16).save(path),
    "grey.png": lambda path, size=USUAL: photograph(*size).convert("L").save(path),
    "print.jpg": lambda path, size=USUAL: photograph(*size).convert("CMYK").save(path),
    "clear.png": lambda path, size=USUAL: photograph(*size).convert("RGBA").save(path),
    "side.jpg": _on_its_side,
    "thin.png": lambda path, size=(37, 211): photograph(*size).save(path),
}


def assert_kept(session, identity, path, place=SPOT, *, comes=True):
    result = (
        session.insert(path, identity, box=place, seed=1)
        if comes
        else session.remove(path, mask=place, seed=1)
    )
    original = read_original(path)
    stored = composite(original, result.edited, result.blend)
    before, after = (values(picture.pixels) for picture in (original.stored, stored))
    assert before.shape == after.shape
    assert before.shape[:2] == result.image.size[::-1]
    differs = (before != after).reshape(*before.shape[:2], -1).any(axis=-1)
    assert differs.any() or place is not SPOT  # of a few pixels, what comes may be what was there
    assert not differs[values(result.region) == 0].any()
    assert (stored.profile, stored.exif) == (original.stored.profile, original.stored.exif)


NUM_PICTURES = 10


@pytest.mark.thorough
def test_odd_sizes_in_every_format_keep_their_bits_outside(session, identity, tmp_path):
    draw = Random(0)
    for number in range(NUM_PICTURES):
        name = draw.choice(sorted(FORMATS))
        left, top = (draw.uniform(0, 0.6) for _ in range(2))
        place = (left, top, left + draw.uniform(0.1, 0.4), top + draw.uniform(0.1, 0.4))
        path, size = tmp_path / f"{number}-{name}", (draw.randint(8, 150), draw.randint(8, 150))
        FORMATS[name](path, size)
        assert_kept(session, identity, path, place, comes=draw.random() < 0.5)


@pytest.mark.thorough
def test_a_photograph_of_twelve_megapixels_keeps_its_bits_outside(session, identity, tmp_path):
    photograph(4000, 3000).save(tmp_path / "large.jpg")
    assert_kept(session, identity, tmp_path / "large.jpg")
