"""SwiftPie: any subject into any scene, and any photo edited by text, in one denoising step."""

import importlib
from typing import TYPE_CHECKING, Any

from swiftpie.errors import (
    CapabilityError,
    ConfigError,
    InputError,
    MissingExtra,
    OutOfMemory,
    SwiftPieError,
    WeightsError,
)
from swiftpie.gc_pause import uncollected

if TYPE_CHECKING:
    from swiftpie.config import MaskRule, options_of
    from swiftpie.engine.onnx.session import load
    from swiftpie.engine.session import Session
    from swiftpie.pipelines.diffusers.edit import SwiftEditPipeline
    from swiftpie.pipelines.diffusers.personalize import SwiftPiePipeline
    from swiftpie.pipelines.drawing.edit import EditResult
    from swiftpie.pipelines.drawing.request import (
        EditRequest,
        FaceRequest,
        PersonalizeRequest,
        Subject,
    )
    from swiftpie.pipelines.drawing.settings import (
        EditMode,
        EditSettings,
        MaskSource,
        Scales,
        Style,
    )
    from swiftpie.types import GenerationResult, Identity

__version__ = "0.1.0"

__all__ = [
    "CapabilityError",
    "ConfigError",
    "EditMode",
    "EditRequest",
    "EditResult",
    "EditSettings",
    "FaceRequest",
    "GenerationResult",
    "Identity",
    "InputError",
    "MaskRule",
    "MaskSource",
    "MissingExtra",
    "OutOfMemory",
    "PersonalizeRequest",
    "Scales",
    "Session",
    "Style",
    "Subject",
    "SwiftEditPipeline",
    "SwiftPieError",
    "SwiftPiePipeline",
    "WeightsError",
    "load",
    "options_of",
]

_HOMES = {
    name: f"swiftpie.{module}"
    for module, names in {
        "config": ["MaskRule", "options_of"],
        "engine.session": ["Session"],
        "engine.onnx.session": ["load"],
        "pipelines.drawing.edit": ["EditResult"],
        "pipelines.diffusers.edit": ["SwiftEditPipeline"],
        "pipelines.diffusers.personalize": ["SwiftPiePipeline"],
        "pipelines.drawing.request": [
            "EditRequest",
            "FaceRequest",
            "PersonalizeRequest",
            "Subject",
        ],
        "pipelines.drawing.settings": ["EditMode", "EditSettings", "MaskSource", "Scales", "Style"],
        "types": ["GenerationResult", "Identity"],
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public object
    """Import a public name when it is first used, so that `import swiftpie` costs no torch.

    Raises:
        AttributeError: There is no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'swiftpie' has no attribute {name!r}")
    with uncollected():
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
