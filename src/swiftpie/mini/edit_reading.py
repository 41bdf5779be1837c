"""Reads from the prompts of an edit what it changes: the light of a picture, or a look."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from enum import StrEnum
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from swiftpie.mini.materials import MATERIALS
from swiftpie.mini.reading import Reading, read
from swiftpie.mini.scenes import scene_library
from swiftpie.mini.vocabulary import Vocabulary, subjects_in
from swiftpie.mini.words import (
    ARTICLES,
    COLOUR_WORDS,
    FILLERS,
    LOOK_WORDS,
    MATERIAL_PHRASES,
    NO_SUBJECT,
    PLAIN,
    PREPOSITIONS,
    SETTING_WORDS,
    SceneSetting,
    words_in,
)

# How a prompt begins that says what is done, and what stands before what comes of it.
BRINGS = frozenset(("add", "insert", "remove", "delete", "erase", "replace", "swap"))
TURNS = frozenset(("turn", "change", "transform"))
INTO = frozenset(("into", "to"))
# What pictures show besides their subject.
SCENERY = frozenset(
    (
        *("background", "sky", "ground", "floor", "wall", "walls", "grass", "water", "sea"),
        *("road", "table", "trees", "clouds", "everything"),
    )
)
BEFORE_NOUNS = frozenset(("a", "an", "the", "and", "of", "with"))
# Nouns that make another one with a noun behind them; "snowy" describes it.
COMPOUNDING = frozenset(
    (
        *("snow", "rain", "storm", "thunderstorm", "fog", "mist", "clouds", "night", "midnight"),
        *("moonlight", "morning", "evening", "sunset", "dawn", "winter", "spring", "fall"),
    )
)


# Materials behind the noun: "a chocolate cake" and "a golden retriever" name things.
LOOKS = {**COLOUR_WORDS, **{name: MATERIAL_PHRASES[name] for name in MATERIALS}}

# "Turn the dog into gold", "make it golden", "make the cat out of marble".
REMADE = re.compile(
    r"(?:(?:turn|change|transform|make)\b.*\b(?:into|to|of)(?: a| solid)*"
    r"|(?:make|turn) (?:it|(?:the|this|that|my) \w+)) "
    rf"({'|'.join(MATERIALS)})(?:en)?(?: statue)?[.!]?",
    re.IGNORECASE,
)


class NotDrawn(StrEnum):
    """What an edit asks for that is not drawn, and what draws it."""

    OTHER = (
        "It changes time, weather and season, and the colour or material of one subject "
        f"({', '.join(MATERIALS)}). Name one such change alone, as in 'at night', 'a blue dog' or "
        "'made of gold', and say in the source prompt what the picture "
        "shows. A larger model makes other edits, as by `--recipe swiftedit`."
    )
    PLACE = "Draw the subject in another place by `personalize`, with this picture of it."
    SUBJECT = "Subjects come and go by `insert`, `remove` and `replace`."
    WORN = "What a subject wears or holds is for a larger model, as by `--recipe swiftedit`."
    ART = "Art is for a larger model, as by `--recipe swiftedit`."
    LIGHT = (
        "It takes no time, weather or season off a picture. Give one of a clear summer day, or "
        "edit with a larger model, as by `--recipe swiftedit`."
    )


class EditReading(NamedTuple):
    """What an edit changes."""

    setting: SceneSetting | None = None  # that comes; `PLAIN` is what pictures are taken to show
    look: str | None = None  # one of `COLOURS` or `MATERIALS`, of the subject
    keeps_subject: bool = False  # whether plants and ground alone change with the setting

    @property
    def changes_light(self) -> bool:
        """Whether time, weather or season change."""
        return self.setting not in (None, PLAIN)


@lru_cache(maxsize=64)  # the choice of seeds, advice and the edit itself need it
def read_edit(
    prompt: str, vocabulary: Vocabulary | None, *, shown: str = ""
) -> EditReading | NotDrawn:
    """Return what an edit changes, or why it is not drawn.

    Without a source prompt a noun is what the picture shows, and "make it summer" asks for what
    the picture is taken to show. What the prompt does not mention stays.

    Args:
        prompt: What the picture shall show, or what changes.
        vocabulary: The words that the model was taught.
        shown: What the picture shows, or the part of it that changes.
    """
    if vocabulary is None:
        return NotDrawn.OTHER
    if remade := REMADE.fullmatch(prompt.strip()):
        if not SCENERY.isdisjoint(words_in(prompt)):
            return NotDrawn.OTHER
        prompt = f"{shown} made of {remade[1].lower()}"
    before, after = read(shown, vocabulary), read(prompt, vocabulary)
    if (more := _more_than_words(before, after)) is not None:
        return more
    is_told, is_same = bool(shown.strip()), after.shown_setting == before.shown_setting
    new, old = _differing(before, after, is_told=is_told)
    new, look = _looking(new)
    old, faded = _looking(old)
    is_lost = bool(new or old or (faded and not look))  # how it looks without is unknown
    newcomers = [mention for mention in after.mentions if not mention.is_in(before.mentions)]
    if is_lost and newcomers and (before.mentions or after.said[0] in TURNS):
        return NotDrawn.SUBJECT
    is_of_several = bool(look) and before.num_subjects > 1
    if is_lost or is_of_several or (not is_told and _is_of_another(after)):
        return NotDrawn.OTHER
    changes = [*zip(before.shown_setting, after.shown_setting, PLAIN, strict=True)]
    if any(plain != old != new for old, new, plain in changes):
        return NotDrawn.LIGHT
    is_said = not is_same or (not is_told and after.unset != after.tokens)
    if not (is_said or look or is_told):
        return NotDrawn.OTHER
    comes = SceneSetting(*(plain if new == old else new for old, new, plain in changes))
    setting = comes if is_said else None
    is_season = setting is not None and setting._replace(season=PLAIN.season) == PLAIN != setting
    return EditReading(setting, look, is_season and bool(is_told or _without(after.said, ())))


def _more_than_words(before: Reading, after: Reading) -> NotDrawn | None:
    """Return which of art, things worn, subjects and the place an edit changes; None for none."""
    if before.art != after.art:
        return NotDrawn.ART
    if before.worn != after.worn:
        return NotDrawn.WORN
    if BRINGS.intersection(after.said[:1]) or NO_SUBJECT.intersection(after.said):
        return NotDrawn.SUBJECT
    # "In the snow" is winter.
    place = {*_without(after.tokens, after.others)} - SETTING_WORDS - PREPOSITIONS - ARTICLES
    is_new = bool(place) and after.place not in (None, before.place)
    return NotDrawn.PLACE if is_new else None


def _differing(before: Reading, after: Reading, *, is_told: bool) -> tuple[list[str], list[str]]:
    """Return the words that come and go; what a picture shows that nothing tells is no news."""
    said = after.said
    if is_told:
        return _without(said, before.said), _without(before.said, said)
    if TURNS.intersection(said[:1]) and not INTO.isdisjoint(said):
        at = next(at for at, word in enumerate(said) if word in INTO)
        return _without(said[at + 1 :], ()), []
    assert after.vocabulary is not None, "it was read by one"
    return _without_nouns(said, after.vocabulary.words), []


def _is_of_another(after: Reading) -> bool:
    """Whether a prompt names scenery, several subjects or a compound, as "snow man"."""
    others = FILLERS | PREPOSITIONS | ARTICLES | SETTING_WORDS | LOOK_WORDS | _place_nouns()
    is_compound = any(
        word in COMPOUNDING and noun not in others for word, noun in pairwise(after.tokens)
    )
    return is_compound or after.num_subjects > 1 or not SCENERY.isdisjoint(after.said)


@cache
def _place_nouns() -> frozenset[str]:
    """Return the last words of what prompts call all places."""
    scenes = scene_library()
    return frozenset().union(*map(scenes.nouns, scenes.names()))


def _without_nouns(said: Sequence[str], taught: Collection[str]) -> list[str]:
    """Return the words of a prompt but for its nouns."""
    uncoloured, _ = _looking(_without(said, ()))
    others = {*_without(said, uncoloured), *(FILLERS - BEFORE_NOUNS)}
    found, _ = subjects_in([word for word in said if word not in others], taught)
    names = [
        word
        for mention in found
        for word in (mention.words.split() if mention.subject else mention.words.split()[-1:])
    ]
    return _without(said, names)


def _looking(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Return words but for those of a look, and the colour or material that most of them name."""
    text = f" {' '.join(words)} "
    found = [
        (len(phrase), name, phrase)
        for name, phrases in LOOKS.items()
        for phrase in (" ".join(_without(each.split(), ())) for each in phrases)
        if f" {phrase} " in text
    ]
    if not found:
        return [*words], None
    _, name, phrase = max(found)
    return _without(words, phrase.split()), name


def _without(words: Sequence[str], others: Collection[str]) -> list[str]:
    """Return words that say something, without as many of each as the others have."""
    left, kept = Counter(others), []
    for word in words:
        if left[word] > 0:
            left[word] -= 1
        elif word not in FILLERS:
            kept.append(word)
    return kept
