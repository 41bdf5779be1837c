"""Scenes by name: pictures of places in plain daylight, and the words for times and weathers.

It loads no tensor library.
"""

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swiftpie.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from PIL import Image

ASSETS = Path(__file__).parent / "assets" / "scene"
PACK, INDEX = "scenes.zip", "scenes.json"
CREDIT = "Drawn by the renderer of SwiftPie; Apache-2.0"

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
    "rain": ("rain", "rainy", "raining"),
    "snowfall": ("falling snow", "snowing", "snowstorm", "snowfall", "blizzard"),
    "fog": ("fog", "foggy", "mist", "misty"),
}
SEASONS: Mapping[str, tuple[str, ...]] = {
    "summer": ("summer", "summertime"),
    "autumn": ("autumn", "autumnal", "the fall", "fall"),
    "winter": ("winter", "wintertime", "snow", "snowy", "wintry"),
    "spring": ("spring", "springtime"),
}
SNOWFALL, WINTER = tuple(WEATHERS).index("snowfall"), tuple(SEASONS).index("winter")
# Words that say nothing about a picture by themselves.
FILLERS = frozenset(
    (
        *("a", "an", "the", "this", "that", "same", "it", "is", "its", "as", "if", "very", "and"),
        *("at", "in", "on", "by", "of", "with", "under", "during", "while", "into", "to"),
        *("heavy", "light", "thick", "dense", "early", "late", "make", "turn", "place", "scene"),
        *("photo", "picture", "image", "photograph", "weather", "sky", "season", "time"),
    )
)
NAME = re.compile(r"[^\W_][\w '-]*")  # what may be a name, and hardly a file's
WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


class SceneSetting(NamedTuple):
    """Time of day, weather and season, as numbers of `TIMES`, `WEATHERS` and `SEASONS`."""

    time: int = 0
    weather: int = 0
    season: int = 0

    @property
    def weather_name(self) -> str:
        """What is in the air."""
        return tuple(WEATHERS)[self.weather]


PLAIN = SceneSetting()
"""A clear summer day, as references show places."""


def read_setting(prompt: str) -> SceneSetting:
    """Return the setting that a prompt asks for; what it does not mention stays plain."""
    return _read(prompt)[0]


def only_names_setting(prompt: str) -> bool:
    """Whether a prompt asks for a setting and for nothing else, as "at sunset in autumn"."""
    found, rest = _read(prompt)
    return found != PLAIN and all(word in FILLERS for word in rest)


def _read(prompt: str) -> tuple[SceneSetting, Sequence[str]]:
    text = f" {' '.join(WORD.findall(prompt.lower()))} "
    numbers = []
    for values in (TIMES, WEATHERS, SEASONS):
        phrases = [(phrase, index) for index, name in enumerate(values) for phrase in values[name]]
        chosen = 0
        for phrase, index in sorted(phrases, key=lambda pair: -len(pair[0])):
            if f" {phrase} " in text:
                text, chosen = text.replace(f" {phrase} ", " "), chosen or index
        numbers.append(chosen)
    time, weather, season = numbers
    if weather == SNOWFALL and not season:
        season = WINTER  # snow that falls lies on the ground as well
    return SceneSetting(time, weather, season), text.split()


class Scenes:
    """Places by name, each with some pictures. It never changes, so threads may share it."""

    def __init__(self, pack: Path) -> None:
        """Open the zip file `pack`."""
        self._pack = zipfile.ZipFile(pack)
        rows = json.loads(self._pack.read(INDEX))
        self._phrases = {row["name"]: tuple(row["phrases"]) for row in rows}
        self._counts = {row["name"]: int(row["pictures"]) for row in rows}
        self._places = {row["name"]: place for place, row in enumerate(rows)}
        known = [row["name"] for row in rows if row["is_known"]]
        self._numbers = {name: number for number, name in enumerate(known)}

    def __len__(self) -> int:
        return len(self._phrases)

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(sorted(self._phrases))

    def number(self, name: str | None) -> int:
        """Return the scene network's number of a place.

        The number behind all others stands for None and for places that it does not know by name.
        """
        return self._numbers.get(name, len(self._numbers)) if name else len(self._numbers)

    def count(self, name: str) -> int:
        """Return how many pictures a place has."""
        return self._counts[name]

    def find(self, word: str) -> str:
        """Return the place with a name.

        Raises:
            InputError: There is none; the message offers similar names.
        """
        found = self.place_in(word)
        if found is None:
            names = ", ".join(self.names())
            raise InputError(
                f"There is no scene {word!r}. "
                + did_you_mean(word, self.names(), otherwise=f"There are {names}.")
                + " Any picture of a place is a scene as well: give its file."
            )
        return found

    def place_in(self, prompt: str) -> str | None:
        """Return the place that a prompt names; the longest name wins."""
        text = f" {' '.join(WORD.findall(prompt.lower()))} "
        found = [
            (len(phrase), name)
            for name, phrases in self._phrases.items()
            for phrase in (name, *phrases)
            if f" {phrase.lower()} " in text
        ]
        return max(found)[1] if found else None

    def picture(self, name: str, number: int = 0) -> bytes:
        """Return one picture of a place, WebP of 512 px a side."""
        return self._pack.read(f"{self._places[name]}-{number % self._counts[name]}.webp")

    def image(self, name: str, number: int = 0) -> "Image.Image":
        """Return what `picture` does, decoded."""
        from swiftpie.imageio.decoding import load_image

        return load_image(self.picture(name, number))


@cache
def packaged() -> Scenes:
    """Return the scenes that the package holds."""
    return Scenes(ASSETS / PACK)


def is_scene_file(text: str) -> bool:
    """Whether a text is the name of a file, and not that of a scene."""
    return NAME.fullmatch(text) is None or Path(text).is_file()


def read_scene(scene: "str | Path | bytes | Image.Image") -> "str | Image.Image":
    """Return the name of a scene of the library, or the picture that a file holds.

    Raises:
        ImageError: The picture cannot be read.
        InputError: The text is no file, and names no scene.
    """
    from swiftpie.imageio.decoding import load_image

    if isinstance(scene, str) and not is_scene_file(scene):
        return packaged().find(scene)
    return load_image(scene)
