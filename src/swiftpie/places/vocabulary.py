"""The words of training captions, and the words and phrases of a prompt that name subjects."""

import difflib
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import chain, groupby, islice, takewhile
from typing import NamedTuple, Self

from swiftpie import lexicon
from swiftpie.lexicon import (
    COMPOUNDING,
    ENDS,
    LOOK_WORDS,
    MATERIAL_PHRASES,
    NAMED_MATERIALS,
    NAMES,
    PREPOSITIONS,
    SAID_OF,
    SCENIC,
    SETTING_WORDS,
    plain,
)
from swiftpie.library import Named, subject_library
from swiftpie.scenes import PHOTOS, scene_library

BEFORE_NAMES = ("of", "and", "")  # an article and a size may follow; "" is the beginning
LINKS = lexicon.SIZES | PREPOSITIONS | {"and"}
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
NUMBERS = {"two": 2, "three": 3, "four": 4}
DIGITS = {str(number): word for word, number in NUMBERS.items()}
# Words and marks, a number before a noun, as in "3 cats", and one in the place of a name, as that
# of the file 00.jpg in "a photo of 00 on a beach".
SCAN = re.compile(lexicon.pattern("scan"))
MAX_NAME_WORDS = 7
MAX_WORDS, MAX_MENTIONS = 12, 8  # bounds for prompts of any length
OWNERS = frozenset(("its", "his", "her", "their", "my", "our"))
BEFORE_NOUNS = frozenset(("a", "an", "the"))
LISTS_GO_ON = frozenset(("", ",", "and"))  # before a subject
LOOK_PHRASES = frozenset(
    phrase for row in (*lexicon.COLOUR_WORDS.values(), *NAMED_MATERIALS.values()) for phrase in row
)
COLOUR_NAMES = frozenset(phrase for row in lexicon.COLOUR_WORDS.values() for phrase in row)
FIRSTS = frozenset(name.split()[0] for name in NAMES)
MADE = frozenset(
    phrase.split()[0] for row in (*MATERIAL_PHRASES.values(), *SAID_OF.values()) for phrase in row
) - {"in", "coloured", "colored"}
MOST_NAME = max(name.count(" ") + 1 for name in NAMES)
SAID: Mapping[str, str] = {**lexicon.LISTS["said_as"], **lexicon.LISTS["things"]}
NO_NAMES, SHADES = map(lexicon.listed, ("unset", "shades"))
DAYS = frozenset(("at", "by", "during"))  # after them an hour or a weather is no part of a name


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
        words = lexicon.words_in(MEASURE.sub(" ", prompt))
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
        tokens = lexicon.WORD_OR_NUMBER.findall(plain("".join((WORN.sub(GENERIC, named), *rest))))
        spelled = [lexicon.WORD.findall(token) for token in tokens]
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

    def _taught_form(self, word: str) -> str | None:
        """Return a known word of the same stem, if there is one."""
        return next((form for form in _forms(word) if form in self.words), None)

    def _names(self, word: str) -> bool:
        return not self.words_of_names.isdisjoint(_forms(word))

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
                yield from run if " ".join(run) in self.names else before_verb(run)

    def _may_name(self, tokens: Sequence[str], start: int) -> bool:
        first = start
        while first and tokens[first - 1] in lexicon.SIZES | self.looks:
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


def before_verb(words: Iterable[str]) -> Iterator[str]:
    """Yield words up to a verb in -ing; the first one names whatever it ends in."""
    rest = iter(words)
    yield from islice(rest, 1)
    yield from takewhile(lambda word: not word.endswith("ing"), rest)


class Word(str):
    """A word of a prompt in lower case, or a name of several, and which tokens it stands for."""

    at: tuple[int, ...]

    def __new__(cls, text: str, at: Iterable[int] = ()) -> Self:
        word = super().__new__(cls, text)
        word.at = tuple(at)
        return word


def tokens_at(words: Iterable[str]) -> list[int]:
    """Return the tokens of a prompt that words of it stand for."""
    return [at for word in words if isinstance(word, Word) for at in word.at]


class Spelling:
    """A prompt in lower case and one spelling, with its tokens, which are words and numbers."""

    def __init__(self, text: str) -> None:
        self.text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
        self.tokens = [*lexicon.WORD_OR_NUMBER.finditer(self.text)]
        self._token_at = dict[int, int]()
        for number, token in enumerate(self.tokens):
            self._token_at |= dict.fromkeys(range(*token.span()), number)

    def within(self, span: tuple[int, int]) -> list[int]:
        """Return the tokens that stand in a span of the text."""
        return [*dict.fromkeys(self._token_at[at] for at in range(*span) if at in self._token_at)]

    def joins(self, number: int) -> bool:
        """Whether nothing but blanks stands between a token and the next one."""
        first, second = self.tokens[number : number + 2]
        return self.text[first.end() : second.start()].isspace()

    def words(self, text: str, names: Collection[str] = ()) -> list[Word]:
        """Return the words of the prompt, of which blanks in `text` leave some out.

        There is a "," for each mark. Names of things of several words, which `names` are as well,
        are one word.
        """
        words = list[Word]()
        for match in SCAN.finditer(text):
            at, spelled = self.within(match.span()), match[0]
            match match.lastgroup:
                case "said":
                    words += [Word(word, at) for word in SAID[" ".join(spelled.split())].split()]
                case "count":
                    words.append(Word(DIGITS[spelled], at))
                case "name":
                    words.append(Word(GENERIC, at))
                case "word":
                    words.append(Word(spelled, at))
                case _:
                    words.append(Word(","))
        return _with_names(words, names)

    def spoken(self, text: str, words: Sequence[Word]) -> str:
        """Return `text` with the last word of each name that a network would read otherwise."""
        marks = SETTING_WORDS | LOOK_WORDS
        risky = (word for word in words if not marks.isdisjoint(word.split()[:-1]))
        for word in risky:
            if subject_library().meant_by(word) is None:
                for token in (self.tokens[at] for at in word.at[:-1]):
                    text = text[: token.start()] + " " * len(token[0]) + text[token.end() :]
        return " ".join(text.split())


def _with_names(words: Sequence[Word], names: Collection[str]) -> list[Word]:
    """Return words of which those of a name are one, as "snow leopard" and "night owl"."""
    merged, at = list[Word](), 0
    names = [name for name in names if " " in name]
    firsts = {name.split()[0] for name in names}
    most = max([MOST_NAME, *(name.count(" ") + 1 for name in names)])
    while at < len(words):
        length = 1
        if words[at] in FIRSTS or words[at] in firsts:
            length = next((n for n in range(most, 1, -1) if _is_name(words[at : at + n], names)), 1)
        if length == 1 and _makes_a_name(words, at):
            length = 2
        run = words[at : at + length]
        merged.append(run[0] if length == 1 else Word(" ".join(run), tokens_at(run)))
        at += length
    return merged


def _is_name(words: Sequence[str], names: Collection[str]) -> bool:
    text = " ".join(words)
    return text in NAMES or text in names or (text.endswith("s") and text[:-1] in NAMES)


def _makes_a_name(words: Sequence[str], at: int) -> bool:
    """Whether a noun of a setting stands before another noun, as in "fog hound"."""
    if words[at] not in COMPOUNDING or at + 1 == len(words) or (at and words[at - 1] in DAYS):
        return False
    noun = words[at + 1]
    is_other = noun in PREPOSITIONS | ENDS | lexicon.FILLERS | SCENIC | SETTING_WORDS | LOOK_WORDS
    is_verb = noun.endswith(("ing", "ed"))
    return not (is_other or is_verb or noun in scene_library().words_of_all or "," in noun)


class Unit(NamedTuple):
    """Words that name one subject, or several that look alike."""

    head: tuple[str, ...]  # before its name, as "a red"
    noun: tuple[str, ...]
    after: tuple[str, ...] = ()  # what else is said of it, as "lying down"
    number: int = 1

    @property
    def looks(self) -> tuple[str, ...]:
        """Words before its name that may say how it looks; names of other things do not."""
        words = (word for word in self.head if " " not in word or word in LOOK_PHRASES)
        return tuple(word for word in words if word not in BEFORE_NOUNS | NUMBERS.keys())


class Mention(NamedTuple):
    """Words of a prompt that name a subject."""

    words: str
    subject: Named | None  # the library's subject; None if it has no such name
    units: tuple[Unit, ...]  # one, or more of that name: "a dog and a red dog"
    has_article: bool = True

    @property
    def number(self) -> int:
        """How many of it are wanted."""
        return sum(unit.number for unit in self.units)

    @property
    def keys(self) -> frozenset[str]:
        """The words that it is called by."""
        return frozenset(" ".join((self.words, *(self.subject or ())[1:2])).lower().split())

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
    at, before, earlier = 0, "", ""
    is_last = False  # whether the subject that was found last stands in the phrase before
    while at < len(tokens):
        if _ends(tokens[at]):
            wears |= tokens[at] in {"wearing", "with"}
            # "Of" behind a place that was left out is said of that: "in a field of flowers".
            is_near = {*tokens_at([tokens[at]])} <= {max(tokens_at(tokens[:at]), default=-1) + 1}
            before, earlier, at = tokens[at] if is_near else "about", before, at + 1
            continue
        start, (mention, at) = at, _mention(tokens, at, taught)
        if wears and mention is not None:
            is_worn = mention.words.split()[-1] in lexicon.WORN_NOUNS
            mention = None if is_worn or not lexicon.PARTS.isdisjoint(tokens[start:at]) else mention
        if mentions and mention is not None and mention.words in lexicon.SKY:  # "and stars"
            mention = None
        twin = _twin_of(mention, mentions) if before in LISTS_GO_ON else None
        if twin is not None and mention is not None:
            other = mentions[twin]
            mentions[twin] = other._replace(units=(*other.units, *mention.units))
            is_last = False
            continue
        if mention is None or mention.is_in(mentions) or len(mentions) == MAX_MENTIONS:
            is_last = False
        elif before in LISTS_GO_ON:
            is_last = _is_said(mention, before, is_bare=is_bare)
        else:  # "a photo of a dog", and not "a pot of nothing" or "a dog made of wood"
            is_single = (
                bool(mentions)
                and " " not in mentions[-1].words
                and not mentions[-1].units[-1].after
            ) or (bool(mentions) and mentions[-1].words.split()[-1] in PHOTOS)
            is_last = (
                before == "of"
                and earlier in LISTS_GO_ON
                and (not mentions or (is_last and is_single))
            )
            is_last &= mention.subject is not None or not (mentions and mentions[-1].subject)
            loose += mentions.pop().units[0].noun if is_last and mentions else ()
        if is_last and mention is not None:
            mentions.append(mention)
        else:
            loose += [*([] if before in LISTS_GO_ON else [before]), *tokens[start:at]]
    return mentions, loose


def _twin_of(mention: Mention | None, mentions: Sequence[Mention]) -> int | None:
    """Return which of the `mentions` is named once more: "a dog and its puppy"."""
    if mention is None or not mention.has_article:
        return None
    name = mention.subject.name if mention.subject else mention.words
    names = (other.subject.name if other.subject else other.words for other in mentions)
    return next((at for at, other in enumerate(names) if other == name), None)


def _is_said(mention: Mention, before: str, *, is_bare: bool) -> bool:
    """Whether words in a list name a subject; without an article the library has to have it."""
    if mention.subject is None:
        return mention.has_article or (before == "" and not is_bare)
    return mention.has_article or not LOOK_WORDS.issuperset(mention.words.split())


def _ends(token: str) -> bool:
    return token in LISTS_GO_ON or token in ENDS - BEFORE_NOUNS


def _mention(
    tokens: Sequence[str], start: int, taught: Collection[str]
) -> tuple[Mention | None, int]:
    """Return the subject of the phrase that begins at `start`, and where words follow it.

    Its name may go on behind the phrase, as "pot of food".
    """
    library, noun, count = subject_library(), start, 1
    end = next((at for at in range(start, len(tokens)) if _ends(tokens[at])), len(tokens))
    while noun < end and tokens[noun] in lexicon.SIZES | NUMBERS.keys() | OWNERS:
        count, noun = NUMBERS.get(tokens[noun], count), noun + 1

    def named(first: int, last: int, stop: int, subject: Named | None) -> tuple[Mention, int]:
        words = tuple(tokens[first:last])
        unit = Unit(tuple(tokens[start:first]), words, tuple(tokens[last:stop]), count)
        return Mention(" ".join(words), subject, (unit,), noun > start), stop

    for last in range(min(noun + MAX_NAME_WORDS, len(tokens)), end - 1, -1):
        for begin in range(start, noun + 1):  # a name may have a size, as "small airplane"
            phrase = tokens[begin:last]
            if not phrase or phrase[0] in BEFORE_NOUNS or "," in phrase or _ends(phrase[-1]):
                continue
            if (subject := _meant_by(phrase)) is not None:
                return named(begin, last, last, subject)
    until = takewhile(lambda word: word not in ENDS, tokens[noun:end])
    run = [*islice(before_verb(until), MAX_WORDS)]
    run = run[: next((at for at, word in enumerate(run) if at and word in MADE), len(run))]
    spans = [
        (last - length, last)
        for length in range(len(run), 0, -1)
        for last in range(len(run), length - 1, -1)
    ]
    # An "orange zebu" is no fruit.
    nouns = (span for span in spans if span[1] == len(run) or run[span[1] - 1] not in COLOUR_NAMES)
    meant = {span: subject for span in nouns if (subject := _meant_by(run[slice(*span)]))}
    by_name = (span for span in meant if not library.is_plural(meant[span].word))  # no verb "flies"
    strange = (span for span in spans if not {*" ".join(run[slice(*span)]).split()} <= {*taught})
    span = next(chain(by_name, meant, strange), None)
    if span is None:
        return None, end
    first, last = span
    while span not in meant and (length := _look_before(run[first:last])):
        first += length
    return named(noun + first, noun + last, end, meant.get(span))


def _look_before(words: Sequence[str]) -> int:
    """Return how many words before the last one name a colour or a material: "golden zebu"."""
    if len(words) < 2:
        return 0
    named = (n for n in range(len(words) - 1, 0, -1) if " ".join(words[:n]) in LOOK_PHRASES)
    length = next(named, 0)
    if not length and words[0] in SHADES:
        length = _look_before(words[1:])
        return length and length + 1
    return length


def _meant_by(words: Sequence[str]) -> Named | None:
    """Return the subject of the library that words name; a "night owl" is an owl."""
    library, text = subject_library(), " ".join(words)
    subject = library.meant_by(text)
    if subject is None and len(words) == 1 and " " in text and text not in NO_NAMES:
        subject = library.meant_by(text.split()[-1])
    return subject


@lru_cache(maxsize=1024)
def spelled_alike(word: str) -> tuple[str, ...]:
    """Return words for subjects, places, settings and looks that a strange one is a slip for."""
    if len(word) < LEAST_LETTERS or not _known().isdisjoint(_forms(word)):
        return ()
    alike = (other for other in _drawn() if other[0] == word[0])
    near = [other for other in alike if abs(len(other) - len(word)) < 2]
    return tuple(difflib.get_close_matches(word, sorted(near), NUM_NEAR, LEAST_LIKENESS))


@cache
def _drawn() -> frozenset[str]:
    """The words that set what a picture shows."""
    names = frozenset(name for name in subject_library().names() if " " not in name)
    return names | SETTING_WORDS | LOOK_WORDS | scene_library().words_of_all


@cache
def _known() -> frozenset[str]:
    """Words of English: those of the lists, of captions and of what the library's names mean."""
    entries = subject_library().entries
    words = (word for entry in entries for word in (entry.name, *entry.words))
    return _drawn() | {
        *lexicon.WORD.findall(json.dumps(lexicon.LISTS)),
        *chain.from_iterable(map(str.split, words)),
    }
