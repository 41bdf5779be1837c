from random import Random

import pytest

from swiftpie_lab.stickers.captions import (
    GENERIC_NAMES,
    Attributes,
    draw_attributes,
    draw_caption,
    draw_empty_caption,
    draw_pair_caption,
)
from swiftpie_lab.stickers.scenes import SCENES


def captions(attributes, *, name="dog", synonyms=("puppy",), count=300):
    random = Random(0)
    return [
        draw_caption(random, SCENES[i % len(SCENES)], attributes, name=name, synonyms=synonyms)
        for i in range(count)
    ]


def test_captions_say_the_scene_and_the_subject():
    for index, caption in enumerate(captions(Attributes())):
        phrases = SCENES[index % len(SCENES)].phrases
        assert any(caption.endswith(phrase) for phrase in phrases)
        assert any(noun in caption for noun in ("dog", "puppy", *GENERIC_NAMES))
        assert "  " not in caption


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (Attributes(size="tiny"), ("tiny", "small", "little")),
        (Attributes(size="huge"), ("huge", "big", "giant")),
        (Attributes(side="left"), ("left",)),
        (Attributes(side="right"), ("right",)),
        (Attributes(accessory="crown"), ("crown",)),
        (Attributes(accessory="top hat"), ("top hat",)),
        (Attributes(is_black_and_white=True), ("black and white",)),
    ],
)
def test_attributes_are_always_said_and_never_made_up(attributes, words):
    assert all(any(word in caption for word in words) for caption in captions(attributes))
    assert not any(word in caption for word in words for caption in captions(Attributes()))


def test_one_caption_in_five_hides_what_the_subject_is():
    drawn = captions(Attributes(), count=2000)
    generic = sum(any(f" {noun} " in caption for noun in GENERIC_NAMES) for caption in drawn)
    assert 0.16 < generic / len(drawn) < 0.24


def test_articles_fit_the_noun():
    drawn = captions(Attributes(), name="apple", synonyms=())
    assert any(" an apple " in f" {caption}" for caption in drawn)
    assert not any(" a apple " in f" {caption}" for caption in drawn)


def test_attributes_cover_every_choice():
    random = Random(0)
    drawn = [draw_attributes(random) for _ in range(500)]
    assert {a.size for a in drawn} == {"normal", "tiny", "huge"}
    assert {a.side for a in drawn} == {"none", "left", "right"}
    assert {a.accessory for a in drawn} == {"none", "crown", "top hat"}
    assert {a.is_black_and_white for a in drawn} == {True, False}


def test_captions_of_two_name_both_in_order():
    random = Random(3)
    for scene in SCENES * 3:
        caption = draw_pair_caption(random, scene, Attributes(), names=("dog", "apple"))
        first, second = caption.split(" and ", 1)
        assert first.endswith(("a dog", *(f"a {name}" for name in GENERIC_NAMES), "an object"))
        assert second.startswith(("an apple", "a ", "an object"))
        assert caption.endswith(scene.phrases)


def test_captions_of_empty_scenes_name_nobody():
    random = Random(3)
    for scene in SCENES * 3:
        caption = draw_empty_caption(random, scene)
        assert caption.endswith(scene.phrases)
        assert not any(f" {name} " in caption for name in GENERIC_NAMES)
