"""Draws one case in one setting; every switch is a value of the condition."""

import torch
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.evaluation.ablations.setting import Region, Setting
from swiftpie.evaluation.case import Case
from swiftpie.guidance.steering import steering_of
from swiftpie.guidance.style import Style
from swiftpie.images import to_tensor
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.pipelines.denoise import Clock, finish
from swiftpie.pipelines.personalize import Prepared, draw_start, prepare
from swiftpie.pipelines.request import MaskSource, Subject
from swiftpie.types import GenerationResult, Identity, TextCondition

SOURCES = {Region.INLINE: MaskSource.INLINE, Region.TWO_PASS: MaskSource.TWO_PASS}


@torch.no_grad()
def draw(
    components: Components, setting: Setting, identity: Identity, *, case: Case, truth: Tensor
) -> GenerationResult:
    """Return the picture of `case` as `setting` wants it.

    Args:
        components: The networks, with the schedule of the setting.
        setting: What is switched.
        identity: The subject, from as many references as the setting asks for.
        case: Prompt and seed.
        truth: The subject's true mask (1, 1, H, W), for settings that use it.
    """
    text = components.text.encode([case.prompt])
    if setting.region is Region.PREDICTED:
        first = _drawn(
            components, text, _prepared(components, setting, identity, case, text), setting.style
        )
        region: Tensor | None = (to_tensor(first.subject_masks[0])[:, :1] + 1) / 2
    else:
        region = truth if setting.region is Region.TRUE else None
    prepared = _prepared(components, setting, identity, case, text, region=region)
    condition = switched(prepared.condition, setting)
    return _drawn(components, text, prepared._replace(condition=condition), setting.style)


def switched(condition: SubjectCondition, setting: Setting) -> SubjectCondition:
    """Return `condition` without the parts that `setting` takes away."""
    attention = condition.attention
    if not setting.has_detail:
        attention = attention._replace(keys={}, values={})
    if not setting.knows_place:
        attention = attention._replace(has_layout=torch.zeros_like(attention.has_layout))
    aligned = condition.aligned
    if not setting.has_skip:
        aligned = torch.zeros_like(aligned)
    return condition._replace(attention=attention, aligned=aligned)


def _prepared(
    components: Components,
    setting: Setting,
    identity: Identity,
    case: Case,
    text: TextCondition,
    *,
    region: Tensor | None = None,
) -> Prepared:
    return prepare(
        components,
        [Subject(identity, mask=region)],
        text,
        noise=draw_start(components, [case.seed], components.cells_of(None)),
        class_tokens=components.text.find_words(case.prompt, [""]),
        scales=setting.scales,
        source=SOURCES.get(setting.region, MaskSource.NONE),
    )


def _drawn(
    components: Components, text: TextCondition, prepared: Prepared, style: Style
) -> GenerationResult:
    return finish(
        components,
        prepared.latents,
        text,
        prepared.condition,
        fresh=prepared.fresh,
        clock=Clock(),
        **steering_of(style, len(components.schedule.steps)),
    )
