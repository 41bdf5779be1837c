"""Reads a prompt once: its subjects, place, time, weather, season and art, and what is not drawn.

Only models with a small vocabulary need this. Other models know what words look like.
"""

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from swiftpie import lexicon
from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Preset
from swiftpie.errors import UnknownSubjectError, short_reason
from swiftpie.lexicon import (
    AS_LARGE,
    ATTRIBUTES,
    ENDS,
    FILLERS,
    FUNCTIONS,
    NEGATED,
    PARTS,
    PLACED,
    PLAIN,
    PREPOSITIONS,
    RENDITIONS,
    TIMES,
    WEATHERS,
    SceneSetting,
    blank,
    phrases_in,
    words_in,
)
from swiftpie.library import Named, subject_library
from swiftpie.pipelines.request import MAX_SUBJECTS, PersonalizeRequest
from swiftpie.places.vocabulary import (
    COLOUR_NAMES,
    LOOK_PHRASES,
    NUMBERS,
    SHADES,
    Mention,
    Spelling,
    Unit,
    Vocabulary,
    spelled_alike,
    subjects_in,
    tokens_at,
)
from swiftpie.scenes import BACKDROPS, DRAWN, INDOORS, NEARBY, NEIGHBOURS, OUTDOORS, scene_library

MESSAGES = tomllib.loads(Path(__file__).with_name("advice.toml").read_text("utf-8"))
"""What is said of words without effect, and of edits that are not drawn."""
Value = TypeVar("Value")
NUM_KEPT = 256  # readings; advice, the choice of a technique and the drawing need the same ones
NAMES = re.compile(r"\b[^\W\d_a-z]\w+(?: [^\W\d_a-z]\w+)+")  # such as "Ada Lovelace"
FOREIGN_SHARE = 0.5  # in another language a larger share of words is unknown, and some are its own
COLOURLESS = "black and white"
ENGLISH = "SwiftPie reads English."
KEPT = re.compile(rf" (?:{'|'.join(lexicon.POSED['kept'])})(?= )")
PEOPLE, TURNING, POSE_TAILS = map(lexicon.listed, ("people", "turning", "pose_tails"))
WHOLE = lexicon.LISTS["whole"]
ACROSS = ("left", "middle", "right")  # entries of `PLACED`
# Words that say nothing by themselves; behind a setting, the others of `FILLERS` belong to it.
STRENGTHS, HOLDS, INTO_PLACES, OF_NOUNS = map(
    lexicon.listed, ("strengths", "holds", "into_places", "of_nouns")
)
SAY_NOTHING = FUNCTIONS | FILLERS | PREPOSITIONS | ENDS | {"a", "an", "the", "some"}
SETTINGS = {
    kind: frozenset(word for row in table.values() for phrase in row for word in phrase.split())
    for kind, table in zip(SceneSetting._fields, (TIMES, WEATHERS, lexicon.SEASONS), strict=True)
}
ENDS_OF = {"top", "front", "back", "left", "right", "bottom", "edge", "foot", "side", "middle"}
SIZE_WORDS = frozenset(chain.from_iterable(AS_LARGE.values()))
BEHIND = re.compile(rf" with (?:[\w' -]+?) ({'|'.join(PLACED['far'])})(?= )")
THINGS_OFF = re.compile(r"\b(?:no|without|free|lack|less|fewer|sans|minus|devoid|void)\b|n't")
UNREAD = frozenset(("quality", "lighting"))  # why words have no effect that are no words of a scene
LEAST_VERB = 5  # letters from which "ing" and "ed" end a verb: "thing" and "bread" are nouns
NEAR_PLACES = frozenset(" ".join(NEIGHBOURS.values()).split())
BY_PLACES = PREPOSITIONS - {"of", "with"} | {"behind"}


class Outcome(StrEnum):
    """What becomes of a word of a prompt."""

    OBEYED = "obeyed"
    FUNCTION = "function word"
    WARNED = "no effect"
    REFUSED = "refused"


class Account(NamedTuple):
    """What becomes of one word of a prompt."""

    word: str
    outcome: Outcome
    # What the word sets, as "season", or why it does not: the name of a message of `advice.toml`.
    why: str = ""


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
    unknown: tuple[str, ...] = ()  # words that the model knows in no form; a name may be any
    accounts: tuple[Account, ...] = ()  # what becomes of each word, in their order
    spoken: str = ""  # the prompt without what it takes off, its names by one word
    order: tuple[int | None, ...] | None = None  # number of the subject that each picture shows
    is_foreign: bool = False  # whether hardly a word is known, as of another language

    def phrases(self, accounts: Sequence[Account]) -> list[Account]:
        """Return accounts of its words as those of phrases, which marks and other accounts end."""
        spelling, phrases = Spelling(self.text), list[Account]()
        for at, account in enumerate(accounts):
            if at and spelling.joins(at - 1) and phrases[-1][1:] == account[1:]:
                phrases[-1] = account._replace(word=f"{phrases[-1].word} {account.word}")
            else:
                phrases.append(account)
        return phrases

    @cached_property
    def subject_tokens(self) -> tuple[str, ...]:
        """The tokens of subjects, with those before a place that stands alone."""
        words = (*self.skipped, *self.others) if self.is_bare else self.others
        return tuple(part for word in words for part in word.split())

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
        return " ".join(lexicon.tokens_in(self.spoken))

    @cached_property
    def as_place(self) -> "Reading":
        """The reading for a picture without a subject of its own: a lone castle is a place.

        Only photographed places win over a drawing of the library.
        """
        library, (first, *more) = scene_library(), (*self.mentions, None)
        if self.place is not None or first is None or more[0] is not None or first.number > 1:
            return self
        place = library.place_in(("in", "a", *first.words.split()))
        looks = first.units[0].looks or first.units[0].after
        if looks or place is None or not library.is_photographed(place.name):
            return self
        return replace(self, place=place.name, mentions=())

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """Each subject that it asks for, in order."""
        units = (unit for mention in self.mentions for unit in mention.units)
        return tuple(unit for unit in units for _ in range(unit.number))

    def _by_picture(self, values: Sequence[Value]) -> tuple[Value | None, ...]:
        """Return the value of the subject of each picture, from those of all subjects."""
        if self.order is None:
            return tuple(values)
        return tuple(None if at is None else values[at] for at in self.order)

    @cached_property
    def all_looks(self) -> tuple[lexicon.Look | None, ...]:
        """How each subject that it asks for shall look, in order; a name may be a "black cat"."""
        if not self.mentions:  # a name that is in no list
            text = f" {' '.join(self.others)} "
            return (lexicon.look_in(text, text),)
        nouns = sorted(tokens_at(chain.from_iterable(unit.noun for unit in self.units)))
        looks = []
        for unit in self.units:
            last = tokens_at(unit.noun)[-1]
            end = next((at for at in nouns if at > last), len(self.text))
            behind = [w for w in self.others if last < max(tokens_at([w]), default=-1) < end]
            names = [word for word in unit.noun[:-1] if word in COLOUR_NAMES]
            own, other = f" {' '.join(unit.looks)} ", f" {' '.join(behind)} "
            looks.append(lexicon.look_in(own, other) or lexicon.look_in(f" {' '.join(names)} ", ""))
        return tuple(looks)

    @cached_property
    def looks(self) -> tuple[lexicon.Look | None, ...]:
        """How the subject of each picture shall look."""
        return self._by_picture(self.all_looks) if self.mentions else self.all_looks

    def order_of(self, names: Sequence[Sequence[str]]) -> tuple[int | None, ...]:
        """Return which subject each picture shows, for words of the name of each.

        What is said of a name goes to its picture; others take the subjects that are left.
        """
        keys = [mention.keys for mention in self.mentions for _ in range(mention.number)]
        free, order = [*range(len(keys))], dict[int, int]()
        for number, words in enumerate(names):
            same = (at for part in (words[-1:], words) for at in free if keys[at] & {*part})
            if (at := next(same, None)) is not None:
                order[number] = at
                free.remove(at)
        for number, words in enumerate(names):
            if number not in order and free and all(map({*words}.isdisjoint, keys)):
                order[number] = free.pop(0)
        return tuple(map(order.get, range(len(names))))

    @property
    def unmatched_subjects(self) -> list[Mention]:
        """The subjects that no picture shows."""
        shown = [self.units[at] for at in self.order or () if at is not None]
        return [one for one in self.mentions if not any(unit in shown for unit in one.units)]

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
    def positions(self) -> list[tuple[str, list[int]]]:
        """Entries of `PLACED` in the order of the prompt with the tokens that say them."""
        text = re.sub(KEPT, " ", f" {' '.join(self.tokens)} ")
        nouns = scene_library().nouns(self.place) if self.place else frozenset[str]()
        of = {look: text.partition(f" {look.phrase} of ")[2] for look in phrases_in(text, PLACED)}
        looks = [look for look, thing in of.items() if not thing or nouns & {*thing.split()[:4]}]
        looks.sort(key=lambda look: text.find(f" {look.phrase} "))
        # "With a house in the background" says where the house is.
        things = {*BEHIND.findall(text)}
        looks = [look for look in looks if look.phrase not in things]
        return [(look.name, said_at(self.tokens, look.phrase)) for look in looks]

    @cached_property
    def placed(self) -> tuple[str, ...]:
        """Entries of `PLACED` in the order of the prompt; "on the left of a house" is none."""
        return tuple(dict.fromkeys(name for name, _ in self.positions))

    @cached_property
    def sides(self) -> tuple[str | None, ...]:
        """Where across the place each picture's subject stands: "a dog on the left and a cat"."""
        starts = {at[0]: (name, at) for name, at in self.positions if name in ACROSS and at}
        across = [*starts.values()]  # "on the left side" starts as "on the left"
        ends = [tokens_at(unit.noun)[-1] for unit in self.units]
        if len(across) == len(ends):
            sides: list[str | None] = [name for name, _ in across]
        else:
            sides = [None] * len(ends)
            for name, at in across if len(ends) > 1 else ():
                before = [n for n, end in enumerate(ends) if end < at[0]]
                if before and (len(before) < len(ends) or len(across) > 1):
                    sides[before[-1]] = name
        return self._by_picture(sides)

    @cached_property
    def sizes(self) -> tuple[str | None, ...]:
        """Which entry of `AS_LARGE` stands before each subject, or alone behind a comma."""
        text = f" {' '.join(self.others)} "
        alone = phrases_in(f" {' '.join(re.findall('(?<=, )[a-z]+(?= ,| $)', text))} ", AS_LARGE)
        heads = (phrases_in(f" {' '.join(unit.head)} ", AS_LARGE) for unit in self.units)
        looks = [phrases or alone for phrases in heads]
        return self._by_picture([phrases[0].name if phrases else None for phrases in looks])

    @cached_property
    def pose_phrases(self) -> Mapping[str, list[str]]:
        """The phrases of the prompt for poses and views of each kind, an entry of `POSED`."""
        text = f" {' '.join(self.tokens)} "
        return {
            kind: [look.phrase for look in phrases_in(text, {kind: phrases})]
            for kind, phrases in lexicon.POSED.items()
        }

    @cached_property
    def sentence(self) -> str:
        """The prompt as captions put it, a list as a sentence: "a dog on a beach at sunset"."""
        if not self._is_list:
            bare, art = lexicon.without_art(self.spoken)
            bare = " ".join(bare.split()).strip(" ,.")
            return self.spoken if art is None else f"{RENDITIONS[art][0]} {bare}"
        nouns = []
        for mention in self.mentions:
            first = mention.units[0]
            name = " ".join((*first.noun[:-1], first.noun[-1].split()[-1]))
            name = name if mention.subject is None else mention.subject.name
            phrase = " ".join((*first.looks, name, *first.after))
            nouns += [f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"] * mention.number
        parts = [RENDITIONS[self.rendition][0]] if self.rendition else []
        parts += [" and ".join(nouns), *(word for word in self.loose if word not in FILLERS)]
        parts += [scene_library().phrase(self.place)] if self.place else []
        settings = zip((TIMES, WEATHERS, lexicon.SEASONS), self.setting, PLAIN, strict=True)
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
        text = lexicon.WORN_PHRASE.sub("", self.spoken, count=1)
        return scene_library().in_known_words(lexicon.IN_THE_AIR.sub(lexicon.WITHOUT_IT, text))


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


class Ledger:
    """What becomes of each word of a prompt; what is noted of one first counts."""

    def __init__(self, spelling: Spelling, reading: Reading) -> None:
        self._spelling, self._reading = spelling, reading
        self._rows: list[Account | None] = [None] * len(spelling.tokens)
        place = reading.place
        self._of_place = scene_library().nouns(place) | {*place.split()} if place else frozenset()

    def accounts(self) -> tuple[Account, ...]:
        """Return all of them; a phrase such as "two robots" is one thing, and slips are marked."""
        rows = [row for row in self._rows if row is not None]
        for at in range(len(rows) - 1, -1, -1):
            after = rows[at + 1] if at + 1 < len(rows) and self._spelling.joins(at) else None
            word, outcome, why = rows[at]
            if outcome is Outcome.WARNED and why not in UNREAD and spelled_alike(word):
                rows[at] = Account(word, outcome, "typo")
            elif outcome is Outcome.WARNED and why in OF_NOUNS and after is not None:
                is_lost = after.outcome is Outcome.WARNED and after.why not in {"typo", *UNREAD}
                is_verb = at > 0 and rows[at - 1][1:] == (Outcome.OBEYED, "subject")
                rows[at] = after._replace(word=word) if is_lost and not is_verb else rows[at]
        return tuple(rows)

    def _mark_at(self, tokens: Iterable[int], outcome: Outcome, why: str = "") -> None:
        for number in tokens:
            if self._rows[number] is None:
                word = self._spelling.tokens[number][0]
                self._rows[number] = Account(word, outcome, why)

    def _obeyed(self, words: Iterable[str], what: str) -> None:
        self._mark_at(tokens_at(words), Outcome.OBEYED, what)

    def _warned(self, words: Iterable[str], why: str) -> None:
        self._mark_at(tokens_at(words), Outcome.WARNED, why)

    def mark_negated(self) -> None:
        """Note what the prompt takes off, which is obeyed where it would have been drawn."""
        text, shown = self._spelling.text, self._reading.shown_setting
        for match in NEGATED.finditer(text):
            start, end = next(span for span in map(match.span, (1, 2, 3)) if span[0] >= 0)
            words: Sequence[str] = self._spelling.words(
                " " * start + text[start:end] + " " * (len(text) - end)
            )
            setting, left, _ = lexicon.setting_in(words)
            content = [word for word in left if word not in SAY_NOTHING]
            is_asked = any(off == asked != 0 for off, asked in zip(setting, shown, strict=True))
            is_choice = THINGS_OFF.search(text[match.start() : start]) is None
            is_place = scene_library().place_in(["in", *left]) is not None
            is_off = [
                word not in PARTS | lexicon.WORN_NOUNS
                and (
                    word in lexicon.NO_SUBJECT | PEOPLE
                    or (is_choice and (is_place or subject_library().meant_by(word) is not None))
                )
                for word in content
            ]
            at = self._spelling.within(match.span())
            if is_asked or not all(is_off):
                self._mark_at(at, Outcome.WARNED, "both" if is_asked else "kept")
            of_air = {*tokens_at(words)} - {*tokens_at(left)}
            self._mark_at(of_air | {*tokens_at(content)}, Outcome.OBEYED, "left out")
            self._mark_at(at, Outcome.FUNCTION)

    def mark_said(self, bare: str, said: str, worn: re.Match[str] | None) -> None:
        """Note art and what is worn, which `bare` does not have or `worn` holds."""
        for match in lexicon.UNREAD.finditer(NEGATED.sub(blank, self._spelling.text)):
            why = str(match.lastgroup)
            outcome = Outcome.OBEYED if why == "weather" else Outcome.WARNED
            self._mark_at(self._spelling.within(match.span()), outcome, why)
        for match in re.finditer(COLOURLESS, said):
            self._mark_at(self._spelling.within(match.span()), Outcome.WARNED, "colourless")
        spans = (slice(*token.span()) for token in self._spelling.tokens)
        art = (number for number, at in enumerate(spans) if bare[at] != said[at])
        self._mark_at(art, Outcome.OBEYED, "art")
        within = [] if worn is None else self._spelling.within(worn.span())
        says = [at for at in within if self._spelling.tokens[at][0] not in SAY_NOTHING | HOLDS]
        self._mark_at(says, Outcome.WARNED, "worn")
        self._mark_at(within, Outcome.FUNCTION)

    def mark_setting(self, place: Sequence[str], num_head: int, second: Sequence[str]) -> None:
        """Note the setting, a `second` one, and the words of a place, the last of which name it."""
        reading, unset = self._reading, {*tokens_at(self._reading.unset)}
        self._obeyed(place[len(place) - num_head :], "place")
        self._warned(second, "second")
        self._obeyed((word for word in reading.tokens if word in lexicon.NO_SUBJECT), "subject")
        self._obeyed((word for word in reading.skipped if word in self._of_place), "place")
        self._warned(reading.skipped, "scenery")
        for before, word in pairwise(("", *reading.tokens)):
            at = tokens_at([word])
            if not unset.issuperset(at):
                stars = (n for n in at if self._spelling.tokens[n][0] in lexicon.SKY)
                self._mark_at(stars, Outcome.WARNED, "sky")  # "under the stars"
                kind = next(kind for kind, words in SETTINGS.items() if word in words)
                self._obeyed([word, before] if before in STRENGTHS else [word], kind)
        self._obeyed((word for word in place if word in SAY_NOTHING | lexicon.ARTICLES), "place")
        end = max(tokens_at(place), default=-1) + 1  # "with mountains in the background"
        far = (said_at(reading.tokens, phrase) for phrase in PLACED["far"])
        behind = (at for at in far if at[:1] == [end])
        self._mark_at(next(behind, ()), Outcome.OBEYED, "place")

    def mark_subjects(self, names: Collection[str]) -> None:
        """Note how subjects are posed and placed, their looks and their names."""
        reading = self._reading
        tokens, others = reading.tokens, reading.others
        for phrase in lexicon.TEXTURES[reading.texture] if reading.texture else ():
            self._mark_at(said_at(tokens, phrase), Outcome.REFUSED, "texture")
        for _, at in reading.positions:
            self._mark_at(at, Outcome.OBEYED, "position")
        for phrase in chain.from_iterable(reading.pose_phrases.values()):
            self._mark_at(said_at(tokens, phrase), Outcome.OBEYED, "pose")
        if reading.is_turned or reading.pose_phrases["torn"]:
            self._obeyed((word for word in tokens if word in TURNING | POSE_TAILS), "pose")
        sizes = replace(reading, order=None).sizes
        if any(sizes):
            alone = (word for mark, word in pairwise(others) if mark == ",")
            self._obeyed((word for word in alone if word in SIZE_WORDS), "size")
        if not reading.units:
            self._mark_look(reading.all_looks[0], tokens)
        for side, of in pairwise(tokens):
            if side in ACROSS and of == "of":  # "left of a big tree"
                self._warned([side], "beside")
        for unit, look, size in zip(reading.units, reading.all_looks, sizes, strict=False):
            last = tokens_at(unit.noun)[-1]
            behind = [word for word in others if max(tokens_at([word]), default=0) > last]
            self._mark_look(look, unit.head, behind)
            self._mark_unit(unit, names, has_size=size is not None)

    def _mark_look(self, look: lexicon.Look | None, *runs: Sequence[str]) -> None:
        """Note the phrase of a look in the first of the runs of words that has it."""
        spans = (said_at(words, look.phrase) for words in runs) if look else iter(())
        why = "clear" if look and look.name in lexicon.CLEAR else "look"
        self._mark_at(next(filter(None, spans), ()), Outcome.OBEYED, why)

    def _mark_unit(self, unit: Unit, names: Collection[str], *, has_size: bool) -> None:
        """Note the words of one subject."""
        meant_by, of_name = subject_library().meant_by, " ".join(unit.noun)
        shades = (shade for shade, word in pairwise(unit.head) if word in LOOK_PHRASES)
        self._obeyed((word for word in unit.head if word in lexicon.KINDS), "subject")
        self._obeyed((shade for shade in shades if shade in SHADES), "look")
        self._obeyed((word for word in unit.head if word in NUMBERS), "number")
        self._obeyed((word for word in unit.head if has_size and word in SIZE_WORDS), "size")
        rest = [word for word in unit.head if word not in SAY_NOTHING - STRENGTHS]
        self._obeyed((word for word in rest if " " in word and meant_by(word)), "subject")
        self._warned((word for word in rest if word in LOOK_PHRASES), "second")
        self._warned(rest, "attribute")
        for word in unit.noun:
            last = word.split()[-1]
            is_strange = word not in names and meant_by(word) is None
            if is_strange and " " in word and is_read_apart(word) and meant_by(last) is not None:
                self._mark_at(tokens_at([word])[:1], Outcome.WARNED, "name")
        if of_name not in names and meant_by(of_name) is None:
            self._warned(filter(_tells_how, unit.noun[:-1]), "attribute")
        self._obeyed((word for word in unit.noun[:-1] if word in COLOUR_NAMES), "look")
        self._obeyed(unit.noun, "subject")
        rest = [word for word in unit.after if word not in SAY_NOTHING - STRENGTHS | PARTS]
        self._warned((word for word in rest if meant_by(word) is not None), "apart")
        self._warned(rest, "attribute")

    def mark_rest(self) -> None:
        """Note all other words: those that say nothing, and why others change nothing."""
        link, is_named = "", bool(self._reading.mentions)
        tokens, of_all = self._reading.tokens, scene_library().words_of_all
        behind = BEHIND.search(f" {' '.join(tokens)} ")  # "with a tower in the background"
        tower = said_at(tokens, behind[0].strip()) if behind else []
        self._mark_at(tower[-behind[1].count(" ") - 1 :] if behind else (), Outcome.FUNCTION)
        for before, word, after in zip(("", *tokens), tokens, (*tokens[1:], ""), strict=False):
            at = tokens_at([word])
            if word == "of" and before in ACROSS:
                link = "beside"
            elif word in PREPOSITIONS and (word != "of" or not link):
                link = "behind" if at[:1] == tower[:1] else word
            elif word in {",", "and"} or any(
                row and row[1:] == (Outcome.OBEYED, "place")
                for row in map(self._rows.__getitem__, at)
            ):
                link = ""
            if word in SAY_NOTHING - STRENGTHS or (word in ENDS_OF and after == "of"):
                self._mark_at(at, Outcome.FUNCTION)
            elif not (is_named or link in BY_PLACES or _tells_how(word) or word in of_all):
                is_named = any(self._rows[number] is None for number in at)
                self._obeyed([word], "subject")  # what its picture explains, as "a thing"
            elif word in self._of_place:
                self._obeyed([word], "place")
            else:
                self._warned([word], self._why(word, after, link=link))
        self._mark_at(range(len(self._rows)), Outcome.WARNED, "unknown")

    def _why(self, word: str, after: str, *, link: str) -> str:
        """Return why a word has no effect that is no part of what is drawn, behind a `link`."""
        if word in PARTS or after in PARTS:
            return "part"
        if word in lexicon.WORN_NOUNS:
            return "worn"
        if word in lexicon.SKY and link not in {"in", "on", "to"}:
            return "sky"
        is_noun = word in _drawn_apart() or subject_library().meant_by(word) is not None
        if link in BY_PLACES:
            is_thing = is_noun and word not in scene_library().words_of_all | NEAR_PLACES
            return "beside" if is_thing and link not in INTO_PLACES else "place"
        if _tells_how(word):
            return "attribute"
        if self._reading.place and (link == "of" or (link and not is_noun)):
            return "scenery"
        vocabulary = self._reading.vocabulary
        assert vocabulary is not None, "the prompt was read by one"
        is_apart = word not in lexicon.OF_PLACES and (is_noun or vocabulary.knows(word))
        return "apart" if is_apart else "unknown"


def _tells_how(word: str) -> bool:
    """Whether a word tells how something is or what it does."""
    is_verb = len(word) > LEAST_VERB and word.endswith(("ing", "ed"))
    return word in ATTRIBUTES or word in STRENGTHS or is_verb


def is_read_apart(name: str) -> bool:
    """Whether the words of a name may well be meant one by one, as those of "red fox"."""
    return name.split()[0] in LOOK_PHRASES or name not in lexicon.NAMES


def said_at(words: Sequence[str], phrase: str) -> list[int]:
    """Return the tokens of a prompt by which words of it say a phrase first."""
    parts = phrase.split()
    start = lexicon.start_of(words, parts)
    return [] if start is None else tokens_at(words[start : start + len(parts)])


@lru_cache(maxsize=NUM_KEPT)
def read(text: str, vocabulary: Vocabulary | None = None, names: tuple[str, ...] = ()) -> Reading:
    """Return what a prompt says to a model with a vocabulary; None: one that knows all words.

    `names` are those of its subjects with a picture, in their order; one may be "".
    """
    spelling = Spelling(text)
    asked = NEGATED.sub(blank, spelling.text)
    said = lexicon.UNREAD.sub(blank, asked)
    bare, rendition = lexicon.without_art(said.replace(COLOURLESS, " " * len(COLOURLESS)))
    worn = lexicon.WORN_PHRASE.search(bare)
    names = tuple(name.lower() for name in names)
    tokens = spelling.words(bare, names)
    shown_setting, unset, second = lexicon.setting_in(tokens)
    left: Sequence[str] = spelling.words(lexicon.WORN_PHRASE.sub(blank, bare, count=1), names)
    place = scene_library().place_in(left)
    start, end, num_head = (place.start, place.end, len(place.head)) if place else (0, 0, 0)
    of_place, left = left[start:end], [*left[:start], *left[end:]]
    says_nothing = PREPOSITIONS | lexicon.ARTICLES | lexicon.SETTING_WORDS
    skipped = [word for word in of_place[: len(of_place) - num_head] if word not in says_nothing]
    setting, others, _ = lexicon.setting_in(left)
    spoken = spelling.spoken(asked, tokens)
    reading = Reading(
        text=text,
        vocabulary=vocabulary,
        rendition=rendition,
        place=place and place.name,
        is_bare=place is not None and place.is_bare,
        setting=setting,
        shown_setting=shown_setting,
        worn=None if worn is None else " ".join(worn["noun"].split()),
        texture=lexicon.texture_in(said),
        is_turned=is_turned(said),
        art=rendition or (COLOURLESS if COLOURLESS in said else None),
        tokens=tuple(tokens),
        unset=tuple(unset),
        skipped=tuple(skipped),
        others=tuple(others),
        spoken=text if spoken == " ".join(spelling.text.split()) else spoken,
    )
    if vocabulary is None:
        return reading
    mentions, loose = subjects_in(
        others, vocabulary.words, wears=worn is not None, is_bare=reading.is_bare
    )
    reading = replace(
        reading,
        mentions=tuple(mentions),
        loose=tuple(loose),
        unknown=tuple(vocabulary.unknown_in(reading.spoken)),
        is_foreign=_is_foreign(said, vocabulary),
    )
    ledger = Ledger(spelling, reading)
    ledger.mark_negated()
    ledger.mark_said(bare, said, worn)
    ledger.mark_setting(of_place, num_head, second)
    ledger.mark_subjects(names)
    ledger.mark_rest()
    order = reading.order_of([*map(words_in, names)]) if names else None
    return replace(reading, accounts=ledger.accounts(), order=order)


def read_all(
    components: Components, request: PersonalizeRequest, names: tuple[str, ...] = ()
) -> list[Reading]:
    """Return a reading of each prompt, for subjects with `names`; none if the prompt is encoded."""
    readings = [read(text, vocabulary_of(components), names) for text in request.texts]
    return readings if names else [reading.as_place for reading in readings]


def is_turned(text: str) -> bool:
    """Whether a prompt wants a subject that is not upright."""
    return not TURNING.isdisjoint(words_in(NEGATED.sub(" ", text)))


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
    reading = read(prompt, vocabulary_of(by), tuple(given))
    if reading.vocabulary is None:
        return ()
    reading = reading if given else reading.as_place
    mentions = reading.unmatched_subjects
    subjects = [mention.subject for mention in mentions for _ in range(mention.number)]
    named = [each._replace(name=WHOLE.get(each.name, each.name)) for each in subjects if each]
    unknown = tuple(mention.words for mention in mentions if mention.subject is None)
    if named or given:
        return tuple(named[: max(0, MAX_SUBJECTS - len(given))])
    if unknown or (reading.place is None and reading.setting == PLAIN):
        _refuse(reading, unknown)
    return ()


def _refuse(reading: Reading, unknown: Sequence[str]) -> NoReturn:
    said, text = MESSAGES["refused"], short_reason(reading.text)
    if names_people(reading.spoken):
        raise UnknownSubjectError(said["people"].format(text=text), said["photograph"])
    english = f" {ENGLISH}" if reading.is_foreign else ""
    if not unknown:
        raise UnknownSubjectError(said["none"].format(text=text, english=english))
    near = () if english else subject_library().near(unknown[0])
    similar = said["near"].format(near=", ".join(near)) if near else ""
    strange = said["strange"].format(word=short_reason(unknown[0]), more=similar + english)
    raise UnknownSubjectError(strange, word=unknown[0], near=near)


def _is_foreign(text: str, vocabulary: Vocabulary) -> bool:
    words, meant_by = words_in(NAMES.sub(" ", text)), subject_library().meant_by
    taught = vocabulary.words | vocabulary.words_of_names | ENDS | FILLERS | FUNCTIONS | ATTRIBUTES
    strange = [word for word in words if word not in taught and meant_by(word) is None]
    is_said = not lexicon.FOREIGN.isdisjoint(strange) or not "".join(strange).isascii()
    return is_said and len(strange) > FOREIGN_SHARE * len(words)


@cache
def _drawn_apart() -> frozenset[str]:
    """The nouns of places, accessories and arts, which no network reads from words."""
    places = (noun for name in scene_library().names() for noun in scene_library().nouns(name))
    arts = {phrase.split()[-2] for phrases in RENDITIONS.values() for phrase in phrases}
    return frozenset({*places, *lexicon.WORN_NOUNS, *arts})
