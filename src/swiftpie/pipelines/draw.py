"""The one path from a request to its pictures: prepare, denoise, decode."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition
from swiftpie.attention.processors import Merge
from swiftpie.backbones.components import Components
from swiftpie.errors import WeightsError
from swiftpie.imageio.images import mask_to_pil, to_pil
from swiftpie.library import origin_of
from swiftpie.masks import resize_mask
from swiftpie.pipelines.drawing import edit, personalize
from swiftpie.pipelines.drawing.denoise import (
    Clock,
    OnStage,
    OnStep,
    Prepared,
    decode,
    denoise,
    in_parts,
    join_prepared,
    shape_of,
    telling_of_memory,
)
from swiftpie.pipelines.drawing.edit import EditPlan, EditResult
from swiftpie.pipelines.drawing.request import (
    EditRequest,
    FaceRequest,
    Output,
    PersonalizeRequest,
    RepaintRequest,
    Request,
)
from swiftpie.pipelines.drawing.settings import EditMode
from swiftpie.pipelines.photographs import repaint
from swiftpie.pipelines.photographs.repaint import RepaintPlan
from swiftpie.types import Denoised, GenerationResult, Identity, IdentityBranch

Drawable = PersonalizeRequest | EditRequest | RepaintRequest
"""A request as it is drawn; one of a face is one of a subject then."""

BLACK = -1 + 1 / 255  # the lightest that 8 bits call black

Split = Callable[[Hashable, int], Sequence[int]]
"""Takes a kind of requests and how many of it there are; returns how many share each pass."""


@overload
def draw(
    components: Components,
    request: EditRequest | RepaintRequest,
    *,
    on_stage: OnStage | None = None,
    on_step: OnStep | None = None,
) -> EditResult: ...
@overload
def draw(
    components: Components,
    request: PersonalizeRequest | FaceRequest,
    *,
    on_stage: OnStage | None = None,
    on_step: OnStep | None = None,
) -> GenerationResult: ...
@torch.no_grad()
def draw(
    components: Components,
    request: Request,
    *,
    on_stage: OnStage | None = None,
    on_step: OnStep | None = None,
) -> GenerationResult | EditResult:
    """Draw what is asked for.

    Args:
        components: The loaded networks.
        request: What to draw.
        on_stage: Called with the name of each stage, and of each step, when it has ended; may
            raise to stop.
        on_step: Called after each step; returns the latents to go on with.

    Raises:
        CapabilityError: The networks cannot do this.
        ConfigError: The guidance is for another number of steps.
        InputError: A number is out of range, or things do not go together.
        WeightsError: What is drawn holds something that is not a number, or is all black.
        OutOfMemory: A single picture is too large.
    """
    return draw_together(components, [request], on_stage=on_stage, on_step=on_step)[0]


class _Ready(NamedTuple):
    """A request whose denoising may begin."""

    request: Drawable
    start: Prepared
    plan: EditPlan | RepaintPlan | None  # of what is put back into a picture

    @property
    def alike(self) -> tuple[object, ...]:
        """What requests have in common that are drawn in one pass."""
        own = self.request
        is_released = isinstance(own, EditRequest) and own.settings.mode is EditMode.RELEASED
        is_steered = own.guidance is not None or own.shaping is not None
        alone = (id(own),) if is_steered or is_released else ()  # released rows read each other
        return (type(own), getattr(own, "output", None), *alone, *shape_of(self.start))


@torch.no_grad()
def draw_together(
    components: Components,
    requests: Sequence[Request],
    *,
    on_stage: OnStage | None = None,
    on_step: OnStep | None = None,
    split: Split | None = None,
) -> list[GenerationResult | EditResult]:
    """Draw several requests, those of one shape in one pass, and return what came of each.

    Steered requests, and edits as released, have passes of their own; `split` makes more of a pass
    that would hold too many. Other arguments and errors are those of `draw`; an error of one
    request is one of all.
    """
    clock = Clock(on_stage)
    results: dict[int, GenerationResult | EditResult] = {}
    with telling_of_memory():
        ready = [_prepare(components, request, clock) for request in requests]
        alike: dict[tuple[object, ...], list[int]] = {}
        for number, one in enumerate(ready):
            alike.setdefault(one.alike, []).append(number)
        for numbers in _passes(alike, split):
            together = [ready[number] for number in numbers]
            for number, drawn in zip(numbers, _finish(together, clock, on_step), strict=True):
                match ready[number].plan:
                    case None:
                        results[number] = drawn
                    case EditPlan() as plan:
                        results[number] = edit.put_back(drawn, plan, clock)
                    case plan:
                        results[number] = repaint.put_back(drawn, plan, clock)
    return [results[number] for number in range(len(ready))]


def _passes(
    alike: Mapping[tuple[object, ...], Sequence[int]], split: Split | None
) -> Iterator[Sequence[int]]:
    for kind, numbers in alike.items():
        rest = iter(numbers)
        for size in split(kind, len(numbers)) if split else [len(numbers)]:
            yield list(islice(rest, size))


def _prepare(components: Components, request: Request, clock: Clock) -> _Ready:
    if isinstance(request, FaceRequest):
        request = request.as_personalize(len(components.schedule.steps))
    if isinstance(request, EditRequest):
        plan = edit.prepare(components, request, clock)
        return _Ready(plan.request, plan.start, plan)
    if isinstance(request, RepaintRequest):
        repainted = repaint.prepare(components, request, clock)
        return _Ready(request, repainted.start, repainted)
    return _Ready(request, personalize.prepare(components, request, clock), None)


def _denoised(
    prepared: Prepared, request: Drawable, clock: Clock, on_step: OnStep | None
) -> Denoised:
    """Return all rows denoised, in parts where not all fit into memory and none reads others."""

    def compute(first: int, end: int) -> Denoised:
        part = prepared if end - first == count else prepared.rows(first, end)
        listening = on_step or clock.after_step
        return denoise(part, on_step=listening, guidance=request.guidance, shaping=request.shaping)

    count = len(prepared.latents)
    reads_all = on_step is not None or isinstance(request, EditRequest)
    parts = in_parts(compute, count, can_split=not reads_all)
    return parts[0] if len(parts) == 1 else Denoised(*map(torch.cat, zip(*parts, strict=True)))


def _finish(
    ready: Sequence[_Ready], clock: Clock, on_step: OnStep | None
) -> Iterator[GenerationResult]:
    request, start = ready[0].request, join_prepared([one.start for one in ready])
    components = start.components
    denoised = _denoised(start, request, clock, on_step)
    clock.lap("denoise")
    output = request.output if isinstance(request, PersonalizeRequest) else Output.PIL
    tensor = denoised.latents
    check_numbers(components, tensor)
    if output is not Output.LATENTS:
        latents = tensor
        parts = in_parts(lambda first, end: decode(components, latents[first:end]), len(latents))
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        check_pixels(components, tensor)
    images = to_pil(tensor) if output is Output.PIL else []
    clock.lap("decode")
    cell_px = components.preset.latent_cell_px
    size = (cell_px * denoised.latents.shape[2], cell_px * denoised.latents.shape[3])
    masks = mask_to_pil(resize_mask(denoised.subject_mask, size))
    # Most layers of the released code know no scale.
    is_released = isinstance(request, EditRequest) and request.settings.mode is EditMode.RELEASED
    first = 0
    for one in ready:
        own = slice(first, first := first + len(one.start.latents))
        shown = _identities(one.request)
        named = tuple(who.named for who in shown if who.named is not None)
        yield GenerationResult(
            images=tuple(images[own]),
            subject_masks=tuple(masks[own]),
            regions=denoised.region[own],
            seeds=one.request.seeds if isinstance(one.request, PersonalizeRequest) else (),
            layouts=one.start.layouts,
            branches=(IdentityBranch.SEMANTIC,) if is_released else _branches(one.start),
            cutouts=tuple(who.cutouts for who in shown),
            timings_ms=clock.timings(),
            origin={**components.origin, **origin_of(named)},
            tensor=None if output is Output.PIL else tensor[own],
            named=named,
        )


def _identities(request: Drawable) -> tuple[Identity, ...]:
    if isinstance(request, EditRequest | RepaintRequest):
        return () if request.identity is None else (request.identity,)
    return tuple(subject.identity for subject in request.subjects)


def _branches(prepared: Prepared) -> tuple[IdentityBranch, ...]:
    """Return the branches that could change anything of the picture, whatever was asked of them."""
    attention, aligned = prepared.condition.attention, prepared.condition.aligned
    plan = prepared.components.denoiser.installation.plan
    joint = plan.merge is Merge.JOINT
    speaks = {
        IdentityBranch.SEMANTIC: bool(plan.semantic)
        and _reaches(attention.identity_scale, attention.identity_background_scale, attention),
        IdentityBranch.JOINT_DETAIL if joint else IdentityBranch.DETAIL: bool(attention.keys)
        and _reaches(attention.detail_scale, attention.detail_background_scale, attention),
        IdentityBranch.ALIGNED: bool(aligned.any() and attention.detail_scale.any()),
    }
    return tuple(branch for branch, is_heard in speaks.items() if is_heard)


def _reaches(inside: Tensor, outside: Tensor, attention: AttentionCondition) -> bool:
    """Whether scales (B, S) within and without the subjects' regions weigh on any cell."""
    region = attention.region.flatten(2)
    is_inside, is_outside = region.amax(-1) > 0, region.amin(-1) < 1
    is_open = (attention.is_inline > 0)[:, None]  # a region that is found may be anything
    heard = (inside > 0) & (is_inside | is_open) | (outside > 0) & (is_outside | is_open)
    return bool(heard.any())


def check_numbers(components: Components, latents: Tensor) -> None:
    """Refuse latents that no decoder can show.

    Raises:
        WeightsError: They hold infinity, or what is not a number.
    """
    if latents.isfinite().all():
        return
    raise WeightsError(
        f"What preset {components.preset.name!r} drew holds infinity, or what is not a number. "
        f"Finite weights are needed, and numbers that do not overflow; {_types_of(components)}. "
        "Load with `dtype='bfloat16'` or `dtype='float32'`; if that does not help, get the weights "
        "again."
    )


def check_pixels(components: Components, pixels: Tensor) -> None:
    """Refuse pictures of a decoder that overflowed.

    Raises:
        WeightsError: One holds what is not a number, which would be an even grey, or is all black.
    """
    is_black = (pixels <= BLACK).flatten(1).all(dim=1).any()
    if pixels.isfinite().all() and not is_black:
        return
    what = "is black all over" if is_black else "holds infinity, or what is not a number"
    raise WeightsError(
        f"A picture that preset {components.preset.name!r} drew {what}, and its latents are finite "
        f"numbers. A decoder that does not overflow is needed; {_types_of(components)}. Load with "
        "`dtype='bfloat16'` or `dtype='float32'`, or with an autoencoder made for float16."
    )


def _types_of(components: Components) -> str:
    network: Any = components.autoencoder
    decoder = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    denoiser = next(components.denoiser.installation.network.parameters())
    parts = {"the denoiser": denoiser, "the decoder": decoder}
    told = [f"{name} is in {one.dtype}" for name, one in parts.items() if one is not None]
    return " and ".join(told).replace("torch.", "")
