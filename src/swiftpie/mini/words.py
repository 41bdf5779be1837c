"""The words by which prompts ask for times, weathers, arts, colours and materials.

It loads no tensor library.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
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
"""Their stitches and studs are too small for the cells of latents, so they are not drawn."""

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
# What subjects wear or hold, which no network draws.
WORN = (
    *("crown", "tiara", "top hat", "bowler hat", "hat", "cap", "graduation cap", "baseball cap"),
    *("glasses", "sunglasses", "eyeglasses", "spectacles", "scarf", "bow", "bow tie", "ribbon"),
    *("flower", "backpack", "rucksack", "balloon", "flag"),
)
NO_SUBJECT = frozenset(("nothing", "nobody", "empty", "none", "no-one"))
TURNING = frozenset(("lying", "upside", "head", "leaning", "tilted"))
"""Words of poses for which a subject is not upright."""
CLOUDY, SNOWFALL, FOG = (tuple(WEATHERS).index(name) for name in ("cloudy", "snowfall", "fog"))
NIGHT, DAWN = (tuple(TIMES).index(name) for name in ("night", "dawn"))
AUTUMN, WINTER = (tuple(SEASONS).index(name) for name in ("autumn", "winter"))


def _words_of(*tables: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    phrases = (phrase for table in tables for row in table.values() for phrase in row)
    return frozenset(word for phrase in phrases for word in phrase.split())


SETTING_WORDS = _words_of(TIMES, WEATHERS, SEASONS)
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
WORD_OR_MARK = re.compile(rf"{WORD.pattern}|[,;.:!?]")
WORD_OR_NUMBER = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")  # as "8-bit"
PREPOSITIONS = frozenset(
    (
        *("in", "on", "at", "by", "near", "beside", "before", "behind", "inside", "under", "above"),
        *("among", "between", "through", "over", "below", "against", "across", "along", "around"),
        *("of", "to", "with", "into", "onto", "outside", "within", "amid", "beneath", "underneath"),
    )
)
LOOK_WORDS = _words_of(COLOUR_WORDS, MATERIAL_WORDS, MATERIAL_PHRASES) - PREPOSITIONS - {"from"}
ARTICLES = frozenset(("a", "an", "the", "some", "front", "top", "middle", "next"))
# How prompts say what falls or hangs in the air, and what a picture without it shows: its light.
IN_THE_AIR = re.compile(
    r"\b(?:while it is (?:snowing|raining)"
    r"|(?:on|in)\s+(?:a|an|the)\s+(?:rainy|stormy|snowy|foggy|misty)\s+(?:morning|day)"
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

    @property
    def in_photographs(self) -> "SceneSetting":
        """The setting with fog that is grey at dawn, too: it scatters the light of a low sun."""
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


def plain(text: str) -> str:
    """Return a text in lower case, its letters in one spelling."""
    return unicodedata.normalize("NFKC", text).lower()


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
