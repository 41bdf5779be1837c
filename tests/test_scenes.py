import re

import pytest
from PIL import Image

from swiftpie import InputError
from swiftpie.lexicon import tokens_in
from swiftpie.pipelines.request import read_scene
from swiftpie.scenes import PHOTOGRAPH_PX, scene_library

FREE = re.compile(r"public domain|CC0-1\.0|CC-BY(-SA)?-[34]\.0")
PHOTOGRAPHED = [name for name in scene_library().names() if scene_library().is_photographed(name)]


def test_every_drawn_place_has_four_pictures_of_512_px():
    scenes = scene_library()
    assert len(scenes) >= 49
    for name in {*scenes.names()} - {*PHOTOGRAPHED}:
        assert scenes.count(name) >= 4
        pictures = {scenes.picture(name, number) for number in range(scenes.count(name))}
        assert len(pictures) == scenes.count(name)
        assert scenes.image(name).size == (512, 512)


def test_a_word_has_three_places_that_are_called_most_like_it():
    near = scene_library().near("meadows")
    assert len(near) == len({*near}) == 3
    assert "meadow" in near[0]


def test_a_photographed_place_has_a_drawing_or_one_like_it():
    scenes = scene_library()
    drawn = {name: scenes.drawing_of(name) for name in scenes.names()}
    assert [name for name in PHOTOGRAPHED if scenes.is_photographed(drawn[name])] == ["warehouse"]
    assert all(drawn[name] == name for name in {*drawn} - {*PHOTOGRAPHED})
    assert scenes.find("drawn castle") == "drawn castle"
    assert scenes.number("drawn castle") == scenes.number("castle")
    assert scenes.image("drawn castle", 3).size == scenes.size_of("drawn castle") == (512, 512)


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
        assert known.image(name, number).size == known.size_of(name)
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
    assert scene_library().place_in(tokens_in(f"a dog {scene_library().phrase(name)}")).name == name


@pytest.mark.parametrize("name", ["grass", "beach", "drawn castle"])
def test_blades_of_a_lawn_are_seen_before_their_feet(name):
    cover = scene_library().cover(name, 0.0)
    assert (cover is not None) is (name == "grass")
    if cover is not None:
        assert cover.size == PHOTOGRAPH_PX
        assert cover.crop((0, 0, 768, 100)).getextrema() == (0, 0)  # the horizon
        assert 30 < cover.crop((0, 400, 768, 576)).getextrema()[1] < 64


def test_photographs_are_not_mirrored():
    known = scene_library()
    dealt = {known.pick_variant("park", share / 20, PHOTOGRAPH_PX).tobytes() for share in range(21)}
    assert len(dealt) == known.count("park")


def test_a_photograph_knows_the_light_at_its_ground():
    scenes = scene_library()
    views = [(name, row) for name in PHOTOGRAPHED for row in range(scenes.count(name))]
    lights = [scenes.probe(name, (row + 0.5) / scenes.count(name)) for name, row in views]
    # Others are no part of a panorama, and no scene of ours.
    unknown = {name for (name, _), light in zip(views, lights, strict=True) if not light}
    assert unknown == {"meadow", "mountains", "castle", "pyramids", "temple", "ruins", "underwater"}
    for light in filter(None, lights):
        right, away, up, *strength = light[384:]
        assert min(*light[:384], *strength) >= 0
        assert sum(light[:192]) > 1, "the sky or the ceiling gives some"
        assert not any(strength) or (up > 0 and 0.99 < right**2 + away**2 + up**2 < 1.01)
