"""Finds the subjects that a prompt names and takes them from the library.

Only models with a small vocabulary need this. Other models know what a word looks like.
"""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import NamedTuple

from swiftpie.backbones.presets import Preset
from swiftpie.errors import NobodyNamed, short_reason
from swiftpie.library import Named, packaged
from swiftpie.models.vocabulary import ARTICLES_AND_SIZES, Vocabulary, words_in

logger = logging.getLogger(__name__)

MAX_NAME_WORDS = 7
MAX_WORDS, MAX_MENTIONS = 12, 8  # bounds for prompts of any length
ARTICLES = frozenset(("a", "an", "the"))
ENDS = ARTICLES | {  # of a name that stands before them
    *("above", "across", "against", "among", "and", "at", "behind", "below", "beside", "by"),
    *("for", "from", "in", "inside", "into", "near", "next", "of", "on", "over", "surrounded"),
    *("through", "to", "under", "wearing", "with"),
}
LINKS = ARTICLES | {"and", "of"}  # between subjects, or before one
COLOURLESS = "black and white"
PEOPLE = frozenset(
    (
        *("adult", "baby", "boy", "child", "children", "couple", "dad", "daughter", "doctor"),
        *("face", "family", "father", "friend", "friends", "girl", "grandfather", "grandmother"),
        *("guy", "human", "kid", "kids", "lady", "man", "men", "model", "mom", "mother", "mum"),
        *("people", "person", "portrait", "selfie", "sister", "son", "teacher", "toddler"),
        *("woman", "women", "brother", "husband", "wife", "nurse", "bride", "groom", "me"),
    )
)


class Mention(NamedTuple):
    """Words of a prompt that name a subject."""

    words: str
    subject: Named | None  # of the library; None if the library has no such name

    def is_in(self, others: Sequence["Mention"]) -> bool:
        """Whether one of the others means the same subject."""
        names = {other.words for other in others} | {
            other.subject.name for other in others if other.subject
        }
        return self.words in names or (self.subject is not None and self.subject.name in names)

    def shares_word(self, name: str) -> bool:
        """Whether the mention and `name` have a word in common."""
        words = words_in(f"{self.words} {self.subject.name if self.subject else ''}")
        return not {*words}.isdisjoint(words_in(name))


def people_warning(preset: str) -> str:
    """Return what a model that knows no people says of a prompt about them."""
    return (
        f"Preset {preset!r} draws animals, plants and things. Its people are small figures of the "
        "library. For a person, give a photograph that shows the whole of them."
    )


def names_people(text: str) -> bool:
    """Whether a text is about a person."""
    return not PEOPLE.isdisjoint(words_in(text))


class NewSubjects(NamedTuple):
    """Subjects that a prompt names and that have no picture."""

    known: tuple[Named, ...] = ()
    unknown: tuple[str, ...] = ()  # words without a subject in the library


def log_library_subjects(named: Iterable[Named | None]) -> None:
    """Log which subject of the library stands for which word."""
    for subject in filter(None, named):
        near = f"; near: {', '.join(subject.near)}" if subject.near else ""
        name = "" if subject.word == subject.name else f" as {subject.name!r}"
        logger.info("%r is drawn from the library%s%s.", subject.word, name, near)


def unknown_subjects_warning(unknown: Sequence[str]) -> str:
    """Return a warning of subjects that have neither a picture nor an entry in the library."""
    library = packaged()
    near = {words: library.near(words) for words in unknown}
    listed = (
        repr(word) + (f" (near: {', '.join(names)})" if names else "")
        for word, names in near.items()
    )
    return (
        f"There is no picture of {', '.join(listed)}, and the library has no such name. Words "
        "alone mostly draw a blur. Choose a name of `swiftpie library`, or give a picture."
    )


def vocabulary_of(preset: Preset) -> Vocabulary | None:
    """Return the vocabulary of a packaged preset, None for models that read any word."""
    folder = preset.source.removeprefix("package:")
    return None if folder == preset.source else _taught(folder)


@cache
def _taught(folder: str) -> Vocabulary | None:
    place = files("swiftpie").joinpath("assets", folder, "tokenizer", "tokenizer_config.json")
    return Vocabulary.stored(json.loads(place.read_bytes()).get("taught"))


def new_subjects(
    prompt: str, vocabulary: Vocabulary | None, *, given: Sequence[str] = ()
) -> NewSubjects:
    """Return the subjects that a prompt names besides those that are `given` with a picture.

    `given` holds their names. A given subject whose name is "" or not in the prompt stands for one
    of the first subjects that the prompt names. A model without a vocabulary knows all words.

    Raises:
        NobodyNamed: The prompt names no subject of the library, and none is given.
    """
    if vocabulary is None:
        return NewSubjects()
    found, num_unnamed = mentions(prompt, vocabulary.words), 0
    for name in given:
        own = [mention for mention in found if mention.shares_word(name)]
        num_unnamed += not own
        found = [mention for mention in found if mention not in own]
    found = found[num_unnamed:]
    known = tuple(mention.subject for mention in found if mention.subject is not None)
    unknown = tuple(mention.words for mention in found if mention.subject is None)
    if known or given:
        return NewSubjects(known, unknown)
    if names_people(prompt):
        raise NobodyNamed(
            f"No picture was given, and {short_reason(prompt)!r} is about people. The library has "
            "animals, plants and things.",
            "Give a photograph of the person.",
        )
    if unknown:
        packaged().find(unknown[0])  # raises, with similar names
    raise NobodyNamed(
        f"No picture was given, and {short_reason(prompt)!r} names no subject. A prompt begins "
        "with its subject, as in 'a cat on a beach'."
    )


def new_subject_of_edit(
    prompt: str, vocabulary: Vocabulary | None, *, source_prompt: str, keyword: str
) -> Named | None:
    """Return the subject that the prompt of an edit names and that is not in the picture yet."""
    if vocabulary is None:
        return None
    taught = vocabulary.words
    if keyword and not source_prompt and taught.issuperset(words_in(keyword)):
        return None  # the keyword names a scene or an accessory, so the subject stays
    present = [*mentions(source_prompt, taught), *mentions(keyword, taught)]
    new = [
        mention.subject
        for mention in mentions(prompt, taught)
        if mention.subject and not mention.is_in(present)
    ]
    if not new:
        return None
    return new[0] if present else new[-1]  # of two the first may already be in the picture


def mentions(prompt: str, taught: Collection[str]) -> list[Mention]:
    """Return the subjects that a prompt names, by the grammar of the training captions.

    The first subject stands at the beginning, or after "a photo of"; each other one after "and a".
    `taught` words describe scenes; they name a subject only if the library has that exact name.
    """
    words = words_in(prompt.lower().replace(COLOURLESS, " "))
    first = _first(words, taught)
    found = [] if first is None else [first]
    for place in range(_end_of(first, words), len(words) - 1):
        if words[place] in ENDS - LINKS or len(found) == MAX_MENTIONS:
            break  # a place or an accessory follows
        if words[place] == "and" and words[place + 1] in ARTICLES_AND_SIZES:
            other = _mention(words, place + 1, taught)
            found += [] if other is None or other.is_in(found) else [other]
    return found


def _end_of(mention: Mention | None, words: Sequence[str]) -> int:
    """Return where words follow a name, which may be "house with garden"; 1 without one."""
    name = [] if mention is None else mention.words.split()
    starts = range(len(words) - len(name) + 1)
    at = next((start for start in starts if [*words[start : start + len(name)]] == name), 0)
    return max(1, at + len(name))


def _first(words: Sequence[str], taught: Collection[str]) -> Mention | None:
    at_start = _mention(words, 0, taught)
    if at_start is not None and at_start.subject and " " in at_start.words:
        return at_start  # as in "a pot of food"
    after_of, place = (
        None,
        next((at for at, word in enumerate(words) if word in ENDS - ARTICLES), 0),
    )
    if words[place : place + 1] == ["of"]:
        after_of = _mention(words, place + 1, taught)
    both = [mention for mention in (after_of, at_start) if mention is not None]
    return next(
        (mention for mention in both if mention.subject is not None), both[0] if both else None
    )


def _mention(words: Sequence[str], start: int, taught: Collection[str]) -> Mention | None:
    """Return the subject whose name begins at `start`, after articles and sizes."""
    library, noun = packaged(), start
    while noun < len(words) and words[noun] in ARTICLES_AND_SIZES:
        noun += 1
    for end in range(min(noun + MAX_NAME_WORDS, len(words)), noun, -1):
        for begin in range(start, noun + 1):  # a name may have a size, as "small airplane"
            phrase = " ".join(words[begin:end])
            if words[begin] not in ARTICLES and library.is_name(phrase):
                return Mention(phrase, library.find(phrase))
    run = [*islice(_noun_phrase(words[noun:]), MAX_WORDS)]
    parts = [
        " ".join(run[end - length : end])
        for length in range(len(run), 0, -1)
        for end in range(len(run), length - 1, -1)
    ]
    for part in filter(library.is_name, parts):
        return Mention(part, library.find(part))
    untaught = [part for part in parts if not {*part.split()} <= {*taught}]
    for part in untaught:
        if not names_people(part) and (subject := library.meant_by(part)):
            return Mention(part, subject)
    return Mention(untaught[0], None) if untaught else None


def _noun_phrase(words: Sequence[str]) -> Iterator[str]:
    for number, word in enumerate(words):
        if word in ENDS or (number and word.endswith("ing")):
            return
        yield word
