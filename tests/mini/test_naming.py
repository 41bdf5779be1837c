"""The subjects that sentences name, in the grammar that mini was taught."""

import pytest

from swiftpie.backbones.presets import PRESETS
from swiftpie.errors import InputError
from swiftpie.mini.naming import (
    ENGLISH,
    MAX_MENTIONS,
    MAX_WORDS,
    in_sentence,
    mentions,
    new_subjects,
    read_prompt,
)
from swiftpie.mini.vocabulary import vocabulary_of
from swiftpie.mini.words import TIMES

TAUGHT = vocabulary_of(PRESETS.get("mini"))


def test_words_are_those_that_the_model_knows(session):
    assert session.components.vocabulary == TAUGHT
    assert vocabulary_of(PRESETS.get("sd-turbo")) is None


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a cat on the beach", ["cat"]),
        ("Kitten in the snow", ["cat"]),
        ("a photo of a tiny car at night", ["automobile"]),
        ("a black and white photo of a dog", ["dog"]),
        ("a dog and a cat on a beach", ["dog", "cat"]),
        ("a black cat and a white dog in the snow", ["black cat", "dog"]),
        ("a cute orange kitten sleeping on a sofa", ["cat"]),
        ("a small airplane above a city", ["small airplane"]),
        ("a pot of food in space", ["pot of food"]),
        ("an oil painting of a dog", ["dog"]),
        ("a gryphon on a beach", [None]),
        ("a dog and a gryphon on a beach", ["dog", None]),
        ("a dog wearing a crown and a top hat", ["dog"]),
        ("a volcano at night", ["volcano"]),
        *((prompt, []) for prompt in ("in the snow", "nothing on a beach", "an empty beach", "")),
    ],
)
def test_sentences_name_subjects_where_captions_do(prompt, names):
    found = mentions(prompt, TAUGHT.words)
    assert [one.subject and one.subject.name for one in found] == names


@pytest.mark.parametrize(
    ("prompt", "names", "place", "time", "lost"),
    [
        ("a dog on a beach", ["dog"], "beach", "day", []),
        ("beach", [], "beach", "day", []),
        ("a quiet beach at dawn", [], "beach", "dawn", ["quiet"]),
        ("dog, beach, sunset", ["dog"], "beach", "sunset", []),
        ("dog, castle, night", ["dog"], "castle", "night", []),
        ("a castle at night", ["castle"], None, "night", []),
        ("a lighthouse at night", [], "lighthouse", "night", []),
        ("mountains", [], "mountains", "day", []),
        ("a photo of a beach", [], "beach", "day", []),
        ("sunset", [], None, "sunset", []),
        ("two cats", ["cat", "cat"], None, "day", []),
        ("3 cats in space", ["cat"] * 3, "space", "day", []),
        ("cat, dog and robot", ["cat", "dog", "robot"], None, "day", []),
        ("robot cat", ["cat"], None, "day", ["robot"]),
        ("a straw hat", ["top hat"], None, "day", ["straw"]),
        ("a dog wearing a straw hat on a beach", ["dog"], "beach", "day", []),
        ("a dog wearing a crown and a top hat", ["dog"], None, "day", ["hat"]),
        ("a cat in a hat", ["cat"], None, "day", ["hat"]),
        ("a baby elephant in the savanna", ["elephant"], "savanna", "day", ["baby"]),
        ("a dog riding a bicycle in Paris", ["dog"], None, "day", ["riding", "bicycle", "paris"]),
        ("a dog in a red castle", ["dog"], "castle", "day", ["red"]),
        ("a bird flies over a lake", ["bird"], "lake", "day", ["flies"]),
        ("bow and arrow", ["bow and arrow"], None, "day", []),
        ("a red car, city street, detailed", ["automobile"], "city street", "day", ["detailed"]),
        ("a dog on a beach, cinematic, 8k", ["dog"], "beach", "day", ["cinematic", "8k"]),
        ("a dog lying down on the left, seen from above", ["dog"], None, "day", []),
        ("a cat made of gold on a table", ["cat"], "wooden table", "day", []),
        ("a dog with a ball and a cat", ["dog", "cat"], None, "day", ["ball"]),
        ("a group of penguins on the ice", ["penguin"], "arctic ice", "day", ["group"]),
    ],
)
def test_a_prompt_is_read_as_people_type_it(prompt, names, place, time, lost):
    reading = read_prompt(prompt, TAUGHT)
    named = [one.subject.name for one in reading.mentions for _ in range(one.number)]
    words = reading.scene.words
    assert (named, words.place, list(reading.lost)) == (names, place, lost)
    assert [*TIMES][words.setting.time] == time
    assert [one.name for one in new_subjects(prompt, TAUGHT)] == names


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("dog, beach, sunset", "a dog on a beach at sunset"),
        ("cat, dog and robot", "a cat and a dog and a robot"),
        ("two red cars in space", "a red automobile and a red automobile in space"),
        ("a dog at the beach, masterpiece", None),
        ("Tom and a dog in a park", None),
    ],
)
def test_a_list_is_a_sentence_to_the_network(words, sentence):
    assert in_sentence(words, TAUGHT) == (sentence or words)
    assert in_sentence(words, None) == words


@pytest.mark.parametrize(
    "prompt", ["Einhorn im Wald", "ein Löwe am Strand", "un chien sur la plage", "一只狗"]
)
def test_a_prompt_in_another_language_is_said_to_be_that(prompt):
    with pytest.raises(InputError, match=ENGLISH):
        new_subjects(prompt, TAUGHT)


def test_a_name_is_no_other_language():
    with pytest.raises(InputError) as refused:
        new_subjects("Albert Einstein in a castle", TAUGHT)
    assert ENGLISH not in str(refused.value)


@pytest.mark.parametrize("word", ["knight", "gryphon"])
def test_an_unknown_subject_is_refused_in_every_place(word):
    with pytest.raises(InputError, match=f"no subject called '{word}'"):
        new_subjects(f"a {word} in a castle", TAUGHT)


def test_no_more_subjects_are_named_than_a_picture_holds():
    prompt = "cat, dog, robot, lion and tiger"
    assert len(new_subjects(prompt, TAUGHT)) == 4
    assert len(new_subjects(prompt, TAUGHT, given=["cat", "dog"])) == 2


def test_endless_sentences_are_read_up_to_a_bound():
    assert mentions("gryphon " * 2000, TAUGHT.words)[0].words.count(" ") == MAX_WORDS - 1
    names = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}qx" for n in range(300)]
    assert len(mentions(" and a ".join(names), TAUGHT.words)) == MAX_MENTIONS


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ((), ["dog", "cat"]),
        (("",), ["cat"]),  # a subject without a name is named first
        (("cat",), ["dog"]),
        (("the gryphon",), ["dog", "cat"]),
        (("", "", ""), []),
    ],
)
def test_subjects_that_are_given_take_their_names(given, known):
    found = new_subjects("a dog and a cat and a gryphon on a beach", TAUGHT, given=given)
    assert [one.name for one in found] == known


def test_a_subject_has_to_be_given_or_named():
    with pytest.raises(InputError, match=r"'elefant'.* Spelled alike: .*elephant"):
        new_subjects("an elefant on a beach", TAUGHT)
    with pytest.raises(InputError, match="names no subject"):
        new_subjects("a photo", TAUGHT)
    for given in ([], [""]):  # to a model that knows all words
        assert new_subjects("a cat and a dog", None, given=given) == ()


@pytest.mark.parametrize("prompt", ["my mother in a garden", "a portrait of people", "a friend"])
def test_a_prompt_about_people_takes_nothing_that_is_merely_near(prompt):
    assert not any(one.subject for one in mentions(prompt, TAUGHT.words))
    with pytest.raises(InputError, match="about people"):
        new_subjects(prompt, TAUGHT)


def test_people_that_the_library_has_are_named():
    assert [one.subject.name for one in mentions("a woman on a beach", TAUGHT.words)] == ["woman"]
