"""Scenes before which every model draws: subjects inserted into a picture of a place.

Prompts are read, and places chosen and lit, by what the embedded model has for it. That is loaded
with the first such picture.
"""

from swiftpie.pipelines.choose import Technique
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest
from swiftpie.registry import later

TECHNIQUE = Technique(
    PersonalizeRequest,
    later("swiftpie.mini.insert:prepare_insertions"),
    lambda _, request: request.scene != WORDS_ALONE,
    needs="scene",
    draws_by_seed=True,
    advice=later("swiftpie.pipelines.warnings:scene_advice"),
)
