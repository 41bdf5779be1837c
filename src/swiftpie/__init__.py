"""SwiftPie: any subject into any scene, and any photo edited by text, in one denoising step."""

import importlib
from typing import TYPE_CHECKING, Any

from swiftpie.errors import (
    CapabilityError,
    ConfigError,
    InputError,
    MissingExtra,
    SwiftPieError,
    WeightsError,
)
from swiftpie.garbage import uncollected

if TYPE_CHECKING:
    from swiftpie.engine.session import Session, load
    from swiftpie.guidance.style import Style
    from swiftpie.options import MaskRule
    from swiftpie.pipelines.edit import EditResult
    from swiftpie.pipelines.hub.edit import SwiftEditPipeline
    from swiftpie.pipelines.hub.personalize import SwiftPiePipeline
    from swiftpie.pipelines.request import (
        EditRequest,
        FaceRequest,
        PersonalizeRequest,
        Subject,
    )
    from swiftpie.pipelines.settings import EditMode, EditSettings, MaskSource, Scales
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
]

_HOMES = {
    "EditMode": "swiftpie.pipelines.settings",
    "EditRequest": "swiftpie.pipelines.request",
    "EditResult": "swiftpie.pipelines.edit",
    "EditSettings": "swiftpie.pipelines.settings",
    "FaceRequest": "swiftpie.pipelines.request",
    "GenerationResult": "swiftpie.types",
    "Identity": "swiftpie.types",
    "MaskRule": "swiftpie.options",
    "MaskSource": "swiftpie.pipelines.settings",
    "PersonalizeRequest": "swiftpie.pipelines.request",
    "Session": "swiftpie.engine.session",
    "Scales": "swiftpie.pipelines.settings",
    "Style": "swiftpie.guidance.style",
    "Subject": "swiftpie.pipelines.request",
    "SwiftEditPipeline": "swiftpie.pipelines.hub.edit",
    "SwiftPiePipeline": "swiftpie.pipelines.hub.personalize",
    "load": "swiftpie.engine.session",
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
