"""SwiftEdit: edits from the noise that an inversion network finds behind a picture."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
from swiftpie.imageio.images import as_rgb, mask_to_pil
from swiftpie.masks import from_noise_difference
from swiftpie.models.inversion import Inversion
from swiftpie.noise import add_noise, draw_noise, draw_step_noise
from swiftpie.pipelines.advice import usual_advice
from swiftpie.pipelines.denoise import Clock, Plan, Prepared
from swiftpie.pipelines.edit_region import (
    Canvas,
    Compared,
    EditRegion,
    enter_canvas,
    found_region,
    in_hole,
    joined,
    region_of,
    says_the_same,
    without_change,
)
from swiftpie.pipelines.identity import whole_picture_identity
from swiftpie.pipelines.methods.inversion import EditStart, InversionOptions, mode_of
from swiftpie.pipelines.request import EditRequest, resolved_scales
from swiftpie.pipelines.settings import EditMode
from swiftpie.pipelines.techniques.personalize import appearance_condition, read_null_text
from swiftpie.types import NO_FACTS, Change, Drawn, IdentityBranch


def advice(components: Components, request: EditRequest) -> Iterator[str]:
    """Yield warnings of what has no effect on such an edit."""
    yield from usual_advice(components, request)
    mode, identity = mode_of(request.settings, components.preset), request.identity
    names = set() if identity is not None and identity.keys else {"detail_scale"}
    if mode is EditMode.RELEASED:
        names = {"detail_scale", "text_background_scale"}
    given = request.settings.scales.given
    for name in sorted(given.keys() & names):
        yield f"`{name}={given[name]}` has no effect in an edit in the {mode} mode."


@torch.no_grad()
def prepare_edit(components: Components, request: EditRequest, clock: Clock) -> Plan:
    """Find the noise behind a picture, the region that changes, and what is drawn there."""
    request, inverter = in_hole(request), components.inverter()
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
    clock.lap("encode")
    prompts = Compared(components.text, (request.source_prompt, request.prompt))
    if mask is not None and request.identity is None and settings.variation == 0:
        mask = without_change(prompts, mask)
    noise, region = _invert(inverter, latents, prompts, request.keyword, mask, canvas)
    clock.lap("invert")
    text = prompts.text if is_released else components.text.encode([request.prompt])
    rows, schedule = len(text.pooled), components.schedule
    condition = appearance_condition(  # weighed inside and outside of the region
        components,
        request.identity or whole_picture_identity(components, original),
        (region.latent > 0.5).to(region.latent) if is_released else region.latent,
        scales=resolved_scales(preset, request),
        rows=rows,
    )
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
        null_text=read_null_text(
            components, request.negative_prompt, guidance=request.guidance, rows=rows
        ),
        condition=condition,
        fresh=_fresh_noise(components, start, request.seed).expand(-1, rows, -1, -1, -1),
    )
    clock.lap("prepare")
    facts = {"mode": mode, "start": settings.start, "variation": str(settings.variation)}
    place: dict[str, Any] = {"canvas": canvas, "region": region.pixels, "facts": facts}
    return Plan(
        request,
        partial(finish_edit, request=request, clock=clock, **place),
        prepared,
        region=lambda: mask_to_pil(region.pixels)[0],
        reads_rows=is_released,
    )


def _invert(
    inverter: Inversion,
    latents: Tensor,
    prompts: Compared,
    keyword: str,
    mask: Tensor | None,
    canvas: Canvas,
) -> tuple[Tensor, EditRegion]:
    """Return the noise (1, C, h, w) behind `latents` of a picture, and the region that changes.

    The region is `mask`, if given by `given_mask`. Otherwise it follows from the noise under the
    source and target prompts, or under no words and a `keyword`.
    """
    compared = Compared(prompts.encoder, ("", keyword)) if keyword else prompts
    if mask is None and says_the_same(compared):
        mask = torch.zeros(1, 1, *canvas.full, dtype=torch.uint8)
    source, pair = prompts.prompts[0], compared.prompts
    wanted = tuple(dict.fromkeys([source] if mask is not None else [source, *pair]))
    text = compared.text if wanted == pair else prompts.encoder.encode(list(wanted))
    behind = inverter(latents.expand(len(wanted), -1, -1, -1), text)
    noise = dict(zip(wanted, behind.split(1), strict=True))
    if mask is not None:
        return noise[source], region_of(mask, canvas, like=latents)
    latent = from_noise_difference(*(noise[prompt] for prompt in pair))
    return noise[source], EditRegion(latent, found_region(latent, canvas))


def finish_edit(
    drawn: Drawn,
    request: EditRequest,
    canvas: Canvas,
    region: Tensor,
    clock: Clock,
    facts: Mapping[str, str] = NO_FACTS,
) -> Change:
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
