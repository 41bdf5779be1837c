import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie.engine.onnx import frame
from swiftpie.engine.onnx.draw import packaged
from swiftpie.models.cutout import cut_out
from swiftpie.pipelines.identity import canonical_frame
from tests.shapes import ellipse, photo


def guess(view):
    return packaged()._cutout({"view": view})["logits"]


def apart(found, expected):
    return float(np.abs(found - expected.numpy()).mean())


def test_transparent_subjects_fill_the_same_frame(sprite):
    found = frame.find(sprite, guess)
    assert found.way == "transparency"
    pixels, mask = frame.fit(sprite, found.mask, size_px=128)
    expected = canonical_frame(sprite, None, 128)
    np.testing.assert_allclose(pixels, expected.pixels, rtol=0, atol=2e-6)
    np.testing.assert_allclose(mask, expected.mask, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(400, 300), (233, 517)])
def test_a_photo_is_cut_out_alike(size):
    image = photo(ellipse()).resize(size)
    found, expected = frame.find(image, guess), cut_out(image)
    assert found.confidence == pytest.approx(expected.how.confidence, abs=1e-3)
    assert apart(found.mask, expected.mask[0, 0]) < 1e-3


def test_what_is_in_doubt_is_left_to_others():
    nothing = Image.new("RGB", (160, 120), "grey")
    assert frame.find(nothing, guess) is None
    assert frame.find(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), guess) is None


@pytest.mark.parametrize("size", [(2600, 2500), (3001, 2100)])
def test_a_large_subject_is_shrunk_first_as_ever(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1] // 50, size[0] // 50, 3), np.uint8)
    image = Image.fromarray(noise).resize(size)
    mask = np.zeros(size[::-1], np.float32)
    mask[20:-30, 40:-25] = 1
    pixels, cover = frame.fit(image, mask, size_px=64)
    expected = canonical_frame(image, torch.from_numpy(mask)[None, None], 64)
    assert apart(pixels, expected.pixels) < 1e-5
    assert apart(cover, expected.mask) < 1e-5
