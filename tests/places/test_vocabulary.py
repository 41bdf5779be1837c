import tomllib
from pathlib import Path

import pytest

from swiftpie.lexicon import COLOUR_WORDS, MATERIAL_PHRASES, RENDITIONS, words_in
from swiftpie.places.vocabulary import Vocabulary, spelled_alike
from swiftpie_lab.training.stages.one_step.networks import vocabulary_in
from swiftpie_world.air import SEASON_PHRASES, TIME_PHRASES, WEATHER_PHRASES
from swiftpie_world.captions import ACCESSORY_PHRASES, POSE_PHRASES, SIDE_WORDS, VIEW_PHRASES
from swiftpie_world.nouns import EMPTY_PREFIXES
from swiftpie_world.places import PLACES
from swiftpie_world.sampler import World
from tests.policy.project import ROOT

TABLES = tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8"))

CAPTIONS = [
    *("a photo of a subject on a beach", "a tiny object wearing a crown in the snow"),
    *("a fox on a beach", "a person standing in the snow on the left", "nothing on a beach"),
]
PAGE = (ROOT / "docs" / "quickstart.md").read_text()


@pytest.fixture(scope="module")
def small():
    return vocabulary_in(CAPTIONS, generic=("subject", "object", "nothing"))


@pytest.fixture(scope="module")
def shipped(session):
    return session.components.own.vocabulary


def test_words_fit_anywhere_and_names_are_what_subjects_were_called(small):
    assert {"beach", "crown", "snow", "nothing"} <= small.words
    assert small.names == {"fox", "person standing", "left"}
    assert small.unknown_in("a person standing on a beach") == []
    assert small.unknown_in("a fox standing on a beach") == ["standing"]


def test_names_may_follow_how_a_thing_looks():
    known = vocabulary_in(["a wooden subject on a beach", "a fox on a beach"], generic=("subject",))
    assert known.looks == {"wooden"}
    assert known.unknown_in("a wooden axolotl on a beach") == []
    assert known.unknown_in("a wooden subject on a wooden axolotl") == ["axolotl"]


@pytest.mark.parametrize(("prompt", "unknown"), TABLES["unknown"])
def test_words_beside_a_name_have_to_be_taught(shipped, prompt, unknown):
    assert shipped.unknown_in(prompt) == unknown


def test_a_name_that_no_picture_explains_has_to_be_taught_or_shown(shipped):
    assert shipped.unknown_in("an axolotl on a beach", shown=()) == ["axolotl"]
    assert shipped.unknown_in("an axolotl on a beach", shown=["axolotl"]) == []
    assert shipped.unknown_in("a robot on a beach", shown=()) == []


@pytest.mark.parametrize(("prompt", "read"), TABLES["read"])
def test_no_word_reaches_the_network_that_captions_had_in_no_form(shipped, prompt, read):
    assert shipped.as_taught(prompt) == read


def test_a_slip_is_told_from_other_words():
    slips = {"beech": "beach", "thunderstrom": "thunderstorm", "hedghog": "hedgehog"}
    assert all(meant in spelled_alike(word) for word, meant in slips.items())
    assert not any(map(spelled_alike, ("zyzzyva", "portrait", "cat", "as", "forests", "pool")))


def test_every_phrase_of_the_captions_it_learned_from_is_known(shipped):
    tables = (TIME_PHRASES, WEATHER_PHRASES, SEASON_PHRASES, ACCESSORY_PHRASES, MATERIAL_PHRASES)
    tables += (POSE_PHRASES, VIEW_PHRASES, SIDE_WORDS)
    behind = [phrase for table in tables for phrases in table.values() for phrase in phrases]
    behind += [phrase for place in PLACES for phrase in place.phrases]
    captions = [f"a subject {phrase}" for phrase in behind]
    captions += [f"a {word} subject" for words in COLOUR_WORDS.values() for word in words]
    captions += [f"{phrase} a subject" for rendition in RENDITIONS.values() for phrase in rendition]
    strange = {word for caption in captions for word in shipped.unknown_in(caption, shown=())}
    assert strange == set()


def test_every_caption_of_the_world_it_learned_from_is_known(shipped, subjects):
    captions = [*World(subjects, "train").corpus(), *EMPTY_PREFIXES]
    assert not any(shipped.unknown_in(caption, shown=words_in(caption)) for caption in captions)


def test_what_is_stored_comes_back(small):
    assert Vocabulary.stored(small.to_json()) == small
    assert Vocabulary.stored(None) is None
