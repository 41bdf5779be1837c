"""The only sampling loop: from noise to clean latents, the rows of its calls, and its tiles."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.attention.condition import INLINE_MASK, Notes
from swiftpie.attention.manipulate import Shaping
from swiftpie.backbones.choices import schedule_of, with_steps
from swiftpie.backbones.components import Components
from swiftpie.errors import WeightsError
from swiftpie.geometry.layout import Layout
from swiftpie.geometry.shading import Lighting
from swiftpie.guidance import Branch, Guidance, Plain, branches_of
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import Denoiser, Prediction, SubjectCondition
from swiftpie.noise import Schedule, add_noise, draw_noise
from swiftpie.types import Denoised, TextCondition

logger = logging.getLogger(__name__)

OnStep = Callable[[int, float, Tensor], Tensor]
"""Takes a step's index, its timestep and the latents after it; returns those to go on with."""


@runtime_checkable
class GoesOn(Protocol):
    """An `OnStep` that knows latents of an earlier drawing, such as `engine.steps.StepFile`."""

    def reached(self, prepared: "Prepared", settings: str) -> tuple[int, Tensor]:
        """Return the steps of a drawing that are known, and the latents (B, C, h, w) after them."""

    def __call__(self, index: int, timestep: float, latents: Tensor, /) -> Tensor:
        """Note the latents after a step."""


Rows = TypeVar("Rows")

BLACK = -1 + 1 / 255  # the lightest that 8 bits call black
STEP = "step"  # of several in the stage "denoise"

OnStage = Callable[[str], object]
"""Takes the name of each stage, and of each step, when it has ended; may raise to stop."""

MOST_TILES = 4  # a side
STRIDE = 0.75  # sides of a tile from one to the next


class Prepared(NamedTuple):
    """The inputs of denoising."""

    components: Components  # an edit may have a denoiser of its own
    latents: Tensor  # (B, C, h, w)
    text: TextCondition  # B rows
    null_text: TextCondition | None  # B rows for guidance, if it has a row without the prompt
    condition: SubjectCondition  # B rows
    fresh: Tensor  # noise for the steps after the first, (n, B, C, h, w); n is 0 if none need it
    layouts: tuple[Layout, ...] = ()  # one a subject, B rows each
    lights: tuple[Lighting | None, ...] = ()  # likewise; None where the model predicts none

    def rows(self, first: int, end: int) -> Self:
        """Return the same for those rows alone."""
        fields = ("latents", "text", "null_text", "condition", "layouts", "lights")
        cut = cut_rows({name: getattr(self, name) for name in fields}, slice(first, end))
        return self._replace(fresh=self.fresh[:, first:end], **cut)


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

    def after_step(self) -> None:
        """Report the end of a step to the listener, which may raise."""
        if self._on_stage is not None:
            self._on_stage(STEP)

    def timings(self) -> dict[str, float]:
        """Return all stages and their total."""
        return {**self._laps, "total": (self._last - self._started) * 1000}


@torch.no_grad()
def denoise(
    prepared: Prepared,
    guidance: Guidance | None = None,
    shaping: Shaping | None = None,
    *,
    on_step: OnStep | None = None,
    first: int = 0,
) -> Denoised:
    """Return clean latents (B, C, h, w) and the subjects' masks.

    Args:
        prepared: The inputs.
        guidance: How several predictions of a step become one; None makes a single one.
        shaping: How identity maps are reshaped; None leaves them as they are.
        on_step: Called after each step.
        first: The step that the latents enter.

    Raises:
        ConfigError: The guidance is for another number of steps.
    """
    components, latents, text, null_text, condition, fresh = prepared[:6]
    schedule = components.schedule
    guidance = guidance or Plain()
    sees_all = all(row.has_identity for row in branches_of(guidance, len(schedule.steps)))
    predictor = GuidedPredictor(
        guidance=guidance,
        shaping=shaping,
        text=text,
        condition=condition,
        null_text=null_text,
        null_tokens=None if sees_all else components.null_tokens,
    )
    mask = latents.new_zeros(len(latents), 1, 1, 1)
    notes: dict[str, Tensor] = {}
    for index, step in enumerate(schedule.steps[first:], start=first):
        notes = {}
        prediction = predictor.predict(
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


def check_latents(components: Components, latents: Tensor) -> None:
    """Refuse latents that no decoder can show."""
    if latents.isfinite().all():
        return
    raise WeightsError(
        f"The latents that preset {components.preset.name!r} drew hold infinity or NaN; the "
        f"weights are damaged, or a type overflows ({_types_of(components)}). "
        "Load with `dtype='bfloat16'` or `dtype='float32'`; if that does not help, get the weights "
        "again."
    )


def check_pixels(components: Components, pixels: Tensor) -> None:
    """Refuse pictures of a decoder that overflowed."""
    is_black = (pixels <= BLACK).flatten(1).all(dim=1).any()
    if pixels.isfinite().all() and not is_black:
        return
    found = "is black all over" if is_black else "holds infinity or NaN"
    raise WeightsError(
        f"A picture that preset {components.preset.name!r} drew {found}, although its latents are "
        f"finite; the decoder overflows ({_types_of(components)}). Load with "
        "`dtype='bfloat16'` or `dtype='float32'`, or with an autoencoder made for float16."
    )


def _types_of(components: Components) -> str:
    network: Any = components.autoencoder
    decoder = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    denoiser = next(components.denoiser.installation.network.parameters())
    parts = {"the denoiser": denoiser, "the decoder": decoder}
    types = [f"{name} is in {part.dtype}" for name, part in parts.items() if part is not None]
    return " and ".join(types).replace("torch.", "")


@dataclass(frozen=True, eq=False)
class GuidedPredictor:
    """What the rows of each branch read, and how their predictions become one."""

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
        text = TextCondition.joined([self._text_of(branch) for branch in branches])
        condition = join_rows([self._condition_of(branch) for branch in branches])
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
        sample = self.guidance.combine(samples, step)
        return Prediction(sample, subject_mask=found.subject_mask.chunk(len(branches))[shown])

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
    sizes: list[tuple[int, ...]] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tuple(tensor.shape[1:]))
        return tensor

    _map_tensors(note, (prepared.text, prepared.null_text, prepared.condition))
    fresh = (len(prepared.fresh), *prepared.latents.shape[1:])
    lacks = prepared.null_text is None
    return (id(prepared.components.denoiser), fresh, lacks, tuple(sizes))


def join_prepared(parts: Sequence[Prepared]) -> Prepared:
    """Return all rows of `parts`, which have one `shape_of`; a single part unchanged."""
    if len(parts) == 1:
        return parts[0]
    return parts[0]._replace(
        latents=torch.cat([part.latents for part in parts]),
        text=join_rows([part.text for part in parts]),
        null_text=join_rows([part.null_text for part in parts]),
        condition=join_rows([part.condition for part in parts]),
        fresh=torch.cat([part.fresh for part in parts], dim=1),
    )


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all `parts`, those of the first one first; a single part unchanged.

    Parts are dicts and named tuples of tensors, alike in all but rows.
    """
    if len(parts) == 1:
        return parts[0]
    joined: Rows = _map_tensors(lambda *tensors: torch.cat(tensors), *parts)
    return joined


def cut_rows(value: Rows, rows: slice) -> Rows:
    """Return a dict or named tuple of tensors, and of more of these, for those rows alone."""
    cut: Rows = _map_tensors(lambda tensor: tensor[rows], value)
    return cut


def _map_tensors(function: Callable[..., Tensor], *values: Any) -> Any:  # noqa: ANN401 - any structure
    """Return a structure as each of `values` has, of what `function` makes of their tensors."""
    first = values[0]
    if isinstance(first, Tensor):
        return function(*values)
    if isinstance(first, dict):
        return {name: _map_tensors(function, *(value[name] for value in values)) for name in first}
    if isinstance(first, tuple):
        parts = [_map_tensors(function, *ones) for ones in zip(*values, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return first


def without_identity(condition: SubjectCondition, tokens: Tensor | None) -> SubjectCondition:
    """Return `condition` in which no subject is shown; their places stay known.

    The semantic branch reads `tokens` (1, K, D) of each reference instead; None silences it.
    """
    attention = condition.attention
    off = torch.zeros_like(attention.detail_scale)
    silent = attention._replace(detail_scale=off, detail_background_scale=off)
    if tokens is None or tokens.shape[1] > attention.identity_tokens.shape[2]:  # of no subject
        silent = silent._replace(identity_scale=off, identity_background_scale=off)
    else:
        times = attention.identity_tokens.shape[2] // tokens.shape[1]
        repeated = tokens.to(attention.identity_tokens).repeat(1, times, 1)[:, None]
        silent = silent._replace(identity_tokens=repeated.expand_as(attention.identity_tokens))
    return condition._replace(attention=silent, pooled=torch.zeros_like(condition.pooled))


def num_tiles(components: Components, *, times: float) -> int:
    """Return the tiles a side of a drawing that is shown `times` as large; 1 means no tiles."""
    if late_schedule(components) is None:
        return 1
    return min(MOST_TILES, max(1, math.ceil((times - 1) / STRIDE) + 1))


def late_schedule(components: Components) -> Schedule | None:
    """Return the last step of the longest schedule of the weights; None if they take one step."""
    preset = components.preset
    most = max(preset.step_counts)
    if most < 2:
        return None
    whole = schedule_of(with_steps(preset, most))
    return replace(whole, steps=whole.steps[-1:])


@torch.no_grad()
def in_tiles(start: Prepared, drawing: Tensor, regions: Tensor, *, count: int, seed: int) -> Tensor:
    """Return a `drawing` as large as `count` x `count` tiles, with detail.

    Tiles start from the enlarged drawing with a little noise (SDEdit, arXiv:2108.01073), so that
    they add detail and no new subjects. They overlap, fade into each other and share their noise,
    as in MultiDiffusion (arXiv:2302.08113). The model must be trained on a late step, which has
    little noise; drawings of other models are only enlarged.

    Args:
        start: The inputs of the drawing, one row; tiles have the same prompt and subject.
        drawing: Pixels (1, 3, h, w) in [-1, 1], of the model's own size.
        regions: Where tiles are needed, (1, 1, h, w) in [0, 1].
        count: Tiles a side, at least 2.
        seed: Decides their noise.

    Returns:
        Pixels (1, 3, H, W) in [-1, 1], on the device of the drawing.
    """
    schedule, cell_px = late_schedule(start.components), start.components.preset.latent_cell_px
    assert schedule is not None, "there is more than one tile"
    components = replace(start.components, schedule=schedule)
    rows, columns = drawing.shape[2] // cell_px, drawing.shape[3] // cell_px
    down, across = round(STRIDE * rows), round(STRIDE * columns)
    cells = (rows + (count - 1) * down, columns + (count - 1) * across)
    size = (cell_px * cells[0], cell_px * cells[1])
    pixels = F.interpolate(drawing, size, mode="bicubic", align_corners=False).clamp(-1, 1)
    counts = resize_mask(regions, cells)
    noise = draw_noise([seed], (components.preset.latent_channels, *cells))
    shares = fade(drawing.shape[2], drawing.shape[3]).to(pixels)
    total, weights = torch.zeros_like(pixels), torch.zeros_like(pixels[:, :1])
    for row, column in product(range(count), repeat=2):
        top, left = row * down, column * across
        here = (..., slice(top, top + rows), slice(left, left + columns))
        there = (
            ...,
            slice(cell_px * top, cell_px * (top + rows)),
            slice(cell_px * left, cell_px * (left + columns)),
        )
        tile = pixels[there]
        if bool(counts[here].any()):
            known = components.autoencoder.encode(tile.to(start.latents))
            attention = start.condition.attention
            attention = attention._replace(region=counts[here].to(attention.region))
            entering = start._replace(
                components=components,
                latents=add_noise(known, noise[here].to(known), schedule.steps[0]),
                condition=start.condition._replace(attention=attention),
                fresh=start.fresh[:0],
            )
            tile = decode(components, denoise(entering).latents).to(pixels)
        total[there] += shares * tile
        weights[there] += shares
    return total / weights


def fade(height: int, width: int) -> Tensor:
    """Return how much each pixel of a tile counts, (1, 1, H, W): less towards its edges."""
    rows, columns = (
        1 - (2 * (torch.arange(side) + 0.5) / side - 1).abs() for side in (height, width)
    )
    return (rows[:, None] * columns)[None, None]
