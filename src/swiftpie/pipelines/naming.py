"""Whom a sentence names: subjects of the library, where nobody gave a picture.

Only models that were taught few words need that. Others know by a word how a thing looks.
"""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import NamedTuple

from swiftpie.backbones.preset import Preset
from swiftpie.errors import NobodyNamed, short_reason
from swiftpie.library import Named, packaged
from swiftpie.models.vocabulary import ARTICLES_AND_SIZES, Vocabulary, words_in

logger = logging.getLogger(__name__)

LONGEST = 7  # words of a name
MOST_WORDS, MOST_MENTIONS = 12, 8  # that are looked at: a prompt of strangers may be endless
ARTICLES = frozenset(("a", "an", "the"))
ENDS = ARTICLES | {  # of a name that stands before them
    *("above", "across", "against", "among", "and", "at", "behind", "below", "beside", "by"),
    *("for", "from", "in", "inside", "into", "near", "next", "of", "on", "over", "surrounded"),
    *("through", "to", "under", "wearing", "with"),
}
LINKS = ARTICLES | {"and", "of"}  # between subjects, or before one
COLOURLESS = "black and white"


class Mention(NamedTuple):
    """Words of a sentence that name a subject."""

    words: str
    who: Named | None  # None: nobody of the library

    def is_of(self, others: Sequence["Mention"]) -> bool:
        """Whether one of the others means the same."""
        alike = {one.words for one in others} | {one.who.name for one in others if one.who}
        return self.words in alike or (self.who is not None and self.who.name in alike)

    def is_called(self, name: str) -> bool:
        """Whether it shares a word with the name of somebody."""
        words = words_in(f"{self.words} {self.who.name if self.who else ''}")
        return not {*words}.isdisjoint(words_in(name))


class NewSubjects(NamedTuple):
    """Those whom a sentence names and of whom nobody gave a picture."""

    known: tuple[Named, ...] = ()
    unknown: tuple[str, ...] = ()  # words that name nobody of the library


def log_library_subjects(named: Iterable[Named | None]) -> None:
    """Log who stands for which word."""
    for one in named:
        if one is not None:
            near = f"; near: {', '.join(one.near)}" if one.near else ""
            as_other = "" if one.word == one.name else f" as {one.name!r}"
            logger.info("%r is drawn from the library%s%s.", one.word, as_other, near)


def unknown_subjects_warning(unknown: Sequence[str]) -> str:
    """Return what to tell of words that name nobody of the library, and of whom is no picture."""
    library = packaged()
    near = {words: library.near(words) for words in unknown}
    told = (
        repr(one) + (f" (near: {', '.join(names)})" if names else "") for one, names in near.items()
    )
    return (
        f"There is no picture of {', '.join(told)}, and nobody in the library has that name, so "
        "words alone draw that, mostly as a blur. Choose a name of `swiftpie library`, or give a "
        "picture."
    )


def vocabulary_of(preset: Preset) -> Vocabulary | None:
    """Return the words of a preset that is in the package; None of one that reads anything."""
    folder = preset.source.removeprefix("package:")
    return None if folder == preset.source else _taught(folder)


@cache
def _taught(folder: str) -> Vocabulary | None:
    place = files("swiftpie").joinpath("assets", folder, "tokenizer", "tokenizer_config.json")
    return Vocabulary.stored(json.loads(place.read_bytes()).get("taught"))


def new_subjects(
    prompt: str, vocabulary: Vocabulary | None, *, given: Sequence[str] = ()
) -> NewSubjects:
    """Return whom a sentence names besides subjects that are `given`.

    Those are told by the words that name them. Whose name the sentence does not say, or is "", is
    among those that it names first.

    Raises:
        NobodyNamed: There is nobody at all.
    """
    if vocabulary is None:
        if given:
            return NewSubjects()
        raise NobodyNamed(
            "No picture of a subject was given, and this model draws none by a sentence alone.",
            "Give a picture, or a name of `swiftpie library` in its place.",
        )
    said, num_unnamed = mentions(prompt, vocabulary.words), 0
    for name in given:
        own = [one for one in said if one.is_called(name)]
        num_unnamed += not own
        said = [one for one in said if one not in own]
    said = said[num_unnamed:]
    known = tuple(one.who for one in said if one.who is not None)
    unknown = tuple(one.words for one in said if one.who is None)
    if known or given:
        return NewSubjects(known, unknown)
    if unknown:
        packaged().find(unknown[0])  # complains, and offers what is near
    raise NobodyNamed(
        f"No picture was given, and {short_reason(prompt)!r} names no subject. A sentence begins "
        "with one, as in 'a cat on a beach'."
    )


def new_subject_of_edit(
    prompt: str, vocabulary: Vocabulary | None, *, source_prompt: str, keyword: str
) -> Named | None:
    """Return whom the sentence of an edit names who is not in its picture, as far as words tell."""
    if vocabulary is None:
        return None
    taught = vocabulary.words
    if keyword and not source_prompt and taught.issuperset(words_in(keyword)):
        return None  # a scene or a hat shall change, and whoever is there stays
    here = [*mentions(source_prompt, taught), *mentions(keyword, taught)]
    new = [one.who for one in mentions(prompt, taught) if one.who and not one.is_of(here)]
    if not new:
        return None
    return new[0] if here else new[-1]  # of two the first may well be there already


def mentions(prompt: str, taught: Collection[str]) -> list[Mention]:
    """Return the subjects that a sentence names, in the grammar of captions that models know.

    The first stands at the beginning, or behind "a photo of"; each other one behind "and a". Words
    that were `taught` say where subjects are; they name one only if the library is sure of it.
    """
    words = words_in(prompt.lower().replace(COLOURLESS, " "))
    first = _first(words, taught)
    found = [] if first is None else [first]
    for place in range(1, len(words) - 1):
        if words[place] in ENDS - LINKS or len(found) == MOST_MENTIONS:
            break  # what follows is a place, or what somebody wears
        if words[place] == "and" and words[place + 1] in ARTICLES_AND_SIZES:
            other = _mention(words, place + 1, taught)
            found += [] if other is None or other.is_of(found) else [other]
    return found


def _first(words: Sequence[str], taught: Collection[str]) -> Mention | None:
    begins = _mention(words, 0, taught)
    if begins is not None and begins.who and " " in begins.words:
        return begins  # as in "a pot of food"
    behind, place = None, next((at for at, word in enumerate(words) if word in ENDS - ARTICLES), 0)
    if words[place : place + 1] == ["of"]:
        behind = _mention(words, place + 1, taught)
    both = [one for one in (behind, begins) if one is not None]
    return next((one for one in both if one.who is not None), both[0] if both else None)


def _mention(words: Sequence[str], start: int, taught: Collection[str]) -> Mention | None:
    """Return the subject whose name begins at `start`, behind articles and sizes."""
    library, noun = packaged(), start
    while noun < len(words) and words[noun] in ARTICLES_AND_SIZES:
        noun += 1
    for end in range(min(noun + LONGEST, len(words)), noun, -1):
        for begin in range(start, noun + 1):  # a name may have a size, as "small airplane"
            phrase = " ".join(words[begin:end])
            if words[begin] not in ARTICLES and library.is_name(phrase):
                return Mention(phrase, library.find(phrase))
    run = [*islice(_run(words[noun:]), MOST_WORDS)]
    parts = [
        " ".join(run[end - length : end])
        for length in range(len(run), 0, -1)
        for end in range(len(run), length - 1, -1)
    ]
    for part in filter(library.is_name, parts):
        return Mention(part, library.find(part))
    strange = [one for one in parts if not {*one.split()} <= {*taught}]
    for part in strange:
        if who := library.meant_by(part):
            return Mention(part, who)
    return Mention(strange[0], None) if strange else None


def _run(words: Sequence[str]) -> Iterator[str]:
    for number, word in enumerate(words):
        if word in ENDS or (number and word.endswith("ing")):
            return
        yield word
