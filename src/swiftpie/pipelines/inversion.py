"""SwiftEdit: edits from the noise that an inversion network finds behind a picture."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
from swiftpie.imageio.images import as_rgb, mask_to_pil
from swiftpie.masks import from_noise_difference
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.text import PromptPair
from swiftpie.noise import add_noise, draw_noise, draw_step_noise
from swiftpie.pipelines.choose import Choice, Clock, resolved_scales
from swiftpie.pipelines.denoise import Plan, Prepared
from swiftpie.pipelines.edit_region import (
    Canvas,
    EditRegion,
    enter_canvas,
    in_hole,
    joined,
    known_mask,
    region_of,
    widened_region,
)
from swiftpie.pipelines.identity import whole_picture_identity
from swiftpie.pipelines.methods.inversion import EditStart, InversionOptions, SelfMask, mode_of
from swiftpie.pipelines.settings import EditMode
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.pipelines.techniques.personalize import appearance_condition, read_null_text
from swiftpie.pipelines.warnings import usual_advice
from swiftpie.types import NO_FACTS, DecodedImages, EditedImage, IdentityBranch


def advice(components: Components, request: EditRequest) -> Iterator[str]:
    """Yield warnings of what has no effect on such an edit."""
    yield from usual_advice(components, request)
    mode, identity = mode_of(request.settings, components.preset), request.identity
    names = set() if identity is not None and identity.keys else {"detail_scale"}
    if mode is EditMode.RELEASED:
        names = {"detail_scale", "text_background_scale", "energy_cap"}
    given = request.settings.scales.given
    for name in sorted(given.keys() & names):
        yield f"`{name}={given[name]}` has no effect in an edit in the {mode} mode."
    options = request.settings.of(InversionOptions)
    if request.mask is not None and options.self_mask is not None:
        yield f"`self_mask={options.self_mask}` has no effect, because the region was given."
    if options.accept_smear and not components.family.sees_what_stays:
        yield "`accept_smear=True` has no effect: this model edits photographs without it."


class InversionInput(NamedTuple):
    """A picture on its canvas, and what an edit says of it."""

    original: Image.Image
    canvas: Canvas
    pixels: Tensor  # (1, 3, H, W) in [-1, 1], on the canvas
    latents: Tensor  # (1, C, h, w)
    prompts: PromptPair  # What the picture shows before and after.
    contrast: PromptPair  # those whose difference says what changes
    mask: Tensor | None  # (1, 1, H, W) of bytes, if it is known what changes


class Inverted(NamedTuple):
    """What is found behind a picture, and what the denoiser sees of it besides noise and prompt."""

    noise: Tensor  # (1, C, h, w)
    region: EditRegion
    condition: SubjectCondition


@torch.no_grad()
def prepare_edit(
    choice: Choice[EditRequest],
    *,
    invert: Callable[[Choice[EditRequest], InversionInput], Inverted] | None = None,
) -> Plan:
    """Find the noise behind a picture, the region that changes, and what is drawn there."""
    choice = replace(choice, request=in_hole(choice.request))
    components, request, clock = choice.components, choice.request, choice.clock
    settings, preset = request.settings.of(InversionOptions), components.preset
    mode = mode_of(request.settings, preset)
    is_released = mode is EditMode.RELEASED
    if is_released and (request.guidance is not None or request.shaping is not None):
        raise InputError(
            "Identity guidance, guidance and shaping do not work in the released mode, whose "
            "attention reads two rows by their order. Use `mode=EditMode.PAPER`, or leave them "
            "out."
        )
    if is_released and components.family.sees_what_stays:
        raise CapabilityError(
            f"Preset {preset.name!r} cannot edit in the released mode, whose attention cannot "
            "show it the unchanged part of a picture in place. Use the paper's mode "
            "(`mode=EditMode.PAPER`), or a Stable Diffusion preset."
        )
    original, mask, canvas = enter_canvas(components, request)
    pixels = canvas.enter(original).to(components.device)
    if is_released:
        mean, deviation = components.autoencoder.posterior(pixels)
        latents = mean + deviation * draw_noise([request.seed], mean.shape[1:]).to(mean)
    else:
        latents = components.autoencoder.encode(pixels)
    clock.end_stage("encode")
    draws_anew = request.identity is not None or settings.variation > 0
    prompts, contrast, mask = known_mask(choice, mask, canvas, draws_anew=draws_anew)
    shown = InversionInput(original, canvas, pixels, latents, prompts, contrast, mask)
    noise, region, condition = (invert or _invert)(choice, shown)
    text = prompts.text if is_released else components.text.encode([request.prompt])
    rows, schedule = len(text.pooled), components.schedule
    noise = _varied(components, noise, settings.variation * region.latent, request.seed)
    start = (
        schedule.initial_latents(noise)
        if settings.start is EditStart.NOISE
        else add_noise(latents, noise, schedule.steps[0])
    )
    prepared = Prepared(
        components=components.released if is_released else components,
        latents=start.expand(rows, -1, -1, -1),
        text=text,
        null_text=read_null_text(components, request, rows=rows),
        condition=condition,
        fresh=_fresh_noise(components, start, request.seed).expand(-1, rows, -1, -1, -1),
    )
    clock.end_stage("prepare")
    facts = {"mode": mode, "start": settings.start, "variation": str(settings.variation)}
    place: dict[str, Any] = {"canvas": canvas, "region": region.pixels, "facts": facts}
    return Plan(
        request,
        partial(finish_edit, request=request, clock=clock, **place),
        prepared,
        region=lambda: mask_to_pil(region.pixels)[0],
        reads_rows=is_released,
    )


def _invert(choice: Choice[EditRequest], shown: InversionInput) -> Inverted:
    """Return the noise behind a picture and where it changes, by noise under two prompts.

    The denoiser sees the appearance of the picture, weighed inside and outside of the region.
    """
    components, request = choice.components, choice.request
    latents, mask, prompts = shown.latents, shown.mask, shown.prompts
    source, pair = prompts.prompts[0], shown.contrast.prompts
    wanted = tuple(dict.fromkeys([source] if mask is not None else [source, *pair]))
    text = shown.contrast.text if wanted == pair else prompts.encoder.encode(list(wanted))
    behind = components.inverter()(latents.expand(len(wanted), -1, -1, -1), text)
    noise = dict(zip(wanted, behind.split(1), strict=True))
    if mask is None:
        region = guided_region(choice, noise[pair[0]], noise[pair[1]], shown.canvas)
    else:
        region = region_of(mask, shown.canvas, like=latents)
    choice.clock.end_stage("invert")
    is_released = mode_of(request.settings, components.preset) is EditMode.RELEASED
    condition = appearance_condition(
        components,
        request.identity or whole_picture_identity(components, shown.original),
        (region.latent > 0.5).to(region.latent) if is_released else region.latent,
        scales=resolved_scales(components.preset, request),
        rows=2 if is_released else 1,
    )
    return Inverted(noise[source], region, condition)


def guided_region(
    choice: Choice[EditRequest], source_noise: Tensor, noise: Tensor, canvas: Canvas
) -> EditRegion:
    """Return where the noise of two prompts differs: SwiftEdit's self-guided mask."""
    is_soft = choice.request.settings.of(InversionOptions).self_mask is SelfMask.SOFT
    latent = from_noise_difference(source_noise, noise, is_soft=is_soft)
    return EditRegion(latent, widened_region(choice, latent, canvas))


def finish_edit(
    drawn: DecodedImages,
    request: EditRequest,
    canvas: Canvas,
    region: Tensor,
    clock: Clock,
    facts: Mapping[str, str] = NO_FACTS,
) -> EditedImage:
    """Return the finished edit: the last row, where the `region` (1, 1, H, W) of bytes shows it."""
    original = as_rgb(request.picture)
    *others, edited = (canvas.leave(row, original) for row in drawn.pixels.split(1))
    return joined(
        *(original, edited, region, clock),
        reconstruction=others[0] if others else None,
        latent_region=drawn.regions[-1:],
        # Most layers of the released code know no scale.
        branches=(IdentityBranch.SEMANTIC,) if others else drawn.branches,
        facts=facts,
    )


def _varied(components: Components, noise: Tensor, share: Tensor, seed: int) -> Tensor:
    """Return noise (1, C, h, w) with a `share` (1, 1, h, w) of new noise of the same variance."""
    if not share.any():
        return noise
    # Earlier draws belong to the posterior and the steps.
    count = len(components.schedule.steps) + 1
    new = draw_step_noise([seed], noise.shape[1:], count=count)[-1].to(noise)
    return (1 - share.square()).sqrt() * noise + share * new


def _fresh_noise(components: Components, latents: Tensor, seed: int) -> Tensor:
    """Return noise (n, 1, C, h, w) for the later steps; n is 0 if the schedule needs none."""
    if not components.schedule.needs_noise:
        return latents.new_zeros(0, *latents.shape)
    count = len(components.schedule.steps) - 1
    return draw_step_noise([seed], latents.shape[1:], count=count).to(latents)
