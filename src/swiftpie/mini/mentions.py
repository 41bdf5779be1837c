"""The subjects that the words of a prompt name."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from swiftpie.library import Named, subject_library
from swiftpie.mini.vocabulary import ARTICLES_AND_SIZES
from swiftpie.mini.words import LOOK_WORDS, WORN_NOUNS

MAX_NAME_WORDS = 7
MAX_WORDS, MAX_MENTIONS = 12, 8  # bounds for prompts of any length
BEFORE_NOUNS = frozenset(("a", "an", "the"))
ENDS = BEFORE_NOUNS | {  # of a name that stands before them
    *("above", "across", "against", "among", "and", "at", "behind", "below", "beside", "by"),
    *("for", "from", "in", "inside", "into", "near", "next", "of", "on", "over", "surrounded"),
    *("through", "to", "under", "wearing", "with"),
}
LISTS = frozenset(("", ",", "and"))  # before a subject
NUMBERS = {"two": 2, "three": 3, "four": 4}


class Mention(NamedTuple):
    """Words of a prompt that name a subject."""

    words: str
    subject: Named | None  # of the library; None if the library has no such name
    number: int = 1  # how many of it are wanted
    has_article: bool = True
    before: tuple[str, ...] = ()  # how it looks, as "red"
    after: tuple[str, ...] = ()  # what else is said of it, as "lying down"
    apart: tuple[str, ...] = ()  # looks that not all of several have, as "a cat and a red cat"

    def with_twin(self, other: "Mention") -> "Mention":
        """Return a mention of this and another subject of the same name."""
        looks = ({*self.before, *self.after}, {*other.before, *other.after})
        apart = (*self.apart, *(looks[0] ^ looks[1]))
        return self._replace(number=self.number + other.number, apart=apart)

    def is_in(self, others: Sequence["Mention"]) -> bool:
        """Whether one of the others means the same subject."""
        names = {other.words for other in others} | {
            other.subject.name for other in others if other.subject
        }
        return self.words in names or (self.subject is not None and self.subject.name in names)


def subjects_in(
    tokens: Sequence[str], taught: Collection[str], *, wears: bool = False, is_bare: bool = False
) -> tuple[list[Mention], list[str]]:
    """Return the subjects that tokens name, and the words of other phrases.

    The first subject stands at the beginning, or after "a photo of"; each other one after "and" or
    a comma.

    Args:
        tokens: Those of a prompt besides place, setting and art.
        taught: Words that describe scenes; they name a subject only if the library has that name.
        wears: Whether something that the first subject wears has been left out.
        is_bare: Whether a place without a preposition has been left out.
    """
    found, loose = list[Mention](), list[str]()
    at, before = 0, ""
    is_last = False  # whether the subject that was found last stands in the phrase before
    while at < len(tokens):
        if _ends(tokens[at]):
            before, wears, at = tokens[at], wears or tokens[at] in {"wearing", "with"}, at + 1
            continue
        mention, end = _mention(tokens, at, taught)
        is_worn = wears and mention is not None and mention.words.split()[-1] in WORN_NOUNS
        twin = _twin_of(mention, found) if before in LISTS else None
        if twin is not None and mention is not None and not is_worn:
            found[twin] = found[twin].with_twin(mention)
            at, is_last = end, False
            continue
        fits = mention is not None and not is_worn and not mention.is_in(found)
        if mention is None or not fits or len(found) == MAX_MENTIONS:
            is_last = False
        elif before in LISTS:
            is_last = _is_said(mention, before, is_bare=is_bare)
        elif before == "of" and (not found or (is_last and _may_be_of(found[-1]))):
            # "a photo of a dog", and not "a pot of nothing" or "a dog made of wood"
            is_last = mention.subject is not None or not (found and found[-1].subject)
            loose += found.pop().words.split() if is_last and found else []
        else:
            is_last = False
        if is_last and mention is not None:
            found.append(mention)
        else:
            loose += [*([] if before in LISTS else [before]), *tokens[at:end]]
        at = end
    return found, loose


def _twin_of(mention: Mention | None, found: Sequence[Mention]) -> int | None:
    """Return which of the subjects `found` is named once more: "a dog and a dog"."""
    if mention is None or mention.subject is None or not mention.has_article:
        return None
    return next((at for at, other in enumerate(found) if other.words == mention.words), None)


def _may_be_of(mention: Mention) -> bool:
    return " " not in mention.words and "made" not in mention.after


def _is_said(mention: Mention, before: str, *, is_bare: bool) -> bool:
    """Whether words in a list name a subject; without an article the library has to have it."""
    if mention.subject is None:
        return mention.has_article or (before == "" and not is_bare)
    return mention.has_article or not LOOK_WORDS.issuperset(mention.words.split())


def _ends(token: str) -> bool:
    return token in LISTS or token in ENDS - BEFORE_NOUNS


def _mention(
    tokens: Sequence[str], start: int, taught: Collection[str]
) -> tuple[Mention | None, int]:
    """Return the subject of the phrase that begins at `start`, and where words follow it.

    Its name may go on behind the phrase, as "pot of food".
    """
    library, noun, count = subject_library(), start, 1
    end = next((at for at in range(start, len(tokens)) if _ends(tokens[at])), len(tokens))
    while noun < end and (tokens[noun] in ARTICLES_AND_SIZES or tokens[noun] in NUMBERS):
        count, noun = NUMBERS.get(tokens[noun], count), noun + 1
    for last in range(min(noun + MAX_NAME_WORDS, len(tokens)), end - 1, -1):
        for begin in range(start, noun + 1):  # a name may have a size, as "small airplane"
            phrase = tokens[begin:last]
            if not phrase or phrase[0] in BEFORE_NOUNS or "," in phrase or _ends(phrase[-1]):
                continue
            if (subject := library.meant_by(" ".join(phrase))) is not None:
                return Mention(" ".join(phrase), subject, count, noun > start), last
    run = [*islice(_noun_phrase(tokens[noun:end]), MAX_WORDS)]
    spans = [
        (last - length, last)
        for length in range(len(run), 0, -1)
        for last in range(len(run), length - 1, -1)
    ]
    parts = {span: " ".join(run[slice(*span)]) for span in spans}
    meant = {span: subject for span in spans if (subject := library.meant_by(parts[span]))}
    by_name = [
        span for span in meant if not library.is_plural(parts[span])
    ]  # "flies" may be a verb
    span = next(iter((*by_name, *meant)), None)
    if span is None:
        span = next((span for span in spans if not {*parts[span].split()} <= {*taught}), None)
    if span is None:
        return None, end
    first, last = (noun + at for at in span)
    looks = [
        word for word in tokens[start:first] if word not in BEFORE_NOUNS and word not in NUMBERS
    ]
    mention = Mention(parts[span], meant.get(span), count, noun > start)
    return mention._replace(before=tuple(looks), after=tuple(tokens[last:end])), end


def _noun_phrase(words: Sequence[str]) -> Iterator[str]:
    for number, word in enumerate(words):
        if word in ENDS or (number and word.endswith("ing")):
            return
        yield word
