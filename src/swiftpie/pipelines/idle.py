"""What is asked for and cannot change a picture that the loaded networks draw: it is said."""

import logging
from collections.abc import Iterator

from swiftpie.backbones.components import Components
from swiftpie.guidance.base import Branch, branches_of
from swiftpie.guidance.methods.plain import Plain
from swiftpie.pipelines.request import EditRequest, PersonalizeRequest
from swiftpie.pipelines.settings import EditMode, MaskSource, Scales

logger = logging.getLogger(__name__)

UNTOUCHED = Scales()


def warn_of_idle(components: Components, request: PersonalizeRequest | EditRequest) -> None:
    """Log a warning for everything in `request` that has no effect with these networks."""
    if isinstance(request, EditRequest):
        found = _idle_edit(request)
    else:
        found = _idle_drawing(components, request)
    for sentence in (*found, *_idle_steering(components, request)):
        logger.warning(sentence)


def _idle_drawing(components: Components, request: PersonalizeRequest) -> Iterator[str]:
    subjects, preset = request.subjects, components.preset
    scales = request.scales or Scales.of(preset)
    places = components.layout_predictor is not None
    chosen = scales.detail_scale not in {UNTOUCHED.detail_scale, Scales.of(preset).detail_scale}
    if chosen and not places and not any(one.identity.keys for one in subjects):
        yield (
            f"`detail_scale={scales.detail_scale}` has no effect: the adapter has no detail branch."
        )
    if request.mask is MaskSource.NONE and all(one.mask is None for one in subjects):
        for name in ("background_scale", "text_background_scale"):
            if (value := getattr(scales, name)) != getattr(UNTOUCHED, name):
                yield (
                    f"`{name}={value}` has no effect, as the region is the whole picture. Say "
                    "where it is with `mask=`."
                )
    has_box = any(one.box is not None for one in subjects)
    if has_box and not places and request.mask is not MaskSource.BOX:
        yield (
            f"`box=` has no effect: preset {preset.name!r} does not place subjects. With "
            '`mask="box"` they act inside of it.'
        )


def _idle_edit(request: EditRequest) -> Iterator[str]:
    settings, scales = request.settings, request.settings.scales
    if request.mask is not None:
        if request.keyword:
            yield f'`keyword="{request.keyword}"` has no effect, as the region was given.'
        if settings.rule is not None:
            yield f"`rule={settings.rule}` has no effect, as the region was given."
    if scales is None:
        return
    names = ["detail_scale"]
    if settings.mode is EditMode.RELEASED:
        names += ["text_background_scale", "energy_cap"]
    for name in names:
        value = getattr(scales, name)
        if value not in {0.0, getattr(UNTOUCHED, name)}:
            yield f"`{name}={value}` has no effect in an edit in the {settings.mode} mode."


def _idle_steering(
    components: Components, request: PersonalizeRequest | EditRequest
) -> Iterator[str]:
    guidance, num_steps = request.guidance or Plain(), len(components.schedule.steps)
    used = branches_of(guidance, num_steps)
    if used == {Branch.BOTH} and not isinstance(guidance, Plain):
        yield (
            f"Guidance has no effect in {num_steps} steps, as all of its scales are 1 there. "
            "Choose a preset with more `steps=`."
        )
    elif all(branch.has_text for branch in used) and not _is_empty(request.negative_prompt):
        yield "`negative_prompt=` has no effect without guidance, which alone reads it."


def _is_empty(prompts: object) -> bool:
    return prompts == "" or (isinstance(prompts, tuple) and not any(map(bool, prompts)))
