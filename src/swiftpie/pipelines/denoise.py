"""The only sampling loop, and the tail that every pipeline shares."""

import time
from collections.abc import Callable
from typing import Unpack

import torch
from torch import Tensor

from swiftpie.attention.rescale import INLINE_MASK
from swiftpie.attention.shaping import Shaping
from swiftpie.backbones.components import Components
from swiftpie.guidance.base import Guidance, Steering
from swiftpie.guidance.methods.plain import Plain
from swiftpie.guidance.nothing import null_tokens
from swiftpie.guidance.rows import Reader
from swiftpie.images import mask_to_pil, to_pil
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.types import Denoised, GenerationResult, TextCondition

OnStep = Callable[[int, float, Tensor], Tensor]
"""Takes the step's number, its timestep and the latents after it; returns those to go on with."""


class Clock:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End the stage `name`."""
        now = time.perf_counter()
        self._laps[name] = (now - self._last) * 1000
        self._last = now

    def timings(self) -> dict[str, float]:
        """Return all stages and their total."""
        return {**self._laps, "total": (self._last - self._started) * 1000}


@torch.no_grad()
def denoise(
    components: Components,
    latents: Tensor,
    text: TextCondition,
    condition: SubjectCondition,
    *,
    fresh: Tensor,
    on_step: OnStep | None = None,
    guidance: Guidance | None = None,
    shaping: Shaping | None = None,
) -> Denoised:
    """Return clean latents (B, C, h, w) and the subjects' masks.

    Args:
        components: The loaded networks.
        latents: What enters the first step, (B, C, h, w).
        text: The prompts.
        condition: The subjects.
        fresh: Noise for each step but the last, (n, B, C, h, w), for schedules that want it;
            n is 0 for others.
        on_step: Called after each step.
        guidance: How several predictions of a step become one; None makes a single one.
        shaping: How identity maps are reshaped; None leaves them as they are.

    Raises:
        ConfigError: The guidance is for another number of steps.
    """
    schedule = components.schedule
    reader = _reader(components, text, condition, guidance=guidance or Plain(), shaping=shaping)
    mask = latents.new_zeros(len(latents), 1, 1, 1)
    notes: dict[str, Tensor] = {}
    for index, step in enumerate(schedule.steps):
        notes = {}
        prediction = reader.predict(
            components.denoiser, latents, step.timestep, step=index, notes=notes
        )
        noise = fresh[index] if index < len(fresh) else None
        latents = schedule.advance(latents, prediction.sample, index, noise=noise)
        if on_step is not None:
            latents = on_step(index, step.timestep, latents)
        mask = prediction.subject_mask
    attention = condition.attention
    region = attention.mask
    if INLINE_MASK in notes:
        found = resize_mask(notes[INLINE_MASK], (region.shape[2], region.shape[3])).to(region)
        region = torch.lerp(region, found, attention.is_inline[:, None, None, None])
    return Denoised(latents=latents, subject_mask=mask, region=region)


def _reader(
    components: Components,
    text: TextCondition,
    condition: SubjectCondition,
    *,
    guidance: Guidance,
    shaping: Shaping | None,
) -> Reader:
    """Return what reads for all rows; null text and tokens are made only if a step needs them."""
    num_steps = len(components.schedule.steps)
    guidance.check(num_steps)
    used = {branch for step in range(num_steps) for branch in guidance.branches(step)}
    shows_nobody = not all(branch.has_identity for branch in used)
    null_text = None
    if not all(branch.has_text for branch in used):
        null_text = components.family.null_text(components.text)
    return Reader(
        guidance=guidance,
        shaping=shaping,
        text=text,
        condition=condition,
        null_text=null_text,
        null_tokens=null_tokens(components.image_encoder) if shows_nobody else None,
    )


@torch.no_grad()
def decode(components: Components, latents: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W) in [-1, 1] of clean `latents` (B, C, h, w)."""
    return components.autoencoder.decode(latents).clamp(-1, 1)


def finish(
    components: Components,
    latents: Tensor,
    text: TextCondition,
    condition: SubjectCondition,
    *,
    fresh: Tensor,
    clock: Clock,
    on_step: OnStep | None = None,
    **steering: Unpack[Steering],
) -> GenerationResult:
    """Denoise and decode; the caller adds what only it knows, seeds and layouts."""
    denoised = denoise(
        components, latents, text, condition, fresh=fresh, on_step=on_step, **steering
    )
    clock.lap("denoise")
    pixels = decode(components, denoised.latents)
    images = to_pil(pixels)
    clock.lap("decode")
    size = (pixels.shape[2], pixels.shape[3])
    return GenerationResult(
        images=tuple(images),
        subject_masks=tuple(mask_to_pil(resize_mask(denoised.subject_mask, size))),
        regions=denoised.region,
        seeds=(),
        layouts=(),
        timings_ms=clock.timings(),
    )
