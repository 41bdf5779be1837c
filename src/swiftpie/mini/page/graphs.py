"""The graphs that the page runs beside those of the model: cut-outs, and scenes in other light."""

from pathlib import Path

import torch

from swiftpie.engine.graphs.export import OUTLINE, PIXELS, SEED, SHADOW, SUBJECT_MASK
from swiftpie.engine.graphs.to_onnx import Named, NamedFunction, write_onnx, write_weights
from swiftpie.mini.relight import IN_THE_AIR
from swiftpie.mini.relight import SIDE_PX as SCENE_PX
from swiftpie.mini.scene import at_night, draw_noise_of, put_before
from swiftpie.mini.scene_network import Relighter, SceneCondition
from swiftpie.mini.scene_network import packaged as packaged_scene
from swiftpie.mini.scenes import NIGHT, WEATHERS
from swiftpie.mini.weather import PixelRows, draw_weather
from swiftpie.models.cutout import packaged
from swiftpie.models.cutout_net import CutoutNet
from swiftpie.models.outline import CUTOUT_PX

CUTOUT, RELIGHT, JOIN = "cutout", "relight", "join"  # the graphs, by their names
SCENE = "scene"  # the picture that `relight` and `join` read


def export_page_parts(folder: Path) -> None:
    """Write the graphs of cut-outs and scenes, and their weights, into `folder`, which is empty.

    Raises:
        MissingExtra: A package that writes graphs is not installed.
    """
    cutouts, relighter = packaged(), packaged_scene()
    places = write_weights({"network": cutouts, "relighter": relighter}, folder)
    functions = {CUTOUT: cutout_function(cutouts), **scene_functions(relighter)}
    for name, function in functions.items():
        write_onnx(function, places=places, path=folder / f"{name}.onnx")


def cutout_function(network: CutoutNet) -> NamedFunction:
    """Return the network that finds subjects in one view of a photo."""
    samples = {"view": torch.zeros(1, 3, CUTOUT_PX, CUTOUT_PX)}
    return NamedFunction(
        {"network": network}, lambda given: {"logits": network(*given.values())}, samples
    )


def scene_functions(relighter: Relighter) -> dict[str, NamedFunction]:
    """Return what shows a scene in other light, and what puts a subject before it."""
    picture, mask = torch.zeros(1, 3, SCENE_PX, SCENE_PX), torch.zeros(1, 1, SCENE_PX, SCENE_PX)
    noise, number = draw_noise_of(SEED), torch.zeros(1, dtype=torch.int64)
    light = {"noise": noise, SCENE: picture, **dict.fromkeys(SceneCondition._fields, number)}
    join = {SCENE: picture, PIXELS: picture, SUBJECT_MASK: mask, OUTLINE: mask, SHADOW: mask}
    return {
        RELIGHT: NamedFunction(
            {"relighter": relighter}, lambda given: {"lit": relighter(*given.values())}, light
        ),
        JOIN: NamedFunction({}, _join, join | {"noise": noise, "weather": number, "time": number}),
    }


def _join(given: Named) -> Named:
    layer = (given[OUTLINE], given[SHADOW])
    is_dark = (given["time"] == NIGHT).view(1, 1, 1, 1)
    drawing = torch.where(is_dark, at_night(given[PIXELS]), given[PIXELS])
    picture, mask = put_before(given[SCENE], drawing, given[SUBJECT_MASK], [layer])
    size = (picture.shape[2], picture.shape[3])
    view, time = PixelRows(size, (0, size[0])), given["time"][0]
    for number, name in enumerate(WEATHERS):
        if name in IN_THE_AIR:
            shown = draw_weather(picture, given["noise"], name=name, time=time, view=view)
            is_shown = (given["weather"] == number).view(1, 1, 1, 1)
            picture = torch.where(is_shown, shown, picture)
    return {"finished": picture, "finished_mask": mask}
