"""Subjects in a new picture, drawn from noise."""

from swiftpie.backbones.components import Components
from swiftpie.pipelines.drawing.denoise import Clock
from swiftpie.pipelines.drawing.prepare import check_subjects, prepare
from swiftpie.pipelines.drawing.request import WORDS_ALONE, PersonalizeRequest
from swiftpie.pipelines.techniques import Plan, Technique
from swiftpie.types import GenerationResult


def claims(components: Components, request: PersonalizeRequest) -> bool:
    """Whether a request is for a picture without a scene of its own."""
    del components
    return request.scene in ("", WORDS_ALONE)


def prepare_picture(components: Components, request: PersonalizeRequest, clock: Clock) -> Plan:
    """Read the prompts and place the subjects; see `drawing.prepare`."""
    check_subjects(components, request)
    return Plan(request, _as_drawn, prepare(components, request, clock))


def _as_drawn(drawn: GenerationResult) -> GenerationResult:
    return drawn


TECHNIQUE = Technique(PersonalizeRequest, prepare_picture, claims)
