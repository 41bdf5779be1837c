"""What a picture shows besides its subject and scene, and captions that say so."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from swiftpie_lab.world.fields import Scene

Size = Literal["normal", "tiny", "huge"]
Side = Literal["none", "left", "right"]
Accessory = Literal["none", "crown", "top hat"]

GENERIC_NAMES = ("subject", "object", "sticker", "thing")

_GENERIC_SHARE = 0.2  # so that the reference, not the noun, carries identity
_SYNONYM_SHARE = 0.15
THE_SHARE = 0.2
_GREY_SHARE = 0.06
_PREFIXES = ("a photo of", "a picture of", "an image of", "a 3d render of", "")
_GREY_PREFIXES = ("a black and white photo of", "black and white photo of", "black and white")
EMPTY_PREFIXES = ("a photo of nothing", "nothing", "an empty scene", "nobody", "")
_SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    "normal": ("",),
    "tiny": ("tiny", "tiny", "small", "little"),
    "huge": ("huge", "huge", "big", "giant"),
}
_ACCESSORY_WORDS: dict[Accessory, tuple[str, ...]] = {
    "none": ("",),
    "crown": ("wearing a crown", "with a crown"),
    "top hat": ("wearing a top hat", "with a top hat"),
}
_SIDE_WORDS: dict[Side, tuple[str, ...]] = {
    "none": ("",),
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
}


@dataclass(frozen=True)
class Attributes:
    """What a caption may ask for besides the subject and the scene."""

    size: Size = "normal"
    side: Side = "none"
    accessory: Accessory = "none"
    is_black_and_white: bool = False


def draw_attributes(random: Random) -> Attributes:
    """Draw attributes; about three in ten pictures have none."""
    return Attributes(
        size=random.choices(("normal", "tiny", "huge"), (4, 1, 1))[0],
        side=random.choices(("none", "left", "right"), (4, 1, 1))[0],
        accessory=random.choices(("none", "crown", "top hat"), (6, 1, 1))[0],
        is_black_and_white=random.random() < _GREY_SHARE,
    )


def draw_caption(
    random: Random,
    scene: Scene,
    attributes: Attributes,
    *,
    name: str,
    synonyms: tuple[str, ...] = (),
) -> str:
    """Describe a picture in one of many ways; every attribute is always said."""
    prefix = random.choice(_GREY_PREFIXES if attributes.is_black_and_white else _PREFIXES)
    size = random.choice(_SIZE_WORDS[attributes.size])
    noun = f"{size} {draw_noun(random, name, synonyms)}".strip()
    article = "the" if random.random() < THE_SHARE else article_of(noun)
    parts = (
        prefix,
        article,
        noun,
        random.choice(_ACCESSORY_WORDS[attributes.accessory]),
        random.choice(scene.phrases),
        random.choice(_SIDE_WORDS[attributes.side]),
    )
    return " ".join(part for part in parts if part)


def draw_pair_caption(
    random: Random, scene: Scene, attributes: Attributes, *, names: tuple[str, str]
) -> str:
    """Describe a picture of two subjects; of the attributes, only the colour is said."""
    prefix = random.choice(_GREY_PREFIXES if attributes.is_black_and_white else _PREFIXES)
    nouns = [draw_noun(random, name, ()) for name in names]
    both = " and ".join(f"{article_of(noun)} {noun}" for noun in nouns)
    return f"{prefix} {both} {random.choice(scene.phrases)}".strip()


def draw_empty_caption(random: Random, scene: Scene) -> str:
    """Describe a scene with nobody in it."""
    return f"{random.choice(EMPTY_PREFIXES)} {random.choice(scene.phrases)}".strip()


def draw_noun(random: Random, name: str, synonyms: tuple[str, ...]) -> str:
    """Return the name of a subject, now and then a synonym of it or a word that fits any."""
    if random.random() < _GENERIC_SHARE:
        return random.choice(GENERIC_NAMES)
    if synonyms and random.random() < _SYNONYM_SHARE:
        return random.choice(synonyms)
    return name


def article_of(noun: str) -> str:
    """Return "a" or "an", as it stands before `noun`."""
    return "an" if noun[0] in "aeiou" else "a"
