"""Tiny ONNX models with the interfaces of YuNet and of recognisers, and a public photograph.

Trained weights are the user's to bring, so these stand in: one detector compares a picture with
the photograph's face (normalised correlation of brightness), so that it finds this face wherever
it is, and no other; another says that there always is a face in one place.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.faces.encoders.onnx import SFACE, STRIDES, YUNET
from tests.tiny.adapters import make_public_adapter
from tests.tiny.folders import choices_in, make_pipeline, make_unet

PHOTO = Path(__file__).parents[1] / "faces" / "assets" / "astronaut.jpg"
SIDE = 640  # of the detectors' input, as that of the published file
BOX = (83.0, 63.4, 173.7, 174.1)  # the face in the photograph, as YuNet finds it
LANDMARKS = ((105.5, 105.1), (149.3, 105.0), (124.8, 127.2), (108.0, 145.3), (146.4, 145.1))
STRIDE = 16  # the only level at which the tiny detectors find anything
WINDOW = 15  # cells a side of the compared region, an odd number
WIDTH = 16  # of the vectors
FACE_ID, FACE_ID_PLUS = "ip-adapter-faceid_sdxl", "ip-adapter-faceid-plusv2_sdxl"
LOOKING = "ip-adapter-plus_sdxl_vit-h"  # reads no vector, but looks at the crop
ARCFACE = "face_recognition_arcface.onnx"


def make_models(folder, *, detector=None, recognisers=((SFACE.name, 1),)):
    """Write a detector and recognisers, each a file name and a seed, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(detector or matching_detector(), folder / YUNET.name)
    for name, seed in recognisers:
        onnx.save(recogniser(seed), folder / name)
    return folder


def photo():
    return Image.open(PHOTO).convert("RGB")


def recogniser(seed, *, width=WIDTH):
    random = np.random.default_rng(seed)
    weights = random.normal(size=(width, 3, 28, 28)) / 28
    nodes = [
        helper.make_node(
            "Conv", ["data", "weights"], ["map"], strides=[28, 28], kernel_shape=[28, 28]
        ),
        helper.make_node("Tanh", ["map"], ["bent"]),
        helper.make_node("Flatten", ["bent"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mix"], ["fc1"]),
    ]
    mix = random.normal(size=(16 * width, width))
    constants = {"weights": weights / 100, "mix": mix}
    return tiny_model(nodes, constants, {"data": [1, 3, 112, 112]}, {"fc1": [1, width]})


def matching_detector():
    grey = _cells(photo())
    half = WINDOW // 2
    row, column = _centre_cell()
    patch = np.pad(grey, half, mode="edge")[row : row + WINDOW, column : column + WINDOW]
    patch = patch - patch.mean()
    nodes = [
        helper.make_node("Conv", ["input", "to_grey"], ["grey"]),
        helper.make_node(
            "AveragePool", ["grey"], ["cells"], kernel_shape=[16, 16], strides=[16, 16]
        ),
        helper.make_node("Mul", ["cells", "cells"], ["squares"]),
        helper.make_node("Conv", ["cells", "patch"], ["match"], pads=[half] * 4),
        helper.make_node("Conv", ["cells", "mean"], ["level"], pads=[half] * 4),
        helper.make_node("Conv", ["squares", "mean"], ["square"], pads=[half] * 4),
        helper.make_node("Mul", ["level", "level"], ["level2"]),
        helper.make_node("Sub", ["square", "level2"], ["spread2"]),
        helper.make_node("Max", ["spread2", "least"], ["above"]),
        helper.make_node("Sqrt", ["above"], ["spread"]),
        helper.make_node("Div", ["match", "spread"], ["likely"]),
        helper.make_node("Clip", ["likely", "zero", "one"], ["score"]),
        helper.make_node("Reshape", ["score", "column"], ["found"]),
    ]
    norm = np.linalg.norm(patch) * WINDOW
    constants = {
        "to_grey": np.full((1, 3, 1, 1), 1 / 3),
        "patch": (patch / norm)[None, None],
        "mean": np.full((1, 1, WINDOW, WINDOW), WINDOW**-2),
        "least": np.float32(1.0),
        "zero": np.float32(0),
        "one": np.float32(1),
        "column": np.array([1, -1, 1], dtype=np.int64),
    }
    return _detector(nodes, constants)


def steady_detector():
    scores = np.zeros((1, (SIDE // STRIDE) ** 2, 1), dtype=np.float32)
    row, column = _centre_cell()
    scores[0, row * (SIDE // STRIDE) + column] = 1
    nodes = [
        helper.make_node("ReduceMax", ["input"], ["any"], keepdims=0),
        helper.make_node("Mul", ["any", "nothing"], ["none"]),
        helper.make_node("Add", ["always", "none"], ["found"]),
    ]
    return _detector(nodes, {"always": scores, "nothing": np.float32(0)})


def _detector(nodes, constants):
    row, column = _centre_cell()
    scale = SIDE / photo().width
    corner = np.array([column, row]) * STRIDE
    box, landmarks = np.array(BOX) * scale, np.array(LANDMARKS) * scale
    middle = ((box[:2] + box[2:]) / 2 - corner) / STRIDE
    geometry = {
        "bbox": np.concatenate([middle, np.log((box[2:] - box[:2]) / STRIDE)]),
        "kps": ((landmarks - corner) / STRIDE).ravel(),
    }
    outputs = {}
    for stride in STRIDES:
        cells = (SIDE // stride) ** 2
        for kind in ("cls", "obj"):
            name, outputs[f"{kind}_{stride}"] = f"{kind}_{stride}", [1, cells, 1]
            if stride == STRIDE:
                nodes.append(helper.make_node("Identity", ["found"], [name]))
            else:
                constants[f"no_{name}"] = np.zeros((1, cells, 1))
                nodes.append(helper.make_node("Identity", [f"no_{name}"], [name]))
        for kind, values in geometry.items():
            name, outputs[f"{kind}_{stride}"] = f"{kind}_{stride}", [1, cells, len(values)]
            constants[f"all_{name}"] = np.tile(values, (1, cells, 1))
            nodes.append(helper.make_node("Identity", [f"all_{name}"], [name]))
    return tiny_model(nodes, constants, {"input": [1, 3, SIDE, SIDE]}, outputs)


def _centre_cell():
    box, scale = np.array(BOX), SIDE / photo().width
    column, row = ((box[:2] + box[2:]) / 2 * scale // STRIDE).astype(int)
    return row, column


def _cells(image):
    large = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(large, dtype=np.float32).mean(axis=2)
    cells = SIDE // STRIDE
    return grey.reshape(cells, STRIDE, cells, STRIDE).mean(axis=(1, 3))


def tiny_model(nodes, constants, inputs, outputs):
    arrays = {
        name: value if getattr(value, "dtype", None) == np.int64 else np.asarray(value, np.float32)
        for name, value in constants.items()
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        *(
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in part]
            for part in (inputs.items(), outputs.items())
        ),
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def similarity(first, second):
    return float(np.dot(first, second) / (np.linalg.norm(first) * np.linalg.norm(second)))


def make_world(root):
    """Write a folder with tiny models of everything that drawing and judging a face takes."""
    make_pipeline(root / "pipeline", "sdxl")
    make_unet(root / "unet", "sdxl")
    for name in (FACE_ID, FACE_ID_PLUS, LOOKING):
        path = root / f"{name}.safetensors"
        make_public_adapter(path, "sdxl", name=name)
    make_models(root / "faces")
    make_models(root / "judge", detector=steady_detector(), recognisers=[(ARCFACE, 2)])
    return root


def small_session(root, *, adapter=FACE_ID_PLUS, side_px=64):
    preset = replace(PRESETS.get("sdxl-turbo"), image_size_px=side_px)
    return Session(load_components(preset, **choices_in(root, f"{adapter}.safetensors")))


def options(root, *, adapter=FACE_ID):
    return [
        *("--preset", "sdxl-lightning-2", "--weights", root / "unet", "--base", root / "pipeline"),
        *("--offline", "--size", "64x64", "--adapter", root / f"{adapter}.safetensors"),
        *("--image-encoder", root / "encoder", "--face-models", root / "faces"),
    ]
