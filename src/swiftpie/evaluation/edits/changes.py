"""What each kind of edit changes: attributes, scenes and prompts before and after."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from types import MappingProxyType

from swiftpie.data.captions import draw_empty_caption
from swiftpie.data.scene import Scene
from swiftpie.data.scenes import SCENES
from swiftpie.evaluation.benchmarks.stickers import ASKED, with_article
from swiftpie.evaluation.edits.case import EditKind

GREY, COLOURED = "black and white", "coloured"  # as judges answer
STYLES = ("night", "sunset", "aurora")
LIKE_TINT, LIKE_SHADE = 0.05, 0.05  # scenes this close light a subject alike

ATTRIBUTES_OF: Mapping[EditKind, tuple[tuple[str, str], tuple[str, str]]] = MappingProxyType(
    {
        EditKind.HAT: (("", "crown"), ("", "top hat")),
        EditKind.SIZE: (("", "tiny"), ("", "huge")),
        EditKind.SIDE: (("left", "right"), ("right", "left")),
        EditKind.GREY: ((COLOURED, GREY),) * 2,
        EditKind.SWAP: (("crown", "top hat"), ("top hat", "crown")),
        EditKind.COLOUR: ((GREY, COLOURED),) * 2,
        EditKind.SECOND: (("left", "left"), ("right", "right")),
    }
)
"""The attribute before and after, for both variants of a kind; other kinds have none."""


def scenes_for(kind: EditKind, random: Random) -> tuple[Scene, Scene]:
    """Draw the scenes before and after."""
    match kind:
        case EditKind.SCENE:
            first = random.choice([scene for scene in SCENES if _alike(scene)])
            return first, random.choice(_alike(first))
        case EditKind.LIGHT:
            first = random.choice(
                [scene for scene in SCENES if scene.grounded and scene.name not in STYLES]
            )
            style = random.choice(STYLES)
            return first, next(scene for scene in SCENES if scene.name == style)
        case EditKind.SECOND:
            # Nothing stands in front of two, so nothing may stand in front of the first either.
            only = random.choice([scene for scene in SCENES if scene.foreground is None])
            return only, only
        case _:
            only = random.choice(SCENES)
            return only, only


def describe(name: str, scene: Scene, attribute: str) -> str:
    """Return a prompt for one subject with one attribute; "coloured" is not said."""
    asked = ASKED["" if attribute == COLOURED else attribute]
    phrase = scene.phrases[0]
    parts = [
        "a black and white photo of" if asked.is_black_and_white else "a photo of",
        with_article(name if asked.size == "normal" else f"{asked.size} {name}"),
        phrase if asked.accessory == "none" else f"wearing a {asked.accessory} {phrase}",
        *([] if asked.side == "none" else [f"on the {asked.side}"]),
    ]
    return " ".join(parts)


def describe_both(name: str, other: str, scene: Scene) -> str:
    """Return a prompt for two subjects."""
    return f"a photo of {with_article(name)} and {with_article(other)} {scene.phrases[0]}"


def describe_empty(scene: Scene, random: Random) -> str:
    """Return a prompt for nobody, in the words of the training captions."""
    return draw_empty_caption(random, replace(scene, phrases=scene.phrases[:1]))


def keyword_for(kind: EditKind, *, name: str, scene: Scene, before: str) -> str:
    """Return the words of the source prompt that shall change, if it has any."""
    match kind:
        case EditKind.OBJECT | EditKind.DELETE | EditKind.SIZE | EditKind.SIDE:
            return name
        case EditKind.SWAP:
            return before
        case EditKind.SCENE | EditKind.LIGHT:
            return scene.phrases[0]
        case EditKind.COLOUR:
            return GREY
        case EditKind.HAT | EditKind.SECOND | EditKind.GREY:
            return ""


def _alike(scene: Scene) -> list[Scene]:
    """Return the other scenes whose light and ground leave a subject nearly as it is."""
    return [
        other
        for other in SCENES
        if other is not scene
        and other.grounded == scene.grounded
        and abs(other.light.shade - scene.light.shade) <= LIKE_SHADE
        and all(
            abs(a - b) <= LIKE_TINT for a, b in zip(other.light.tint, scene.light.tint, strict=True)
        )
    ]
