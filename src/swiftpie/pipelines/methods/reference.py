"""Edits by a model that reads the picture itself, as users choose them."""

from typing import TYPE_CHECKING, Any

from swiftpie.pipelines.choose import Technique
from swiftpie.pipelines.request import EditRequest
from swiftpie.registry import later

if TYPE_CHECKING:
    from swiftpie.backbones.components import Components


def claims(components: "Components", _request: Any) -> bool:  # noqa: ANN401 - a request
    """Whether the networks edit so by default."""
    return components.inversion is None and components.family.edits_by_reference


TECHNIQUE = Technique(
    EditRequest,
    later("swiftpie.pipelines.reference:prepare_edit"),
    claims,
    name="reference",
    about="a model that reads pictures besides the prompt",
)
