"""The only sampling loop, from noise to clean latents, the rows of its calls, and decoding."""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from swiftpie.attention.condition import INLINE_MASK, AttentionCondition, Notes
from swiftpie.attention.manipulate import Shaping
from swiftpie.backbones.components import Components
from swiftpie.errors import OutOfMemory, short_reason
from swiftpie.geometry.layout import Layout
from swiftpie.guidance import Branch, Guidance, Plain, branches_of
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import Denoiser, Prediction, SubjectCondition
from swiftpie.types import Denoised, TextCondition

logger = logging.getLogger(__name__)

# What allocators say; only CUDA's raises an error of a class of its own.
OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory", "bad allocation"),
    "failed to allocate",  # OpenVINO
)

OnStep = Callable[[int, float, Tensor], Tensor]
"""Takes the step's number, its timestep and the latents after it; returns those to go on with."""

Part = TypeVar("Part")

STEP = "step"  # of several in the stage "denoise"

OnStage = Callable[[str], object]
"""Takes the name of each stage, and of each step in it, when it has ended."""


class Prepared(NamedTuple):
    """What denoising starts from."""

    components: Components  # those that draw; an edit may have a denoiser of its own
    latents: Tensor  # (B, C, h, w)
    text: TextCondition  # B rows
    null_text: TextCondition | None  # B rows for guidance, if it has a row without the prompt
    condition: SubjectCondition  # B rows
    fresh: Tensor  # noise for the steps after the first, (n, B, C, h, w); n is 0 if none need it
    layouts: tuple[Layout, ...] = ()  # one a subject, B rows each

    def rows(self, first: int, end: int) -> Self:
        """Return the same for those rows alone."""
        kept = slice(first, end)

        def of(text: TextCondition) -> TextCondition:
            return TextCondition(*(one[kept] for one in text))

        return self._replace(
            latents=self.latents[kept],
            text=of(self.text),
            null_text=None if self.null_text is None else of(self.null_text),
            condition=_rows_of(self.condition, kept),
            fresh=self.fresh[:, kept],
            layouts=tuple(Layout(*(one[kept] for one in layout)) for layout in self.layouts),
        )


class Clock:
    """Milliseconds by stage."""

    def __init__(self, on_stage: OnStage | None = None) -> None:
        self._on_stage = on_stage
        self._started = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End the stage `name`."""
        now = time.perf_counter()
        self._laps[name] = self._laps.get(name, 0.0) + (now - self._last) * 1000
        self._last = now
        if self._on_stage is not None:
            self._on_stage(name)

    def after_step(self, _number: int, _timestep: float, latents: Tensor) -> Tensor:
        """Let whoever listens stop between two steps; an `OnStep` that changes nothing."""
        if self._on_stage is not None:
            self._on_stage(STEP)
        return latents

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
        null_tokens=None if sees_all else components.null_tokens,
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
    region = attention.region
    if INLINE_MASK in notes:
        found = resize_mask(notes[INLINE_MASK], (region.shape[2], region.shape[3])).to(region)
        region = torch.lerp(region, found, attention.is_inline[:, None, None, None])
    return Denoised(latents=latents, subject_mask=mask, region=region)


@torch.no_grad()
def decode(components: Components, latents: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W) in [-1, 1] of clean `latents` (B, C, h, w)."""
    return components.autoencoder.decode(latents).clamp(-1, 1)


def in_parts(
    compute: Callable[[int, int], Part], count: int, *, can_split: bool = True
) -> list[Part]:
    """Return what `compute` makes of rows from one to before another: all, or as many as fit.

    Raises:
        RuntimeError: It failed, with the memory for a single row or in another way.
        MemoryError: The same.
    """
    try:
        return [compute(0, count)]
    except (RuntimeError, MemoryError) as error:  # whose frames hold tensors until the block ends
        if count == 1 or not can_split or not is_out_of_memory(error):
            raise
    make_room()
    half = count // 2
    logger.warning(
        "There is too little memory for %d pictures at once; %d are drawn at a time.",
        count,
        count - half,
    )
    earlier = in_parts(compute, half)
    return [*earlier, *in_parts(lambda a, b: compute(half + a, half + b), count - half)]


@contextmanager
def telling_of_memory() -> Iterator[None]:
    """Say what to do where an allocator fails inside of the block.

    Raises:
        OutOfMemory: It has.
        RuntimeError: As inside of the block.
        MemoryError: As inside of the block.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"There is too little memory to draw a picture ({short_reason(error)}). Room for what "
            "is computed is needed beside the weights. Close other programs, draw fewer pixels, "
            "or load with `dtype='auto'`, `engine='offload'` or `engine='tiny-decoder'`."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator has failed, on the processor or on an accelerator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(text in str(error).lower() for text in OUT_OF_MEMORY)


def make_room() -> None:
    """Give back what accelerators keep for later calls."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _rows_of(condition: SubjectCondition, kept: slice) -> SubjectCondition:
    attention = condition.attention
    by_layer: dict[str, Any] = {
        name: {layer: one[kept] for layer, one in getattr(attention, name).items()}
        for name in ("keys", "values")
    }
    rows = {
        name: getattr(attention, name)[kept]
        for name in AttentionCondition._fields
        if name not in {"keys", "values", "reshaping"}
    }
    return SubjectCondition(
        attention._replace(**rows, **by_layer), *(one[kept] for one in condition[1:])
    )


@dataclass(frozen=True, eq=False)
class Reader:
    """What the rows of every branch read, and how their predictions are merged."""

    guidance: Guidance
    shaping: Shaping | None
    text: TextCondition  # B rows
    condition: SubjectCondition  # B rows
    null_text: TextCondition | None  # B rows; None if no branch does without text
    null_tokens: Tensor | None  # (1, K, D), or None to silence the semantic branch

    def predict(
        self, denoiser: Denoiser, latents: Tensor, timestep: float, *, step: int, notes: Notes
    ) -> Prediction:
        """Return the guided prediction for latents (B, C, h, w), in one call of `denoiser`.

        Mask and inline mask are those of the row with text and identity, if it is there. Layers
        write into `notes`, which come empty; steps count from 0.
        """
        branches = self.guidance.branches(step)
        text = join_text([self._text_of(branch) for branch in branches])
        condition = join_conditions([self._condition_of(branch) for branch in branches])
        if self.shaping is not None:
            attention = condition.attention
            reshaping = self.shaping.at(step, like=attention.text_scale)
            condition = condition._replace(attention=attention._replace(reshaping=reshaping))
        rows = latents if len(branches) == 1 else torch.cat([latents] * len(branches))
        found = denoiser(rows, timestep, text, condition, notes)
        shown = branches.index(Branch.BOTH) if Branch.BOTH in branches else 0
        if INLINE_MASK in notes:
            notes[INLINE_MASK] = notes[INLINE_MASK].chunk(len(branches))[shown]
        samples = dict(zip(branches, found.sample.chunk(len(branches)), strict=True))
        return Prediction(
            sample=self.guidance.combine(samples, step),
            subject_mask=found.subject_mask.chunk(len(branches))[shown],
        )

    def _text_of(self, branch: Branch) -> TextCondition:
        if branch.has_text:
            return self.text
        assert self.null_text is not None
        return self.null_text

    def _condition_of(self, branch: Branch) -> SubjectCondition:
        if branch.has_identity:
            return self.condition
        return without_identity(self.condition, self.null_tokens)


def shape_of(prepared: Prepared) -> tuple[object, ...]:
    """Return what has to be equal for `join_prepared`: the networks, and all sizes but of rows."""
    attention = prepared.condition.attention
    rows = [*prepared.text, *(prepared.null_text or ()), *prepared.condition[1:]]
    for one in attention:
        rows += one.values() if isinstance(one, dict) else [one]
    sizes = tuple(tuple(one.shape[1:]) for one in rows if isinstance(one, Tensor))
    fresh = (len(prepared.fresh), *prepared.latents.shape[1:])
    return (id(prepared.components.denoiser), fresh, prepared.null_text is None, sizes)


def join_prepared(parts: Sequence[Prepared]) -> Prepared:
    """Return all rows of `parts`, which have one `shape_of`; a single part as it is."""
    if len(parts) == 1:
        return parts[0]
    nulls = [one.null_text for one in parts if one.null_text is not None]
    return parts[0]._replace(
        latents=torch.cat([one.latents for one in parts]),
        text=join_text([one.text for one in parts]),
        null_text=join_text(nulls) if nulls else None,
        condition=join_conditions([one.condition for one in parts]),
        fresh=torch.cat([one.fresh for one in parts], dim=1),
    )


def join_text(parts: Sequence[TextCondition]) -> TextCondition:
    """Return all rows of `parts`, those of the first first; a single part as it is."""
    if len(parts) == 1:
        return parts[0]
    return TextCondition(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def join_conditions(parts: Sequence[SubjectCondition]) -> SubjectCondition:
    """Return all rows of `parts`, which are not reshaped; a single part as it is."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0].attention
    by_layer = {"keys", "values", "reshaping"}
    joined: dict[str, Any] = {
        name: torch.cat([getattr(part.attention, name) for part in parts])
        for name in AttentionCondition._fields
        if name not in by_layer
    }
    return SubjectCondition(
        attention=first._replace(
            **joined,
            keys={n: torch.cat([part.attention.keys[n] for part in parts]) for n in first.keys},
            values={n: torch.cat([part.attention.values[n] for part in parts]) for n in first.keys},
        ),
        pooled=torch.cat([part.pooled for part in parts]),
        aligned=torch.cat([part.aligned for part in parts]),
        pose=torch.cat([part.pose for part in parts]),
    )


def without_identity(condition: SubjectCondition, tokens: Tensor | None) -> SubjectCondition:
    """Return `condition` in which no subject is shown; their places stay known.

    The semantic branch reads `tokens` (1, K, D) of each reference instead; None silences it.
    """
    attention = condition.attention
    off = torch.zeros_like(attention.detail_scale)
    silent = attention._replace(detail_scale=off, detail_background_scale=off)
    if tokens is None:
        silent = silent._replace(identity_scale=off, identity_background_scale=off)
    else:
        times = attention.identity_tokens.shape[2] // tokens.shape[1]
        repeated = tokens.to(attention.identity_tokens).repeat(1, times, 1)[:, None]
        silent = silent._replace(identity_tokens=repeated.expand_as(attention.identity_tokens))
    return condition._replace(attention=silent, pooled=torch.zeros_like(condition.pooled))
