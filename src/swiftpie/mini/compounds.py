"""Compound nouns, as "berry bowl", whose last word is the thing."""

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from swiftpie.library import packaged
from swiftpie.mini.look_words import COLOUR_WORDS, MATERIAL_PHRASES, MATERIAL_WORDS
from swiftpie.mini.naming import ENDS
from swiftpie.mini.scenes import FILLERS, read_scene_words, rendition_in, tokens_in
from swiftpie.mini.scenes import packaged as packaged_scenes
from swiftpie.mini.vocabulary import ARTICLES_AND_SIZES

LOOK_PHRASES = frozenset(
    phrase
    for table in (COLOUR_WORDS, MATERIAL_WORDS)
    for phrases in table.values()
    for phrase in phrases
)
MAX_LOOK_WORDS = max(len(phrase.split()) for phrase in LOOK_PHRASES)
BEFORE = ARTICLES_AND_SIZES | {
    *("this", "that", "its", "my", "photo", "picture", "image", "photograph", "of", "make"),
    *("turn", "remove", "delete", "erase", "change", "transform", "replace", "swap"),
}
# What fruits and sweets are made into or grow on: "orange juice" is no juice of that colour.
OF_FOOD = frozenset(
    (
        *("juice", "cake", "tree", "pie", "tart", "jam", "bush", "ice", "cookie", "cookies", "bar"),
        *("milk", "muffin", "pudding", "marmalade", "soda", "peel", "slice", "slices", "egg"),
        *("cupcake", "donut", "doughnut", "truffle", "truffles", "sauce", "mousse", "bunny"),
    )
)
NAMES = frozenset(("red panda", "blue whale", "blue jay", "red deer", "green tea", "black tea"))
ALSO_THINGS = frozenset(
    ("glass", "stone", "brick")
)  # materials that may be the thing: "wine glass"
# Adjectives: they end so, or are these. An edit that asks for them is not understood.
ADJECTIVE_ENDS = ("ing", "ed", "ful", "ous", "ish", "less", "able", "ible")
ADJECTIVES = frozenset(
    (
        *("old", "new", "young", "wet", "dry", "fat", "sad", "mad", "evil", "cute", "hot", "cold"),
        *("open", "full", "clean", "dead", "alive", "sick", "wild", "rich", "poor", "wise", "nice"),
        *("bald", "modern", "ancient", "naked", "broken", "rotten", "cheap", "calm", "brave"),
        *("proud", "real", "fake", "loud", "quiet", "fresh", "long", "short", "round", "square"),
        *("bright", "dark", "pale", "soft", "hard", "good", "bad", "best", "more", "other"),
        *("different", "transparent", "awake", "asleep", "medieval", "tropical", "robotic"),
    )
)
GERUNDS = frozenset(("fishing", "shopping", "dining", "sewing", "washing", "watering", "frying"))
NO_NOUNS = frozenset(
    (
        *(FILLERS - {"light", "time", "weather"}),
        *(phrase.split()[0] for phrases in MATERIAL_PHRASES.values() for phrase in phrases),
        *("upside", "down", "seen", "viewed", "from", "left", "right", "front", "above", "below"),
        *("turned", "mid", "air", "up", "flat", "tall", "thin", "bent", "viewer", "head", "side"),
        *("nothing", "nobody", "empty", "none", "no-one", "it", "everything", "background"),
    )
)


class Compound(NamedTuple):
    """The compound noun that a prompt begins with."""

    words: tuple[str, ...]
    rest: str  # the prompt without it
    is_known: bool  # whether each word of it is a noun for sure


@cache
def _places() -> frozenset[str]:
    scenes = packaged_scenes()
    return frozenset(noun for name in scenes.names() for noun in scenes.nouns(name))


def compound_in(prompt: str) -> Compound | None:
    """Return the compound noun that a prompt begins with, as "a blue toy car" does; None without.

    Names of places of two places, as "mountain lake", are no thing, and stay in the prompt.
    """
    tokens = tokens_in(prompt)
    start = 0
    while start < len(tokens) and (step := _before_noun(tokens[start:])):
        start += step
    end = _end_of_nouns(tokens, start)
    is_verb = end - start > 1 and _may_be_verb(tokens[end - 1])
    if is_verb and not {"a", "an"}.isdisjoint(tokens[:start]):  # "a dog runs"
        return None
    if start < end and tokens[end : end + 1] == ["of"]:  # "a bowl of berries"
        end = max(end, _end_of_nouns(tokens, end + 1))
    nouns = [word for word in tokens[start:end] if word != "of"]
    if len(nouns) < 2 or _is_place(nouns) or rendition_in(" ".join(tokens[start:end])):
        return None
    is_known = not is_verb and all(_is_known(noun) for noun in nouns[:-1])
    return Compound(tuple(nouns), " ".join((*tokens[:start], *tokens[end:])), is_known)


def _end_of_nouns(tokens: Sequence[str], start: int) -> int:
    """Return where the nouns end that begin at `start`, or behind an article there."""
    start += tokens[start : start + 1] in (["a"], ["an"], ["the"])
    end = start
    while end < len(tokens) and _is_noun(tokens, end, is_first=end == start):
        end += 1
    return end


def _before_noun(tokens: Sequence[str]) -> int:
    """Return how many words stand before a noun and are no part of it: an article, or a look."""
    if tokens[0] in BEFORE:
        return 1
    look = _look_at(tokens)
    following = tokens[look : look + 1]
    if not following or following == ["of"]:  # "a glass of milk"
        return 0
    if look == 1 and (
        " ".join(tokens[:2]) in NAMES
        or (tokens[1] in OF_FOOD and packaged().meant_by(tokens[0]))
        or _is_name(tokens[:2])
    ):
        return 0
    return look


def _is_name(words: Sequence[str]) -> bool:
    """Whether two words are a name by themselves, as "golden retriever" is that of a dog."""
    named = packaged().meant_by(" ".join(words))
    return named is not None and words[1] not in named.name.split()


def _look_at(tokens: Sequence[str]) -> int:
    """Return how many words of a colour or a material `tokens` begin with."""
    lengths = range(min(MAX_LOOK_WORDS, len(tokens)), 0, -1)
    return next((many for many in lengths if " ".join(tokens[:many]) in LOOK_PHRASES), 0)


def _is_noun(tokens: Sequence[str], at: int, *, is_first: bool) -> bool:
    word = tokens[at]
    if word in ENDS or word in NO_NOUNS or not word[0].isalpha() or word in ADJECTIVES:
        return False
    if not is_first and word not in ALSO_THINGS and _look_at(tokens[at:]):
        return False
    return _is_known(word) or not _is_adjective(word)


def _is_adjective(word: str) -> bool:
    if word in GERUNDS or word.endswith("berry"):
        return False
    ends_in_y = len(word) > 2 and word.endswith("y") and word[-2] not in "aeiou"
    return ends_in_y or (len(word) > 4 and word.endswith(ADJECTIVE_ENDS))


def _may_be_verb(word: str) -> bool:
    return re.search("[^su]s$", word) is not None and packaged().meant_by(word) is None


def _is_known(word: str) -> bool:
    return packaged().meant_by(word) is not None or word in _places() or _is_setting(word)


def _is_setting(word: str) -> bool:
    return not read_scene_words(word).others


def _is_place(nouns: Sequence[str]) -> bool:
    """Whether nouns name a place or a setting alone, as "mountain lake" and "winter night"."""
    if _is_setting(nouns[-1]) and nouns[-1] not in _places():
        return True
    is_thing = packaged().meant_by(nouns[-1]) is not None  # "beach ball"
    return not is_thing and all(noun in _places() or _is_setting(noun) for noun in nouns)
