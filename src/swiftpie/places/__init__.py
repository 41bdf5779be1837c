"""Places and what stands in them; before one, each model draws by this technique, `scene`."""

from swiftpie.pipelines.choose import Technique
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest
from swiftpie.registry import later

TECHNIQUE = Technique(
    PersonalizeRequest,
    later("swiftpie.places.scene:prepare_insertions"),
    lambda _, request: request.scene != WORDS_ALONE,
    needs="scene",
    draws_by_seed=True,
    advice=later("swiftpie.pipelines.warnings:scene_advice"),
)
