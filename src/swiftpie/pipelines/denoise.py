"""The only sampling loop, from noise to clean latents, and their decoding."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.attention.manipulate import Shaping
from swiftpie.attention.rescale import INLINE_MASK
from swiftpie.backbones.components import Components
from swiftpie.guidance.base import Guidance, branches_of
from swiftpie.guidance.methods.plain import Plain
from swiftpie.guidance.rows import Reader, null_tokens
from swiftpie.layout import Layout
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.types import Denoised, TextCondition

OnStep = Callable[[int, float, Tensor], Tensor]
"""Takes the step's number, its timestep and the latents after it; returns those to go on with."""

OnStage = Callable[[str], object]
"""Takes the name of each stage when it has ended."""


class Prepared(NamedTuple):
    """What denoising starts from."""

    components: Components  # those that draw; an edit may have a denoiser of its own
    latents: Tensor  # (B, C, h, w)
    text: TextCondition  # B rows
    null_text: TextCondition | None  # B rows for guidance, if it has a row without the prompt
    condition: SubjectCondition  # B rows
    fresh: Tensor  # noise for the steps after the first, (n, B, C, h, w); n is 0 if none need it
    layouts: tuple[Layout, ...] = ()  # one a subject, B rows each


class Clock:
    """Milliseconds by stage."""

    def __init__(self, on_stage: OnStage | None = None) -> None:
        self._on_stage = on_stage
        self._started = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End the stage `name`."""
        now = time.perf_counter()
        self._laps[name] = (now - self._last) * 1000
        self._last = now
        if self._on_stage is not None:
            self._on_stage(name)

    def timings(self) -> dict[str, float]:
        """Return all stages and their total."""
        return {**self._laps, "total": (self._last - self._started) * 1000}


@torch.no_grad()
def denoise(
    prepared: Prepared,
    *,
    on_step: OnStep | None = None,
    guidance: Guidance | None = None,
    shaping: Shaping | None = None,
) -> Denoised:
    """Return clean latents (B, C, h, w) and the subjects' masks.

    Args:
        prepared: What denoising starts from.
        on_step: Called after each step.
        guidance: How several predictions of a step become one; None makes a single one.
        shaping: How identity maps are reshaped; None leaves them as they are.

    Raises:
        ConfigError: The guidance is for another number of steps.
    """
    components, latents, text, null_text, condition, fresh, _ = prepared
    schedule = components.schedule
    guidance = guidance or Plain()
    sees_all = all(row.has_identity for row in branches_of(guidance, len(schedule.steps)))
    reader = Reader(
        guidance=guidance,
        shaping=shaping,
        text=text,
        condition=condition,
        null_text=null_text,
        null_tokens=None if sees_all else null_tokens(components.image_encoder),
    )
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


@torch.no_grad()
def decode(components: Components, latents: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W) in [-1, 1] of clean `latents` (B, C, h, w)."""
    return components.autoencoder.decode(latents).clamp(-1, 1)
