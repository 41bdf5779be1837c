"""The words by which prompts ask for times, weathers, arts, colours and materials.

The words are in `lexicon.toml`. This module loads no tensor library.
"""

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

LISTS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
"""Lists of words by name, and tables of lists."""


def listed(name: str) -> frozenset[str]:
    return frozenset(LISTS[name])


def _table(name: str) -> Mapping[str, tuple[str, ...]]:
    return {key: tuple(phrases) for key, phrases in LISTS[name].items()}


def _words_of(*tables: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    phrases = (phrase for table in tables for row in table.values() for phrase in row)
    return frozenset(word for phrase in phrases for word in phrase.split())


COLOUR_WORDS, MATERIAL_WORDS, MATERIAL_PHRASES = map(_table, ("colours", "materials", "made_of"))
TIMES, WEATHERS, SEASONS = map(_table, ("times", "weathers", "seasons"))
RENDITIONS, TEXTURED = _table("renditions"), tuple(LISTS["textured"])
CLOUDY, SNOWFALL, FOG = (tuple(WEATHERS).index(name) for name in ("cloudy", "snowfall", "fog"))
NIGHT, DAWN = (tuple(TIMES).index(name) for name in ("night", "dawn"))
AUTUMN, WINTER = (tuple(SEASONS).index(name) for name in ("autumn", "winter"))
PREPOSITIONS, ARTICLES, FILLERS = map(listed, ("prepositions", "articles", "fillers"))
NO_SUBJECT, OF_PLACES = map(listed, ("no_subject", "of_places"))
AS_LARGE, POSED = map(_table, ("as_large", "posed"))
PLACED = {
    name: tuple(phrase + end for phrase in phrases for end in LISTS["of_picture"])
    for name, phrases in _table("placed").items()
}
SIZES, ENDS, HEADS, HOLDERS = map(listed, ("sizes", "ends", "heads", "holders"))
SETTING_WORDS = _words_of(TIMES, WEATHERS, SEASONS)
LOOK_WORDS = _words_of(COLOUR_WORDS, MATERIAL_WORDS, MATERIAL_PHRASES) - PREPOSITIONS - {"from"}
WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
WORD_OR_MARK = re.compile(rf"{WORD.pattern}|[,;.:!?]")
WORD_OR_NUMBER = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")  # such as "8-bit"
WITHOUT_IT = str(LISTS["without_it"])
FUNCTIONS, PARTS, ATTRIBUTES, SCENIC = map(listed, ("functions", "parts", "attributes", "scenic"))
COMPOUNDING, SKY, KINDS, CLEAR, FOREIGN = map(
    listed, ("compounding", "sky", "kinds", "clear", "foreign")
)
SAID_AS = re.compile(rf"\b(?:{'|'.join(LISTS['said_as'])})\b")


class SceneSetting(NamedTuple):
    """Time of day, weather and season, as numbers of `TIMES`, `WEATHERS` and `SEASONS`."""

    time: int = 0
    weather: int = 0
    season: int = 0

    @property
    def in_photographs(self) -> "SceneSetting":
        """For photographs: dawn in fog is day in fog, as fog scatters the light of a low sun."""
        is_grey = self.weather == FOG and self.time == DAWN
        return self._replace(time=PLAIN.time) if is_grey else self

    @property
    def indoors(self) -> "SceneSetting":
        """The setting as rooms show it: grey light at most, and no snow lies."""
        return self._replace(weather=min(self.weather, CLOUDY), season=PLAIN.season)


PLAIN = SceneSetting()
"""A clear summer day, as references show places."""


def words_in(text: str) -> list[str]:
    """Return the words of a text in lower case, without marks and numbers."""
    return WORD.findall(plain(text))


def tokens_in(text: str) -> list[str]:
    """Return the words of a text in lower case, with "," for each mark between them."""
    found = WORD_OR_MARK.findall(plain(text))
    return [token if token[0].isalpha() else "," for token in found]


def name_of_file(words: str) -> str:
    """Return the words without colours and materials, which would change the subject."""
    kept = [word for word in words.split() if word.lower() not in LOOK_WORDS]
    return " ".join(kept).removesuffix(" of") or words


def plain(text: str) -> str:
    """Return a text in lower case, its letters in one spelling and its hours in one word."""
    text = unicodedata.normalize("NFKC", text).lower()
    return SAID_AS.sub(lambda phrase: LISTS["said_as"][phrase[0]], text)


ARTS = {phrase: name for name, phrases in RENDITIONS.items() for phrase in phrases}
"""The art by each of its phrases, as "an oil painting of", and by those that end a prompt."""
ENDING_ARTS = {
    re.sub(r"^an? | of$", "", phrase): name
    for phrase, name in ARTS.items()
    if phrase.startswith(("a ", "an ", "pixel", "stained"))
}
TEXTURES = {name: (*MATERIAL_PHRASES[name], *MATERIAL_WORDS[name]) for name in TEXTURED}
"""Phrases for materials that are not drawn: stitches and studs are finer than a latent cell."""
NAMED_MATERIALS = {name: (*phrases, name) for name, phrases in MATERIAL_WORDS.items()}
WORN = tuple(LISTS["worn"])
WORN_NOUNS = frozenset(noun.split()[-1] for noun in WORN)


NAMES = frozenset(
    phrase
    for first, nouns in LISTS["names"].items()
    for phrase in (f"{first} {noun}" for noun in nouns.split())
) | listed("unset")
"""Phrases that name a thing, although their first word alone asks for a look or a setting."""
SAID_OF = {
    name: tuple(f"{verb} {word}" for verb in LISTS["said_of"] for word in words)
    for name, words in COLOUR_WORDS.items()
}
"""How colours are said behind a noun, as "painted red"."""
GRAMMAR: Mapping[str, str | list[str]] = LISTS["grammar"]
PHRASES = {"arts": [*ARTS], "ending_arts": [*ENDING_ARTS], "look_words": [*LOOK_WORDS]}


def pattern(name: str) -> str:
    """Return a pattern of the grammar, or one for any phrase of a list, the longest first."""
    if (said := GRAMMAR.get(name)) is None:
        phrases = sorted(PHRASES.get(name, LISTS.get(name, ())), key=lambda one: (-len(one), one))
        return WORD.pattern if name == "word" else "|".join(phrases).replace(" ", "[ ]+")
    parts = said if isinstance(said, str) else "|".join(said)
    return re.sub(r"\{([a-z_]+)\}", lambda part: pattern(part[1]), parts)


_NAMES = ("art_phrase", "art_at_end", "worn_phrase", "negated", "unread", "looks_end_at")
ART_PHRASE, ART_AT_END, WORN_PHRASE, NEGATED, UNREAD, LOOKS_END, IN_THE_AIR = (
    re.compile(pattern(name), re.IGNORECASE) for name in (*_NAMES, "in_the_air")
)


class Look(NamedTuple):
    """An entry of a table of words in a prompt, such as the colour or material of a subject."""

    name: str
    phrase: str  # what captions say, such as "made of gold"


def phrases_in(text: str, table: Mapping[str, Sequence[str]]) -> list[Look]:
    """Return the entries of a table of which `text`, with blanks around all words, has a phrase."""
    return [
        Look(name, phrase)
        for name, phrases in table.items()
        for phrase in phrases
        if f" {phrase} " in text
    ]


def look_in(before: str, behind: str) -> Look | None:
    """Return the longest phrase before or behind a noun that names its colour or material."""
    found = [
        *phrases_in(before, COLOUR_WORDS),
        *phrases_in(before, NAMED_MATERIALS),
        *phrases_in(behind, MATERIAL_PHRASES),
        *phrases_in(behind, SAID_OF),
    ]
    return max(found, key=lambda look: len(look.phrase), default=None)


def texture_in(text: str) -> str | None:
    """Return what the first subject of a prompt is made of, one of `TEXTURED`; None otherwise."""
    found = phrases_in(f" {LOOKS_END.split(text, maxsplit=1)[0].lower()} ", TEXTURES)
    return found[0].name if found else None


def blank(match: re.Match[str]) -> str:
    """Return as many blanks as a match has characters, so that all behind it stays in its place."""
    return " " * len(match[0])


def without_art(text: str) -> tuple[str, str | None]:
    """Return a text with blanks for its words for an art, and the art, one of `RENDITIONS`.

    They stand before the subject, as in "an oil painting of", at the end, as in ", oil painting",
    or alone.
    """
    phrases = ART_PHRASE.findall(text)
    if phrases:
        art = ARTS[" ".join(max(phrases, key=len).lower().split())]
        return ART_AT_END.sub(blank, ART_PHRASE.sub(blank, text)), art
    if (end := ART_AT_END.search(text)) is not None:
        return ART_AT_END.sub(blank, text), ENDING_ARTS[end["art"].lower()]
    alone = ART_AT_END.search(f", {text}")
    return (text, None) if alone is None else (" " * len(text), ENDING_ARTS[alone["art"].lower()])


def setting_in(tokens: Sequence[str]) -> tuple[SceneSetting, list[str], list[str]]:
    """Return the setting that tokens ask for, the other tokens, and those of a second one.

    What is not mentioned stays plain.
    """
    left, numbers, second = [*tokens], list[int](), list[str]()
    for values, phrases in zip((TIMES, WEATHERS, SEASONS), PHRASES_BY_LENGTH, strict=True):
        named = list[tuple[int, list[str]]]()
        said = {*left}
        for phrase, index in phrases:
            while said.issuperset(phrase) and (at := start_of(left, phrase)) is not None:
                end = at + len(phrase)
                named.append((index, left[at:end]))
                left = left[:at] + left[end:]
        indices = [index for index, _ in named]
        number = next(filter(None, indices), 0)
        if values is WEATHERS:  # rain and snow fall from clouds, which prompts may name as well
            number = next((index for index in indices if index > CLOUDY), max(indices, default=0))
        same = {number, CLOUDY} if values is WEATHERS and number > CLOUDY else {number}
        second += [word for index, words in named if index not in same for word in words]
        numbers.append(number)
    time, weather, season = numbers
    if weather == SNOWFALL and not season:
        season = WINTER  # snow that falls lies on the ground as well
    return SceneSetting(time, weather, season), left, second


def start_of(tokens: Sequence[str], phrase: Sequence[str]) -> int | None:
    """Return where the words of a phrase stand first among tokens; None where they do not."""
    starts = (at for at, token in enumerate(tokens) if token == phrase[0])
    return next((at for at in starts if [*tokens[at : at + len(phrase)]] == phrase), None)


PHRASES_BY_LENGTH = tuple(
    [
        (phrase.split(), index)
        for phrase, index in sorted(
            ((phrase, index) for index, name in enumerate(values) for phrase in values[name]),
            key=lambda pair: -len(pair[0]),
        )
    ]
    for values in (TIMES, WEATHERS, SEASONS)
)
"""The phrases of times, of weathers and of seasons with their numbers, the longest first."""
