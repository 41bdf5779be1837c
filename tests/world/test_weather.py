import pytest
import torch

from swiftpie.mini import scenes, words
from swiftpie.mini.reading import read
from swiftpie.mini.weather import PixelRows, draw_weather
from swiftpie.noise import draw_noise
from swiftpie_world.air import SEASONS, TIMES, WEATHERS, Setting, veil
from swiftpie_world.fields import read_fields
from swiftpie_world.places import PLACES


@pytest.mark.parametrize("size_px", [128, 256, 512])
@pytest.mark.parametrize("weather", ["rain", "snowfall", "fog"])
def test_weather_over_a_picture_is_that_of_the_world(size_px, weather):
    noise = draw_noise([5], (32, size_px // 8, size_px // 8))
    picture = torch.rand(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))
    for time in range(len(TIMES)):
        setting = Setting(0, time, WEATHERS.index(weather), 0)
        truth = veil(picture, read_fields(noise, size_px=size_px), [setting])
        view = PixelRows((size_px, size_px), (0, size_px))
        drawn = draw_weather(2 * picture - 1, noise, name=weather, time=time, view=view)
        torch.testing.assert_close(drawn / 2 + 0.5, truth, atol=2e-3, rtol=0)


def test_settings_and_places_have_the_same_numbers():
    assert tuple(words.TIMES) == tuple(TIMES)
    assert tuple(words.WEATHERS) == tuple(WEATHERS)
    assert tuple(words.SEASONS) == tuple(SEASONS)
    packaged = scenes.scene_library()
    assert packaged.number(None) == len(PLACES)
    assert [packaged.number(place.name) for place in PLACES] == list(range(len(PLACES)))


@pytest.mark.parametrize("index", range(len(PLACES)))
def test_a_caption_of_a_place_names_its_scene(index):
    for phrase in PLACES[index].phrases:
        assert read(f"a dog {phrase}").place == PLACES[index].name
