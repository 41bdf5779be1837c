"""Edits by a model that reads the picture itself, as users choose them."""

from swiftpie.pipelines.choose import Technique
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.registry import later

TECHNIQUE = Technique(
    EditRequest,
    later("swiftpie.pipelines.reference:prepare_edit"),
    lambda components, _request: (
        components.inversion is None and components.family.edits_by_reference
    ),
    name="reference",
    about="a model that reads pictures besides the prompt",
)
