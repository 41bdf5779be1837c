"""The words by which prompts ask for times, weathers, arts, colours and materials.

It loads no tensor library.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

COLOUR_WORDS: Mapping[str, tuple[str, ...]] = {  # stand before the noun
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange", "orange coloured", "bright orange"),
    "yellow": ("yellow", "bright yellow", "lemon yellow"),
    "green": ("green", "emerald green", "grass green"),
    "turquoise": ("turquoise", "aqua", "cyan"),
    "blue": ("blue", "cobalt blue", "royal blue"),
    "purple": ("purple", "violet", "deep purple"),
    "pink": ("pink", "rose pink", "bright pink"),
    "brown": ("brown", "chestnut brown", "hazel brown"),
    "black": ("black", "jet black", "pitch black"),
    "white": ("white", "snow white", "pure white"),
    "grey": ("grey", "gray", "ash grey"),
}
MATERIAL_PHRASES: Mapping[str, tuple[str, ...]] = {  # follow the noun
    "gold": ("made of gold", "made of polished gold", "cast in gold"),
    "silver": ("made of silver", "made of polished silver", "cast in silver"),
    "wood": ("made of wood", "carved from wood", "made of timber"),
    "stone": ("made of stone", "carved from stone", "made of granite"),
    "marble": ("made of marble", "carved from marble", "made of white marble"),
    "glass": ("made of glass", "blown from glass", "made of clear glass"),
    "ice": ("made of ice", "carved from ice", "made of frozen water"),
    "chocolate": ("made of chocolate", "cast in chocolate", "made of dark chocolate"),
    "wool": ("made of wool", "knitted from wool", "made of yarn"),
    "toy bricks": ("made of toy bricks", "built from toy bricks", "made of plastic bricks"),
}
MATERIAL_WORDS: Mapping[str, tuple[str, ...]] = {  # stand before the noun
    "gold": ("golden", "solid gold"),
    "silver": ("silver", "chrome-plated"),
    "wood": ("wooden", "carved wooden"),
    "stone": ("stone", "granite"),
    "marble": ("marble", "veined marble"),
    "glass": ("glass", "transparent glass"),
    "ice": ("icy", "frozen"),
    "chocolate": ("chocolate", "dark chocolate"),
    "wool": ("woollen", "knitted", "crocheted"),
    "toy bricks": ("brick-built", "toy brick"),
}
TEXTURED = ("wool", "toy bricks")
"""Their stitches and studs are too small for the cells of latents."""

LOOKS_END = re.compile(
    r"\b(?:in|on|at|by|near|beside|before|behind|inside|under|with|wearing|holding|and)\b|,",
    re.IGNORECASE,
)

# The words that ask for each setting, longest first in a prompt. The order is the network's.
TIMES: Mapping[str, tuple[str, ...]] = {
    "day": ("by day", "in daylight", "daytime", "at noon", "midday"),
    "sunset": ("at sunset", "sunset", "at dusk", "dusk", "evening sun", "evening"),
    "night": ("at night", "by night", "night", "moonlight", "midnight"),
    "dawn": ("at dawn", "dawn", "sunrise", "early morning", "morning"),
}
WEATHERS: Mapping[str, tuple[str, ...]] = {
    "clear": ("clear weather", "clear sky", "sunny", "sunshine"),
    "cloudy": ("cloudy", "overcast", "grey clouds", "gray clouds", "clouds"),
    "rain": ("rain", "rainy", "raining", "storm", "stormy", "thunderstorm", "drizzle"),
    "snowfall": ("falling snow", "snowing", "snowstorm", "snowfall", "blizzard"),
    "fog": ("fog", "foggy", "mist", "misty"),
}
SEASONS: Mapping[str, tuple[str, ...]] = {
    "summer": ("summer", "summertime"),
    "autumn": ("autumn", "autumnal", "the fall", "fall"),
    "winter": ("winter", "wintertime", "snow", "snowy", "wintry"),
    "spring": ("spring", "springtime"),
}
# How prompts begin that ask for a drawing or a painting, by the art.
RENDITIONS: Mapping[str, tuple[str, ...]] = {
    "pencil": ("a pencil drawing of", "a pencil sketch of", "a graphite drawing of"),
    "ink": ("an ink drawing of", "a black ink drawing of", "a woodcut of", "a linocut of"),
    "watercolour": (
        "a watercolour painting of",
        "a watercolor painting of",
        "a watercolour of",
        "a watercolor of",
    ),
    "oil": ("an oil painting of", "a painting in oils of", "a painting in thick strokes of"),
    "pixel art": ("pixel art of", "a pixel art picture of", "an 8-bit picture of"),
    "mosaic": ("a mosaic of", "a tile mosaic of", "a mosaic of small tiles of"),
    "stained glass": ("a stained glass window of", "stained glass of", "a church window of"),
    "neon lines": ("neon lines of", "a neon sign of", "a glowing neon drawing of"),
    "paper cut": ("a paper cut of", "a paper cut-out of", "layered paper art of"),
    "blueprint": ("a blueprint of", "a technical drawing of", "a cyanotype plan of"),
    "comic": ("a comic of", "a comic book picture of", "a pop art print of"),
    "chalk": ("a chalk drawing of", "a blackboard drawing of", "a drawing in chalk of"),
    "embroidery": ("a cross-stitch of", "an embroidery of", "a stitched picture of"),
    "sepia": ("a sepia photo of", "an old photograph of", "a faded vintage photo of"),
}
PHOTO = "a photo of"
# What subjects wear or hold, which no network draws.
WORN = (
    *("crown", "tiara", "top hat", "bowler hat", "hat", "cap", "graduation cap", "baseball cap"),
    *("glasses", "sunglasses", "eyeglasses", "spectacles", "scarf", "bow", "bow tie", "ribbon"),
    *("flower", "backpack", "rucksack", "balloon", "flag"),
)
NO_SUBJECT = frozenset(("nothing", "nobody", "empty", "none", "no-one"))
TURNING = frozenset(("lying", "upside", "head", "leaning", "tilted"))
"""Words of poses for which a subject is not upright."""
CLOUDY, SNOWFALL = tuple(WEATHERS).index("cloudy"), tuple(WEATHERS).index("snowfall")
WINTER, NIGHT = tuple(SEASONS).index("winter"), tuple(TIMES).index("night")


def _words_of(*tables: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    phrases = (phrase for table in tables for row in table.values() for phrase in row)
    return frozenset(word for phrase in phrases for word in phrase.split())


SETTING_WORDS = _words_of(TIMES, WEATHERS, SEASONS)
LOOK_WORDS = _words_of(COLOUR_WORDS, MATERIAL_WORDS, MATERIAL_PHRASES)
# Words that say nothing about a picture by themselves.
FILLERS = frozenset(
    (
        *("a", "an", "the", "this", "that", "same", "my", "our", "it", "is", "its", "as", "if"),
        *("very", "and"),
        *("at", "in", "on", "by", "of", "with", "under", "during", "while", "into", "to"),
        *("heavy", "light", "thick", "dense", "early", "late", "make", "turn", "place", "scene"),
        *("photo", "picture", "image", "photograph", "weather", "sky", "season", "time", "style"),
        ",",
    )
)
WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
TOKEN = re.compile(rf"{WORD.pattern}|[,;.:!?]")
PREPOSITIONS = frozenset(
    (
        *("in", "on", "at", "by", "near", "beside", "before", "behind", "inside", "under", "above"),
        *("among", "between", "through", "over", "below", "against", "across", "along", "around"),
        *("of", "to", "with", "into", "onto", "outside", "within", "amid", "beneath", "underneath"),
    )
)
ARTICLES = frozenset(("a", "an", "the", "some", "front", "top", "middle", "next"))
# How prompts say what falls or hangs in the air, and what a picture without it shows: its light.
IN_THE_AIR = re.compile(
    r"\b(?:while it is (?:snowing|raining)"
    r"|(?:(?:in|under|through|during|amid)\s+)?(?:(?:a|an|the|some)\s+)?"
    r"(?:(?:heavy|light|thick|dense|falling|pouring)\s+)*"
    r"(?:rain|rainy weather|raining|storm|stormy weather|thunderstorm|drizzle"
    r"|falling snow|snowing|snowstorm|snowfall|blizzard|fog|foggy weather|mist))\b",
    re.IGNORECASE,
)
WITHOUT_IT = "under grey clouds"


class SceneSetting(NamedTuple):
    """Time of day, weather and season, as numbers of `TIMES`, `WEATHERS` and `SEASONS`."""

    time: int = 0
    weather: int = 0
    season: int = 0


PLAIN = SceneSetting()
"""A clear summer day, as references show places."""


def read_setting(prompt: str) -> SceneSetting:
    """Return the setting that a prompt asks for; what it does not mention stays plain."""
    return read_words(prompt)[0]


def _told(words: Sequence[str]) -> list[str]:
    return [word for word in words if word not in FILLERS]


def tokens_in(text: str) -> list[str]:
    """Return the words of a text in lower case, with "," for each mark between them."""
    return [token if token[0].isalpha() else "," for token in TOKEN.findall(text.lower())]


def without_art(prompt: str) -> tuple[str, str | None]:
    """Return a prompt without its words for an art, and the art."""
    art = rendition_in(prompt)
    text = prompt
    if art is not None:
        for phrase in sorted(RENDITIONS[art], key=len, reverse=True):
            text = re.sub(rf"\b{re.escape(phrase)}\b", "", text, flags=re.IGNORECASE)
        return ART_AT_END.sub("", text), art
    found = ART_AT_END.search(f", {prompt}")  # nothing but the art
    return (prompt, None) if found is None else ("", ARTS_BY_WORDS[found["art"].lower()])


def read_words(prompt: str) -> tuple[SceneSetting, Sequence[str]]:
    """Return the setting that a prompt asks for, and its other words."""
    text = f" {' '.join(tokens_in(prompt))} "
    numbers = []
    for values in (TIMES, WEATHERS, SEASONS):
        phrases = [(phrase, index) for index, name in enumerate(values) for phrase in values[name]]
        found = []
        for phrase, index in sorted(phrases, key=lambda pair: -len(pair[0])):
            if f" {phrase} " in text:
                text = text.replace(f" {phrase} ", " ")
                found.append(index)
        numbers.append(found)
    times, weathers, seasons = numbers
    time, season = (next(filter(None, each), 0) for each in (times, seasons))
    # Rain and snow fall from clouds, which prompts may name as well.
    weather = next((index for index in weathers if index > CLOUDY), max(weathers, default=0))
    if weather == SNOWFALL and not season:
        season = WINTER  # snow that falls lies on the ground as well
    return SceneSetting(time, weather, season), text.split()


def asks_for_turn(prompt: str) -> bool:
    """Whether a prompt says that the subject is not upright."""
    return not TURNING.isdisjoint(WORD.findall(prompt.lower()))


def texture_in(prompt: str) -> str | None:
    """Return what the first subject of a prompt is made of, one of `TEXTURED`; None otherwise."""
    subject = f" {LOOKS_END.split(prompt, maxsplit=1)[0].lower()} "
    for name in TEXTURED:
        for phrase in (*MATERIAL_PHRASES[name], *MATERIAL_WORDS[name]):
            if f" {phrase} " in subject:
                return name
    return None


def worn_in(prompt: str) -> str | None:
    """Return what the first subject of a prompt wears or holds, as "top hat"; None for nothing."""
    found = WORN_PHRASE.search(prompt)
    return None if found is None else " ".join(found["noun"].lower().split())


def rendition_in(prompt: str) -> str | None:
    """Return the art that a prompt asks for, one of `RENDITIONS`; None for a photograph.

    It stands before the subject, as in "an oil painting of", or at the end: ", oil painting".
    """
    found = [
        (len(phrase), name)
        for name, phrases in RENDITIONS.items()
        for phrase in phrases
        if re.search(rf"\b{re.escape(phrase)}\b", prompt, re.IGNORECASE)
    ]
    if found:
        return max(found)[1]
    end = ART_AT_END.search(prompt)
    return None if end is None else ARTS_BY_WORDS[end["art"].lower()]


ARTS_BY_WORDS = {
    re.sub(r"^an? | of$", "", phrase): name
    for name, phrases in RENDITIONS.items()
    for phrase in phrases
    if phrase.startswith(("a ", "an ", "pixel", "stained"))
}
ART_AT_END = re.compile(
    r"(?:[,;.]|\s+in|\s+as|\s+into)\s+(?:in\s+|as\s+)?(?:the\s+style\s+of\s+)?(?:an?\s+)?"
    rf"(?P<art>{'|'.join(sorted(map(re.escape, ARTS_BY_WORDS), key=len, reverse=True))})"
    r"(?:\s+style)?[\s.]*$",
    re.IGNORECASE,
)


def _one_of(phrases: Iterable[str]) -> str:
    """Return a pattern for any of the phrases, the longest first."""
    longest = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return "|".join(longest).replace(" ", r"[ ]+")


WORN_NOUNS = frozenset(noun.split()[-1] for noun in WORN)
WORN_PHRASE = re.compile(
    r"\s*\b(?:wearing|holding|carrying|with)\s+(?:(?:a|an|the|his|her|its|some|pair[ ]+of)\s+)*"
    rf"(?:(?!(?:an?|the|and|of|in|on|at|{_one_of(WORN)})\b)[a-z'-]+\s+){{0,3}}"
    rf"(?P<noun>{_one_of(WORN)})\b",
    re.IGNORECASE,
)
