"""The one path from a request to its pictures: prepare by a technique, denoise, decode, finish."""

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from swiftpie import __version__
from swiftpie.attention.condition import AttentionCondition
from swiftpie.attention.processors import Merge
from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Preset
from swiftpie.errors import warn
from swiftpie.faces import METADATA, FaceEncoder
from swiftpie.imageio.credentials import COMPOSITE, SOURCE_TYPE
from swiftpie.imageio.images import Recorded, from_bytes, mask_to_pil, to_pil
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.pipelines.choose import Choice, choose, hearing, identities_in, resolved_scales
from swiftpie.pipelines.denoise import (
    STEP,
    Clock,
    Made,
    OnStage,
    OnStep,
    Plan,
    Prepared,
    Resumable,
    check_latents,
    check_pixels,
    decode,
    denoise,
    explaining_out_of_memory,
    in_parts,
    join_prepared,
    shape_of,
)
from swiftpie.pipelines.edit_region import with_transparency
from swiftpie.pipelines.first_pass import with_regions
from swiftpie.pipelines.request import Drawable, Output, PersonalizeRequest, ResultT, texts_of
from swiftpie.pipelines.settings import FIRST_PASS, IdentityGuidance
from swiftpie.pipelines.tasks import EditRequest, RepaintRequest, Request
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

logger = logging.getLogger(__name__)
best_of = later("swiftpie.pipelines.ranking:best_of")
best_change = later("swiftpie.pipelines.ranking:best_change")

DETAIL_BRANCHES = {
    Merge.DECOUPLED: IdentityBranch.DETAIL,
    Merge.JOINT: IdentityBranch.JOINT_DETAIL,
    Merge.MATCHED: IdentityBranch.MATCHED_DETAIL,
}
# Of `mini`: 16 pictures take 11 % less time than in one pass, or 20 % less in one if small.
ROWS_IN_CACHE, CELLS_IN_CACHE = 4, 1024

Split = Callable[[Hashable, int], Sequence[int]]
"""Takes a batch key and the number of its requests; returns how many share each pass."""

Result = GenerationResult | EditResult


@torch.no_grad()
def draw(
    components: Components,
    request: Drawable[ResultT],
    *,
    on_stage: OnStage | None = None,
    on_step: OnStep | None = None,
) -> ResultT:
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
    choice = choose(components, cast("Request", request))
    (drawn,) = draw_together(components, [choice], on_stage=on_stage, on_step=on_step)
    return cast("ResultT", drawn)


@torch.no_grad()
def find_region(components: Components, request: EditRequest | RepaintRequest) -> Image.Image:
    """Return where an edit may change its picture, white in mode L, before anything is drawn.

    The errors are those of `draw`.
    """
    with explaining_out_of_memory():
        choice = choose(components, request)
        plan = choice.technique.prepare(components, choice.staged, Clock())
        assert plan.region is not None, "every edit has a region"
        return plan.region()


@torch.no_grad()
def draw_together(
    components: Components,
    choices: Sequence[Choice],
    *,
    on_stage: OnStage | None = None,
    on_step: OnStep | None = None,
    split: Split | None = None,
    faces: FaceEncoder | None = None,
) -> list[Result]:
    """Draw several requests, those of one shape in one pass, and return a result for each.

    Steered requests and released edits have passes of their own. `split` divides a pass that would
    hold too many requests. `faces` compares people where the best pictures are kept. Other
    arguments and errors are those of `draw`; an error of one request fails all of them.
    """
    clock = Clock(on_stage)
    with explaining_out_of_memory():
        plans, said = [], []
        for choice in choices:
            for staged in choice.tries:
                with hearing() as heard:
                    plans.append(choice.technique.prepare(components, staged, clock))
                said.append(heard)
        made = _carry_out(plans, clock, on_step, split)
        results = []
        rows = zip(plans, made, said, strict=True)
        for choice in choices:
            tries = [
                with_warnings(_result(components, plan.request, drawn, clock), (*heard, *later))
                for plan, (drawn, later), heard in islice(rows, len(choice.tries))
            ]
            result = tries[0]
            if choice.num_kept and isinstance(result, GenerationResult):
                result = best_of(choice, result, faces)
            elif choice.num_kept:
                result = best_change(choice, tries, faces)
            results.append(_recorded(components.preset, choice.request, result))
        return results


def with_warnings(result: ResultT, warnings: Iterable[str]) -> ResultT:
    """Return a result with each of some warnings once."""
    return replace(result, warnings=tuple(dict.fromkeys(warnings)))


def _recorded(preset: Preset, request: Request, result: ResultT) -> ResultT:
    """Return a result whose pictures keep how they were made in the files that they become."""
    record = _record_of(preset, request, result)
    if isinstance(result, EditResult):
        return replace(result, image=Recorded.of(result.image, record), record=record)
    own = [{"seed": str(seed)} for seed in result.seeds]
    own = own if len(own) == len(result.images) else [{}] * len(result.images)
    images = (
        Recorded.of(image, record | seed) for image, seed in zip(result.images, own, strict=True)
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
    scales = {} if isinstance(request, RepaintRequest) else result.scales
    seeds = (result.seed,) if isinstance(result, EditResult) else result.seeds
    texts |= {"seed": str(seeds[0])} if seeds else {}  # none of noise that was given
    return {
        **{name: text[:MAX_STORED_PROMPT] for name, text in {**texts, **result.origin}.items()},
        "preset": preset.name,
        "swiftpie": __version__,
        **{name: str(value) for name, value in scales.items()},
    }


def _result(components: Components, request: Request, drawn: Made, clock: Clock) -> Result:
    """Return pictures of 8 bits, and how they were made."""
    shown = identities_in(request)
    named = tuple(identity.named for identity in shown if identity.named is not None)
    origin = dict(components.origin)
    if named:
        origin["library"] = "; ".join(map(str, named))
    if request.identity_guidance is not IdentityGuidance.PLAIN:
        origin["identity_guidance"] = request.identity_guidance
    if any(identity.is_face for identity in shown):
        origin |= METADATA
    facts: dict[str, Any] = {
        "branches": drawn.branches,
        "cutouts": tuple(identity.cutouts for identity in shown),
        "named": named,
        "scales": resolved_scales(components.preset, request).given,
        "origin": {**origin, **drawn.facts},
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


def _carry_out(
    plans: Sequence[Plan], clock: Clock, on_step: OnStep | None, split: Split | None
) -> list[tuple[Made, list[str]]]:
    """Denoise what can be denoised in one pass, and finish each plan; with what is warned of."""
    by_key: dict[tuple[object, ...], list[int]] = {}
    finished: dict[int, Made | Plan] = {}
    said: dict[int, list[str]] = {}
    for index, plan in enumerate(plans):
        if plan.start is not None:
            key = _batch_key(plan, plan.start) if len(plans) > 1 else ()
            by_key.setdefault(key, []).append(index)
        else:
            with hearing() as said[index]:
                if not plan.parts and (plan.request.guidance or plan.request.shaping):
                    warn(logger, "Guidance has no effect here, because no denoiser draws this.")
                parts = _carry_out(plan.parts, clock, on_step, split)
                finished[index] = plan.finish(*(part for part, _ in parts))
    for indices in _passes(by_key, split):
        batch = [plans[index] for index in indices]
        for index, drawn in zip(indices, _draw_batch(batch, clock, on_step), strict=True):
            with hearing() as said[index]:
                finished[index] = plans[index].finish(drawn)
    results = []
    for index in range(len(plans)):
        made = finished[index]
        if isinstance(made, Plan):
            ((made, later),) = _carry_out([made], clock, on_step, split)
            said[index] += later
        results.append((made, said[index]))
    return results


def _batch_key(plan: Plan, start: Prepared) -> tuple[object, ...]:
    """Return what plans have in common that are drawn in one pass."""
    own = plan.request
    is_steered = own.guidance is not None or own.shaping is not None
    alone = (id(own),) if is_steered or plan.reads_rows else ()
    return (type(own), getattr(own, "output", None), *alone, *shape_of(start))


def _passes(
    by_key: Mapping[tuple[object, ...], Sequence[int]], split: Split | None
) -> Iterator[Sequence[int]]:
    for key, indices in by_key.items():
        rest = iter(indices)
        for size in split(key, len(indices)) if split else [len(indices)]:
            yield list(islice(rest, size))


def _denoised(
    prepared: Prepared, plan: Plan, clock: Clock, on_step: OnStep | None
) -> DenoisedLatents:
    """Return all rows denoised, in parts where not all fit into memory and none reads others."""
    request = plan.request

    def compute(first: int, end: int) -> DenoisedLatents:
        part = prepared if end - first == count else prepared.rows(first, end)
        known = 0
        if on_step is not None and isinstance(on_step, Resumable):
            known, latents = on_step.reached(part, f"{request.guidance} {request.shaping}")
            part = part._replace(latents=latents)
        steering = request.guidance, request.shaping
        return denoise(part, *steering, on_step=after_step, first=known)

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


def _draw_batch(
    batch: Sequence[Plan], clock: Clock, on_step: OnStep | None
) -> Iterator[DecodedImages]:
    """Yield what the denoiser makes of plans of one shape, in one pass."""
    starts = [_with_regions(plan, plan.start) for plan in batch if plan.start is not None]
    request, start = batch[0].request, join_prepared(starts)
    components = start.components
    latents, mask, regions = _denoised(start, batch[0], clock, on_step)
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
    for own in starts:
        rows = slice(first, first := first + len(own.latents))
        branches = acting_branches(own.components, own.condition)
        yield DecodedImages(pixels[rows], mask[rows], regions[rows], own.layouts, branches)


def _with_regions(plan: Plan, start: Prepared) -> Prepared:
    """Return the start of a plan, with the masks of a first pass if one was asked for."""
    asked = plan.request
    if not isinstance(asked, PersonalizeRequest) or not asked.subjects:
        return start
    if FIRST_PASS.isdisjoint({asked.mask, asked.detail_mask}):
        return start
    most = _most_rows(start.latents)
    return with_regions(start, asked, partial(in_parts, can_split=not plan.reads_rows, most=most))


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
