"""The one path from a request to its pictures: prepare, denoise, decode."""

import gc
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import NamedTuple, TypeVar, overload

import torch
from PIL import Image, ImageChops
from torch import Tensor

from swiftpie.attention.condition import AttentionCondition
from swiftpie.attention.processors import Merge
from swiftpie.backbones.components import Components
from swiftpie.errors import OutOfMemory, short_reason
from swiftpie.faces import METADATA
from swiftpie.imageio.images import alpha_of, mask_to_pil, to_pil
from swiftpie.library import origin_of
from swiftpie.masks import HALF, hole_of, resize_mask
from swiftpie.pipelines.drawing import chord, edit, in_context, prepare
from swiftpie.pipelines.drawing.denoise import (
    Clock,
    OnStage,
    OnStep,
    Prepared,
    check_latents,
    check_pixels,
    decode,
    denoise,
    join_prepared,
    shape_of,
)
from swiftpie.pipelines.drawing.edit import EditPlan, EditResult, EncodedPicture
from swiftpie.pipelines.drawing.request import (
    EditRequest,
    FaceRequest,
    Output,
    PersonalizeRequest,
    RepaintRequest,
    Request,
    resolved_scales,
)
from swiftpie.pipelines.drawing.settings import EditMode, IdentityGuidance
from swiftpie.pipelines.photographs import relight, repaint, restage, scene
from swiftpie.pipelines.photographs.repaint import RepaintPlan
from swiftpie.pipelines.photographs.restage import Staging
from swiftpie.pipelines.photographs.scene import ScenePlan
from swiftpie.types import Denoised, GenerationResult, Identity, IdentityBranch

Drawable = PersonalizeRequest | EditRequest | RepaintRequest
"""A request as it is drawn: a `FaceRequest` has become a `PersonalizeRequest`."""

logger = logging.getLogger(__name__)

# What allocators say; only CUDA's raises an error of a class of its own.
OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory", "bad allocation"),
    "failed to allocate",  # OpenVINO
)

Part = TypeVar("Part")
Drawn = TypeVar("Drawn", bound=Drawable)

Split = Callable[[Hashable, int], Sequence[int]]
"""Takes a batch key and the number of its requests; returns how many share each pass."""


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
    """Draw the pictures of a request.

    Args:
        components: The loaded networks.
        request: What to draw.
        on_stage: Called with the name of each stage and step at its end; may raise to stop.
        on_step: Called after each step; returns the latents to go on with.

    Raises:
        CapabilityError: The networks cannot do this.
        ConfigError: The guidance is for another number of steps.
        InputError: A number is out of range, or things do not go together.
        WeightsError: A drawing holds NaN or infinity, or is all black.
        OutOfMemory: A single picture is too large.
    """
    return draw_together(components, [request], on_stage=on_stage, on_step=on_step)[0]


@torch.no_grad()
def find_region(components: Components, request: EditRequest) -> Image.Image:
    """Return where an edit may change its picture, white in mode L, before anything is drawn.

    The errors are those of `draw`.
    """
    request = _in_hole(components, _in_mode(components, request))
    request = request.steered(len(components.schedule.steps))
    with explaining_out_of_memory():
        if _is_relit(components, request):
            return relight.find_region(request)
        if edit.is_by_reference(components, request):
            return mask_to_pil(in_context.prepare(components, request, Clock(None)).region)[0]
        if edit.is_by_chord(components, request):
            return mask_to_pil(chord.find_region(components, request))[0]
        picture = edit.encode_picture(components, request, Clock(None))
        staging = _staging(components, request, picture, Clock(None))
        if staging is not None:
            return restage.find_region(staging)
        inverted = edit.invert_picture(components, request, picture, Clock(None))
    return mask_to_pil(inverted.region.pixels)[0]


class _PreparedRequest(NamedTuple):
    """A request whose denoising may begin."""

    request: Drawable
    start: Prepared
    plan: EditPlan | RepaintPlan | ScenePlan | None = (
        None  # how the drawing becomes part of a picture
    )

    @property
    def batch_key(self) -> tuple[object, ...]:
        """What requests have in common that are drawn in one pass."""
        own = self.request
        is_steered = own.guidance is not None or own.shaping is not None
        # Rows of released edits read each other.
        alone = (id(own),) if is_steered or _is_released(own) else ()
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
    """Draw several requests, those of one shape in one pass, and return a result for each.

    Steered requests and released edits have passes of their own. `split` divides a pass that would
    hold too many requests. Other arguments and errors are those of `draw`; an error of one request
    fails all of them.
    """
    clock = Clock(on_stage)
    results: dict[int, GenerationResult | EditResult] = {}
    prepared: dict[int, _PreparedRequest] = {}
    by_key: dict[tuple[object, ...], list[int]] = {}
    with explaining_out_of_memory():
        drawables = [_drawable(components, given) for given in requests]
        for index, drawable in enumerate(drawables):
            begun = _begin(components, drawable, clock, on_stage)
            if isinstance(begun, _PreparedRequest):
                prepared[index] = begun
                by_key.setdefault(begun.batch_key, []).append(index)
            else:
                results[index] = begun
        for indices in _passes(by_key, split):
            batch = [prepared[index] for index in indices]
            for index, drawn in zip(indices, _draw_batch(batch, clock, on_step), strict=True):
                match prepared[index].plan:
                    case None:
                        results[index] = drawn
                    case EditPlan() as plan:
                        results[index] = edit.finish(drawn, plan, clock)
                    case ScenePlan() as plan:
                        results[index] = scene.finish(drawn, plan, clock)
                    case plan:
                        results[index] = repaint.finish(drawn, plan, clock)
    return [_with_transparency(one, results[index]) for index, one in enumerate(drawables)]


def _begin(
    components: Components, request: Drawable, clock: Clock, on_stage: OnStage | None
) -> GenerationResult | EditResult | _PreparedRequest:
    """Return the result of a request that shares no pass with others, or what others may join."""
    if isinstance(request, EditRequest):
        return _begin_edit(components, request, clock)
    if isinstance(request, PersonalizeRequest):
        if scene.is_empty(components, request):
            return scene.draw_empty(components, request, clock)
        prepare.check_subjects(components, request)
    if isinstance(request, PersonalizeRequest) and scene.is_inserted(components, request):
        return _insert_into_scene(components, request, clock, on_stage)
    return _prepare(components, request, clock)


def _begin_edit(
    components: Components, request: EditRequest, clock: Clock
) -> EditResult | _PreparedRequest:
    """Return an edit that needs no denoiser, or prepare one for it."""
    if _is_relit(components, request):
        return relight.edit(components, request, clock)
    if edit.is_by_reference(components, request):
        shown = in_context.prepare(components, request, clock)
        return _PreparedRequest(request, shown.start, shown)
    if edit.is_by_chord(components, request):
        return chord.edit(components, request, clock)
    picture = edit.encode_picture(components, request, clock)
    staging = _staging(components, request, picture, clock)
    if staging is not None:
        return restage.finish(staging, clock)
    inverted = edit.invert_picture(components, request, picture, clock)
    plan = edit.prepare(components, request, picture, inverted, clock)
    return _PreparedRequest(plan.request, plan.start, plan)


def _is_relit(components: Components, request: EditRequest) -> bool:
    """Whether all of a picture changes; of what a source prompt shows, a season changes a part."""
    if not edit.only_changes_all(components, request):
        return False
    reading = restage.reading_of(components, request) if request.source_prompt.strip() else None
    return reading is None or not reading.changes_season_alone


def _staging(
    components: Components, request: EditRequest, picture: EncodedPicture, clock: Clock
) -> Staging | None:
    """Return the staging of an edit whose words say all of it; None for others.

    Raises:
        CapabilityError: The words are not understood, or what they name is not found.
    """
    if not restage.reads_words(components, request):
        return None
    reading = restage.reading_of(components, request)
    if reading is None and request.source_prompt.strip() and picture.prompts.are_alike:
        return None  # nothing changes
    return restage.prepare(components, request, reading, picture, clock)


def _insert_into_scene(
    components: Components, request: PersonalizeRequest, clock: Clock, on_stage: OnStage | None
) -> GenerationResult:
    """Insert subjects into a scene, one after the other, the pictures of all seeds together."""
    rows = scene.scene_rows(components, request)
    clock.lap("scene")
    places, drawn = [row.place for row in rows], []
    for index in range(len(request.subjects)):
        insertions = scene.insertions(components, request, rows, index, places)
        results = draw_together(components, insertions, on_stage=on_stage)
        drawn.append([result for result in results if isinstance(result, EditResult)])
        places = [result.image for result in drawn[-1]]
        clock.lap("insert")
    return scene.finish_insertions(components, request, rows, drawn, clock.timings())


def _passes(
    by_key: Mapping[tuple[object, ...], Sequence[int]], split: Split | None
) -> Iterator[Sequence[int]]:
    for key, indices in by_key.items():
        rest = iter(indices)
        for size in split(key, len(indices)) if split else [len(indices)]:
            yield list(islice(rest, size))


def _drawable(components: Components, request: Request) -> Drawable:
    drawable = request.as_personalize() if isinstance(request, FaceRequest) else request
    drawable = _in_hole(components, _in_mode(components, drawable))
    return drawable.steered(len(components.schedule.steps))


def _prepare(
    components: Components, request: PersonalizeRequest | RepaintRequest, clock: Clock
) -> _PreparedRequest:
    if isinstance(request, RepaintRequest):
        repainted = repaint.prepare(components, request, clock)
        return _PreparedRequest(request, repainted.start, repainted)
    if scene.has_scene(components, request):
        words = scene.drawn_from_words(components, request)
        placed_by = scene.placing_prompts(components, request)
        start = prepare.prepare(components, words, clock, placed_by=placed_by)
        staged = scene.plan(components, request, start)
        clock.lap("scene")
        return _PreparedRequest(words, start, staged)
    return _PreparedRequest(request, prepare.prepare(components, request, clock))


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


def _draw_batch(
    batch: Sequence[_PreparedRequest], clock: Clock, on_step: OnStep | None
) -> Iterator[GenerationResult]:
    request, start = batch[0].request, join_prepared([item.start for item in batch])
    components = start.components
    denoised = _denoised(start, request, clock, on_step)
    clock.lap("denoise")
    output = request.output if isinstance(request, PersonalizeRequest) else Output.PIL
    latents = denoised.latents
    check_latents(components, latents)
    tensor = latents
    if output is not Output.LATENTS:
        parts = in_parts(lambda first, end: decode(components, latents[first:end]), len(latents))
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        check_pixels(components, tensor)
    images = to_pil(tensor) if output is Output.PIL else []
    clock.lap("decode")
    cell_px = components.preset.latent_cell_px
    size = (cell_px * latents.shape[2], cell_px * latents.shape[3])
    masks = mask_to_pil(resize_mask(denoised.subject_mask, size))
    first = 0
    for item in batch:
        rows = slice(first, first := first + len(item.start.latents))
        identities = _identities(item.request)
        named = tuple(each.named for each in identities if each.named is not None)
        yield GenerationResult(
            images=tuple(images[rows]),
            subject_masks=tuple(masks[rows]),
            regions=denoised.region[rows],
            seeds=item.request.seeds if isinstance(item.request, PersonalizeRequest) else (),
            layouts=item.start.layouts,
            branches=_branches(item),
            cutouts=tuple(each.cutouts for each in identities),
            timings_ms=clock.timings(),
            scales=resolved_scales(components.preset, item.request).given,
            origin={
                **components.origin,
                **(
                    {}
                    if item.request.identity_guidance is IdentityGuidance.PLAIN
                    else {"identity_guidance": item.request.identity_guidance}
                ),
                **origin_of(named),
                **(METADATA if any(identity.is_face for identity in identities) else {}),
            },
            tensor=None if output is Output.PIL else tensor[rows],
            named=named,
        )


def _in_mode(components: Components, request: Drawn) -> Drawn:
    """Return a request; one of an edit without a mode gets the preset's."""
    if not isinstance(request, EditRequest) or request.settings.mode is not None:
        return request
    return replace(request, settings=request.settings.in_mode_of(components.preset))


def _in_hole(components: Components, request: Drawn) -> Drawn:
    """Return a request; the hole of its picture is what changes if nothing else says that."""
    if isinstance(request, PersonalizeRequest) or request.mask is not None:
        return request
    if isinstance(request, RepaintRequest):
        is_open = request.identity is None
    else:
        is_said = request.keyword or request.source_prompt.strip()
        is_open = not (is_said or edit.only_changes_all(components, request))
    hole = hole_of(request.image) if is_open else None
    return request if hole is None else replace(request, mask=hole)


def _with_transparency(
    request: Drawable, result: GenerationResult | EditResult
) -> GenerationResult | EditResult:
    """Return a changed picture as transparent as it was, but for holes at a given place."""
    if isinstance(request, PersonalizeRequest) or not isinstance(result, EditResult):
        return result
    if alpha_of(request.image) is None:
        return result
    alpha = request.image.getchannel("A")
    if isinstance(request, RepaintRequest) or request.mask is not None:
        drawn = result.region.point(lambda value: 255 * (value > 0))
        hole = alpha.point(lambda value: 255 * (value <= 255 * HALF))
        alpha = ImageChops.lighter(alpha, ImageChops.darker(hole, drawn))
    image, edited = result.image.copy(), result.edited.copy()
    image.putalpha(alpha)
    edited.putalpha(alpha)
    return replace(result, image=image, edited=edited)


def _is_released(request: Drawable) -> bool:
    return isinstance(request, EditRequest) and request.settings.mode is EditMode.RELEASED


def _identities(request: Drawable) -> tuple[Identity, ...]:
    if isinstance(request, EditRequest | RepaintRequest):
        return () if request.identity is None else (request.identity,)
    return tuple(subject.identity for subject in request.subjects)


def _branches(prepared: _PreparedRequest) -> tuple[IdentityBranch, ...]:
    """Return the branches that can change anything of the picture, whatever scales were given."""
    if _is_released(prepared.request):
        return (IdentityBranch.SEMANTIC,)  # most layers of the released code know no scale
    start = prepared.start
    attention, aligned = start.condition.attention, start.condition.aligned
    plan = start.components.denoiser.installation.plan
    detail = IdentityBranch.JOINT_DETAIL if plan.merge is Merge.JOINT else IdentityBranch.DETAIL
    is_active = {
        IdentityBranch.SEMANTIC: bool(plan.semantic)
        and _acts(attention.identity_scale, attention.identity_background_scale, attention),
        detail: bool(attention.keys)
        and _acts(attention.detail_scale, attention.detail_background_scale, attention),
        IdentityBranch.ALIGNED: bool(aligned.any() and attention.detail_scale.any()),
    }
    return tuple(branch for branch, acts in is_active.items() if acts)


def _acts(inside: Tensor, outside: Tensor, attention: AttentionCondition) -> bool:
    """Whether scales (B, S) inside and outside of the subjects' regions weigh on any cell."""
    region = attention.region.flatten(2)
    is_inside, is_outside = region.amax(-1) > 0, region.amin(-1) < 1
    is_open = (attention.is_inline > 0)[:, None]  # a region that is found may be anything
    acts = (inside > 0) & (is_inside | is_open) | (outside > 0) & (is_outside | is_open)
    return bool(acts.any())


def in_parts(
    compute: Callable[[int, int], Part], count: int, *, can_split: bool = True
) -> list[Part]:
    """Return what `compute(first, end)` returns for `count` rows, in halves if memory runs out.

    Raises:
        RuntimeError: A single row does not fit into memory, or `compute` failed otherwise.
        MemoryError: The same.
    """
    try:
        return [compute(0, count)]
    except (RuntimeError, MemoryError) as error:  # whose frames hold tensors until the block ends
        if count == 1 or not can_split or not is_out_of_memory(error):
            raise
    free_unused_memory()
    half = count // 2
    logger.warning(
        "There is too little memory for %d pictures at once; %d are drawn at a time.",
        count,
        count - half,
    )
    earlier = in_parts(compute, half)
    return [*earlier, *in_parts(lambda a, b: compute(half + a, half + b), count - half)]


@contextmanager
def explaining_out_of_memory() -> Iterator[None]:
    """Turn the error of an allocator in the block into one that says what to do.

    Raises:
        OutOfMemory: An allocator failed.
        RuntimeError: Something else failed in the block.
        MemoryError: Something else failed in the block.
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


def free_unused_memory() -> None:
    """Return the memory that accelerators keep for later calls."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
