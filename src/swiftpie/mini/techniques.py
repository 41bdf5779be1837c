"""How the embedded model draws: scenes from its library, and edits whose words it understands."""

from functools import partial

from swiftpie.backbones.components import Components
from swiftpie.pipelines.drawing.denoise import Clock
from swiftpie.pipelines.drawing.edit_region import Compared, encode_picture, in_hole
from swiftpie.pipelines.drawing.prepare import check_subjects, prepare
from swiftpie.pipelines.drawing.request import EditRequest, PersonalizeRequest
from swiftpie.pipelines.photographs import relight, restage, scene
from swiftpie.pipelines.techniques import Plan, Technique


def _prepare_empty_scene(components: Components, request: PersonalizeRequest, clock: Clock) -> Plan:
    return Plan(request, partial(scene.draw_empty, components, request, clock))


def _prepare_scene(components: Components, request: PersonalizeRequest, clock: Clock) -> Plan:
    """Prepare subjects from words, and the place before which they are put."""
    check_subjects(components, request)
    words = scene.drawn_from_words(components, request)
    placed_by = scene.placing_prompts(components, request)
    start = prepare(components, words, clock, placed_by=placed_by)
    plan = scene.plan(components, request, start)
    clock.lap("scene")
    return Plan(words, partial(scene.finish, plan=plan, clock=clock), start)


def _is_relit(components: Components, request: EditRequest) -> bool:
    """Whether all of a picture changes; of what a source prompt shows, a season changes a part."""
    if not relight.only_changes_all(components, request):
        return False
    reading = restage.reading_of(components, request) if request.source_prompt.strip() else None
    return reading is None or not reading.changes_season_alone


def _prepare_relit(components: Components, request: EditRequest, clock: Clock) -> Plan:
    edit = partial(relight.edit, components, request, clock)
    return Plan(request, edit, region=partial(relight.find_region, request))


def _is_restaged(components: Components, request: EditRequest) -> bool:
    """Whether the words of an edit are to say all of it, and say that something changes."""
    if not restage.reads_words(components, request):
        return False
    if not request.source_prompt.strip() or restage.reading_of(components, request) is not None:
        return True
    return not Compared(components.text, (request.source_prompt, request.prompt)).are_alike


def _prepare_restaged(components: Components, request: EditRequest, clock: Clock) -> Plan:
    request = in_hole(request)
    picture = encode_picture(components, request, clock)
    reading = restage.reading_of(components, request)
    staging = restage.prepare(components, request, reading, picture, clock)
    finish = partial(restage.finish, staging, clock)
    return Plan(request, finish, region=partial(restage.find_region, staging))


TECHNIQUES = (
    Technique(PersonalizeRequest, _prepare_empty_scene, scene.is_empty),
    Technique(PersonalizeRequest, _prepare_scene, scene.has_scene),
    Technique(EditRequest, _prepare_relit, _is_relit),
    Technique(EditRequest, _prepare_restaged, _is_restaged, restage.follows_seed),
)
"""In the order in which they are tried."""
