"""Subjects inserted into a scene one after the other, as into a photograph."""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.imageio.images import to_pil, to_tensor
from swiftpie.mini.scene import SceneRow, names_of, scene_rows
from swiftpie.pipelines.denoise import Clock
from swiftpie.pipelines.draw import Plan, Technique
from swiftpie.pipelines.request import (
    WORDS_ALONE,
    PersonalizeRequest,
    RepaintRequest,
    resolved_scales,
)
from swiftpie.pipelines.settings import Scales
from swiftpie.pipelines.style import has_style
from swiftpie.pipelines.techniques import repaint
from swiftpie.pipelines.techniques.personalize import check_subjects
from swiftpie.types import EditResult, GenerationResult


def claims(components: Components, request: PersonalizeRequest) -> bool:
    """Whether a request has a scene."""
    del components
    return request.scene not in ("", WORDS_ALONE)


def prepare_insertions(components: Components, request: PersonalizeRequest, clock: Clock) -> Plan:
    """Choose and light the scenes, and prepare the first subject of each picture.

    Raises:
        CapabilityError: The request asks for latents, or the networks insert no subjects.
        InputError: There is no such scene, or noise or encoded prompts came with it.
    """
    check_subjects(components, request)
    if has_style(request):
        raise CapabilityError(
            f"A style picture came with a scene, and preset {components.preset.name!r} inserts "
            "subjects into scenes as into photographs, whose style stays. Leave one of them out."
        )
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
            return _finish_insertions(components, request, rows, drawn, clock.timings())
        places = [result.image for result in results]
        return _insert(components, request, rows, clock, places, drawn)

    each = _insertions(request, rows, len(earlier), places)
    parts = tuple(repaint.TECHNIQUE.prepare(components, insertion, clock) for insertion in each)
    return Plan(request, finish, parts=parts)


def _insertions(
    request: PersonalizeRequest, rows: Sequence[SceneRow], index: int, places: Sequence[Image.Image]
) -> list[RepaintRequest]:
    """Return the requests that put one subject into the places of all pictures."""
    subject = request.subjects[index]
    return [
        RepaintRequest(
            image=place,
            seed=row.seed,
            source=subject.identity,
            prompt=row.reading.photo_prompt,
            box=row.boxes[index] if subject.box is None else subject.box,
            view=subject.view,
            scales=_insertion_scales(request.scales),
            guidance=request.guidance,
            shaping=request.shaping,
            negative_prompt=request.negative_prompt,
        )
        for row, place in zip(rows, places, strict=True)
    ]


def _insertion_scales(scales: Scales) -> Scales:
    """Return the scales of an insertion with the strengths of a drawing."""
    return Scales(
        identity_scale=scales.identity_scale, text_scale=scales.text_scale, balance=scales.balance
    )


def _finish_insertions(
    components: Components,
    request: PersonalizeRequest,
    rows: Sequence[SceneRow],
    drawn: Sequence[Sequence[EditResult]],
    timings: Mapping[str, float],
) -> GenerationResult:
    """Return the pictures with rain, flakes and fog before everything; `drawn` is by subject."""
    pictures = [
        to_pil(row.finished(to_tensor(result.image)))[0]
        for row, result in zip(rows, drawn[-1], strict=True)
    ]
    last = drawn[-1]
    named = tuple(
        subject.identity.named for subject in request.subjects if subject.identity.named is not None
    )
    origins = [result.origin for results in drawn for result in results]
    merged = dict(pair for origin in origins for pair in origin.items())
    return GenerationResult(
        images=tuple(pictures),
        subject_masks=tuple(result.region for result in last),
        regions=torch.cat([result.latent_region for result in last]),
        seeds=request.seeds,
        layouts=(),
        branches=last[0].branches,
        cutouts=tuple(subject.identity.cutouts for subject in request.subjects),
        timings_ms=timings,
        scales=resolved_scales(components.preset, request).given,
        origin={**merged, "scene": names_of(rows)},
        named=named,
    )


TECHNIQUE = Technique(PersonalizeRequest, prepare_insertions, claims, draws_by_seed=True)
