"""Scenes without PyTorch: a place in the prompt's light, and the subject of a drawing before it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swiftpie.engine.onnx.graphs import (
    FINISHED,
    FINISHED_MASK,
    JOIN,
    LAMPS,
    LIT,
    PIXELS,
    RELIGHT,
    SCENE,
    SHADOW,
    SUBJECT_MASK,
    UNLIT,
    Graph,
)
from swiftpie.geometry.look_words import texture_in
from swiftpie.scenes import (
    NIGHT,
    PLAIN,
    WORDS_ALONE,
    SceneSetting,
    cut_to,
    packaged,
    read_setting,
    rendition_in,
    worn_in,
)

Array = NDArray[Any]


class ChosenScene(NamedTuple):
    """The scene of a prompt."""

    name: str | None  # of the library; None: a picture of the caller
    picture: Image.Image | None
    setting: SceneSetting
    share: float  # in [0, 1], which chooses among the pictures of a name


def needs_torch(scene: "Image.Image | str", prompt: str) -> bool:
    """Whether a prompt asks for what no graph draws: a rendition, a texture, something to wear."""
    beyond = (rendition_in(prompt), texture_in(prompt), worn_in(prompt))
    return scene != WORDS_ALONE and any(beyond)


def scene_of(scene: "Image.Image | str", prompt: str, noise: Array) -> ChosenScene | None:
    """Return the scene that is given, or else the one of a prompt; None for words alone.

    Noise (1, 32, h, w), standard normal, chooses where the prompt does not.
    """
    if scene == WORDS_ALONE:
        return None
    setting, share = read_setting(prompt), _share_of(noise)
    if isinstance(scene, Image.Image):
        return ChosenScene(None, scene, setting, share)
    return ChosenScene(scene or packaged().place_for(prompt, share), None, setting, share)


class SceneGraphs:
    """The graphs that show a scene in other light, and put a subject before it."""

    def __init__(self, folder: Path, runtime: str) -> None:
        self._relight, self._lamps, self._join = (
            Graph(folder / f"{name}.onnx", runtime) for name in (RELIGHT, LAMPS, JOIN)
        )

    def open_soon(self, setting: SceneSetting) -> None:
        """Start to open what a setting needs, in other threads."""
        for graph in (self._join, *([] if setting == PLAIN else [self._relight])):
            graph.open_soon()

    def finish(
        self, drawn: Mapping[str, Array], scene: ChosenScene, noise: Array
    ) -> dict[str, Array]:
        """Return what `draw` returned with the subject before the scene, behind the weather.

        Args:
            drawn: Of the graph `draw`.
            scene: The scene.
            noise: Standard normal latents (1, 32, h, w) that the weather follows.
        """
        height, width = drawn[PIXELS].shape[-2:]
        if scene.picture is not None:
            picture = cut_to(scene.picture, (width, height))
        else:
            picture = packaged().dealt(str(scene.name), scene.share, (width, height))
        place = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        numbers = {
            name: np.array([value])
            for name, value in zip(SceneSetting._fields, scene.setting, strict=True)
        }
        if scene.setting != PLAIN:
            number = np.array([packaged().number(scene.name)])
            given = {"noise": noise, SCENE: place, "place": number, **numbers}
            lit = self._relight(given)[LIT]
            is_photo = scene.name is None and scene.setting.time == NIGHT
            place = self._lamps({SCENE: place, LIT: lit})[UNLIT] if is_photo else lit
        if scene.name is not None and not packaged().is_ground(scene.name):
            drawn = {**drawn, SHADOW: np.zeros_like(drawn[SHADOW])}
        made = self._join({**drawn, SCENE: place, "noise": noise, **numbers})
        return {**drawn, PIXELS: made[FINISHED], SUBJECT_MASK: made[FINISHED_MASK]}


def _share_of(noise: Array) -> float:
    """Return the share of a normal distribution below the sum of some noise."""
    value = float(noise[0, 0].sum()) / noise[0, 0].size ** 0.5
    return 0.5 * math.erfc(-value * 0.5**0.5)
