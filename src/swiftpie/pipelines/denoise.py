"""The only sampling loop: from noise to clean latents, in rows that fit into memory."""

import ctypes
import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import torch
from PIL import Image
from torch import Tensor, nn

from swiftpie.attention.condition import INLINE_MASK
from swiftpie.attention.manipulate import Shaping
from swiftpie.backbones.components import Components
from swiftpie.errors import WeightsError
from swiftpie.geometry.layout import Layout
from swiftpie.geometry.shading import Lighting
from swiftpie.guidance import Branch, Guidance, Plain, branches_of
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.pipelines.tasks import Request
from swiftpie.types import DecodedImages, DenoisedLatents, EditedImage, TextCondition

logger = logging.getLogger(__name__)


OnStep = Callable[[int, float, Tensor], Tensor]
"""Takes a step's index, its timestep and the latents after it; returns those to go on with."""


class StopDrawing(Exception):  # noqa: N818 - no error
    """Raised by an `OnStep`: the drawing ends with the latents that it is given."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__("The drawing ends after this step.")
        self.latents = latents


@runtime_checkable
class Resumable(Protocol):
    """An `OnStep` that knows latents of an earlier drawing, such as `engine.steps.StepFile`."""

    def reached(self, prepared: "Prepared", settings: str) -> tuple[int, Tensor]:
        """Return the steps of a drawing that are known, and the latents (B, C, h, w) after them."""

    def __call__(self, index: int, timestep: float, latents: Tensor, /) -> Tensor:
        """Note the latents after a step."""


Rows = TypeVar("Rows")
Part = TypeVar("Part")

BLACK = -1 + 1 / 255  # the lightest that 8 bits call black
# What allocators say; only CUDA's raises an error of a class of its own.
OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory", "bad allocation"),
    "failed to allocate",  # OpenVINO
)
M_MMAP_THRESHOLD = -3  # as in <malloc.h>


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


Finished = DecodedImages | EditedImage


class Plan(NamedTuple):
    """How a request is drawn, when all that comes before the denoiser is done."""

    request: Request  # that is drawn; words and settings may differ from those that were given
    # Takes what was denoised and decoded; without a `start`, what became of the `parts`. May return
    # a plan of what comes next.
    finish: "Callable[..., Finished | Plan]"
    start: Prepared | None = None  # None: the denoiser has no part in this
    parts: "tuple[Plan, ...]" = ()  # are drawn first
    region: Callable[[], Image.Image] | None = None  # what an edit may change, white in mode L
    reads_rows: bool = False  # rows of a pass read each other, so it is neither shared nor split


@torch.no_grad()
def denoise(
    prepared: Prepared,
    guidance: Guidance | None = None,
    shaping: Shaping | None = None,
    *,
    on_step: OnStep | None = None,
    first: int = 0,
) -> DenoisedLatents:
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
    components, latents, _, _, condition, fresh = prepared[:6]
    schedule = components.schedule
    guidance = guidance or Plain()
    sees_all = all(row.has_identity for row in branches_of(guidance, len(schedule.steps)))
    unseen = condition if sees_all else without_identity(condition, components.null_tokens)
    mask = latents.new_zeros(len(latents), 1, 1, 1)
    notes: dict[str, Tensor] = {}
    is_over = False
    for index, step in enumerate(schedule.steps[first:], start=first):
        branches, notes = guidance.branches(index), {}
        text, subjects = _read_by(branches, prepared, unseen)
        if shaping is not None:
            reshaping = shaping.at(index, like=subjects.attention.text_scale)
            subjects = subjects._replace(attention=subjects.attention._replace(reshaping=reshaping))
        rows = latents if len(branches) == 1 else torch.cat([latents] * len(branches))
        output = components.denoiser(rows, step.timestep, text, subjects, notes)
        samples = dict(zip(branches, output.sample.chunk(len(branches)), strict=True))
        noise = fresh[index] if index < len(fresh) else None
        latents = schedule.advance(latents, guidance.combine(samples, index), index, noise=noise)
        if on_step is not None:
            try:
                latents = on_step(index, step.timestep, latents)
            except StopDrawing as end:
                latents, is_over = end.latents, True
        # Masks are those of the row with text and identity, if it is there.
        row = branches.index(Branch.BOTH) if Branch.BOTH in branches else 0
        mask = output.subject_mask.chunk(len(branches))[row]
        if INLINE_MASK in notes:
            notes[INLINE_MASK] = notes[INLINE_MASK].chunk(len(branches))[row]
        if is_over:
            break
    attention = condition.attention
    region = attention.region
    if INLINE_MASK in notes:
        inline = resize_mask(notes[INLINE_MASK], (region.shape[2], region.shape[3])).to(region)
        region = torch.lerp(region, inline, attention.is_inline[:, None, None, None])
    return DenoisedLatents(latents=latents, subject_mask=mask, region=region)


def _read_by(
    branches: Sequence[Branch], prepared: Prepared, unseen: SubjectCondition
) -> tuple[TextCondition, SubjectCondition]:
    """Return what the rows of each branch read; those without identity read `unseen`."""
    texts = [prepared.text if branch.has_text else prepared.null_text for branch in branches]
    present = [text for text in texts if text is not None]
    assert len(present) == len(texts), "guidance without words has null text"
    conditions = [prepared.condition if branch.has_identity else unseen for branch in branches]
    return TextCondition.joined(present), join_rows(conditions)


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
    fault = "is black all over" if is_black else "holds infinity or NaN"
    raise WeightsError(
        f"A picture that preset {components.preset.name!r} drew {fault}, although its latents are "
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


def mixed_rows(value: Rows, shares: Sequence[tuple[int, float]]) -> Rows:
    """Return a row for each share: of the way from the row of a number to the next one.

    Masks of whole numbers have what either row has.
    """
    rows = torch.tensor([row for row, _ in shares])

    def mix(tensor: Tensor) -> Tensor:
        share = tensor.new_tensor([share for _, share in shares], dtype=torch.float32)
        share = share.view(-1, *[1] * (tensor.ndim - 1))
        before, after = tensor[rows], tensor[(rows + 1).clamp_max(len(tensor) - 1)]
        if tensor.is_floating_point():
            return torch.lerp(before, after, share.to(before))
        return torch.where(share > 0, torch.maximum(before, after), before)

    mixed: Rows = _map_tensors(mix, value)
    return mixed


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


def in_parts(
    compute: Callable[[int, int], Part],
    count: int,
    *,
    can_split: bool = True,
    most: int = 0,  # rows of a part; 0 is any number
) -> list[Part]:
    """Return what `compute(first, end)` returns for `count` rows, in halves that fit."""
    half = count // 2
    if not (can_split and 0 < most < count):
        try:
            return [compute(0, count)]
        except (RuntimeError, MemoryError) as error:  # whose frames hold tensors until then
            if count == 1 or not can_split or not is_out_of_memory(error):
                raise
        free_unused_memory()
        logger.warning(
            "There is too little memory for %d pictures at once; %d are drawn at a time.",
            count,
            count - half,
        )
    earlier = in_parts(compute, half, most=most)
    return [*earlier, *in_parts(lambda a, b: compute(half + a, half + b), count - half, most=most)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator has failed, on the processor or on an accelerator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(text in str(error).lower() for text in OUT_OF_MEMORY)


def free_unused_memory() -> None:
    """Return the memory that allocators keep for later calls."""
    gc.collect()
    trim_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def free_at_once(num_bytes: int) -> None:
    """Let glibc's allocator return what is as large as this to the system as soon as it is free."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, num_bytes)


def trim_heap() -> None:
    """Return freed memory to the system where the allocator is glibc's, which keeps much of it."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
