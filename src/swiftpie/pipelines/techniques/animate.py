"""Subjects in motion by published backbones: one prepared drawing whose rows are the frames.

Motion modules (arXiv:2307.04725) attend from frame to frame; identity is injected in each frame as
in a picture. More frames than they were trained on are drawn in overlapping windows of time, fused
in every step as those of a wide picture are in space (arXiv:2302.08113, Eq. 5).
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from swiftpie.backbones.components import Components, Placement
from swiftpie.backbones.presets import Capability
from swiftpie.errors import CapabilityError, InputError
from swiftpie.geometry.layout import Layout
from swiftpie.masks import box_mask
from swiftpie.models.denoiser import Denoiser, DenoiserCall, WrappedDenoiser
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.animation import AnimateRequest
from swiftpie.pipelines.choose import Choice, Technique
from swiftpie.pipelines.denoise import Plan, cut_rows, mixed_rows
from swiftpie.pipelines.request import PersonalizeRequest, Subject, cells_of
from swiftpie.pipelines.settings import MaskSource
from swiftpie.pipelines.techniques.panorama import Window, WindowedDenoiser, fade, spans
from swiftpie.pipelines.techniques.personalize import (
    BOX_FEATHER,
    check_subjects,
    in_boxes,
    prepare_subjects,
    read_prompts,
)
from swiftpie.types import TextCondition

BOXES = (MaskSource.NONE, MaskSource.BOX)  # regions with which a subject acts in its box
WINDOW = 16  # frames that motion modules of AnimateDiff, Lightning and AnimateLCM were trained on


def claims(components: Components, _request: AnimateRequest) -> bool:
    """Whether motion modules are loaded."""
    preset = components.preset
    return Capability.ANIMATE in preset.capabilities and not preset.predicts_layout


@torch.no_grad()
def prepare_animation(choice: Choice[AnimateRequest]) -> Plan:
    """Place the subjects in every frame, and let the denoiser read all frames together.

    Raises:
        CapabilityError: The request has a place, or views that change.
        InputError: A subject moves from no box, or out of a region that stays.
    """
    components, request = choice.components, choice.request
    _check_drawable(components, request)
    states, shares = _in_boxes(components, request).states, request.shares()
    prompts = tuple(str(state.prompt) for state in states)
    still = replace(
        states[0],
        # Words that name a subject are those of the state before a frame.
        prompt=tuple(prompts[state] for state, _ in shares) if request.to else prompts[0],
        seeds=request.seeds * len(shares),
        noise=_draw_noise(components, request),
    )
    start = prepare_subjects(components, still, choice.clock, place=partial(_stand, request))
    if request.to:
        text = mixed_rows(read_prompts(components, prompts, rows=len(prompts)), shares)
        start = start._replace(text=text)
    count = len(shares)
    denoiser: Denoiser = FramesDenoiser(start.components.denoiser, min(count, WINDOW))
    if count > WINDOW:
        denoiser = WindowedDenoiser(denoiser, partial(frame_windows, num_frames=count))
    start = start._replace(components=replace(start.components, denoiser=denoiser))

    facts = {"frames": str(count)} | ({"to": "; ".join(request.to)} if request.to else {})
    return Plan(request, lambda drawn: drawn._replace(facts=facts), start, reads_rows=True)


class FramesDenoiser(WrappedDenoiser):
    """A denoiser with motion modules whose rows (B, C, h, w) are frames of animations."""

    def __init__(self, inner: Denoiser, num_frames: int) -> None:
        super().__init__(inner)
        self._num_frames = num_frames

    def _predict(self, call: DenoiserCall) -> tuple[Tensor, ...]:
        frames = call.latents.unflatten(0, (-1, self._num_frames))
        sample, *masks = super()._predict(call._replace(latents=frames.transpose(1, 2)))
        return (sample.transpose(1, 2).flatten(0, 1), *masks)


def frame_windows(call: DenoiserCall, num_frames: int) -> Iterator[Window]:
    """Yield windows of `WINDOW` frames over each animation of a call."""
    weights = fade(WINDOW, 1).to(call.latents).reshape(-1, 1, 1, 1)
    for first in range(0, len(call.latents), num_frames):
        for span in spans(num_frames, WINDOW):
            rows = slice(first + span.start, first + span.stop)
            text, condition = cut_rows((call.text, call.condition), rows)
            seen = call._replace(latents=call.latents[rows], text=text, condition=condition)
            yield Window(rows, weights, seen)


def _check_drawable(components: Components, request: AnimateRequest) -> None:
    """Refuse what only a model that places subjects draws, and boxes without an effect."""
    name = components.preset.name
    if request.to_views:
        raise CapabilityError(
            f"A last view cannot be combined with preset {name!r}: it does not turn subjects. "
            "Describe the motion in the prompt, or load 'mini'."
        )
    if request.scene != "":
        raise CapabilityError(
            f"`scene=` cannot be combined with preset {name!r}: it draws place and subject from "
            "the prompt. Describe the place there, or load 'mini'."
        )
    check_subjects(components, request)
    moved = request.subjects[: len(request.to_boxes)]
    if any(subject.box is None for subject in moved):
        raise InputError("A subject with a last box needs a first one. Give its first box.")
    if moved and (request.mask not in BOXES or any(subject.mask is not None for subject in moved)):
        raise InputError(
            "A last box cannot be combined with a mask: only the region of a box moves. Leave one "
            "of the two out."
        )


def _in_boxes(components: Components, request: AnimateRequest) -> AnimateRequest:
    """Return the request, subjects that have boxes with regions (F, 1, h, w) that follow them."""
    if request.mask not in BOXES:
        return request
    height, width = cells_of(components.preset, request.size_px)
    masked = partial(box_mask, height=height, width=width, feather=BOX_FEATHER)

    def followed(number: int, subject: Subject) -> Subject:
        if subject.box is None or subject.mask is not None:
            return subject
        mask = torch.cat([*map(masked, request.path(number, subject.box))])
        has_detail = request.detail_mask is MaskSource.BOX and subject.detail_mask is None
        return replace(subject, mask=mask, detail_mask=mask if has_detail else subject.detail_mask)

    subjects = tuple(followed(number, subject) for number, subject in enumerate(request.subjects))
    return replace(request, subjects=subjects)


def _draw_noise(components: Components, request: AnimateRequest) -> Tensor:
    """Return the noise of all frames, (n, F, C, h, w): diffusers draws the same of such a seed."""
    rows, columns = cells_of(components.preset, request.size_px)
    channels, frames = components.preset.latent_channels, request.num_frames
    shape = (channels * frames, rows, columns)
    drawn = draw_step_noise(request.seeds, shape, count=components.schedule.num_draws)
    return drawn[:, 0].unflatten(1, (channels, frames)).transpose(1, 2)


def _stand(
    request: AnimateRequest,
    components: Components,
    still: PersonalizeRequest,
    noise: Tensor,
    text: TextCondition,
) -> Placement:
    """Return where subjects go, their layouts a row for each frame."""
    del components, text
    placed = []
    for frame in range(len(noise)):
        subjects = tuple(
            subject
            if subject.box is None
            else replace(subject, box=request.path(number, subject.box)[frame])
            for number, subject in enumerate(request.subjects)
        )
        placed.append(in_boxes(subjects, noise[frame : frame + 1]))
    layouts = [
        Layout(*map(torch.cat, zip(*rows, strict=True)))
        for rows in zip(*(each.layouts for each in placed), strict=True)
    ]
    return Placement(still.subjects, layouts, placed[0].lights)


TECHNIQUE = Technique(AnimateRequest, prepare_animation, claims, draws_by_seed=True)
