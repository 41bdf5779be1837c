import tomllib
from pathlib import Path

import pytest

from swiftpie.backbones.presets import PRESETS
from swiftpie.errors import InputError
from swiftpie.lexicon import SEASONS, TIMES, WEATHERS, WORN, SceneSetting
from swiftpie.places.reading import ENGLISH, Outcome, named_besides, read, vocabulary_of
from swiftpie.places.vocabulary import MAX_MENTIONS, MAX_WORDS
from swiftpie.scenes import BACKDROPS

TABLES = tomllib.loads(Path(__file__).with_name("reading.toml").read_text(encoding="utf-8"))

MINI = PRESETS.get("mini")
TAUGHT = vocabulary_of(MINI)
WITHOUT_EFFECT = (Outcome.WARNED, Outcome.REFUSED)


def setting(time="day", weather="clear", season="summer"):
    names = ((TIMES, time), (WEATHERS, weather), (SEASONS, season))
    return SceneSetting(*(list(values).index(name) for values, name in names))


def test_words_are_those_that_the_model_knows(session):
    assert session.components.own.vocabulary == TAUGHT
    assert vocabulary_of(PRESETS.get("sd-turbo")) is None


@pytest.mark.parametrize(("prompt", "names"), TABLES["sentences_name_subjects_where_captions_do"])
def test_sentences_name_subjects_where_captions_do(prompt, names):
    found = read(prompt, TAUGHT).mentions
    assert [mention.subject.name if mention.subject else "" for mention in found] == names


@pytest.mark.parametrize(
    ("prompt", "names", "place", "time", "lost"), TABLES["a_prompt_is_read_as_people_type_it"]
)
def test_a_prompt_is_read_as_people_type_it(prompt, names, place, time, lost):
    reading = read(prompt, TAUGHT)
    named = [mention.subject.name for mention in reading.mentions for _ in range(mention.number)]
    words = [word for word, outcome, _ in reading.accounts if outcome in WITHOUT_EFFECT]
    assert (named, reading.place or "", words) == (names, place, lost)
    assert [*TIMES][reading.setting.time] == time
    assert [subject.name for subject in named_besides(prompt, MINI)] == names


@pytest.mark.parametrize(
    ("prompt", "place", "names"), TABLES["a_lone_photographed_place_is_no_subject"]
)
def test_a_lone_photographed_place_is_no_subject(prompt, place, names):
    assert read(prompt, TAUGHT).as_place.place == (place or None)
    assert [subject.name for subject in named_besides(prompt, MINI)] == names
    given = [subject.name for subject in named_besides(prompt, MINI, given=["castle"])]
    assert "castle" not in given  # a picture of a castle is a subject


@pytest.mark.parametrize(("prompt", "looks"), TABLES["looks_are_those_of_their_subjects"])
def test_looks_are_those_of_their_subjects(prompt, looks):
    assert [look.name if look else "" for look in read(prompt, TAUGHT).looks] == looks


@pytest.mark.parametrize(("words", "sentence"), TABLES["a_list_is_a_sentence_to_the_network"])
def test_a_list_is_a_sentence_to_the_network(words, sentence):
    assert read(words, TAUGHT).sentence == (sentence or words)
    assert read(words).sentence == words


@pytest.mark.parametrize(
    "prompt", ["Einhorn im Wald", "ein Löwe am Strand", "un chien sur la plage", "一只狗"]
)
def test_a_prompt_in_another_language_is_said_to_be_that(prompt):
    with pytest.raises(InputError, match=ENGLISH):
        named_besides(prompt, MINI)


@pytest.mark.parametrize("word", ["knight", "gryphon", "Albert Einstein"])
def test_an_unknown_subject_is_refused_in_every_place(word):
    with pytest.raises(InputError, match=f"no subject called '{word.lower()}'") as refused:
        named_besides(f"a {word} in a castle", MINI)
    assert ENGLISH not in str(refused.value)


def test_no_more_subjects_are_named_than_a_picture_holds():
    prompt = "cat, dog, robot, lion and tiger"
    assert len(named_besides(prompt, MINI)) == 4
    assert len(named_besides(prompt, MINI, given=["cat", "dog"])) == 2


def test_endless_sentences_are_read_up_to_a_bound():
    assert read("gryphon " * 2000, TAUGHT).mentions[0].words.count(" ") == MAX_WORDS - 1
    names = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}qx" for n in range(300)]
    assert len(read(" and a ".join(names), TAUGHT).mentions) == MAX_MENTIONS


@pytest.mark.parametrize(("given", "known"), TABLES["subjects_that_are_given_take_their_names"])
def test_subjects_that_are_given_take_their_names(given, known):
    found = named_besides("a dog and a cat and a gryphon on a beach", MINI, given=given)
    assert [mention.name for mention in found] == known


def test_a_subject_has_to_be_given_or_named():
    with pytest.raises(InputError, match=r"'elefant'.* Spelled alike: .*elephant"):
        named_besides("an elefant on a beach", MINI)
    with pytest.raises(InputError, match="names no subject"):
        named_besides("a photo", MINI)
    for given in ([], [""]):  # to a model that knows all words
        assert named_besides("a cat and a dog", PRESETS.get("sd-turbo"), given=given) == ()


@pytest.mark.parametrize("prompt", ["my mother in a garden", "a portrait of people", "a friend"])
def test_a_prompt_about_people_takes_nothing_that_is_merely_near(prompt):
    assert not any(mention.subject for mention in read(prompt, TAUGHT).mentions)
    with pytest.raises(InputError, match="about people"):
        named_besides(prompt, MINI)


def test_subjects_that_the_library_has_from_head_to_foot_are_drawn_whole(session):
    assert session.with_named("a chicken on a beach")[0].identity.named.name == "rooster"


@pytest.mark.parametrize(
    ("prompt", "expected"), TABLES["words_of_a_prompt_set_time_weather_and_season"]
)
def test_words_of_a_prompt_set_time_weather_and_season(prompt, expected):
    assert read(prompt).shown_setting == setting(*expected)


def test_no_weather_and_no_season_come_indoors():
    reading = read("a dog in falling snow at night")
    assert reading.shown_at("bedroom").shown_setting == setting("night", "cloudy")
    assert reading.shown_at("beach") == reading.shown_at(None) == reading


@pytest.mark.parametrize(("prompt", "name"), TABLES["a_prompt_names_a_place"])
def test_a_prompt_names_a_place(prompt, name):
    assert read(prompt).place == (name or None)


@pytest.mark.parametrize(
    ("prompt", "bare"), TABLES["what_is_drawn_over_a_picture_leaves_its_prompt"]
)
def test_what_is_drawn_over_a_picture_leaves_its_prompt(prompt, bare):
    assert read(prompt).photo_prompt == bare


@pytest.mark.parametrize(
    ("prompt", "art", "sentence"), TABLES["an_art_stands_first_in_the_sentence_of_a_prompt"]
)
def test_an_art_stands_first_in_the_sentence_of_a_prompt(prompt, art, sentence):
    assert read(prompt).rendition == (art or None)
    assert read(prompt).sentence == sentence


def test_every_word_for_what_is_worn_is_found():
    for noun in WORN:
        assert read(f"a cat wearing a pair of old blue {noun} in a park").worn == noun
        assert read(f"a cat carrying his {noun} in a park").photo_prompt == "a cat in a park"
    assert read("a crown on a table").worn is None


@pytest.mark.parametrize(("prompt", "shown"), TABLES["a_prompt_without_a_place_gets_a_usual_one"])
def test_a_prompt_without_a_place_gets_a_usual_one(prompt, shown):
    assert read(prompt).placed_sentence == shown
    places = {read(prompt).place_for(number / 100) for number in range(100)}
    assert read(shown).place in places
    assert len(places) == (len(BACKDROPS) if "background" in shown else 1)
