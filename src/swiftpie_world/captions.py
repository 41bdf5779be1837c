"""What a picture of the world can show, and captions that say so."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from swiftpie.lexicon import COLOUR_WORDS, MATERIAL_PHRASES, MATERIAL_WORDS, RENDITIONS
from swiftpie.places.looks import COLOURS
from swiftpie_world.accessories import ACCESSORIES
from swiftpie_world.air import (
    SEASON_PHRASES,
    SEASONS,
    TIME_PHRASES,
    TIMES,
    WEATHER_PHRASES,
    WEATHERS,
    Setting,
)
from swiftpie_world.materials import MATERIALS
from swiftpie_world.nouns import EMPTY_PREFIXES, THE_SHARE, article_of, draw_noun
from swiftpie_world.places import PLACES, SCENE_PLACES

NONE = "none"
SIZE_WORDS = {
    "normal": ("",),
    "tiny": ("tiny", "small", "little"),
    "huge": ("huge", "big", "giant"),
}
SIDE_WORDS = {
    NONE: ("",),
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
}
POSE_PHRASES = {
    NONE: ("",),
    "lying": ("lying down", "lying on its side", "lying"),
    "upside down": ("upside down", "standing on its head", "turned upside down"),
    "leaning": ("leaning to one side", "tilted", "leaning"),
    "jumping": ("jumping", "in mid air", "jumping up"),
    "squashed": ("squashed", "flattened", "squashed flat"),
    "stretched": ("stretched", "tall and thin", "stretched tall"),
    "bent": ("bending over", "bent", "bowing"),
}
ACCESSORY_PHRASES = {  # follow the subject in a caption
    accessory.name: tuple(
        f"{verb} {noun}"
        for noun in accessory.nouns
        for verb in (("holding", "with") if accessory.anchor == "hand" else ("wearing", "with"))
    )
    for accessory in ACCESSORIES
}
VIEW_PHRASES = {
    NONE: ("",),
    "front": ("seen from the front", "facing the viewer"),
    "left": ("seen from the left", "turned to the right", "facing right"),
    "right": ("seen from the right", "turned to the left", "facing left"),
    "above": ("seen from above", "viewed from above"),
    "below": ("seen from below", "viewed from below"),
}
# Questions that judges answer about a picture, with all answers: first about the whole picture,
WHOLE_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "place": tuple(place.name for place in PLACES),
    "time": TIMES,
    "weather": WEATHERS,
    "season": SEASONS,
    "rendition": (NONE, *RENDITIONS),
}
CLOSE_QUESTIONS: Mapping[str, tuple[str, ...]] = {  # then about its subject
    "colour": (NONE, *COLOURS),
    "material": (NONE, *MATERIALS),
    "accessory": (NONE, *ACCESSORY_PHRASES),
    "jump": (NONE, "jumping"),  # the one pose that needs a floor; saved judges know this name
}
QUESTIONS: Mapping[str, tuple[str, ...]] = {**WHOLE_QUESTIONS, **CLOSE_QUESTIONS}
# What a picture can show besides a setting and a view.
ATTRIBUTE_QUESTIONS = ("rendition", "colour", "material", "accessory", "pose")
# Yaw and pitch in degrees that a view means: the smallest of each, and what the noise adds.
VIEWS: Mapping[str, tuple[float, float, float, float]] = {
    "front": (0, 0, 0, 0),
    "left": (22, 23, -4, 12),
    "right": (-22, -23, -4, 12),
    "above": (-14, 28, 12, 8),
    "below": (-14, 28, -12, -8),
}
# Each pose's rotation, stretch and bend: the smallest of each, and what the noise adds. The sign
# of rotation and bend is the noise's.
POSES: Mapping[str, tuple[float, float, float, float, float, float]] = {
    NONE: (0, 0, 0, 0, 0, 0),
    "lying": (math.pi / 2 - 0.15, 0.3, 0, 0, 0, 0),
    "upside down": (math.pi - 0.2, 0.2, 0, 0, 0, 0),
    "leaning": (0.3, 0.25, 0, 0, 0, 0),
    "jumping": (0, 0.25, 0, 0, 0, 0),
    "squashed": (0, 0.1, 0.2, 0.15, 0, 0),
    "stretched": (0, 0.1, -0.2, -0.15, 0, 0),
    "bent": (0, 0.1, 0, 0, 0.25, 0.2),
}

_BEFORE_SHARE = 0.5  # share of materials before the noun: a wooden cat, not a cat made of wood
_PREFIXES = ("a photo of", "a picture of", "an image of", "")


@dataclass(frozen=True)
class SpecShares:
    """How often pictures have each attribute, from 0 to 1; several may come together."""

    size: float = 0.25
    side: float = 0.25
    pose: float = 0.22
    view: float = 0.30
    look: float = 0.24  # a colour or a material
    accessory: float = 0.22
    rendition: float = 0.18


AS_USUAL = SpecShares()


@dataclass(frozen=True)
class SceneSpec:
    """What a picture shows besides its subject; captions do not mention what is `NONE`."""

    setting: Setting
    size: str = "normal"
    side: str = NONE
    pose: str = NONE
    view: str = NONE
    colour: str = NONE
    material: str = NONE
    accessory: str = NONE
    rendition: str = NONE


def right_answers(spec: SceneSpec) -> dict[str, str]:
    """Return the right answer to each question that the place allows.

    Indoors there is no question about the sky, and without a floor none about jumping.
    """
    setting, place = spec.setting, PLACES[spec.setting.place]
    answers = {"place": place.name}
    if place.outdoors:
        answers |= {"time": TIMES[setting.time], "weather": WEATHERS[setting.weather]}
    if place.has_seasons:
        answers["season"] = SEASONS[setting.season]
    if place.grounded:
        answers["jump"] = "jumping" if spec.pose == "jumping" else NONE
    return answers | {name: getattr(spec, name) for name in ATTRIBUTE_QUESTIONS}


def draw_spec(random: Random, setting: Setting, shares: SpecShares = AS_USUAL) -> SceneSpec:
    """Draw attributes for a setting; with the usual shares one picture in eight has none."""

    def one_of(kind: str, names: Sequence[str], *, otherwise: str = NONE) -> str:
        is_chosen = random.random() < getattr(shares, kind)
        return random.choice([n for n in names if n != otherwise]) if is_chosen else otherwise

    pose = one_of("pose", tuple(POSE_PHRASES))
    look = one_of("look", ("colour", "material"))
    return SceneSpec(
        setting=setting,
        size=one_of("size", tuple(SIZE_WORDS), otherwise="normal"),
        side=one_of("side", tuple(SIDE_WORDS)),
        pose=pose,
        view=one_of("view", tuple(VIEW_PHRASES)),
        colour=random.choice(tuple(COLOUR_WORDS)) if look == "colour" else NONE,
        material=random.choice(tuple(MATERIAL_PHRASES)) if look == "material" else NONE,
        accessory=one_of("accessory", tuple(ACCESSORY_PHRASES)),
        rendition=one_of("rendition", tuple(RENDITIONS)),
    )


def draw_caption(
    random: Random,
    spec: SceneSpec,
    *,
    name: str,
    synonyms: tuple[str, ...] = (),
    says_where: bool = True,
) -> str:
    """Describe a picture in one of many ways; the caption says every attribute.

    `says_where=False` omits the setting, for prompts about a picture that exists already.
    """
    noun = draw_noun(random, name, synonyms)
    look = "" if spec.colour == NONE else random.choice(COLOUR_WORDS[spec.colour])
    is_made = spec.material != NONE
    if said_before := is_made and random.random() < _BEFORE_SHARE:
        look = random.choice(MATERIAL_WORDS[spec.material])
    named = " ".join(w for w in (random.choice(SIZE_WORDS[spec.size]), look, noun) if w)
    article = "the" if random.random() < THE_SHARE else article_of(named)
    about = [
        "" if said_before else _phrase(random, MATERIAL_PHRASES, spec.material),
        _phrase(random, ACCESSORY_PHRASES, spec.accessory),
        _phrase(random, POSE_PHRASES, spec.pose),
        _phrase(random, VIEW_PHRASES, spec.view),
    ]
    random.shuffle(about)
    where = where_words(random, spec.setting) if says_where else []
    where.append(random.choice(SIDE_WORDS[spec.side]))
    parts = (_prefix(random, spec), article, named, *about, *where)
    return " ".join(part for part in parts if part)


def draw_pair_caption(random: Random, spec: SceneSpec, *, names: tuple[str, str]) -> str:
    """Describe a picture of two subjects; besides the setting only the rendition is said."""
    nouns = [draw_noun(random, name, ()) for name in names]
    both = " and ".join(f"{article_of(noun)} {noun}" for noun in nouns)
    parts = (_prefix(random, spec), both, *where_words(random, spec.setting))
    return " ".join(part for part in parts if part)


def draw_empty_caption(random: Random, setting: Setting | None) -> str:
    """Describe a place without a subject; without a setting the caption names no place."""
    where = [] if setting is None else where_words(random, setting)
    parts = (random.choice(EMPTY_PREFIXES), *where)
    return " ".join(part for part in parts if part)


def where_words(random: Random, setting: Setting) -> list[str]:
    """Say place, time, weather and season in one of many ways, the place first."""
    place, words = SCENE_PLACES[setting.place], []
    if place.outdoors:
        words.append(random.choice(TIME_PHRASES[TIMES[setting.time]]))
        words.append(random.choice(WEATHER_PHRASES[WEATHERS[setting.weather]]))
    if place.has_seasons:
        words.append(random.choice(SEASON_PHRASES[SEASONS[setting.season]]))
    random.shuffle(words)
    return [random.choice(place.phrases), *words]


def _prefix(random: Random, spec: SceneSpec) -> str:
    if spec.rendition == NONE:
        return random.choice(_PREFIXES)
    return random.choice(RENDITIONS[spec.rendition])


def _phrase(random: Random, phrases: Mapping[str, tuple[str, ...]], name: str) -> str:
    return "" if name == NONE else random.choice(phrases[name])
