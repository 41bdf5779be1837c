"""Scenes by name, and the words of a prompt that set time, weather and season."""

import re

import pytest
from PIL import Image

from swiftpie import InputError
from swiftpie.mini.scenes import (
    BACKDROPS,
    PHOTOGRAPH_PX,
    change_of,
    plainly,
    scene_library,
    uncovers,
)
from swiftpie.mini.words import (
    PLAIN,
    SEASONS,
    TIMES,
    WEATHERS,
    WORN,
    SceneSetting,
    read_setting,
    rendition_in,
    worn_in,
)
from swiftpie.pipelines.request import read_scene

FREE = re.compile(r"public domain|CC0-1\.0|CC-BY(-SA)?-[34]\.0")
PHOTOGRAPHED = [name for name in scene_library().names() if scene_library().is_photographed(name)]


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
        ("a cat under grey clouds in the rain", setting(weather="rain")),
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
        ("make it summer", True),  # which it is taken to be
        ("make it", False),
    ],
)
def test_a_prompt_of_a_setting_alone_is_told_from_others(prompt, is_alone):
    assert (change_of(prompt) is not None) == is_alone


@pytest.mark.parametrize(
    ("prompt", "source", "expected"),
    [
        ("an oil painting of a dog in a park", "a photo of a dog in a park", (PLAIN, "oil")),
        ("a dog in a park, oil painting", "a dog in a park", (PLAIN, "oil")),
        ("turn it into a pencil sketch", "", (PLAIN, "pencil")),
        ("oil painting", "", (PLAIN, "oil")),
        ("at night, pixel art", "", (setting("night"), "pixel art")),
        ("a dog in a park at night", "a photo of a dog in the park", (setting("night"), None)),
        ("a comic of a dog at night", "a photo of a dog at night", (PLAIN, "comic")),
        ("a dog in a park by day", "a dog in a park at night", None),  # light is drawn of daylight
        ("an oil painting of a cat in a park", "a photo of a dog in a park", None),
        ("a photo of a dog", "an oil painting of a dog", None),
        ("a dog in a park", "a dog in a park", None),
        ("an oil painting of a dog", "", None),
    ],
)
def test_what_changes_the_whole_picture_is_told_from_other_edits(prompt, source, expected):
    assert change_of(prompt, source_prompt=source) == expected
    assert change_of("at night", keyword="dog") is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("in winter", "in summer", True),
        ("in autumn at night", "in spring at night", True),
        ("in summer", "in winter", False),
        ("in autumn", "in winter", False),
        ("in winter", "in winter at night", False),
    ],
)
def test_autumn_and_winter_hide_the_ground(before, after, expected):
    assert uncovers(read_setting(before), read_setting(after)) == expected


def test_every_drawn_place_has_four_pictures_of_512_px():
    scenes = scene_library()
    assert len(scenes) >= 49
    for name in {*scenes.names()} - {*PHOTOGRAPHED}:
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
        ("a cat in a small quiet village", "village"),
        ("a village cat", None),  # no preposition
        ("a tiger in a street at night", "city street"),
        ("a dog in the snow", "snowy slope"),
        ("a dog in a park in the snow", "park"),  # the snow is weather then
        ("a boat by the sea", "beach"),
        ("a boat on the water", None),
        ("a fish under water", "underwater"),
        ("a dog sleeping and a castle", None),
        ("a photo of a playground slide in a harbour", "harbour"),
        ("a house with a garden in a park", "park"),
        ("a dog with mountains in the background", "mountains"),
    ],
)
def test_a_prompt_names_a_place(prompt, name):
    assert scene_library().place_in(prompt) == name


@pytest.mark.parametrize(
    ("prompt", "art", "bare"),
    [
        ("a dog in a park", None, "a dog in a park"),
        ("A watercolour of a dog", "watercolour", "a photo of a dog"),
        ("an oil painting of a dog in heavy rain", "oil", "a photo of a dog under grey clouds"),
        ("a dog while it is snowing", None, "a dog under grey clouds"),
        ("a dog with an umbrella in THE FOG", None, "a dog with an umbrella under grey clouds"),
        ("a cat wearing a blue  cap on a beach", None, "a cat on a beach"),
        ("a cat with Sunglasses", None, "a cat"),
        ("a cat with a capybara", None, "a cat with a capybara"),
        ("a watercolour box", None, "a watercolour box"),
        ("a dog in a park, oil painting", "oil", "a dog in a park"),
        ("a dog in a park in the style of a comic.", "comic", "a dog in a park"),
        ("a cat on a mosaic", None, "a cat on a mosaic"),
        ("a ship at sea during a storm", None, "a ship in a harbour under grey clouds"),
    ],
)
def test_what_is_drawn_over_a_picture_leaves_its_prompt(prompt, art, bare):
    assert rendition_in(prompt) == art
    assert plainly(prompt) == bare


def test_every_word_for_what_is_worn_is_found():
    for noun in WORN:
        assert worn_in(f"a cat wearing a pair of old blue {noun} in a park") == noun
        assert plainly(f"a cat carrying his {noun} in a park") == "a cat in a park"
    assert worn_in("a crown on a table") is None


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("a lion watching TV", "a lion watching TV on a grey background"),
        ("a dog at night", "a dog at night in a meadow"),
        ("a dog on a beach", "a dog on a beach"),
    ],
)
def test_a_prompt_without_a_place_gets_a_usual_one(prompt, shown):
    assert scene_library().with_place(prompt) == shown
    places = {scene_library().place_for(prompt, number / 100) for number in range(100)}
    assert scene_library().place_in(shown) in places
    assert len(places) == (len(BACKDROPS) if "background" in shown else 1)


def test_words_that_no_caption_has_give_way_to_some_that_they_have():
    known = scene_library().in_known_words
    assert known("a frog in a small pond at night") == "a frog by a lake at night"
    assert known("a cat in a Cinema") == "a cat in a living room"
    assert known("A cat in a small quiet village") == "A cat in a small quiet village"


def test_a_scene_is_a_name_or_a_picture(tmp_path):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "red.png")
    assert read_scene("castle") == "castle"
    assert read_scene(tmp_path / "red.png").size == (8, 6)
    assert read_scene(str(tmp_path / "red.png")).size == (8, 6)
    with pytest.raises(InputError, match="castle"):
        read_scene("castel")
    with pytest.raises(InputError, match=r"missing\.png"):
        read_scene("missing.png")


@pytest.mark.parametrize("name", PHOTOGRAPHED)
def test_each_photograph_is_credited_and_outlines_its_ground(name):
    known = scene_library()
    assert len(known.credits_of(name)) == known.count(name)
    for number, credit in enumerate(known.credits_of(name)):
        assert {"author", "title", "source", "licence"} == {*filter(credit.get, credit)}
        assert FREE.fullmatch(credit["licence"])
        assert known.image(name, number).size == PHOTOGRAPH_PX
        ground = known.ground(name, (number + 0.5) / known.count(name))
        if not known.is_ground(name):
            assert ground is None
            continue
        assert all(0 <= side <= 1 for corner in ground.corners for side in corner)
        assert max(y for _, y in ground.corners) > 0.7
        assert 0 < ground.metre[0][1] < ground.metre[1][1]


@pytest.mark.parametrize("name", PHOTOGRAPHED)
def test_the_name_and_the_phrases_of_a_photographed_place_find_it(name):
    assert scene_library().find(name) == name
    assert scene_library().place_in(f"a dog {scene_library().phrase(name)}, at sunset") == name


def test_photographs_are_not_mirrored():
    known = scene_library()
    dealt = {known.dealt("park", share / 20, PHOTOGRAPH_PX).tobytes() for share in range(21)}
    assert len(dealt) == known.count("park")
