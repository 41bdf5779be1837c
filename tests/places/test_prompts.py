"""Each word of a prompt is obeyed, says nothing by itself, or is warned of or refused by name."""

import random
import re
import tomllib
from itertools import product
from pathlib import Path

import pytest

from swiftpie.backbones.presets import PRESETS
from swiftpie.lexicon import COLOUR_WORDS, LISTS, PLAIN, SEASONS, TIMES, WEATHERS, WORD_OR_NUMBER
from swiftpie.mini.word_edits import NotDrawn, read_edit
from swiftpie.places.reading import MESSAGES, Outcome, read, vocabulary_of
from swiftpie.scenes import scene_library
from swiftpie_world.sampler import World
from tests.mini.test_edit_reading import expected_of
from tests.policy.project import ROOT

PROMPTS = tomllib.loads(Path(__file__).with_name("prompts.toml").read_text(encoding="utf-8"))
TAUGHT = vocabulary_of(PRESETS.get("mini"))
QUOTED = re.compile(r'"((?:an?|the|two|in|on|at|my|make|turn|with) [^"\n{}\\]{2,90})"')
SETTINGS = [
    phrase for table in (TIMES, WEATHERS, SEASONS) for row in table.values() for phrase in row
]
NOUNS = (
    "dog",
    "zebu",
    "snow leopard",
    "red panda",
    "fog hound",
    "labradoodle",
    "chocolate labrador",
)


def check_accounts(prompt):
    reading = read(prompt, TAUGHT)
    assert [one.word for one in reading.accounts] == WORD_OR_NUMBER.findall(prompt.lower()), prompt
    whys = {one.why for one in reading.accounts if one.outcome is Outcome.WARNED}
    assert whys <= MESSAGES["words"].keys(), prompt
    obeyed = {one.why for one in reading.accounts if one.outcome is not Outcome.WARNED}
    assert bool({"look", "clear", "texture"} & obeyed) == any(reading.all_looks), prompt
    for kind, number in reading.shown_setting._asdict().items():
        assert not number or {kind, "place", "weather"} & obeyed, prompt
    return reading


@pytest.mark.parametrize(("prompt", "lost"), PROMPTS["new_pictures"])
def test_words_without_effect_are_told_from_others(prompt, lost):
    accounts = check_accounts(prompt).accounts
    assert [one.word for one in accounts if one.outcome in {"no effect", "refused"}] == lost


@pytest.mark.parametrize(("shown", "prompt", "expected"), PROMPTS["edits"])
def test_edits_are_drawn_as_they_are_meant_or_refused(shown, prompt, expected):
    edit = read_edit(prompt, TAUGHT, shown=shown)
    assert edit == expected_of(expected)
    assert not isinstance(edit, NotDrawn) or len(re.findall(r"\.(?: |$)", edit.remedy)) <= 3


@pytest.mark.parametrize("negator", [each for each in LISTS["negators"] if " the" not in each])
def test_what_a_sentence_takes_off_is_not_drawn(negator):
    for phrase in SETTINGS:
        assert check_accounts(f"a dog in a park, {negator} {phrase}").shown_setting == PLAIN, phrase


@pytest.mark.parametrize("noun", NOUNS)
def test_a_name_sets_nothing_and_its_looks_are_its_own(noun):
    for (colour, (word, *_)), phrase in product(COLOUR_WORDS.items(), ("", " at night", " in fog")):
        reading = check_accounts(f"a {word} {noun} and a {noun}{phrase}")
        assert [look and look.name for look in reading.all_looks] == [colour, None]
        assert reading.shown_setting == read(f"a dog{phrase}").shown_setting


@pytest.mark.parametrize("share", [0.05, pytest.param(1.0, marks=pytest.mark.thorough)])
def test_each_word_of_all_sentences_is_accounted_for(share, subjects):
    files = [path for name in ("docs", "tests") for path in sorted((ROOT / name).rglob("*.*"))]
    texts = (path.read_text() for path in files if path.suffix in {".md", ".py", ".toml"})
    sentences = [prompt for text in texts for prompt in QUOTED.findall(text) if prompt.isascii()]
    sentences += World(subjects, "train").corpus()
    deal, places = random.Random(7), [*map(scene_library().phrase, scene_library().names())]
    for _ in range(2000):
        words = [deal.choice(["", *COLOUR_WORDS]), deal.choice(NOUNS), deal.choice(places)]
        words += [
            deal.choice(SETTINGS),
            deal.choice(["without", "and", ","]),
            deal.choice(SETTINGS),
        ]
        sentences.append(" ".join(["a", *words]))
    for prompt in deal.sample(sentences, int(share * len(sentences))):
        check_accounts(prompt)
