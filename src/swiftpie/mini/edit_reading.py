"""Reads from the prompts of an edit what it changes: the place, its light, or the subject."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from swiftpie.backbones.components import Components
from swiftpie.library import Named, subject_library
from swiftpie.mini.reading import Reading, read, worn_in
from swiftpie.mini.scenes import scene_library
from swiftpie.mini.vocabulary import Mention, Vocabulary, subjects_in
from swiftpie.mini.words import (
    ARTICLES,
    COLOUR_WORDS,
    FILLERS,
    LOOK_WORDS,
    MATERIAL_PHRASES,
    MATERIAL_WORDS,
    NO_SUBJECT,
    PLAIN,
    PREPOSITIONS,
    SETTING_WORDS,
    TEXTURED,
    SceneSetting,
)

LINKS = frozenset(("another", "beside", "next"))  # between two subjects
# How a prompt begins that says what is done, and what stands before what comes.
ADDS, REMOVES = frozenset(("add", "insert")), frozenset(("remove", "delete", "erase"))
TURNS = frozenset(("turn", "change", "transform", "replace", "swap"))
# What pictures show besides their subject.
SCENERY = frozenset(
    (
        *("background", "sky", "ground", "floor", "wall", "walls", "grass", "water", "sea"),
        *("road", "table", "trees", "clouds", "everything"),
    )
)
BEFORE_NOUNS = frozenset(("a", "an", "the", "and", "of", "with"))
INTO = frozenset(("into", "to", "with", "by", "for"))
# Nouns that make another one with a noun behind them; "golden" and "snowy" describe it.
COMPOUNDING = frozenset(
    (
        *("chocolate", "stone", "granite", "marble", "glass", "gold", "snow", "rain", "storm"),
        *("thunderstorm", "fog", "mist", "clouds", "night", "midnight", "moonlight", "morning"),
        *("evening", "sunset", "dawn", "winter", "spring", "fall"),
    )
)


class Cast(StrEnum):
    """What an edit does to the subject of a picture."""

    STAYS = "stays"
    GOES = "goes"
    IS_REPLACED = "is replaced"
    IS_JOINED = "is joined"  # by another subject


class Look(NamedTuple):
    """A colour or a material of a subject, and the words for it."""

    colour: str | None  # one of `COLOURS`
    material: str | None  # one of `MATERIALS`
    words: tuple[str, ...]


@dataclass(frozen=True)
class EditReading:
    """What changes between two descriptions of a picture."""

    before: Reading
    after: Reading
    cast: Cast = Cast.STAYS
    look: Look | None = None  # that the subject takes on
    newcomer: Mention | None = None  # that comes; None: a subject that is given, or nothing

    @property
    def changes_place(self) -> bool:
        """Whether the subject comes to another place."""
        return self.after.place is not None and self.after.place != self.before.place

    @property
    def changes_light(self) -> bool:
        """Whether time, weather or season change."""
        return self.after.setting != self.before.setting

    @property
    def changes_season_alone(self) -> bool:
        """Whether plants and ground change, and the light on a subject stays."""
        before, after = self.before.setting, self.after.setting
        return self.changes_light and before._replace(season=after.season) == after

    @property
    def clears(self) -> bool:
        """Whether what was in the air is gone, or something else is in it."""
        return self.before.setting.weather != self.after.setting.weather

    @property
    def moves(self) -> bool:
        """Whether a subject goes or comes."""
        return self.cast is not Cast.STAYS

    @property
    def changes_worn(self) -> bool:
        """Whether the subject puts something on, or takes it off."""
        return self.after.worn != self.before.worn

    @property
    def stays_in_outline(self) -> bool:
        """Whether the subject takes on a look, goes or is replaced, and nothing else changes."""
        parts = ("setting", "place", "worn")
        is_same = all(getattr(self.before, part) == getattr(self.after, part) for part in parts)
        leaves = self.cast in {Cast.GOES, Cast.IS_REPLACED}
        return is_same and (leaves or self.look is not None)

    @property
    def changes_art(self) -> bool:
        """Whether a photograph becomes art or loses its colours, or the other way round."""
        return self.after.art != self.before.art

    @property
    def changes_subject(self) -> bool:
        """Whether the subject itself has to be found."""
        return bool(
            self.cast is not Cast.STAYS or self.look or self.changes_worn or self.changes_place
        )


NOTHING_SAID = Reading()
REPLACED = EditReading(NOTHING_SAID, NOTHING_SAID, Cast.IS_REPLACED)
"""A subject that is given takes the place of the picture's own, and nothing else changes."""


@lru_cache(maxsize=64)  # advice, the choice of a technique and the edit itself need it
def read_change(
    prompt: str, vocabulary: Vocabulary | None, *, source_prompt: str = "", keyword: str = ""
) -> SceneSetting | None:
    """Return the time, weather and season that an edit asks for; None if it asks for more.

    Without a source prompt, "make it summer" asks for what the picture is taken to show: `PLAIN`.

    Args:
        prompt: "at sunset in autumn"; with a source prompt, its words with others for the setting.
        vocabulary: The words that the model was taught.
        source_prompt: What the picture shows. Another light is drawn of daylight alone.
        keyword: Words that name a part of the picture.
    """
    after, before = read(prompt, vocabulary), read(source_prompt, vocabulary)
    is_other = _without(after.unset, ()) != _without(before.unset, ())
    is_other |= bool(keyword and not source_prompt)
    if is_other or before.art or after.art:
        return None
    setting = after.shown_setting
    if setting == before.shown_setting:
        setting = PLAIN
    elif before.shown_setting != PLAIN:
        return None
    is_said = after.unset != after.tokens
    return None if setting == PLAIN and (source_prompt or not is_said) else setting


@lru_cache(maxsize=64)
def read_edit(
    prompt: str, vocabulary: Vocabulary | None, *, source_prompt: str = "", brings: bool = False
) -> EditReading | None:
    """Return what an edit changes; None if a word of it is not understood, or nothing changes.

    Without a source prompt a noun is what the picture shows, unless a verb says that it comes, as
    in "add a dog" and "turn it into a dog". A "chocolate cake" or a "snow man" then names a thing,
    which is not understood. What the prompt does not mention stays.

    Args:
        prompt: What the picture shall show, or what changes.
        vocabulary: The words that the model was taught.
        source_prompt: What the picture shows, or the part of it that changes.
        brings: Whether a subject is given, which takes the place of the picture's own unless the
            words name both.
    """
    if vocabulary is None:
        return None
    before, after = read(source_prompt, vocabulary), read(prompt, vocabulary)
    if source_prompt.strip():
        reading = _compared(before, after)
    else:
        reading = None if _names_compound(after) else _alone(after, vocabulary.words)
    if brings:
        reading = _bringing(reading)
    if reading is None:
        return None
    if reading.newcomer is not None and reading.newcomer.subject is None:
        return None  # there is no picture of it
    changes = (reading.changes_subject, reading.changes_light, reading.changes_art)
    return reading if any(changes) else None


def named_newcomer(components: Components, prompt: str, *, shown: str) -> Named | None:
    """Return the subject of the library that an edit brings to a picture of what is `shown`."""
    reading = read_edit(prompt, components.vocabulary, source_prompt=shown)
    newcomer = None if reading is None else reading.newcomer
    return None if newcomer is None else newcomer.subject


def _bringing(reading: EditReading | None) -> EditReading | None:
    """Return the reading of an edit with a subject of its own; None where its words change it."""
    if reading is None:
        return REPLACED
    if reading.cast is Cast.GOES or reading.look:
        return None
    is_beside = reading.cast is Cast.IS_JOINED
    return replace(reading, cast=Cast.IS_JOINED if is_beside else Cast.IS_REPLACED, newcomer=None)


def _compared(before: Reading, after: Reading) -> EditReading | None:
    """Return the difference of two descriptions of a picture with one subject."""
    new, old = _without(after.said, before.said), _without(before.said, after.said)
    present, found = before.mentions, after.mentions
    if len(present) > 1:
        return None
    if not found and NO_SUBJECT.intersection(after.said):
        return EditReading(before, after, Cast.GOES)
    if not present:  # a place alone, or "a toy": words that may be of any subject
        return None if found else _changed(before, after, new, old)
    names = present[0].words.split()
    others = [mention for mention in found if not mention.is_in(present)]
    if _without(names, after.said):  # the subject is not mentioned
        is_plain = len(others) == 1 and not _without(new, others[0].words.split())
        if not is_plain:
            return None
        return EditReading(before, after, Cast.IS_REPLACED, newcomer=others[0])
    joined = [mention for mention in found[1:] if not mention.is_in(present)]
    if joined:
        rest = _without(new, [*joined[0].words.split()])
        is_plain = len(joined) == 1 and not old and LINKS.issuperset(rest)
        return EditReading(before, after, Cast.IS_JOINED, newcomer=joined[0]) if is_plain else None
    return _changed(before, after, new, old)


def _changed(before: Reading, after: Reading, new: list[str], old: list[str]) -> EditReading | None:
    """Return the reading of words about the same subject that came and went."""
    look, faded = _look_in(new), _look_in(old)
    if faded is not None and look is None:
        return None  # how the subject looks without its colour is unknown
    if any(_beside(one, words) for one, words in ((look, new), (faded, old))):
        return None  # as of a pose or a size, which no network draws well
    return EditReading(before, after, look=look)


def _names_compound(reading: Reading) -> bool:
    """Whether a noun for a material, a weather or a time is part of a noun, as in "snow man"."""
    others = FILLERS | PREPOSITIONS | ARTICLES | SETTING_WORDS | LOOK_WORDS | NO_SUBJECT
    others |= _place_nouns()
    return any(
        word in COMPOUNDING and noun not in others for word, noun in pairwise(reading.tokens)
    )


@cache
def _place_nouns() -> frozenset[str]:
    """Return the last words of what prompts call all places."""
    scenes = scene_library()
    return frozenset().union(*map(scenes.nouns, scenes.names()))


def _without_names(tokens: Sequence[str]) -> list[str]:
    """Return tokens without the library's names for others of a look, as "golden retriever"."""
    words = [*tokens]
    for at, (look, noun) in enumerate(pairwise(tokens)):
        named = subject_library().meant_by(f"{look} {noun}") if look in LOOK_WORDS else None
        if named is not None and noun not in named.name.split():  # "orange heart"
            words[at : at + 2] = ["", named.name]
    return " ".join(words).split()


def _alone(after: Reading, taught: Collection[str]) -> EditReading | None:
    """Return the reading of a prompt without a description of what the picture shows."""
    before, said = NOTHING_SAID, _without_names(after.said)
    verb = said[0] if said else ""
    if verb in ADDS | REMOVES and (worn := worn_in(f"with {' '.join(said[1:])}")):
        added, gone = (worn, None) if verb in ADDS else (None, worn)
        return EditReading(replace(before, worn=gone), replace(after, worn=added))
    if verb in TURNS and (places := [at for at, word in enumerate(said) if word in INTO]):
        said = said[places[0] + 1 :]
        said = ["made", *said] if _look_in(["made", *said]) and not _look_in(said) else said
    found, rest = _subjects_in(said, taught)
    if verb in ADDS | REMOVES:
        rest = _without(rest, (verb,))
    if NO_SUBJECT.issuperset(rest) and rest and not found:
        return EditReading(before, after, Cast.GOES)
    if verb in REMOVES:
        return None if rest else EditReading(before, after, Cast.GOES)
    if verb in ADDS or (verb in TURNS and found):
        is_plain = len(found) == 1 and not rest
        cast = Cast.IS_JOINED if verb in ADDS else Cast.IS_REPLACED
        return EditReading(before, after, cast, newcomer=found[0]) if is_plain else None
    if len(found) > 1 or not SCENERY.isdisjoint(said):
        return None
    return _changed(before, after, rest, [])


def _subjects_in(said: Sequence[str], taught: Collection[str]) -> tuple[list[Mention], list[str]]:
    """Return the nouns of a prompt, and its other words that say something."""
    look = _look_in(_without(said, ()))
    others = {*(look.words if look else ()), *NO_SUBJECT, *ADDS, *REMOVES}
    others |= FILLERS - BEFORE_NOUNS
    found, _ = subjects_in([word for word in said if word not in others], taught)
    names = [
        word
        for mention in found
        for word in (mention.words.split() if mention.subject else mention.words.split()[-1:])
    ]
    return found, _without(said, names)


def _look_in(words: Sequence[str]) -> Look | None:
    """Return the colour or the material that words name, that with the most words."""
    text = f" {' '.join(words)} "
    found = [
        (len(phrase), kind, name, phrase)
        for kind, phrases in (
            ("colour", COLOUR_WORDS),
            ("material", MATERIAL_WORDS),
            ("material", MATERIAL_PHRASES),
        )
        for name, options in phrases.items()
        if name not in TEXTURED
        for phrase in (" ".join(_without(option.split(), ())) for option in options)
        if f" {phrase} " in text
    ]
    if not found:
        return None
    _, kind, name, phrase = max(found)
    is_colour = kind == "colour"
    words_of = tuple(phrase.split())
    return Look(name if is_colour else None, None if is_colour else name, words_of)


def _beside(look: Look | None, words: Sequence[str]) -> list[str]:
    return _without(words, () if look is None else look.words)


def _without(words: Sequence[str], others: Collection[str]) -> list[str]:
    """Return words that say something, without as many of each as the others have."""
    left, kept = Counter(others), []
    for word in words:
        if left[word] > 0:
            left[word] -= 1
        elif word not in FILLERS:
            kept.append(word)
    return kept
