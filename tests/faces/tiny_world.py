"""A folder with tiny models of everything that drawing and judging a face takes."""

from dataclasses import replace

from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from tests.backbones import tiny_models
from tests.faces.tiny_faces import make_models, steady_detector

FACE_ID, FACE_ID_PLUS = "ip-adapter-faceid_sdxl", "ip-adapter-faceid-plusv2_sdxl"
LOOKING = "ip-adapter-plus_sdxl_vit-h"  # reads no vector, but looks at the crop
ARCFACE = "face_recognition_arcface.onnx"


def make_world(root):
    tiny_models.make_pipeline(root / "pipeline", "sdxl", is_shallow=True)
    tiny_models.make_unet(root / "unet", "sdxl", is_shallow=True)
    for name in (FACE_ID, FACE_ID_PLUS, LOOKING):
        path = root / f"{name}.safetensors"
        tiny_models.make_public_adapter(path, "sdxl", name=name, is_shallow=True)
    make_models(root / "faces")
    make_models(root / "judge", detector=steady_detector(), recognisers=[(ARCFACE, 2)])
    return root


def small_session(root, *, adapter=FACE_ID_PLUS, side_px=64):
    preset = replace(PRESETS.get("sdxl-turbo"), image_size_px=side_px)
    choices = tiny_models.choices_in(root, f"{adapter}.safetensors")
    return Session(load_components(preset, **choices))


def options(root, *, adapter=FACE_ID):
    return [
        *("--preset", "sdxl-lightning-2", "--weights", root / "unet", "--base", root / "pipeline"),
        *("--offline", "--size", "64x64", "--adapter", root / f"{adapter}.safetensors"),
        *("--image-encoder", root / "encoder", "--face-models", root / "faces"),
    ]
