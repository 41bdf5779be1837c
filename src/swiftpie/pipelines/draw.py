"""The one path from a request to its pictures: prepare by a technique, denoise, decode, finish."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from swiftpie import __version__
from swiftpie.attention.condition import INLINE_MASK, AttentionCondition, Notes
from swiftpie.attention.processors import Merge
from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Preset
from swiftpie.errors import OutOfMemory, short_reason
from swiftpie.faces import METADATA
from swiftpie.imageio.credentials import COMPOSITE, SOURCE_TYPE
from swiftpie.imageio.images import Recorded, from_bytes, mask_to_pil, to_pil
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.pipelines.choose import (
    STEP,
    Choice,
    Clock,
    OnStage,
    Split,
    choose,
    identities_in,
    resolved_scales,
)
from swiftpie.pipelines.denoise import (
    Finished,
    OnStep,
    Plan,
    Prepared,
    Resumable,
    check_latents,
    check_pixels,
    decode,
    denoise,
    in_parts,
    is_out_of_memory,
    join_prepared,
    shape_of,
    without_identity,
)
from swiftpie.pipelines.edit_region import with_transparency
from swiftpie.pipelines.request import Output, PersonalizeRequest, texts_of
from swiftpie.pipelines.settings import FIRST_PASS, IdentityGuidance, MaskSource
from swiftpie.pipelines.tasks import EditRequest, Request, RetouchRequest
from swiftpie.registry import later
from swiftpie.types import (
    DecodedImages,
    DenoisedLatents,
    EditedImage,
    EditResult,
    GenerationResult,
    IdentityBranch,
    spell_cutouts,
)
from swiftpie.validation import MAX_STORED_PROMPT

best_of = later("swiftpie.pipelines.ranking:best_of")
best_change = later("swiftpie.pipelines.ranking:best_change")

DETAIL_BRANCHES = {
    Merge.DECOUPLED: IdentityBranch.DETAIL,
    Merge.JOINT: IdentityBranch.JOINT_DETAIL,
    Merge.MATCHED: IdentityBranch.MATCHED_DETAIL,
}
# Of `mini`: 16 pictures take 11 % less time than in one pass, or 20 % less in one if small.
ROWS_IN_CACHE, CELLS_IN_CACHE = 4, 1024

Result = GenerationResult | EditResult


@contextmanager
def explaining_out_of_memory() -> Iterator[None]:
    """Turn the error of an allocator in the block into one that says what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"There is too little memory to draw a picture ({short_reason(error)}). Room for what "
            "is computed is needed besides the weights. Close other programs, draw fewer pixels, "
            "or load with `dtype='auto'`, `engine='offload'` or `engine='tiny-decoder'`."
        ) from error


@torch.no_grad()
def draw(
    components: Components,
    request: Request,
    *,
    on_stage: OnStage | None = None,
    on_step: OnStep | None = None,
) -> Result:
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
    (result,) = draw_together([choose(components, request, clock=Clock(on_stage, on_step))])
    return result


@torch.no_grad()
def find_region(choice: Choice[EditRequest | RetouchRequest]) -> Image.Image:
    """Return where an edit may change its picture, white in mode L, before anything is drawn.

    The errors are those of `draw`.
    """
    with explaining_out_of_memory():
        plan = choice.technique.prepare(choice)
        assert plan.region is not None, "every edit has a region"
        return plan.region()


@torch.no_grad()
def draw_together(choices: Sequence[Choice[Any]]) -> list[Result]:
    """Draw what was chosen, what is of one shape in one pass, and return a result for each choice.

    Steered requests and released edits have passes of their own. The errors are those of `draw`; an
    error of one request fails all of them.
    """
    choices[0].clock.start()
    with explaining_out_of_memory():
        tries = [choice.attempts() for choice in choices]
        plans = [_prepared(attempt) for attempts in tries for attempt in attempts]
        finished = zip(plans, _carry_out(plans, choices[0]), strict=True)
        results = []
        for choice, attempts in zip(choices, tries, strict=True):
            drawn = [_result(attempt, *next(finished)) for attempt in attempts]
            result = drawn[0]
            if choice.num_kept and isinstance(result, GenerationResult):
                result = best_of(choice, result)
            elif choice.num_kept:
                result = best_change(choice, drawn)
            results.append(_recorded(choice, result))
        return results


def _prepared(choice: Choice[Any]) -> Plan:
    plan = choice.technique.prepare(choice)
    is_steered = plan.request.guidance is not None or plan.request.shaping is not None
    if is_steered and plan.start is None and not plan.parts:
        choice.warn("Guidance has no effect here, because no denoiser draws this.")
    return plan


def _recorded(choice: Choice[Any], result: Result) -> Result:
    """Return a result whose pictures keep how they were made in the files that they become."""
    record = _record_of(choice.components.preset, choice.request, result)
    if isinstance(result, EditResult):
        return replace(result, image=Recorded.of(result.image, record), record=record)
    seeds = [{"seed": str(seed)} for seed in result.seeds]
    seeds = seeds if len(seeds) == len(result.images) else [{}] * len(result.images)
    images = (
        Recorded.of(image, record | seed) for image, seed in zip(result.images, seeds, strict=True)
    )
    return replace(result, images=tuple(images), record=record)


def _record_of(preset: Preset, request: Request, result: Result) -> dict[str, str]:
    """Return what the pictures of a request say; `seed` is that of the first."""
    is_edit = isinstance(result, EditResult)
    texts = {"prompt": "; ".join(texts_of(request.prompt)), "branches": ", ".join(result.branches)}
    if result.cutouts or not is_edit:
        texts["cutouts"] = spell_cutouts(result.cutouts)
    if is_edit:
        texts[SOURCE_TYPE] = COMPOSITE
    if isinstance(request, EditRequest):
        texts |= {"source_prompt": request.source_prompt, "keyword": request.keyword}
        texts |= {name: str(value) for name, value in request.settings.own}
    scales = {} if isinstance(request, RetouchRequest) else result.scales
    seeds = (result.seed,) if isinstance(result, EditResult) else result.seeds
    texts |= {"seed": str(seeds[0])} if seeds else {}  # none of noise that was given
    return {
        **{name: text[:MAX_STORED_PROMPT] for name, text in {**texts, **result.origin}.items()},
        "preset": preset.name,
        "swiftpie": __version__,
        **{name: str(value) for name, value in scales.items()},
    }


def _result(choice: Choice[Any], plan: Plan, drawn: Finished) -> Result:
    """Return pictures of 8 bits, and how they were made."""
    components, request, clock = choice.components, plan.request, choice.clock
    identities = identities_in(request)
    named = tuple(identity.named for identity in identities if identity.named is not None)
    origin = dict(components.origin)
    if named:
        origin["library"] = "; ".join(map(str, named))
    if request.identity_guidance is not IdentityGuidance.PLAIN:
        origin["identity_guidance"] = request.identity_guidance
    if any(identity.is_face for identity in identities):
        origin |= METADATA
    facts: dict[str, Any] = {
        "branches": drawn.branches,
        "cutouts": tuple(identity.cutouts for identity in identities),
        "named": named,
        "scales": resolved_scales(components.preset, request).given,
        "origin": {**origin, **drawn.facts},
        "warnings": tuple(dict.fromkeys(choice.warnings)),
    }
    if isinstance(drawn, EditedImage):
        assert not isinstance(request, PersonalizeRequest), "it changes a picture"
        whole = with_transparency(request, drawn)._asdict()
        del whole["facts"]
        return EditResult(**whole | facts, seed=request.seed, timings_ms=clock.timings())
    assert isinstance(request, PersonalizeRequest), "it makes new pictures"
    is_tensor = request.output is not Output.PIL
    images = () if is_tensor else tuple(to_pil(drawn.pixels))
    masks = tuple(mask_to_pil(drawn.subject_mask))
    clock.end_stage("join")
    return GenerationResult(
        images=images,
        subject_masks=masks,
        regions=drawn.regions,
        seeds=request.seeds,
        layouts=drawn.layouts,
        timings_ms=clock.timings(),
        tensor=from_bytes(drawn.pixels) if is_tensor else None,
        **facts,
    )


def _carry_out(plans: Sequence[Plan], choice: Choice[Any]) -> list[Finished]:
    """Denoise what can be denoised in one pass, and finish each plan."""
    by_key: dict[tuple[object, ...], list[int]] = {}
    finished: dict[int, Finished | Plan] = {}
    for index, plan in enumerate(plans):
        if plan.start is not None:
            key = _batch_key(plan, plan.start) if len(plans) > 1 else ()
            by_key.setdefault(key, []).append(index)
        else:
            finished[index] = plan.finish(*_carry_out(plan.parts, choice))
    for indices in _passes(by_key, choice.split):
        batch = [plans[index] for index in indices]
        for index, drawn in zip(indices, _draw_batch(batch, choice.clock), strict=True):
            finished[index] = plans[index].finish(drawn)
    results = []
    for index in range(len(plans)):
        result = finished[index]
        if isinstance(result, Plan):
            (result,) = _carry_out([result], choice)
        results.append(result)
    return results


def _batch_key(plan: Plan, start: Prepared) -> tuple[object, ...]:
    """Return what plans have in common that are drawn in one pass."""
    request = plan.request
    is_steered = request.guidance is not None or request.shaping is not None
    alone = (id(request),) if is_steered or plan.reads_rows else ()
    return (type(request), getattr(request, "output", None), *alone, *shape_of(start))


def _passes(
    by_key: Mapping[tuple[object, ...], Sequence[int]], split: Split
) -> Iterator[Sequence[int]]:
    for key, indices in by_key.items():
        rest = iter(indices)
        for size in split(key, len(indices)):
            yield list(islice(rest, size))


def _denoised(prepared: Prepared, plan: Plan, clock: Clock) -> DenoisedLatents:
    """Return all rows denoised, in parts where not all fit into memory and none reads others."""
    request, on_step = plan.request, clock.on_step

    def compute(first: int, end: int) -> DenoisedLatents:
        part = prepared if end - first == count else prepared.rows(first, end)
        first_step = 0
        if on_step is not None and isinstance(on_step, Resumable):
            first_step, latents = on_step.reached(part, f"{request.guidance} {request.shaping}")
            part = part._replace(latents=latents)
        steering = request.guidance, request.shaping
        return denoise(part, *steering, on_step=after_step, first=first_step)

    def after_step(index: int, timestep: float, latents: Tensor) -> Tensor:
        if on_step is not None:  # first, as the report may stop the drawing
            latents = on_step(index, timestep, latents)
        clock.check(STEP)
        return latents

    count = len(prepared.latents)
    can_split = on_step is None and not plan.reads_rows
    most = _most_rows(prepared.latents)
    parts = in_parts(compute, count, can_split=can_split, most=most)
    return (
        parts[0] if len(parts) == 1 else DenoisedLatents(*map(torch.cat, zip(*parts, strict=True)))
    )


def _draw_batch(batch: Sequence[Plan], clock: Clock) -> Iterator[DecodedImages]:
    """Yield what the denoiser makes of plans of one shape, in one pass."""
    starts = [_with_regions(plan, plan.start) for plan in batch if plan.start is not None]
    request, start = batch[0].request, join_prepared(starts)
    components = start.components
    latents, mask, regions = _denoised(start, batch[0], clock)
    clock.end_stage("denoise")
    check_latents(components, latents)
    pixels = latents
    if getattr(request, "output", None) is not Output.LATENTS:
        most = _most_rows(latents)
        parts = in_parts(
            lambda first, end: decode(components, latents[first:end]), len(latents), most=most
        )
        pixels = parts[0] if len(parts) == 1 else torch.cat(parts)
        check_pixels(components, pixels)
    clock.end_stage("decode")
    cell_px = components.preset.latent_cell_px
    mask = resize_mask(mask, (cell_px * latents.shape[2], cell_px * latents.shape[3]))
    first = 0
    for prepared in starts:
        rows = slice(first, first := first + len(prepared.latents))
        branches = acting_branches(prepared.components, prepared.condition)
        yield DecodedImages(pixels[rows], mask[rows], regions[rows], prepared.layouts, branches)


def _with_regions(plan: Plan, start: Prepared) -> Prepared:
    """Return the start of a plan, with the masks of a first pass if one was asked for."""
    request = plan.request
    if not isinstance(request, PersonalizeRequest) or not request.subjects:
        return start
    fields = {"region": request.mask, "detail_mask": request.detail_mask}
    sought = {
        field: source
        for field, source in fields.items()
        if isinstance(source, MaskSource) and source in FIRST_PASS
    }
    if not sought:
        return start
    split: dict[str, Any] = {"can_split": not plan.reads_rows, "most": _most_rows(start.latents)}
    count = len(start.latents)
    found = {
        source: torch.cat([*in_parts(partial(found_regions, start, source), count, **split)])
        for source in {*sought.values()}
    }
    masks: dict[str, Any] = {field: found[source] for field, source in sought.items()}
    attention = start.condition.attention._replace(**masks)
    return start._replace(condition=start.condition._replace(attention=attention))


@torch.no_grad()
def found_regions(start: Prepared, source: MaskSource, first: int, end: int) -> Tensor:
    """Return where attention sees each subject of some rows in the first step, (B, S, h, w).

    After MONKEY (arXiv:2510.07656): attention to the tokens of a subject shows where the picture
    has it. Differs from the paper: the first pass is one call at the first step, not a whole
    drawing.
    """
    start = start if end - first == len(start.latents) else start.rows(first, end)
    components, condition = start.components, _without_detail(start.components, start.condition)
    if source is MaskSource.LAYOUT_FIRST:
        condition = without_identity(condition, None)
    notes: Notes = {}
    step = components.schedule.steps[0]
    components.denoiser(start.latents, step.timestep, start.text, condition, notes)
    size = (start.latents.shape[2], start.latents.shape[3])
    return resize_mask(notes[INLINE_MASK], size).to(condition.attention.region)


def _without_detail(components: Components, condition: SubjectCondition) -> SubjectCondition:
    attention = condition.attention
    off = torch.zeros_like(attention.detail_scale)
    attention = attention._replace(detail_scale=off, detail_background_scale=off)
    # A joint softmax turns its keys off only up to rounding.
    if components.denoiser.installation.plan.merge is Merge.JOINT:
        attention = attention._replace(keys={}, values={})
    return condition._replace(attention=attention)


def acting_branches(
    components: Components, condition: SubjectCondition
) -> tuple[IdentityBranch, ...]:
    """Return the branches that can change anything of the picture, whatever scales were given."""
    attention, aligned = condition.attention, condition.aligned
    plan = components.denoiser.installation.plan
    detail = DETAIL_BRANCHES[plan.merge]
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


def _most_rows(latents: Tensor) -> int:
    """Return the rows of a pass that is quickest for latents (B, C, h, w); 0 is any number."""
    if latents.device.type != "cpu":
        return 0
    return max(ROWS_IN_CACHE, CELLS_IN_CACHE // (latents.shape[2] * latents.shape[3]))
