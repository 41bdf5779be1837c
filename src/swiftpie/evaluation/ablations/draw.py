"""Draws one case in one setting; every switch is a value of the request."""

from dataclasses import replace

from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.evaluation.ablations.setting import Region, Setting
from swiftpie.evaluation.case import Case
from swiftpie.guidance.style import steering_of
from swiftpie.images import to_tensor
from swiftpie.pipelines.draw import draw as draw_request
from swiftpie.pipelines.request import MaskSource, Part, PersonalizeRequest, Subject
from swiftpie.types import GenerationResult, Identity

SOURCES = {Region.INLINE: MaskSource.INLINE, Region.TWO_PASS: MaskSource.TWO_PASS}


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
    whole = PersonalizeRequest(
        subjects=(Subject(identity),),
        prompt=case.prompt,
        seeds=(case.seed,),
        scales=setting.scales,
        mask=SOURCES.get(setting.region, MaskSource.NONE),
        **steering_of(setting.style, len(components.schedule.steps)),
    )
    region = truth if setting.region is Region.TRUE else None
    if setting.region is Region.PREDICTED:
        first = draw_request(components, whole)
        region = (to_tensor(first.subject_masks[0])[:, :1] + 1) / 2
    shown = identity if setting.has_detail else identity.without_detail()
    switches = {Part.ALIGNED: setting.has_skip, Part.PLACE: setting.knows_place}
    return draw_request(
        components,
        replace(
            whole,
            subjects=(Subject(shown, mask=region),),
            without=frozenset(part for part, is_on in switches.items() if not is_on),
        ),
    )
