"""What is doubtful about a request: the warnings that are known before it is drawn."""

import math
from collections.abc import Iterator
from typing import Any

from PIL import Image

from swiftpie.backbones.components import MAX_SIDE_PX, SAME_AREA, Components
from swiftpie.errors import short_reason
from swiftpie.pipelines.animation import AnimateRequest
from swiftpie.pipelines.choose import Choice, identities_in, resolved_scales
from swiftpie.pipelines.request import PersonalizeRequest, is_tensor, texts_of
from swiftpie.pipelines.settings import MaskSource, ResolvedScales
from swiftpie.pipelines.tasks import EditRequest, Request, RetouchRequest
from swiftpie.types import REMEDY, Identity

UNTOUCHED = ResolvedScales()


def add_advice(choice: Choice[Any], *, is_logged: bool = False) -> None:
    """Add warnings about a request to a choice, before anything is drawn.

    They are of the family, of doubtful subjects, of words that are not read, of sizes without
    training, and of options without effect. Those of subjects were logged when these were encoded.
    """
    for sentence in dict.fromkeys(_advice(choice)):
        choice.warn(sentence) if is_logged else choice.warnings.append(sentence)
    for identity in identities_in(choice.request):
        choice.warnings.extend(doubts_of(identity))


def doubts_of(identity: Identity) -> Iterator[str]:
    """Yield warnings of pictures that show no subject, or one that may be cut out badly."""
    count = len(identity.cutouts) + len(identity.left_out)
    numbers = (number for number in range(1, count + 1) if number not in identity.left_out)
    for number in identity.left_out:
        yield f"Picture {number} shows no subject that stands out, so it is left out. Give a mask."
    for number, cutout in zip(numbers, identity.cutouts, strict=True):
        if cutout.is_doubtful:
            yield (
                f"The subject of picture {number} may be cut out badly. Look at it. If it is, "
                f"{REMEDY}."
            )


def _cut_prompts(components: Components, request: Request) -> Iterator[str]:
    """Yield a warning of each prompt whose end is not read."""
    prompts = [*texts_of(request.prompt), *texts_of(request.negative_prompt)]
    prompts += request.to if isinstance(request, AnimateRequest) else ()
    prompts += [request.source_prompt] if isinstance(request, EditRequest) else []
    for prompt in filter(None, dict.fromkeys(prompts)):
        if dropped := components.text.dropped(prompt):
            yield (
                "A prompt was cut, because it is longer than what this model reads. Left out is "
                f"{short_reason(dropped)!r}. Shorten it."
            )


def _advice(choice: Choice[Any]) -> Iterator[str]:
    components, request = choice.components, choice.request
    preset, own_advice = components.preset, components.family.advice
    if own_advice is not None:
        yield from own_advice(components, choice.staged)
    side = preset.image_size_px
    height, width = _size_of(choice) or (side, side)
    is_other = height != width or height not in {side, *preset.more_sizes_px}
    if components.family.knows_shapes:
        is_other = abs(math.log(max(1, height * width) / side**2)) > math.log(SAME_AREA)
    if is_other:
        yield (
            f"The size is {width}x{height} px, and preset {preset.name!r} was trained on pictures "
            f"of {side}x{side} px. Subject and scene may be doubled, cut or blurred. Leave the "
            "size out for the best pictures."
        )
    if isinstance(request, PersonalizeRequest):
        yield from _shrunk_scene(request)
        masks = (request.mask, *(subject.mask for subject in request.subjects))
        if any(mask is not None and is_tensor(mask) and not mask.any() for mask in masks):
            yield (
                "The region of a subject has no pixel, so the subject acts nowhere. Mark where it "
                "is, or leave `mask=` out."
            )
    if isinstance(request, AnimateRequest) and _stands_still(request):
        yield (
            "Nothing changes in this animation, so all of its frames are the same, and some "
            "formats hold one. Give another last prompt, box or view, as in `to=`, `to_box=` or "
            "`to_view=`."
        )
    if choice.technique.advice is None:
        yield from usual_advice(components, request)
    else:
        yield from choice.technique.advice(components, choice.staged)
    yield from _idle_steering(components, request)


def usual_advice(components: Components, request: Request) -> Iterator[str]:
    """Yield warnings of words that a denoiser does not read, and of what has no effect on it."""
    yield from _cut_prompts(components, request)
    if isinstance(request, RetouchRequest):
        yield from _idle_insertion(components, request)
    elif isinstance(request, EditRequest):
        if request.mask is not None and request.keyword:
            yield f'`keyword="{request.keyword}"` has no effect, because the region was given.'
    else:
        yield from _idle_drawing(components, request)


def scene_advice(components: Components, request: PersonalizeRequest) -> Iterator[str]:
    """Yield warnings of words that are not read, and of what insertions into a scene ignore."""
    yield from _cut_prompts(components, request)
    scales, why = request.scales.given, "subjects are inserted into boxes of the scene."
    for name in ("detail_scale", "background_scale", "text_background_scale"):
        if name in scales and (name == "detail_scale" or scales[name] != getattr(UNTOUCHED, name)):
            yield f"`{name}={scales[name]}` has no effect, because {why}"
    for name in ("mask", "detail_mask"):
        sources = [getattr(part, name) for part in (request, *request.subjects)]
        if not all(source is None or source is MaskSource.NONE for source in sources):
            yield f"`{name}=` has no effect, because {why}"


def _stands_still(request: AnimateRequest) -> bool:
    first, subjects = request.prompt, request.subjects
    boxes = zip(subjects, request.to_boxes, strict=False)
    views = zip(subjects, request.to_views, strict=False)
    return (
        all(prompt == first for prompt in request.to)
        and all(box == subject.box for subject, box in boxes)
        and all(tuple(view) == tuple(subject.view or (0, 0)) for subject, view in views)
    )


def _shrunk_scene(request: PersonalizeRequest) -> Iterator[str]:
    scene = request.scene
    if not isinstance(scene, Image.Image) or request.size_px is not None:
        return
    if (shrunk := MAX_SIDE_PX / max(scene.size)) < 1:
        width, height = (round(shrunk * side) for side in scene.size)
        yield (
            f"The scene is {scene.width}x{scene.height} px, and pictures have at most "
            f"{MAX_SIDE_PX} px a side. This one has {width}x{height} px. `insert` keeps all pixels."
        )


def _size_of(choice: Choice[Any]) -> tuple[int, int] | None:
    """Return height and width that the user chose and the model draws, None without such a choice.

    A drawing that is put before a larger scene has a size of the model's own.
    """
    request = choice.request
    if isinstance(request, EditRequest):
        side = request.settings.size_px
        return None if side is None else (side, side)
    if isinstance(request, RetouchRequest) or request.size_px is None:
        return None
    return request.size_px if choice.drawn_size == request.size_px else None


def _idle_drawing(components: Components, request: PersonalizeRequest) -> Iterator[str]:
    subjects, preset = request.subjects, components.preset
    options, scales = request.scales.given, resolved_scales(preset, request)
    if not subjects:
        for name in sorted(options.keys() & {"identity_scale", "detail_scale", "energy_cap"}):
            yield f"`{name}={options[name]}` has no effect, because no subject is shown."
        return
    if "energy_cap" in options and not components.denoiser.installation.adds:
        yield (
            f"`energy_cap={scales.energy_cap}` has no effect, because preset {preset.name!r} has "
            "no branches whose sizes it could limit."
        )
    places = preset.predicts_layout
    has_detail = components.family.shows_own_pixels or any(
        subject.identity.keys for subject in subjects
    )
    if "detail_scale" in options and not has_detail:
        yield f"`detail_scale={scales.detail_scale}` has no effect: {why_no_detail(components)}"
    limits = (request.detail_mask, *(subject.detail_mask for subject in subjects))
    is_silent = not has_detail or scales.detail_scale == 0
    if is_silent and any(limit is not None for limit in limits):
        yield "`detail_mask=` has no effect, because the detail branch is off."
    has_box = any(subject.box is not None for subject in subjects)
    is_region = isinstance(request, AnimateRequest) and not places  # the box, which moves
    has_region = (is_region and has_box) or any(subject.mask is not None for subject in subjects)
    if request.mask is MaskSource.NONE and not has_region:
        for name in sorted(options.keys() & {"background_scale", "text_background_scale"}):
            if options[name] != getattr(UNTOUCHED, name):
                yield (
                    f"`{name}={options[name]}` has no effect, because the region is the whole "
                    "picture. Set the region with `mask=`."
                )
    acts = places or is_region or request.mask is MaskSource.BOX
    if has_box and not acts:
        yield (
            f"`box=` has no effect: preset {preset.name!r} does not place subjects. With "
            '`mask="box"` subjects act inside of the box.'
        )


def why_no_detail(components: Components) -> str:
    """Return why the detail branch is off when no subject has features for it."""
    if components.denoiser.installation.detail:
        return "the subject has no features that the detail branch could read."
    return (
        'the adapter has no detail branch. Load the preset with `detail="joint"`, a branch that '
        "needs no training."
    )


def _idle_insertion(components: Components, request: RetouchRequest) -> Iterator[str]:
    identity, options = request.identity, request.scales.given
    if identity is None or "detail_scale" not in options:
        return
    why = "" if identity.keys else why_no_detail(components)
    if components.family.shows_own_pixels:
        why = "a model that places subjects shows the inserted one's own pixels."
    if why:
        yield f"`detail_scale={options['detail_scale']}` has no effect: {why}"


def _idle_steering(
    components: Components, request: PersonalizeRequest | EditRequest | RetouchRequest
) -> Iterator[str]:
    if request.guidance is None and request.negative_prompt == "":
        return
    from swiftpie.guidance import Branch, Plain, branches_of

    num_steps = len(components.schedule.steps)
    guidance = request.guidance or Plain()
    used = branches_of(guidance, num_steps)
    if used == {Branch.BOTH} and not isinstance(guidance, Plain):
        yield (
            f"Guidance has no effect in {num_steps} steps, because all of its scales are 1. "
            "Choose a preset with more `steps=`."
        )
        return
    negative = texts_of(request.negative_prompt)  # none: they are encoded
    if all(branch.has_text for branch in used) and (any(negative) or not negative):
        yield "`negative_prompt=` has no effect without guidance."
