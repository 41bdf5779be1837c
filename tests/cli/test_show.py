"""`swiftpie show` tells what made a picture, and `cutout --to` cuts it out at full size."""

import json

import numpy as np
import pytest
from PIL import Image

from swiftpie import __version__
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import read_metadata, save_image

FACTS = {"prompt": "a dog\x1b[2J at sea", "seed": "7", "preset": "mini", "swiftpie": __version__}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_picture_tells_what_made_it(call, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    save_image(Image.new("RGB", (16, 16)), path, metadata=FACTS)
    assert json.loads(call("show", path, "--json").stdout) == FACTS
    piped = call("show", "-", "--json", stdin=path.read_bytes())
    assert json.loads(piped.stdout) == FACTS
    lines = call("show", path).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["prompt", "preset", "seed", "swiftpie"]
    assert "a dog" in lines[0]
    assert "\x1b" not in lines[0]


def test_a_picture_of_others_says_nothing(call, photo, tmp_path):
    result = call("show", photo)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "does not say what made it" in result.stderr
    assert call("show", tmp_path / "missing.png").exit_code == 3


def cut(call, source, out, form):
    result = call("cutout", source, "-o", out, "--to", form)
    assert result.exit_code == 0, result.output
    assert read_metadata(out) == {}
    return load_image(out)


def test_a_cut_out_is_written_at_full_size_and_can_be_given_back(call, on_white, tmp_path):
    source = tmp_path / "dog.png"
    on_white.save(source)
    whole = cut(call, source, tmp_path / "rgba.png", "rgba")
    mask = cut(call, source, tmp_path / "mask.png", "mask").convert("L")
    assert whole.size == mask.size == on_white.size
    solid = np.asarray(mask) == 255  # soft edges have the subject's own colours
    assert np.array_equal(np.asarray(whole)[solid, :3], np.asarray(on_white)[solid])
    assert np.array_equal(np.asarray(whole)[..., 3], np.asarray(mask))
    assert 0.02 < np.asarray(mask).mean() / 255 < 0.95
    frames = [
        cut(call, one, tmp_path / f"{number}.png", "frame").tobytes()
        for number, one in enumerate(
            [source, f"{source}:{tmp_path / 'mask.png'}", tmp_path / "rgba.png"]
        )
    ]
    first, second, third = (np.frombuffer(one, np.uint8).astype(int) for one in frames)
    for other in (second, third):  # masks and colours of soft edges have 8 bits in files
        assert np.abs(first - other).mean() < 1


def test_a_mask_that_was_given_is_the_one_that_is_written(call, photo, tmp_path):
    drawn = Image.new("L", load_image(photo).size)
    drawn.paste(255, (10, 10, 120, 90))
    drawn.save(tmp_path / "drawn.png")
    found = cut(call, f"{photo}:{tmp_path / 'drawn.png'}", tmp_path / "again.png", "mask")
    assert np.array_equal(np.asarray(found.convert("L")), np.asarray(drawn))


def test_transparency_needs_a_format_that_has_it(call, photo, tmp_path):
    result = call("cutout", photo, "-o", tmp_path / "out.jpg", "--to", "rgba")
    assert result.exit_code == 2
    assert "no transparency" in result.stderr
    assert not (tmp_path / "out.jpg").exists()
