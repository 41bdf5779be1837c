"""SwiftPie: how subjects and a sentence become what denoising starts from."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from swiftpie.attention.rescale import INLINE_MASK
from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.layout import Layout, from_box, whole_frame
from swiftpie.masks import box_mask, resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.tiny import subject_extent
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.condition import find_words, read_null_text, read_prompts, subject_condition
from swiftpie.pipelines.denoise import Clock, Prepared
from swiftpie.pipelines.request import Part, PersonalizeRequest, Subject
from swiftpie.pipelines.settings import MaskSource, Scales
from swiftpie.types import TextCondition

BOX_FEATHER = 0.06  # a box's soft edge, as a share of the picture
SPREAD_FILL = 0.84  # of its share of the width that one of several subjects fills
SPREAD_FLOOR = 0.9  # where several subjects stand, 0 = top of the picture


def num_draws(components: Components) -> int:
    """Return how often noise is drawn for a picture: to start from, and for steps that add some."""
    schedule = components.schedule
    return len(schedule.steps) if schedule.needs_noise else 1


@torch.no_grad()
def prepare(components: Components, request: PersonalizeRequest, clock: Clock) -> Prepared:
    """Read the prompts and place the subjects.

    Raises:
        InputError: Regions shall be found although some are given, or the size is not possible.
    """
    subjects, source = request.subjects, request.mask
    finds = source in {MaskSource.INLINE, MaskSource.TWO_PASS}
    if finds and any(subject.mask is not None for subject in subjects):
        raise InputError(
            f"mask={source.value!r} finds the regions of all subjects, but some have a mask. Leave "
            "one of the two out."
        )
    noise = request.noise
    if noise is None:
        shape = (components.preset.latent_channels, *components.cells_of(request.size_px))
        noise = draw_step_noise(request.seeds, shape, count=num_draws(components))
    noise = noise.to(components.device)
    cells = (noise.shape[3], noise.shape[4])
    rows = noise.shape[1]
    text = read_prompts(components, request.prompt, rows=rows)
    null_text = read_null_text(
        components, request.negative_prompt, guidance=request.guidance, rows=rows
    )
    clock.lap("text")
    if components.layout_predictor is not None:
        subjects = tuple(side_by_side(subjects))
    layouts = [_place(components, subject, noise[0], text=text) for subject in subjects]
    condition = subject_condition(
        components,
        [subject.identity for subject in subjects],
        layouts,
        regions=[_region(subject, source, cells).to(noise) for subject in subjects],
        class_tokens=find_words(components, request.prompt, [subject.name for subject in subjects]),
        scales=request.scales or Scales.of(components.preset),
        shares=[subject.scale for subject in subjects],
        is_inline=source is MaskSource.INLINE,
    )
    if source is MaskSource.TWO_PASS:
        condition = _with_found_region(components, noise, text, condition)
    latents = components.schedule.initial_latents(noise[0])
    condition = _without(condition, request.without)
    clock.lap("place")
    return Prepared(
        components, latents, text, null_text, condition, fresh=noise[1:], layouts=tuple(layouts)
    )


def _without(condition: SubjectCondition, parts: frozenset[Part]) -> SubjectCondition:
    if Part.PLACE in parts:
        attention = condition.attention
        nowhere = attention._replace(has_layout=torch.zeros_like(attention.has_layout))
        condition = condition._replace(attention=nowhere)
    if Part.ALIGNED in parts:
        condition = condition._replace(aligned=torch.zeros_like(condition.aligned))
    return condition


def _with_found_region(
    components: Components, noise: Tensor, text: TextCondition, condition: SubjectCondition
) -> SubjectCondition:
    silent = torch.zeros_like(condition.attention.detail_scale)
    first = condition._replace(
        attention=condition.attention._replace(detail_scale=silent, detail_background_scale=silent)
    )
    notes: dict[str, Tensor] = {}
    step = components.schedule.steps[0]
    latents = components.schedule.initial_latents(noise[0])
    components.denoiser(latents, step.timestep, text, first, notes)
    found = resize_mask(notes[INLINE_MASK], (noise.shape[3], noise.shape[4])).to(noise)
    return condition._replace(attention=condition.attention._replace(mask=found))


def side_by_side(subjects: Sequence[Subject]) -> Sequence[Subject]:
    """Return several subjects without any box in boxes of their own, from left to right.

    Noise and prompt would place each as if it were alone.
    """
    if len(subjects) == 1 or any(subject.box is not None for subject in subjects):
        return subjects
    share = 1 / len(subjects)
    side = SPREAD_FILL * share
    centres = [(index + 0.5) * share for index in range(len(subjects))]
    return [
        replace(one, box=(x - side / 2, SPREAD_FLOOR - side, x + side / 2, SPREAD_FLOOR))
        for one, x in zip(subjects, centres, strict=True)
    ]


def _place(
    components: Components, subject: Subject, noise: Tensor, *, text: TextCondition
) -> Layout:
    """Return the layout that the box, or else noise, prompt and shape of the subject ask for."""
    batch = len(noise)
    if subject.box is not None:
        placed = from_box(subject.box)
        return Layout(*(one.expand(batch, *one.shape[1:]).to(noise) for one in placed))
    if components.layout_predictor is None:
        return whole_frame(noise)
    extent = subject_extent(subject.identity.mask[:1]).expand(batch, -1)
    layout: Layout = components.layout_predictor(noise, text.pooled, extent).layout
    return layout


def _region(subject: Subject, source: MaskSource, cells: tuple[int, int]) -> Tensor:
    if subject.mask is not None:
        return resize_mask(subject.mask, cells)
    if source is MaskSource.BOX:
        if subject.box is None:
            raise InputError("mask='box' needs a box. Give one, as in 0.2,0.4,0.8,0.9.")
        return box_mask(subject.box, height=cells[0], width=cells[1], feather=BOX_FEATHER)
    return torch.ones(1, 1, *cells)
