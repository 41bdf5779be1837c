"""Reads a prompt once: its subjects, place, time, weather, season and art, and what is not drawn.

Only models with a small vocabulary need this. Other models know what words look like.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from typing import NoReturn

from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Preset
from swiftpie.errors import UnknownSubjectError, short_reason
from swiftpie.lexicon import (
    ARTICLES,
    AS_LARGE,
    COLOUR_WORDS,
    ENDS,
    FILLERS,
    IN_THE_AIR,
    LISTS,
    LOOK_WORDS,
    NO_SUBJECT,
    OF_PLACES,
    PLACED,
    PLAIN,
    POSED,
    PREPOSITIONS,
    RENDITIONS,
    SEASONS,
    SETTING_WORDS,
    SIZES,
    TIMES,
    WEATHERS,
    WITHOUT_IT,
    WORD_OR_NUMBER,
    WORN_NOUNS,
    WORN_PHRASE,
    Look,
    SceneSetting,
    listed,
    look_in,
    phrases_in,
    setting_in,
    texture_in,
    tokens_in,
    without_art,
    words_in,
    worn_in,
)
from swiftpie.library import Named, subject_library
from swiftpie.pipelines.request import MAX_SUBJECTS, PersonalizeRequest
from swiftpie.places.vocabulary import GENERIC, NUMBERS, Mention, Vocabulary, subjects_in
from swiftpie.scenes import BACKDROPS, DRAWN, INDOORS, NEARBY, OUTDOORS, scene_library

NUM_KEPT = 256  # readings; advice, the choice of a technique and the drawing need the same ones
DIGITS = {str(number): word for word, number in NUMBERS.items()}
DIGIT = re.compile(r"(?<![\w.])[2-4](?= +[^\W\d_])")  # before a noun, as in "3 cats"
# A number in the place of a name, as that of the file 00.jpg, in "a photo of 00 on a beach".
NUMBER_NAME = re.compile(
    rf"(?:(?<=\bof )|(?<=\ban )|(?<=\ba ))\d+(?= (?:{'|'.join(PREPOSITIONS)})\b)"
)
NAMES = re.compile(r"\b[^\W\d_a-z]\w+(?: [^\W\d_a-z]\w+)+")  # such as "Ada Lovelace"
FOREIGN_SHARE = 0.5  # a prompt with this share of unknown words is in another language
COLOURLESS = "black and white"
ENGLISH = "SwiftPie reads English."
KEPT = re.compile(rf" (?:{'|'.join(POSED['kept'])})(?= )")
PEOPLE, TURNING, WHOLE = *map(listed, ("people", "turning")), LISTS["whole"]


@dataclass(frozen=True)
class Reading:
    """What a prompt says. Its tokens are words in lower case, and a comma for each mark."""

    text: str = ""
    vocabulary: Vocabulary | None = None  # None: the model reads any word
    rendition: str | None = None  # the art, one of `RENDITIONS`; None for a photograph
    place: str | None = None  # name in the library of scenes
    is_bare: bool = False  # whether the place stands without a preposition, as in "dog, beach"
    setting: SceneSetting = PLAIN  # time, weather and season besides the words for the place
    shown_setting: SceneSetting = PLAIN  # the same with those words, such as "in the snow"
    worn: str | None = None  # what the first subject wears or holds, as "top hat"
    texture: str | None = None  # what the first subject is made of, one of `TEXTURED`
    is_turned: bool = False  # whether the subject is not upright
    art: str | None = None  # the rendition if there is one, or else `COLOURLESS`
    tokens: tuple[str, ...] = ()  # all of them but those of the art
    unset: tuple[str, ...] = ()  # `tokens` without those for time, weather and season
    skipped: tuple[str, ...] = ()  # words that describe the place, such as "quiet"
    others: tuple[str, ...] = ()  # tokens of subjects, and of how they look
    mentions: tuple[Mention, ...] = ()  # mentions of subjects
    loose: tuple[str, ...] = ()  # words of phrases without a subject, as "seen from the left"
    lost: tuple[str, ...] = ()  # words in their order, as "8k", that change nothing in the picture
    unknown: tuple[str, ...] = ()  # words that the model knows in no form; a name may be any
    is_foreign: bool = False  # whether hardly a word is known, as of another language

    @cached_property
    def subject_tokens(self) -> tuple[str, ...]:
        """The tokens of subjects, with those before a place that stands alone."""
        return (*self.skipped, *self.others) if self.is_bare else self.others

    @cached_property
    def num_subjects(self) -> int:
        """How many subjects it asks for."""
        return sum(mention.number for mention in self.mentions)

    @cached_property
    def lone_plurals(self) -> list[Mention]:
        """Mentions by a plural that say no number, of which one is drawn."""
        is_plural = subject_library().is_plural
        return [each for each in self.mentions if each.number == 1 and is_plural(each.words)]

    @property
    def _is_list(self) -> bool:
        """Whether nouns stand next to each other, where captions of training have sentences."""
        bare = [mention for mention in self.mentions if mention.subject and not mention.has_article]
        is_several = len(self.mentions) > 1 or any(mention.number > 1 for mention in self.mentions)
        return bool(self.mentions) and (
            self.is_bare or (is_several and (bool(bare) or len(self.mentions) != self.num_subjects))
        )

    @cached_property
    def plain(self) -> str:
        """The prompt as words in lower case."""
        return " ".join(tokens_in(self.text))

    @cached_property
    def as_place(self) -> "Reading":
        """The reading for a picture without a subject of its own: a lone castle is a place.

        Only photographed places win over a drawing of the library.
        """
        library, (first, *more) = scene_library(), (*self.mentions, None)
        if self.place is not None or first is None or more[0] is not None or first.number > 1:
            return self
        place = library.place_in(("in", "a", *first.words.split()))
        if first.before or first.after or place is None or not library.is_photographed(place.name):
            return self
        return replace(self, place=place.name, mentions=())

    @cached_property
    def looks(self) -> tuple[Look | None, ...]:
        """How each subject that it asks for shall look, in order; a name may be a "black cat"."""
        rest, looks = f" {' '.join(self.others)} ", list[Look | None]()
        if not self.mentions:  # a name that is in no list
            return (look_in(rest, rest),)
        for mention in reversed(self.mentions):  # what is said behind a noun is said of it
            rest, noun, behind = rest.rpartition(f" {mention.words} ")
            held = [w for w in mention.words.split()[:-1] if phrases_in(f" {w} ", COLOUR_WORDS)]
            first = [mention.before] * (mention.number - len(mention.twins))
            for before in reversed((*first, *mention.twins)):
                looks.append(look_in(f" {' '.join((*before, *held))} ", f" {noun and behind} "))
        return tuple(reversed(looks))

    def unmatched_subjects(self, names: Iterable[Sequence[str]]) -> list[Mention]:
        """Return the subjects besides those of `names`, words for each; see `named_besides`."""
        named = [{*words} for words in names]
        texts = (
            " ".join((mention.words, *(mention.subject or ())[1:2])) for mention in self.mentions
        )
        mentioned = [{*text.lower().split()} for text in texts]
        free = [words for words in named if all(map(words.isdisjoint, mentioned))]
        pairs = zip(self.mentions, mentioned, strict=True)
        unmatched = [mention for mention, words in pairs if all(map(words.isdisjoint, named))]
        return unmatched[len(free) :]

    def place_for(self, share: float, *, is_small: bool = False) -> str:
        """Return the place, or else one where anything may be.

        That is a meadow if the prompt asks for a time, weather or season, or a wall seen from near
        for small things, else a plain backdrop, whose colour `share` in [0, 1) chooses.
        """
        if self.place is not None:
            return self.place
        if self.shown_setting != PLAIN:
            return NEARBY if is_small else OUTDOORS
        return f"{BACKDROPS[int(1000 * share) % len(BACKDROPS)]} backdrop"

    def shown_at(self, place: str | None) -> "Reading":
        """Return the reading for a place of the library: no weather comes indoors."""
        if place is None or place.removeprefix(DRAWN) not in INDOORS:
            return self
        return replace(self, shown_setting=self.shown_setting.indoors)

    @cached_property
    def placed(self) -> tuple[str, ...]:
        """Entries of `PLACED` in the order of the prompt; "on the left of a house" is none."""
        text = re.sub(KEPT, " ", f" {' '.join(self.tokens)} ")
        nouns = scene_library().nouns(self.place) if self.place else frozenset[str]()
        of = {look: text.partition(f" {look.phrase} of ")[2] for look in phrases_in(text, PLACED)}
        places = [look for look, thing in of.items() if not thing or nouns & {*thing.split()[:4]}]
        places.sort(key=lambda look: text.find(f" {look.phrase} "))
        return tuple(dict.fromkeys(look.name for look in places))

    @cached_property
    def sizes(self) -> tuple[str | None, ...]:
        """Which entry of `AS_LARGE` stands before each subject, or alone behind a comma."""
        rest, sizes = f" {' '.join(self.others)} ", list[str | None]()
        alone = phrases_in(f" {' '.join(re.findall('(?<=, )[a-z]+(?= ,| $)', rest))} ", AS_LARGE)
        for mention in self.mentions:
            before, _, rest = rest.partition(f" {mention.words} ")
            phrases = phrases_in(f" {' '.join(before.split()[-2:])} ", AS_LARGE) or alone
            sizes += [phrases[0].name if phrases else None] * mention.number
            rest = f" {rest}"
        return tuple(sizes)

    @cached_property
    def pose_phrases(self) -> Mapping[str, list[str]]:
        """The phrases of the prompt for poses and views of each kind, an entry of `POSED`."""
        text = f" {' '.join(self.tokens)} "
        return {
            kind: [look.phrase for look in phrases_in(text, {kind: phrases})]
            for kind, phrases in POSED.items()
        }

    @cached_property
    def sentence(self) -> str:
        """The prompt as captions put it, a list as a sentence: "a dog on a beach at sunset"."""
        if not self._is_list:
            bare, art = without_art(self.text)
            return self.text if art is None else f"{RENDITIONS[art][0]} {bare.strip(' ,.')}"
        nouns = []
        for mention in self.mentions:
            name = mention.words if mention.subject is None else mention.subject.name
            phrase = " ".join((*mention.before, name, *mention.after))
            nouns += [f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"] * mention.number
        parts = [RENDITIONS[self.rendition][0]] if self.rendition else []
        parts += [" and ".join(nouns), *(word for word in self.loose if word not in FILLERS)]
        parts += [scene_library().phrase(self.place)] if self.place else []
        settings = zip((TIMES, WEATHERS, SEASONS), self.setting, PLAIN, strict=True)
        parts += [[*table.values()][new][0] for table, new, plain in settings if new != plain]
        return " ".join(parts)

    @cached_property
    def placed_sentence(self) -> str:
        """The sentence, with the words for a usual place if it names none."""
        if self.place is not None:
            return self.sentence
        return f"{self.sentence} {scene_library().phrase(self.place_for(0.0))}"

    @cached_property
    def photo_prompt(self) -> str:
        """The prompt of a photograph of the bare subject in the same light.

        Nothing is in the air of it: that is drawn over the finished picture.
        """
        text = WORN_PHRASE.sub("", self.text, count=1)
        return scene_library().in_known_words(IN_THE_AIR.sub(WITHOUT_IT, text))


def vocabulary_of(by: Preset | Components) -> Vocabulary | None:
    """Return the vocabulary of networks or of a packaged preset; None if it reads any word."""
    if not isinstance(by, Preset):
        return getattr(by.own, "vocabulary", None)
    folder = by.source.removeprefix("package:")
    return None if folder == by.source else _taught(folder)


def taught(components: Components) -> dict[str, list[str]] | None:
    """Return the words of networks as JSON holds them; None if they read any word."""
    vocabulary = vocabulary_of(components)
    return None if vocabulary is None else vocabulary.to_json()


@cache
def _taught(folder: str) -> Vocabulary | None:
    place = files("swiftpie").joinpath("assets", folder, "tokenizer", "tokenizer_config.json")
    return Vocabulary.stored(json.loads(place.read_bytes()).get("taught"))


@lru_cache(maxsize=NUM_KEPT)
def read(text: str, vocabulary: Vocabulary | None = None) -> Reading:
    """Return what a prompt says to a model with a vocabulary; None: one that knows all words."""
    spelled = DIGIT.sub(lambda digit: DIGITS[digit[0]], text).lower()
    spelled = NUMBER_NAME.sub(GENERIC, spelled)
    bare, rendition = without_art(spelled.replace(COLOURLESS, " "))
    tokens = tokens_in(bare)
    shown_setting, unset = setting_in(tokens)
    worn, left = worn_in(bare), tokens_in(WORN_PHRASE.sub(" ", bare, count=1))
    place, skipped = scene_library().place_in(left), list[str]()
    if place is not None:
        within = left[place.start : place.end - len(place.head)]
        skipped = [word for word in within if word not in PREPOSITIONS | ARTICLES | SETTING_WORDS]
        left = [*left[: place.start], *left[place.end :]]
    setting, others = setting_in(left)
    reading = Reading(
        text=text,
        vocabulary=vocabulary,
        rendition=rendition,
        place=place and place.name,
        is_bare=place is not None and place.is_bare,
        setting=setting,
        shown_setting=shown_setting,
        worn=worn,
        texture=texture_in(text),
        is_turned=is_turned(text),
        art=rendition or (COLOURLESS if COLOURLESS in spelled else None),
        tokens=tuple(tokens),
        unset=tuple(unset),
        skipped=tuple(skipped),
        others=tuple(others),
    )
    return reading if vocabulary is None else _with_subjects(reading, vocabulary)


def read_all(components: Components, request: PersonalizeRequest) -> list[Reading]:
    """Return a reading of each prompt of a request; there is none if the prompt is encoded."""
    readings = [read(text, vocabulary_of(components)) for text in request.texts]
    return readings if request.subjects else [reading.as_place for reading in readings]


def _with_subjects(reading: Reading, vocabulary: Vocabulary) -> Reading:
    """Return a reading with its subjects, and with the words that change nothing."""
    text, place = reading.text, reading.place
    mentions, loose = subjects_in(
        reading.others, vocabulary.words, wears=reading.worn is not None, is_bare=reading.is_bare
    )
    left = [*reading.skipped, *loose]
    left += [word for mention in mentions for word in (*mention.before, *mention.after)]
    nouns = scene_library().nouns(place) | {*place.split()} if place else frozenset[str]()
    lost = {word for word in left if word in reading.skipped or _is_lost(word, vocabulary)}
    obeyed = (*AS_LARGE.values(), *(PLACED[name] for name in reading.placed))
    where = {word for phrases in obeyed for phrase in phrases for word in phrase.split()}
    lost = (lost - NO_SUBJECT - nouns - where).union(*(mention.apart for mention in mentions))
    tokens = dict.fromkeys(WORD_OR_NUMBER.findall(text.lower()))
    return replace(
        reading,
        mentions=tuple(mentions),
        loose=tuple(loose),
        lost=tuple(token for token in tokens if not lost.isdisjoint(words_in(token))),
        unknown=tuple(vocabulary.unknown_in(text)),
        is_foreign=_is_foreign(text, vocabulary),
    )


def is_turned(text: str) -> bool:
    """Whether a prompt wants a subject that is not upright."""
    return not TURNING.isdisjoint(words_in(text))


def names_people(text: str) -> bool:
    """Whether a text is about a person."""
    return not PEOPLE.isdisjoint(words_in(text))


def named_besides(
    prompt: str, by: Preset | Components, *, given: Sequence[str] = ()
) -> tuple[Named, ...]:
    """Return the library's subjects that a prompt names besides those `given` with a picture.

    `given` holds their names. A given subject whose name is "" or not in the prompt stands for one
    of the first subjects that the prompt names. A model without a vocabulary knows all words.

    Raises:
        UnknownSubjectError: The prompt names no subject of the library, and none is given.
    """
    reading = read(prompt, vocabulary_of(by))
    if reading.vocabulary is None:
        return ()
    reading = reading if given else reading.as_place
    mentions = reading.unmatched_subjects([words_in(name) for name in given])
    subjects = [mention.subject for mention in mentions for _ in range(mention.number)]
    named = [each._replace(name=WHOLE.get(each.name, each.name)) for each in subjects if each]
    unknown = tuple(mention.words for mention in mentions if mention.subject is None)
    if named or given:
        return tuple(named[: max(0, MAX_SUBJECTS - len(given))])
    if unknown or (reading.place is None and reading.setting == PLAIN):
        _refuse(reading, unknown)
    return ()


def _refuse(reading: Reading, unknown: Sequence[str]) -> NoReturn:
    text = short_reason(reading.text)
    if names_people(reading.text):
        raise UnknownSubjectError(
            f"No picture was given, and {text!r} is about people. The library has animals, plants "
            "and things.",
            "Give a photograph of the person.",
        )
    english = f" {ENGLISH}" if reading.is_foreign else ""
    if not unknown:
        raise UnknownSubjectError(
            f"No picture was given, and {text!r} names no subject.{english} A prompt begins with "
            "its subject, as in 'a cat on a beach'."
        )
    near = () if english else subject_library().near(unknown[0])
    similar = f" Spelled alike: {', '.join(near)}." if near else ""
    raise UnknownSubjectError(
        f"The library has no subject called {short_reason(unknown[0])!r}.{similar}{english}",
        word=unknown[0],
        near=near,
    )


def _is_foreign(text: str, vocabulary: Vocabulary) -> bool:
    words, meant_by = words_in(NAMES.sub(" ", text)), subject_library().meant_by
    taught = vocabulary.words | vocabulary.words_of_names | ENDS | FILLERS
    strange = [word for word in words if word not in taught and meant_by(word) is None]
    is_said = len(strange) > 1 or not "".join(strange).isascii()
    return is_said and len(strange) > FOREIGN_SHARE * len(words)


def _is_lost(word: str, vocabulary: Vocabulary) -> bool:
    """Whether a word changes nothing: it is unknown, of places or a noun no network reads."""
    if word in FILLERS | ENDS | SIZES | LOOK_WORDS | {*NUMBERS}:
        return False
    is_noun = word in _drawn_apart() or subject_library().meant_by(word) is not None
    return is_noun or word in OF_PLACES or not vocabulary.knows(word)


@cache
def _drawn_apart() -> frozenset[str]:
    """The nouns of places, accessories and arts, which no network reads from words."""
    places = (noun for name in scene_library().names() for noun in scene_library().nouns(name))
    arts = {phrase.split()[-2] for phrases in RENDITIONS.values() for phrase in phrases}
    return frozenset({*places, *WORN_NOUNS, *arts})
