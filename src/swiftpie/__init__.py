"""SwiftPie: your subject in a scene, and photographs edited by text, in one denoising step."""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from swiftpie.errors import (
    CapabilityError,
    ConfigError,
    InputError,
    MissingExtra,
    OutOfMemory,
    SigningError,
    SwiftPieError,
    WeightsError,
)

if TYPE_CHECKING:
    from swiftpie.backbones.presets import RECIPES
    from swiftpie.backbones.sources import is_downloaded, open_face_encoder
    from swiftpie.config import options_of, read_options
    from swiftpie.diffusers.edit import SwiftEditPipeline
    from swiftpie.diffusers.personalize import SwiftPiePipeline
    from swiftpie.engine.load import load
    from swiftpie.engine.session import Session
    from swiftpie.faces import CONSENT, FaceSettings, FaceSource
    from swiftpie.imageio.decoding import load_image
    from swiftpie.imageio.images import bounding_box, contact_sheet
    from swiftpie.imageio.writing import save_animation
    from swiftpie.masks import load_mask
    from swiftpie.photo.cutout import cut_out
    from swiftpie.pipelines.animation import AnimateRequest
    from swiftpie.pipelines.identity_file import save_identity
    from swiftpie.pipelines.methods.inversion import EditStart
    from swiftpie.pipelines.request import (
        FacePicture,
        IdentityRef,
        PersonalizeRequest,
        Pictures,
        Subject,
        drawing_of,
    )
    from swiftpie.pipelines.settings import (
        MAX_SCALE,
        EditMode,
        EditSettings,
        IdentityGuidance,
        MaskSource,
        Scales,
        TuneSettings,
    )
    from swiftpie.pipelines.tasks import TASKS, EditRequest, RetouchRequest, change_of
    from swiftpie.types import EditResult, GenerationResult, Identity
    from swiftpie.validation import MAX_IMAGES, MAX_SEED, check_box

__version__ = "0.1.0"

__all__ = ["CONSENT", "MAX_IMAGES", "MAX_SCALE", "MAX_SEED", "RECIPES", "TASKS"]
__all__ += ["AnimateRequest", "CapabilityError", "ConfigError", "EditMode", "EditRequest"]
__all__ += ["EditResult", "EditSettings", "EditStart", "FacePicture", "FaceSettings", "FaceSource"]
__all__ += ["GenerationResult", "Identity", "IdentityGuidance", "IdentityRef", "InputError"]
__all__ += ["MaskSource", "MissingExtra", "OutOfMemory", "PersonalizeRequest", "Pictures"]
__all__ += ["RetouchRequest", "Scales", "Session", "SigningError", "Subject", "SwiftEditPipeline"]
__all__ += ["SwiftPieError", "SwiftPiePipeline", "TuneSettings", "WeightsError"]
__all__ += ["bounding_box", "change_of", "check_box", "contact_sheet", "cut_out", "drawing_of"]
__all__ += ["is_downloaded", "load", "load_image", "load_mask", "open_face_encoder", "options_of"]
__all__ += ["read_options", "save_animation", "save_identity"]

_HOMES = {
    name: f"swiftpie.{module}"
    for module, names in {
        "backbones.sources": "is_downloaded open_face_encoder",
        "backbones.presets": "RECIPES",
        "faces": "CONSENT FaceSettings FaceSource",
        "imageio.writing": "save_animation",
        "imageio.decoding": "load_image",
        "imageio.images": "bounding_box contact_sheet",
        "masks": "load_mask",
        "photo.cutout": "cut_out",
        "pipelines.animation": "AnimateRequest",
        "pipelines.identity_file": "save_identity",
        "validation": "MAX_IMAGES MAX_SEED check_box",
        "config": "options_of read_options",
        "engine.session": "Session",
        "engine.load": "load",
        "diffusers.edit": "SwiftEditPipeline",
        "diffusers.personalize": "SwiftPiePipeline",
        "pipelines.request": "FacePicture IdentityRef PersonalizeRequest Pictures Subject "
        "drawing_of",
        "pipelines.tasks": "EditRequest RetouchRequest TASKS change_of",
        "pipelines.methods.inversion": "EditStart",
        "pipelines.settings": "EditMode EditSettings MAX_SCALE MaskSource Scales "
        "IdentityGuidance TuneSettings",
        "types": "EditResult GenerationResult Identity",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public object
    """Import a public name when it is first used, so that `import swiftpie` costs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'swiftpie' has no attribute {name!r}")
    with warnings.catch_warnings():  # of bars in notebooks, which other libraries draw as text then
        warnings.filterwarnings("ignore", "IProgress not found")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
