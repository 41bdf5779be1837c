"""Scenes by name, and the words of a prompt that set time, weather and season."""

import pytest
from PIL import Image

from swiftpie import InputError
from swiftpie.scenes import (
    PLAIN,
    SEASONS,
    TIMES,
    WEATHERS,
    SceneSetting,
    only_names_setting,
    packaged,
    read_scene,
    read_setting,
)


def setting(time="day", weather="clear", season="summer"):
    names = ((TIMES, time), (WEATHERS, weather), (SEASONS, season))
    return SceneSetting(*(list(values).index(name) for values, name in names))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a dog on a beach", PLAIN),
        ("a dog on a beach at sunset", setting(time="sunset")),
        ("A CAT AT NIGHT, in falling snow.", setting("night", "snowfall", "winter")),
        ("a cat in the snow", setting(season="winter")),
        ("a cat in a snowstorm in spring", setting(weather="snowfall", season="spring")),
        ("in autumn, in the early morning fog", setting("dawn", "fog", "autumn")),
        ("a robot under a waterfall", PLAIN),  # which holds the word fall
        ("a rainbow over a nightstand", PLAIN),
        ("", PLAIN),
    ],
)
def test_words_of_a_prompt_set_time_weather_and_season(prompt, expected):
    assert read_setting(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "is_alone"),
    [
        ("at sunset in autumn", True),
        ("make it night, in heavy rain", True),
        ("a photo of the same place in winter", True),
        ("a dog at sunset", False),
        ("a photo of the same place", False),
        ("day", False),
    ],
)
def test_a_prompt_of_a_setting_alone_is_told_from_others(prompt, is_alone):
    assert only_names_setting(prompt) == is_alone


def test_every_place_has_four_pictures_of_512_px():
    scenes = packaged()
    assert len(scenes) >= 49
    for name in scenes.names():
        assert scenes.count(name) >= 4
        pictures = {scenes.picture(name, number) for number in range(scenes.count(name))}
        assert len(pictures) == scenes.count(name)
        assert scenes.image(name).size == (512, 512)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a dog on a beach at sunset", "beach"),
        ("a cat in front of a castle", "castle"),
        ("a cat on a white backdrop", "white backdrop"),
        ("a cat", None),
    ],
)
def test_a_prompt_names_a_place(prompt, name):
    assert packaged().place_in(prompt) == name


def test_a_scene_is_a_name_or_a_picture(tmp_path):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "red.png")
    assert read_scene("castle") == "castle"
    assert read_scene(tmp_path / "red.png").size == (8, 6)
    assert read_scene(str(tmp_path / "red.png")).size == (8, 6)
    with pytest.raises(InputError, match="castle"):
        read_scene("castel")
    with pytest.raises(InputError, match=r"missing\.png"):
        read_scene("missing.png")
