"""Regions of subjects that a first call of the denoiser finds, and the drawing then uses.

After MONKEY (arXiv:2510.07656): attention to the tokens of a subject shows where the picture has
it. Differs from the paper: the first pass is one call at the first step, not a whole drawing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from swiftpie.attention.condition import INLINE_MASK, Notes
from swiftpie.attention.processors import Merge
from swiftpie.backbones.components import Components
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.pipelines.denoise import Prepared, without_identity
from swiftpie.pipelines.request import PersonalizeRequest
from swiftpie.pipelines.settings import FIRST_PASS, MaskSource

InParts = Callable[[Callable[[int, int], Tensor], int], Sequence[Tensor]]
"""Takes what computes rows from a first to an end, and how many there are."""


def with_regions(start: Prepared, request: PersonalizeRequest, in_parts: InParts) -> Prepared:
    """Return a drawing whose masks of a first pass are found."""
    fields = {"region": request.mask, "detail_mask": request.detail_mask}
    sought = {
        field: source
        for field, source in fields.items()
        if isinstance(source, MaskSource) and source in FIRST_PASS
    }
    found = {
        source: torch.cat([*in_parts(partial(found_regions, start, source), len(start.latents))])
        for source in {*sought.values()}
    }
    masks: dict[str, Any] = {field: found[source] for field, source in sought.items()}
    attention = start.condition.attention._replace(**masks)
    return start._replace(condition=start.condition._replace(attention=attention))


@torch.no_grad()
def found_regions(start: Prepared, source: MaskSource, first: int, end: int) -> Tensor:
    """Return where attention sees each subject of some rows in the first step, (B, S, h, w)."""
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
