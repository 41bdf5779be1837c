"""SwiftEdit: edits from the noise that an inversion network finds behind a picture."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.imageio.images import as_rgb, mask_to_pil
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.noise import add_noise, draw_step_noise
from swiftpie.pipelines.denoise import Clock, Prepared
from swiftpie.pipelines.draw import Plan, Technique
from swiftpie.pipelines.edit_region import (
    Canvas,
    EditRegion,
    EncodedPicture,
    InvertedImage,
    encode_picture,
    in_hole,
    invert,
    joined,
    method_of,
    without_change,
)
from swiftpie.pipelines.identity import whole_picture_identity
from swiftpie.pipelines.request import EditRequest, resolved_scales
from swiftpie.pipelines.settings import EditMethod, EditMode, EditStart
from swiftpie.pipelines.techniques.personalize import appearance_condition, read_null_text
from swiftpie.types import EditResult, GenerationResult, IdentityBranch


class EditPlan(NamedTuple):
    """What remains of an edit's preparation until it is finished."""

    original: Image.Image
    canvas: Canvas
    region: Tensor  # (1, 1, H, W) of bytes where pixels of the original may change
    request: EditRequest


def claims(components: Components, request: EditRequest) -> bool:
    """Whether an edit goes by inversion, as the settings or the networks decide."""
    return method_of(components, request.settings) is EditMethod.INVERSION


def see_appearance(
    components: Components, request: EditRequest, region: EditRegion
) -> SubjectCondition:
    """Return what the denoiser sees besides noise and prompt: one appearance, by its tokens."""
    mode = request.settings.mode
    shown = request.identity or whole_picture_identity(components, as_rgb(request.picture))
    is_released = mode is EditMode.RELEASED
    latent = (region.latent > 0.5).to(region.latent) if is_released else region.latent
    return appearance_condition(  # weighed inside and outside of the region
        components,
        shown,
        latent,
        scales=resolved_scales(components.preset, request),
        rows=2 if is_released else 1,
    )


@torch.no_grad()
def prepare_edit(components: Components, request: EditRequest, clock: Clock) -> Plan:
    """Find the noise behind a picture, the region that changes, and what is drawn there."""
    request = in_hole(request)
    request = replace(request, settings=request.settings.in_mode_of(components.preset))
    picture = encode_picture(components, request, clock)
    inverted = invert_picture(components, request, picture, clock)
    original, canvas, _, latents, prompts, _ = picture
    is_released = request.settings.mode is EditMode.RELEASED
    text = prompts.text if is_released else components.text.encode([request.prompt])
    rows = len(text.pooled)
    condition = see_appearance(components, request, inverted.region)
    noise = _varied(components, inverted, request)
    schedule = components.schedule
    start = (
        schedule.initial_latents(noise)
        if request.settings.start is EditStart.NOISE
        else add_noise(latents, noise, schedule.steps[0])
    )
    prepared = Prepared(
        components=components.released if is_released else components,
        latents=start.expand(rows, -1, -1, -1),
        text=text,
        null_text=read_null_text(
            components, request.negative_prompt, guidance=request.guidance, rows=rows
        ),
        condition=condition,
        fresh=_fresh_noise(components, start, request.seed).expand(-1, rows, -1, -1, -1),
    )
    clock.lap("prepare")
    plan = EditPlan(original, canvas, inverted.region.pixels, request)
    return Plan(
        request,
        partial(finish_edit, plan=plan, clock=clock),
        prepared,
        region=lambda: mask_to_pil(plan.region)[0],
        reads_rows=is_released,
    )


@torch.no_grad()
def invert_picture(
    components: Components, request: EditRequest, picture: EncodedPicture, clock: Clock
) -> InvertedImage:
    """Return what the inversion network finds in a picture by both prompts."""
    settings, mask = request.settings, picture.mask
    if mask is not None and request.identity is None and settings.variation == 0:
        mask = without_change(picture.prompts, mask)
    inverted = invert(
        components,
        picture.latents,
        picture.prompts,
        keyword=request.keyword,
        mask=mask,
        canvas=picture.canvas,
    )
    clock.lap("invert")
    return inverted


def follows_seed(components: Components, request: EditRequest) -> bool:
    """Whether an edit is random, so that another seed gives another picture."""
    schedule, settings = components.schedule, request.settings
    has_fresh = schedule.needs_noise and len(schedule.steps) > 1
    mode = settings.in_mode_of(components.preset).mode
    return settings.variation > 0 or mode is EditMode.RELEASED or has_fresh


def finish_edit(drawn: GenerationResult, plan: EditPlan, clock: Clock) -> EditResult:
    """Return the finished edit: the last row, composited with the original picture."""
    *others, edited = (plan.canvas.leave(image, plan.original) for image in drawn.images)
    return joined(
        *(plan.original, edited, plan.region, clock),
        reconstruction=others[0] if others else None,
        latent_region=drawn.regions[-1:],
        # Most layers of the released code know no scale.
        branches=(IdentityBranch.SEMANTIC,) if others else drawn.branches,
        cutouts=drawn.cutouts,
        named=drawn.named,
        seed=plan.request.seed,
        scales=drawn.scales,
        origin=drawn.origin,
    )


def _varied(components: Components, inverted: InvertedImage, request: EditRequest) -> Tensor:
    """Return the inverted noise, mixed with new noise of the same variance by `variation`."""
    noise, share = inverted.noise, request.settings.variation * inverted.region.latent
    if request.settings.variation == 0:
        return noise
    # Earlier draws belong to the posterior and the steps.
    count = len(components.schedule.steps) + 1
    _, channels, rows, columns = noise.shape
    new = draw_step_noise([request.seed], (channels, rows, columns), count=count)[-1].to(noise)
    return (1 - share.square()).sqrt() * noise + share * new


def _fresh_noise(components: Components, latents: Tensor, seed: int) -> Tensor:
    """Return noise (n, 1, C, h, w) for the later steps; n is 0 if the schedule needs none."""
    _, channels, height, width = latents.shape
    if not components.schedule.needs_noise:
        return latents.new_zeros(0, 1, channels, height, width)
    count = len(components.schedule.steps) - 1
    return draw_step_noise([seed], (channels, height, width), count=count).to(latents)


TECHNIQUE = Technique(EditRequest, prepare_edit, claims, follows_seed)
