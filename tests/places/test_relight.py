import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie.lexicon import PLAIN
from swiftpie.noise import draw_noise
from swiftpie.places import relight
from swiftpie.places.reading import read
from swiftpie.places.relight import (
    NOISE_SHAPE,
    add_weather,
    apply_maps,
    local_affine_maps,
    meant_change,
    without_lamps,
)
from swiftpie.scenes import scene_library
from tests.parity.edit import photograph

NIGHT = read("at night").setting


@pytest.fixture(scope="module")
def noise():
    return draw_noise([0], NOISE_SHAPE)


def values(image):
    return np.asarray(image.convert("RGB"), dtype=np.int16)


def smooth_picture(seed):
    noise = torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (64, 64), mode="bicubic").clamp(-1, 1)


def test_one_map_for_the_whole_picture_is_found():
    before = smooth_picture(1)
    factors = torch.tensor([[0.5, 0.1, 0.0], [0.0, 0.7, 0.2], [0.1, 0.0, 0.4]])
    offsets = torch.tensor([0.1, -0.2, 0.0])
    after = torch.einsum("oi,bihw->bohw", factors, before) + offsets.view(1, 3, 1, 1)
    maps = local_affine_maps(before, after)
    torch.testing.assert_close(maps[0, :9].mean((1, 2)).view(3, 3), factors, atol=1e-3, rtol=0)
    torch.testing.assert_close(apply_maps(maps, before), after, atol=1e-3, rtol=0)


def test_halves_that_change_otherwise_have_maps_of_their_own():
    before, after = smooth_picture(2), smooth_picture(2)
    after[..., 32:] = 0.3 * before[..., 32:] - 0.4
    found = apply_maps(local_affine_maps(before, after), before)
    assert (found - after)[..., :16].abs().mean() < 0.02
    assert (found - after)[..., 48:].abs().mean() < 0.02


def test_what_lights_up_at_night_is_taken_back_and_nothing_else():
    before = smooth_picture(3)
    dark = 0.4 * before - torch.tensor([0.4, 0.35, 0.2]).view(1, 3, 1, 1)
    torch.testing.assert_close(without_lamps(before, dark), dark, atol=1e-4, rtol=0)
    lit = dark.clone()
    lit[:, :, 20:28, 20:28] += torch.tensor([0.7, 0.5, -0.1]).view(1, 3, 1, 1)
    assert (without_lamps(before, lit) - dark).abs().max() < 0.1 < (lit - dark).abs().max()


@pytest.mark.parametrize(("level", "least", "most"), [(0.6, 0, 0), (0.0, 0.1, 0.9), (-0.85, 1, 1)])
def test_what_hardly_changes_by_day_is_seen_at_night_up_to_the_border(level, least, most):
    before = torch.full((1, 3, 16, 16), level)
    meant = meant_change(before, before + 0.03)
    assert least <= meant[0, 0, 8, 8] <= most
    torch.testing.assert_close(meant, meant[..., 8:9, 8:9].expand_as(meant))


def test_fog_over_a_photograph_is_grey_at_dawn_too(noise):
    photo = photograph(31, 17)
    by_day, at_dawn = (read(text).setting for text in ("fog", "fog at dawn"))
    for show in (relight.relight, add_weather):
        assert show(photo, at_dawn, noise=noise) == show(photo, by_day, noise=noise)


def test_without_a_setting_the_picture_stays_bit_for_bit(noise):
    photo = photograph(31, 17)
    assert relight.relight(photo, PLAIN, noise=noise) is photo
    assert add_weather(photo, PLAIN, noise=noise) is photo


@pytest.mark.parametrize(
    ("season", "drawn", "expected"),
    [
        ("winter", (0.9, 0.8, 0.95), (0.9, 0.9, 0.95)),  # lilac snow
        ("winter", (0.9, 0.5, 0.2), (0.9, 0.5, 0.2)),
        ("autumn", (0.5, 0.9, 0.5), (0.5, 0.6, 0.5)),  # a stone that was hardly green
        ("autumn", (0.5, 0.55, 0.5), (0.5, 0.55, 0.5)),
    ],
)
def test_seasons_bring_no_colours_that_no_photograph_shows(noise, season, drawn, expected):
    def network(*_):
        return torch.tensor(drawn).view(1, 3, 1, 1).expand(1, 3, 256, 256)

    grey = Image.new("RGB", (256, 256), (128, 141, 128))  # greener than grey by 0.1 of [-1, 1]
    seen = relight.relight(grey, read(f"in {season}").setting, noise=noise, run=network)
    assert np.abs(values(seen)[9, 9] / 127.5 - 1 - expected).max() < 0.02


@pytest.mark.parametrize("size", [(37, 211), (1, 1)])
def test_the_night_is_darker_at_any_size(noise, size):
    photo = photograph(*size)
    dark = relight.relight(photo, NIGHT, noise=noise)
    assert dark.size == size
    assert values(dark).mean() < 0.75 * values(photo).mean()


def test_bands_of_rows_make_no_difference(noise, monkeypatch):
    photo, rain = photograph(90, 70), read("at sunset in the rain").setting
    whole = relight.relight(photo, rain, noise=noise)
    wet = add_weather(whole, rain, noise=noise)
    monkeypatch.setattr(relight, "BAND_PIXELS", 1000)
    banded = relight.relight(photo, rain, noise=noise)
    assert np.abs(values(banded) - values(whole)).max() <= 1
    assert np.abs(values(add_weather(whole, rain, noise=noise)) - values(wet)).max() <= 1


def test_details_stay_where_they_are(noise):
    photo = scene_library().image("castle")
    dusk = relight.relight(photo, read("at sunset").setting, noise=noise, place="castle")
    edges = [np.abs(np.diff(values(image).mean(axis=2), axis=1)).ravel() for image in (photo, dusk)]
    assert np.corrcoef(*edges)[0, 1] > 0.8


def test_what_only_turns_warm_at_night_is_taken_back():
    before = 0.4 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.2
    night, warm = before - 0.5, before - 0.5
    patch = (..., slice(12, 16), slice(12, 16))
    warm[0, 0][patch] += 0.3
    warm[0, 2][patch] -= 0.4  # no brighter than the rest
    left = (without_lamps(before, warm) - night)[0][patch]
    assert (warm - night)[0][patch].abs().max() > 0.3
    assert left.abs().max() < 0.1
