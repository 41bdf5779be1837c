"""Reads a prompt: the subjects that it names, taken from the library, and what is not drawn.

Only models with a small vocabulary need this. Other models know what a word looks like.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache, lru_cache
from itertools import islice
from typing import NamedTuple, NoReturn

from swiftpie.errors import UnknownSubjectError, short_reason
from swiftpie.library import Named, subject_library
from swiftpie.mini.scenes import SceneReading, read_scene_of, scene_library
from swiftpie.mini.vocabulary import ARTICLES_AND_SIZES, TOKEN, Vocabulary, words_in
from swiftpie.mini.words import (
    FILLERS,
    LOOK_WORDS,
    NO_SUBJECT,
    PLAIN,
    RENDITIONS,
    SEASONS,
    TIMES,
    WEATHERS,
    WORN_NOUNS,
)
from swiftpie.pipelines.request import MAX_SUBJECTS

MAX_NAME_WORDS = 7
MAX_WORDS, MAX_MENTIONS = 12, 8  # bounds for prompts of any length
ARTICLES = frozenset(("a", "an", "the"))
ENDS = ARTICLES | {  # of a name that stands before them
    *("above", "across", "against", "among", "and", "at", "behind", "below", "beside", "by"),
    *("for", "from", "in", "inside", "into", "near", "next", "of", "on", "over", "surrounded"),
    *("through", "to", "under", "wearing", "with"),
}
LISTS = frozenset(("", ",", "and"))  # before a subject
NUMBERS = {"two": 2, "three": 3, "four": 4}
DIGITS = {str(number): word for word, number in NUMBERS.items()}
NAMES = re.compile(r"\b[^\W\d_a-z]\w+(?: [^\W\d_a-z]\w+)+")  # as "Ada Lovelace"
FOREIGN_SHARE = 0.5  # of unknown words, for a prompt in another language
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

    def shares_word(self, name: str) -> bool:
        """Whether the mention and `name` have a word in common."""
        words = words_in(f"{self.words} {self.subject.name if self.subject else ''}")
        return not {*words}.isdisjoint(words_in(name))


def names_people(text: str) -> bool:
    """Whether a text is about a person."""
    return not PEOPLE.isdisjoint(words_in(text))


class PromptReading(NamedTuple):
    """What a prompt says."""

    scene: SceneReading
    mentions: tuple[Mention, ...]
    loose: tuple[str, ...]  # words of phrases without a subject, as "seen from the left"
    lost: tuple[str, ...]  # words, as "8k", that nothing in the picture follows, in their order

    @property
    def shows_place(self) -> bool:
        """Whether it asks for a picture that needs no subject."""
        words = self.scene.words
        return words.place is not None or words.setting != PLAIN

    @property
    def is_list(self) -> bool:
        """Whether nouns stand next to each other, where captions of training have sentences."""
        bare = [mention for mention in self.mentions if mention.subject and not mention.has_article]
        is_several = len(self.mentions) > 1 or any(mention.number > 1 for mention in self.mentions)
        return bool(self.mentions) and (
            self.scene.is_bare
            or (is_several and (bool(bare) or len(self.mentions) != self.num_subjects))
        )

    def besides(self, given: Sequence[str]) -> list[Mention]:
        """Return the subjects besides those `given`, by their names; see `new_subjects`."""
        unnamed = [
            name
            for name in given
            if not any(mention.shares_word(name) for mention in self.mentions)
        ]
        found = [mention for mention in self.mentions if not any(map(mention.shares_word, given))]
        return found[len(unnamed) :]

    @property
    def num_subjects(self) -> int:
        """How many subjects it asks for."""
        return sum(mention.number for mention in self.mentions)


def new_subjects(
    prompt: str, vocabulary: Vocabulary | None, *, given: Sequence[str] = ()
) -> tuple[Named, ...]:
    """Return the library's subjects that a prompt names besides those `given` with a picture.

    `given` holds their names. A given subject whose name is "" or not in the prompt stands for one
    of the first subjects that the prompt names. A model without a vocabulary knows all words.

    Raises:
        UnknownSubjectError: The prompt names no subject of the library, and none is given.
    """
    if vocabulary is None:
        return ()
    reading = read_prompt(prompt, vocabulary)
    found = reading.besides(given)
    named = [mention.subject for mention in found for _ in range(mention.number) if mention.subject]
    unknown = tuple(mention.words for mention in found if mention.subject is None)
    known = tuple(subject for subject in named if subject is not None)
    if known or given:
        return known[: max(0, MAX_SUBJECTS - len(given))]
    if unknown or not reading.shows_place:
        _refuse(prompt, unknown, vocabulary)
    return ()


def _refuse(prompt: str, unknown: Sequence[str], vocabulary: Vocabulary) -> NoReturn:
    given = short_reason(prompt)
    if names_people(prompt):
        raise UnknownSubjectError(
            f"No picture was given, and {given!r} is about people. The library has animals, plants "
            "and things.",
            "Give a photograph of the person.",
        )
    english = f" {ENGLISH}" if is_foreign(prompt, vocabulary) else ""
    if not unknown:
        raise UnknownSubjectError(
            f"No picture was given, and {given!r} names no subject.{english} A prompt begins with "
            "its subject, as in 'a cat on a beach'."
        )
    near = () if english else subject_library().near(unknown[0])
    similar = f" Spelled alike: {', '.join(near)}." if near else ""
    raise UnknownSubjectError(
        f"The library has no subject called {short_reason(unknown[0])!r}.{similar}{english}",
        word=unknown[0],
        near=near,
    )


ENGLISH = "SwiftPie reads English."


def is_foreign(prompt: str, vocabulary: Vocabulary) -> bool:
    """Whether hardly a word of a prompt is known, as of one in another language."""
    words, library = words_in(NAMES.sub(" ", prompt)), subject_library()
    known = vocabulary.words | vocabulary.words_of_names | ENDS | FILLERS
    strange = [word for word in words if word not in known and library.meant_by(word) is None]
    is_said = len(strange) > 1 or not "".join(strange).isascii()
    return is_said and len(strange) > FOREIGN_SHARE * len(words)


def mentions(prompt: str, taught: Collection[str]) -> list[Mention]:
    """Return the subjects that a prompt names.

    The first subject stands at the beginning, or after "a photo of"; each other one after "and" or
    a comma. `taught` words describe scenes; they name a subject only if the library has that name.
    """
    return _read_subjects(read_scene_of(_spelled(prompt)), taught)[0]


@lru_cache(maxsize=64)  # advice and the technique both need it
def read_prompt(prompt: str, vocabulary: Vocabulary) -> PromptReading:
    """Return what a prompt says: scene, subjects, and the words that nothing follows."""
    scene = read_scene_of(_spelled(prompt))
    found, loose = _read_subjects(scene, vocabulary.words)
    left = [*scene.skipped, *loose]
    left += [word for mention in found for word in (*mention.before, *mention.after)]
    place = scene.words.place
    own = scene_library().nouns(place) if place else frozenset[str]()
    lost = {word for word in left if word in scene.skipped or _is_lost(word, vocabulary)}
    lost = (lost - NO_SUBJECT - own).union(*(mention.apart for mention in found))
    words = dict.fromkeys(
        token for token in TOKEN.findall(prompt.lower()) if not lost.isdisjoint(words_in(token))
    )
    return PromptReading(scene, tuple(found), tuple(loose), tuple(words))


def in_sentence(prompt: str, vocabulary: Vocabulary | None) -> str:
    """Return a prompt, a list as the sentence that says the same: "a dog on a beach at sunset"."""
    if vocabulary is None or not (reading := read_prompt(prompt, vocabulary)).is_list:
        return prompt
    words, nouns = reading.scene.words, []
    for mention in reading.mentions:
        name = mention.words if mention.subject is None else mention.subject.name
        phrase = " ".join((*mention.before, name, *mention.after))
        nouns += [f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"] * mention.number
    parts = [RENDITIONS[words.rendition][0]] if words.rendition else []
    parts += [" and ".join(nouns), *(word for word in reading.loose if word not in FILLERS)]
    parts += [scene_library().phrase(words.place)] if words.place else []
    settings = zip((TIMES, WEATHERS, SEASONS), words.setting, PLAIN, strict=True)
    parts += [[*table.values()][new][0] for table, new, plain in settings if new != plain]
    return " ".join(parts)


def _spelled(prompt: str) -> str:
    """Return a prompt with numbers as words, and without what means the lack of colour."""
    words = re.sub(r"(?<![\w.])[2-4](?![\w.])", lambda digit: DIGITS[digit[0]], prompt)
    return words.lower().replace(COLOURLESS, " ")


def _read_subjects(scene: SceneReading, taught: Collection[str]) -> tuple[list[Mention], list[str]]:
    """Return the subjects among the words that a scene leaves, and the words of other phrases."""
    tokens, found, loose = scene.words.others, list[Mention](), list[str]()
    at, before, wears = 0, "", scene.words.worn is not None
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
            is_last = _is_said(mention, before, is_bare=scene.is_bare)
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


def _is_lost(word: str, vocabulary: Vocabulary) -> bool:
    """Whether a word has no part in a picture: unknown, or of what is drawn in other words."""
    known = FILLERS | ENDS | ARTICLES_AND_SIZES | LOOK_WORDS
    if word in known or word in NUMBERS:
        return False
    return not vocabulary.knows(word) or word in _drawn_apart()


@cache
def _drawn_apart() -> frozenset[str]:
    """The nouns of places, accessories and arts, which no network reads from words."""
    places = (noun for name in scene_library().names() for noun in scene_library().nouns(name))
    arts = {phrase.split()[-2] for phrases in RENDITIONS.values() for phrase in phrases}
    return frozenset({*places, *WORN_NOUNS, *arts})


def _ends(token: str) -> bool:
    return token in LISTS or token in ENDS - ARTICLES


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
            if not phrase or phrase[0] in ARTICLES or "," in phrase or _ends(phrase[-1]):
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
    looks = [word for word in tokens[start:first] if word not in ARTICLES and word not in NUMBERS]
    mention = Mention(parts[span], meant.get(span), count, noun > start)
    return mention._replace(before=tuple(looks), after=tuple(tokens[last:end])), end


def _noun_phrase(words: Sequence[str]) -> Iterator[str]:
    for number, word in enumerate(words):
        if word in ENDS or (number and word.endswith("ing")):
            return
        yield word
