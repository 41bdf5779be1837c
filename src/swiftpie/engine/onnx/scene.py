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
    LIT,
    PIXELS,
    RELIGHT,
    SCENE,
    SHADOW,
    SUBJECT_MASK,
    Graph,
)
from swiftpie.scenes import (
    PLAIN,
    WORDS_ALONE,
    SceneSetting,
    cut_to,
    is_finished_later,
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


def needs_torch(scene: "Image.Image | str", prompt: str) -> bool:
    """Whether a prompt asks for what no graph draws.

    This is a rendition, something to wear, or weather without a scene.
    """
    if scene == WORDS_ALONE:
        return False
    has_place = bool(scene) or packaged().place_in(prompt) is not None
    is_beyond = rendition_in(prompt) is not None or worn_in(prompt) is not None
    return is_beyond or (is_finished_later(prompt) and not has_place)


def scene_of(scene: "Image.Image | str", prompt: str) -> ChosenScene | None:
    """Return the scene that is given, or else the one that a prompt names; None without one."""
    if isinstance(scene, Image.Image):
        return ChosenScene(None, scene, read_setting(prompt))
    name = None if scene == WORDS_ALONE else scene or packaged().place_in(prompt)
    return None if name is None else ChosenScene(name, None, read_setting(prompt))


class SceneGraphs:
    """The graphs that show a scene in other light, and put a subject before it."""

    def __init__(self, folder: Path, runtime: str) -> None:
        self._relight, self._join = (
            Graph(folder / f"{name}.onnx", runtime) for name in (RELIGHT, JOIN)
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
            noise: Standard normal latents (1, 32, h, w), which choose the picture.
        """
        height, width = drawn[PIXELS].shape[-2:]
        share = _ndtr(float(noise[0, 0].sum()) / noise[0, 0].size ** 0.5)
        if scene.picture is not None:
            picture = cut_to(scene.picture, (width, height))
        else:
            picture = packaged().dealt(str(scene.name), share, (width, height))
        place = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        numbers = {
            name: np.array([value])
            for name, value in zip(SceneSetting._fields, scene.setting, strict=True)
        }
        if scene.setting != PLAIN:
            number = np.array([packaged().number(scene.name)])
            place = self._relight({"noise": noise, SCENE: place, "place": number, **numbers})[LIT]
        if scene.name is not None and not packaged().is_ground(scene.name):
            drawn = {**drawn, SHADOW: np.zeros_like(drawn[SHADOW])}
        made = self._join({**drawn, SCENE: place, "noise": noise, **numbers})
        return {**drawn, PIXELS: made[FINISHED], SUBJECT_MASK: made[FINISHED_MASK]}


def _ndtr(value: float) -> float:
    """Return the share of a normal distribution below `value`."""
    return 0.5 * math.erfc(-value * 0.5**0.5)
