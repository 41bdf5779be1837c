"""The words of training captions, and the words of a prompt that name subjects or are unknown."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby, islice, takewhile
from typing import NamedTuple, Self

from swiftpie.lexicon import (
    ENDS,
    LOOK_WORDS,
    PREPOSITIONS,
    SIZES,
    WORD,
    WORD_OR_NUMBER,
    WORN_NOUNS,
    plain,
    words_in,
)
from swiftpie.library import Named, subject_library

BEFORE_NAMES = ("of", "and", "")  # an article and a size may follow; "" is the beginning
LINKS = SIZES | PREPOSITIONS | {"and"}
FIELDS = ("words", "names", "looks")
WEARS = re.compile(r"(\b(?:wearing|holding|carrying|with)\b)", re.IGNORECASE)
WORN = re.compile(r"\b(?:(?:top|billed) hat|billed cap|cap|hat|backpack)\b", re.IGNORECASE)
MEASURE = re.compile(r"[^\W_]*\d[^\W_]*")  # such as "8k" and "50mm", which are no words
GENERIC = "thing"  # a subject, in training captions
NUM_NEAR = 2  # suggestions a word
LEAST_LIKENESS = 0.8  # words less alike than a suggestion share letters by chance
LEAST_LETTERS = 4  # shorter words get no suggestions: most are a letter from another
PLURALS = ("s", "es")
ENDINGS = (*PLURALS, "y", "ing", "ed")  # endings of the forms of one word
LEAST_STEM = 4  # letters before an ending, and one less before that of a plural
MAX_NAME_WORDS = 7
MAX_WORDS, MAX_MENTIONS = 12, 8  # bounds for prompts of any length
BEFORE_NOUNS = frozenset(("a", "an", "the"))
LISTS = frozenset(("", ",", "and"))  # before a subject
NUMBERS = {"two": 2, "three": 3, "four": 4}


@dataclass(frozen=True)
class Vocabulary:
    """The words of the captions that a model was trained on, in lower case.

    The name of a subject may be any word, because a picture shows the subject. Words for places,
    accessories and styles have an effect only if the captions had them.
    """

    words: frozenset[str]  # words of captions with a generic name for their subject
    names: frozenset[str]  # names of subjects, of one word or several
    looks: frozenset[str] = frozenset()  # those of `words` that stand before names, as colours do

    @classmethod
    def stored(cls, value: object) -> Self | None:
        """Return the vocabulary of a `to_json` value, or None for other values."""
        if not isinstance(value, Mapping):
            return None
        return cls(*(frozenset(map(str, value.get(field, ()))) for field in FIELDS))

    def to_json(self) -> dict[str, list[str]]:
        """Return the words as sorted lists."""
        return {field: sorted(getattr(self, field)) for field in FIELDS}

    def unknown_in(self, prompt: str, *, shown: Collection[str] | None = None) -> list[str]:
        """Return the words of `prompt` that the model knows in no form, in their order.

        `shown` are names that pictures explain; None means that they explain every name.
        """
        words = words_in(MEASURE.sub(" ", prompt))
        names = {
            word
            for word in self._names_in(words)
            if shown is None or word in self.words_of_names or word in shown
        }
        return [word for word in dict.fromkeys(words) if not (word in names or self.knows(word))]

    def as_taught(self, prompt: str) -> str:
        """Return `prompt` in words that captions had: "mountains" for "mountain", others left out.

        A name that they did not have is a "thing", because its picture explains it. So are things
        that subjects wear, where they are the subject: the model draws those on subjects.
        """
        named, *rest = WEARS.split(prompt, maxsplit=1)
        tokens = WORD_OR_NUMBER.findall(plain("".join((WORN.sub(GENERIC, named), *rest))))
        spelled = [WORD.findall(token) for token in tokens]
        flat = [word for words in spelled for word in words]
        names = {*self._names_in(flat, needs_known=False)} - self.words
        taught: list[str | None] = []  # None is a word that is left out
        for is_name, group in groupby(
            zip(tokens, spelled, strict=True),
            lambda pair: names.issuperset(pair[1]) and pair[1] != [],
        ):
            run = list(group)
            forms = [self._read(token, words, is_name=is_name) for token, words in run]
            taught += [GENERIC] if is_name and not any(forms) and GENERIC in self.words else forms
        return " ".join(_without_loose_ends(taught))

    def _read(self, token: str, words: Sequence[str], *, is_name: bool) -> str | None:
        """Return what stands for a token of a prompt; None if captions had nothing of it."""
        if words and self.words.issuperset(words):
            return token
        if is_name:
            return token if any(map(self._names, words)) else None
        return self._taught_form(words[0]) if len(words) == 1 else None

    def knows(self, word: str) -> bool:
        """Whether captions had a word or another form of it, other than as a name."""
        return self._taught_form(word) is not None

    def near(self, word: str) -> list[str]:
        """Return known words that may be meant by a misspelled `word`."""
        words = self.words | self.words_of_names - {word} if len(word) >= LEAST_LETTERS else ()
        alike = sorted(other for other in words if other[0] == word[0])
        return difflib.get_close_matches(word, alike, NUM_NEAR, LEAST_LIKENESS)

    def _taught_form(self, word: str) -> str | None:
        """Return a known word of the same stem, if there is one."""
        return next((form for form in _forms(word) if form in self.words), None)

    def _names(self, word: str) -> bool:
        return not self.words_of_names.isdisjoint(_forms(word))

    def advice_on(self, unknown: Sequence[str], *, preset: str) -> str:
        near = {word: ", ".join(self.near(word)) for word in unknown}
        listed = (
            f"{word!r} (near: {alike})" if alike else repr(word) for word, alike in near.items()
        )
        return (
            f"Preset {preset!r} was never taught {', '.join(listed)}. Such words have no effect. "
            "Name subjects, places, times of day, weathers, seasons, colours and materials."
        )

    @cached_property
    def words_of_names(self) -> frozenset[str]:
        """The words that names are made of."""
        return frozenset(word for name in self.names for word in name.split())

    def _names_in(self, tokens: Sequence[str], *, needs_known: bool = True) -> Iterator[str]:
        """Yield the words that name subjects, by the form of the prompt.

        A name stands at the beginning, or after "of" or "and", perhaps behind adjectives. It ends
        at a known word or at a verb in -ing. At the end of the prompt it must be known itself, if
        `needs_known` is set.
        """
        for end, run in runs_between(tokens, self.words):
            if not self._may_name(tokens, end - len(run)):
                continue
            if end == len(tokens) and needs_known:
                yield from filter(self._names, run)
            elif tokens[end : end + 1] != ["of"]:  # "an oil painting of" names an art
                yield from run if " ".join(run) in self.names else _before_verb(run)

    def _may_name(self, tokens: Sequence[str], start: int) -> bool:
        first = start
        while first and tokens[first - 1] in SIZES | self.looks:
            first -= 1
        before = tokens[first - 1] if first else ""
        is_behind_colour = before == "white" and first < start  # "black and white a …"
        return before in BEFORE_NAMES or is_behind_colour


def _without_loose_ends(words: Sequence[str | None]) -> list[str]:
    """Return words without articles and prepositions whose noun was left out, (None)."""
    kept: list[str] = []
    is_loose = False
    for word in (*words, ""):
        is_end = is_loose and (word == "" or word in LINKS)
        while is_end and kept and kept[-1] in LINKS:
            kept.pop()
        is_loose = word is None
        kept += [word] if word else []
    return kept


def runs_between(
    tokens: Sequence[str], words: Collection[str]
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the runs between `words`, each with the index after it."""
    place = 0
    for is_word, group in groupby(tokens, key=lambda word: word in words):
        run = list(group)
        place += len(run)
        if not is_word:
            yield place, run


def _forms(word: str) -> Iterator[str]:
    """Yield a word and its forms: singular and plural, and the nouns of "sunny" and "clouded"."""
    stems = [word]
    if word.endswith("ies"):
        stems.append(f"{word[:-3]}y")
    else:
        for ending in ENDINGS:
            stem = word.removesuffix(ending)
            if stem != word and len(stem) >= LEAST_STEM - (ending in PLURALS):
                stems += [stem, stem[:-1]] if stem[-1] == stem[-2] else [stem]
    if word.endswith("y"):
        stems.append(f"{word[:-1]}ie")
    yield from (form for stem in stems for form in (stem, f"{stem}s", f"{stem}es"))


class Mention(NamedTuple):
    """Words of a prompt that name a subject."""

    words: str
    subject: Named | None  # the library's subject; None if it has no such name
    number: int = 1  # how many of it are wanted
    has_article: bool = True
    before: tuple[str, ...] = ()  # how it looks, as "red"
    after: tuple[str, ...] = ()  # what else is said of it, as "lying down"
    apart: tuple[str, ...] = ()  # words that not all of several have, as "a cat and a wet cat"
    twins: tuple[tuple[str, ...], ...] = ()  # how others of its name look: "and a red cat"

    def with_twin(self, other: "Mention") -> "Mention":
        """Return a mention of this and another subject of the same name."""
        looks, others = {*self.before} ^ {*other.before}, {*self.after} ^ {*other.after}
        apart, number = (*self.apart, *(looks - LOOK_WORDS), *others), self.number + other.number
        return self._replace(number=number, apart=apart, twins=(*self.twins, other.before))

    def is_in(self, others: Sequence["Mention"]) -> bool:
        """Whether one of the others means the same subject."""
        pairs = ((each.words, each.subject.name if each.subject else "") for each in others)
        name = self.subject.name if self.subject else self.words
        return any(self.words in pair or name in pair for pair in pairs)


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
    mentions, loose = list[Mention](), list[str]()
    at, before = 0, ""
    is_last = False  # whether the subject that was found last stands in the phrase before
    while at < len(tokens):
        if _ends(tokens[at]):
            before, wears, at = tokens[at], wears or tokens[at] in {"wearing", "with"}, at + 1
            continue
        start, (mention, at) = at, _mention(tokens, at, taught)
        if wears and mention is not None and mention.words.split()[-1] in WORN_NOUNS:
            mention = None
        twin = _twin_of(mention, mentions) if before in LISTS else None
        if twin is not None and mention is not None:
            mentions[twin], is_last = mentions[twin].with_twin(mention), False
            continue
        if mention is None or mention.is_in(mentions) or len(mentions) == MAX_MENTIONS:
            is_last = False
        elif before in LISTS:
            is_last = _is_said(mention, before, is_bare=is_bare)
        else:  # "a photo of a dog", and not "a pot of nothing" or "a dog made of wood"
            is_single = (
                bool(mentions)
                and " " not in mentions[-1].words
                and "made" not in mentions[-1].after
            )
            is_last = before == "of" and (not mentions or (is_last and is_single))
            is_last &= mention.subject is not None or not (mentions and mentions[-1].subject)
            loose += mentions.pop().words.split() if is_last and mentions else []
        if is_last and mention is not None:
            mentions.append(mention)
        else:
            loose += [*([] if before in LISTS else [before]), *tokens[start:at]]
    return mentions, loose


def _twin_of(mention: Mention | None, mentions: Sequence[Mention]) -> int | None:
    """Return which of the `mentions` is named once more: "a dog and a dog"."""
    if mention is None or mention.subject is None or not mention.has_article:
        return None
    return next((at for at, other in enumerate(mentions) if other.words == mention.words), None)


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
    while noun < end and (tokens[noun] in SIZES or tokens[noun] in NUMBERS):
        count, noun = NUMBERS.get(tokens[noun], count), noun + 1
    for last in range(min(noun + MAX_NAME_WORDS, len(tokens)), end - 1, -1):
        for begin in range(start, noun + 1):  # a name may have a size, as "small airplane"
            phrase = tokens[begin:last]
            if not phrase or phrase[0] in BEFORE_NOUNS or "," in phrase or _ends(phrase[-1]):
                continue
            if (subject := library.meant_by(" ".join(phrase))) is not None:
                return Mention(" ".join(phrase), subject, count, noun > start), last
    until = takewhile(lambda word: word not in ENDS, tokens[noun:end])
    run = [*islice(_before_verb(until), MAX_WORDS)]
    spans = [
        (last - length, last)
        for length in range(len(run), 0, -1)
        for last in range(len(run), length - 1, -1)
    ]
    parts = {span: " ".join(run[slice(*span)]) for span in spans}
    meant = {span: subject for span in spans if (subject := library.meant_by(parts[span]))}
    by_name = (span for span in meant if not library.is_plural(parts[span]))  # no verb, as "flies"
    strange = (span for span in spans if not {*parts[span].split()} <= {*taught})
    span = next(chain(by_name, meant, strange), None)
    if span is None:
        return None, end
    first, last = (noun + at for at in span)
    looks = (word for word in tokens[start:first] if word not in {*BEFORE_NOUNS, *NUMBERS})
    mention = Mention(parts[span], meant.get(span), count, noun > start)
    return mention._replace(before=tuple(looks), after=tuple(tokens[last:end])), end


def _before_verb(words: Iterable[str]) -> Iterator[str]:
    """Yield words up to a verb in -ing; the first one names whatever it ends in."""
    rest = iter(words)
    yield from islice(rest, 1)
    yield from takewhile(lambda word: not word.endswith("ing"), rest)
