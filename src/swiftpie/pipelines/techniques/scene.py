"""Subjects inserted into a scene one after the other, as into a photograph."""

from collections.abc import Sequence
from functools import partial

from PIL import Image

from swiftpie.backbones.components import Components
from swiftpie.pipelines.drawing.denoise import Clock
from swiftpie.pipelines.drawing.prepare import check_subjects
from swiftpie.pipelines.drawing.request import WORDS_ALONE, PersonalizeRequest
from swiftpie.pipelines.photographs.scene import SceneRow, finish_insertions, insertions, scene_rows
from swiftpie.pipelines.techniques import Plan, Technique, repaint
from swiftpie.types import EditResult, GenerationResult


def claims(components: Components, request: PersonalizeRequest) -> bool:
    """Whether a request has a scene."""
    del components
    return request.scene not in ("", WORDS_ALONE)


def prepare_insertions(components: Components, request: PersonalizeRequest, clock: Clock) -> Plan:
    """Choose and light the scenes, and prepare the first subject of each picture.

    Raises:
        CapabilityError: Latents were asked for, or the networks insert no subjects.
        InputError: There is no such scene, or noise or encoded prompts came with it.
    """
    check_subjects(components, request)
    rows = scene_rows(components, request)
    clock.lap("scene")
    return _insert(components, request, rows, clock, [row.place for row in rows], ())


def _insert(
    components: Components,
    request: PersonalizeRequest,
    rows: Sequence[SceneRow],
    clock: Clock,
    places: Sequence[Image.Image],
    earlier: tuple[tuple[EditResult, ...], ...],
) -> Plan:
    """Return the plan that puts the next subject into the places of all pictures."""

    def finish(*results: EditResult) -> GenerationResult | Plan:
        drawn = (*earlier, results)
        clock.lap("insert")
        if len(drawn) == len(request.subjects):
            return finish_insertions(components, request, rows, drawn, clock.timings())
        places = [result.image for result in results]
        return _insert(components, request, rows, clock, places, drawn)

    prepare = partial(repaint.prepare_repainting, components, clock=clock)
    each = insertions(components, request, rows, len(earlier), places)
    return Plan(request, finish, parts=tuple(map(prepare, each)))


TECHNIQUE = Technique(PersonalizeRequest, prepare_insertions, claims, draws_by_seed=True)
