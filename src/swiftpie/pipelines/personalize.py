"""SwiftPie: subjects and a sentence to a new picture, in one denoising step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from swiftpie.attention.rescale import INLINE_MASK
from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.guidance.base import Steering
from swiftpie.layout import Layout, from_box, whole_frame
from swiftpie.masks import Box, box_mask, resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.layout_predictor import subject_extent
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.condition import subject_condition
from swiftpie.pipelines.denoise import Clock, finish
from swiftpie.pipelines.request import MAX_IMAGES, MaskSource, Scales, Subject, as_subjects
from swiftpie.types import GenerationResult, Identity, TextCondition

BOX_FEATHER = 0.06  # a box's soft edge, as a share of the picture
SPREAD_FILL = 0.84  # of its share of the width that one of several subjects fills
SPREAD_FLOOR = 0.9  # where several subjects stand, 0 = top of the picture


class Prepared(NamedTuple):
    """What denoising starts from."""

    latents: Tensor  # (B, C, h, w)
    condition: SubjectCondition
    fresh: Tensor  # noise for the steps after the first, (n, B, C, h, w)
    layouts: tuple[Layout, ...]  # one a subject, B rows each


@torch.no_grad()
def personalize(
    components: Components,
    subjects: Identity | Sequence[Subject],
    prompt: str,
    *,
    seeds: Sequence[int] = (0,),
    scales: Scales | None = None,
    mask: Tensor | MaskSource = MaskSource.NONE,
    box: Box | None = None,
    size_px: tuple[int, int] | None = None,
    **steering: Unpack[Steering],
) -> GenerationResult:
    """Draw one picture a seed. From arXiv:2605.01510.

    Args:
        components: The loaded networks.
        subjects: One identity from `encode_identity`, or several subjects.
        prompt: What the picture shows; not empty.
        seeds: One picture each, independent of the others in the batch.
        scales: Scales of the branches; the preset's defaults if not given.
        mask: Region of a single identity (1, 1, H, W) in [0, 1], or where all regions come from.
        box: Left, top, right and bottom in [0, 1] that a single identity shall fill.
        size_px: Height and width; the preset's size if not given.
        **steering: `guidance`, a method of `swiftpie.guidance`, and `shaping` of the identity's
            attention maps, both None by default.

    Raises:
        ConfigError: The guidance is for another number of steps.
        InputError: The prompt is empty, or a number is out of range.
    """
    _check_request(prompt, seeds)
    cells, clock = components.cells_of(size_px), Clock()
    shown = as_subjects(subjects, mask=mask if isinstance(mask, Tensor) else None, box=box)
    text = components.text.encode([prompt]).repeat(len(seeds))
    clock.lap("text")
    latents, condition, fresh, layouts = prepare(
        components,
        shown,
        text,
        noise=draw_start(components, seeds, cells),
        class_tokens=components.text.find_words(prompt, [subject.name for subject in shown]),
        scales=scales,
        source=source_of(mask),
    )
    clock.lap("place")
    result = finish(components, latents, text, condition, fresh=fresh, clock=clock, **steering)
    return replace(result, seeds=tuple(seeds), layouts=layouts)


def source_of(mask: Tensor | MaskSource | str) -> MaskSource:
    """Return where regions come from; a mask that is given itself leaves nothing to find.

    Raises:
        InputError: There is no such source.
    """
    if isinstance(mask, Tensor):
        return MaskSource.NONE
    try:
        return MaskSource(mask)
    except ValueError as error:
        known = ", ".join(repr(source.value) for source in MaskSource)
        raise InputError(
            f"mask={mask!r} names no source of masks; there are {known}. Pass one of them, or a "
            "tensor (1, 1, H, W) in [0, 1]."
        ) from error


def draw_start(components: Components, seeds: Sequence[int], cells: tuple[int, int]) -> Tensor:
    """Return what the schedule starts from and what it adds on its way, (n, B, C, h, w)."""
    shape = (components.preset.latent_channels, *cells)
    return draw_step_noise(seeds, shape, count=num_draws(components))


def num_draws(components: Components) -> int:
    """Return how often noise is drawn for a picture."""
    schedule = components.schedule
    return len(schedule.steps) if schedule.needs_noise else 1


@torch.no_grad()
def prepare(
    components: Components,
    subjects: Sequence[Subject],
    text: TextCondition,
    *,
    noise: Tensor,
    class_tokens: Tensor,
    scales: Scales | None = None,
    source: MaskSource = MaskSource.NONE,
) -> Prepared:
    """Place the subjects and return what denoising starts from.

    Args:
        components: The loaded networks.
        subjects: Who appears.
        text: The prompts, B rows.
        noise: What the schedule starts from and what it adds on its way, (n, B, C, h, w).
        class_tokens: Words of the prompt that name each subject, (S, T) or (B, S, T), 1 or 0.
        scales: Scales of the branches; the preset's defaults if not given.
        source: Where the regions of subjects without a mask come from.

    Raises:
        InputError: Regions shall be found although some are given.
    """
    finds = source in {MaskSource.INLINE, MaskSource.TWO_PASS}
    if finds and any(subject.mask is not None for subject in subjects):
        raise InputError(
            f"mask={source.value!r} finds the regions of all subjects, but some have a mask. Leave "
            "one of the two out."
        )
    noise = noise.to(components.device)
    cells = (noise.shape[3], noise.shape[4])
    if components.layout_predictor is not None:
        subjects = side_by_side(subjects)
    layouts = [_place(components, subject, noise[0], text=text) for subject in subjects]
    condition = subject_condition(
        components,
        [subject.identity for subject in subjects],
        layouts,
        regions=[_region(subject, source, cells).to(noise) for subject in subjects],
        class_tokens=class_tokens,
        scales=scales or Scales.of(components.preset),
        shares=[subject.scale for subject in subjects],
        is_inline=source is MaskSource.INLINE,
    )
    if source is MaskSource.TWO_PASS:
        condition = _with_found_region(components, noise, text, condition)
    latents = components.schedule.initial_latents(noise[0])
    return Prepared(latents, condition, fresh=noise[1:], layouts=tuple(layouts))


def _with_found_region(
    components: Components, noise: Tensor, text: TextCondition, condition: SubjectCondition
) -> SubjectCondition:
    """Return `condition` with the masks that a first pass without detail shows."""
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
    """Return the subject's region for rescaling (1, 1, h, w).

    Raises:
        InputError: A box is asked for and there is none.
    """
    if subject.mask is not None:
        return resize_mask(subject.mask, cells)
    if source is MaskSource.BOX:
        if subject.box is None:
            raise InputError("mask='box' needs a box. Give one, as in 0.2,0.4,0.8,0.9.")
        return box_mask(subject.box, height=cells[0], width=cells[1], feather=BOX_FEATHER)
    return torch.ones(1, 1, *cells)


def _check_request(prompt: str, seeds: Sequence[int]) -> None:
    if not prompt.strip():
        raise InputError("The prompt is empty. Say what the picture shows: 'a dog at sunset'.")
    if not 1 <= len(seeds) <= MAX_IMAGES:
        raise InputError(f"{len(seeds)} pictures were asked for; 1 to {MAX_IMAGES} are possible.")
