"""Wide and tall pictures by published backbones: overlapping windows, fused in every step.

From arXiv:2302.08113 (MultiDiffusion), Eq. 5: each latent cell is the mean of what all windows
predict there. Differs from the paper: windows count less towards their borders, and lie half a
window apart, so that a step takes few calls and shows no seam.
"""

import math
from dataclasses import replace
from itertools import product
from types import EllipsisType

import torch
from torch import Tensor

from swiftpie.backbones.components import SAME_AREA, Components
from swiftpie.backbones.presets import Preset
from swiftpie.errors import InputError
from swiftpie.models.denoiser import Denoiser, DenoiserCall, SubjectCondition, WrappedDenoiser
from swiftpie.pipelines.denoise import Clock, fade
from swiftpie.pipelines.draw import Plan, Technique
from swiftpie.pipelines.request import PersonalizeRequest
from swiftpie.pipelines.settings import MaskSource
from swiftpie.pipelines.techniques.personalize import (
    check_subjects,
    prepare_subjects,
    source_of_detail,
)
from swiftpie.pipelines.techniques.personalize import claims as claims_picture

ASPECT = 2  # from here on a picture is wide or tall
OVERLAP = 0.5  # of a window, with the next one

Window = tuple[EllipsisType, slice, slice]  # as an index of (B, C, h, w)


def claims(components: Components, request: PersonalizeRequest) -> bool:
    """Whether a picture is wider or taller than those that the networks were trained on."""
    preset, size = components.preset, request.size_px
    if size is None or preset.places_subjects or not claims_picture(components, request):
        return False
    short, long = sorted(size)
    return long >= ASPECT * short and short * long > SAME_AREA * preset.image_size_px**2


@torch.no_grad()
def prepare_panorama(components: Components, request: PersonalizeRequest, clock: Clock) -> Plan:
    """Prepare the whole picture, which the denoiser then reads window by window.

    Raises:
        InputError: A subject has no region, so that each window would show it.
    """
    check_subjects(components, request)
    _check_regions(components, request)
    start = prepare_subjects(components, request, clock)
    window = _window(components.preset, start.latents)
    denoiser = WindowedDenoiser(start.components.denoiser, fade(*window))
    start = start._replace(components=replace(start.components.sized(window), denoiser=denoiser))
    return Plan(request, lambda drawn: drawn, start)


class WindowedDenoiser(WrappedDenoiser):
    """A denoiser that sees latents of any size through windows; it notes nothing."""

    def __init__(self, inner: Denoiser, weights: Tensor, *, overlap: float = OVERLAP) -> None:
        """See through windows of `weights` (1, 1, rows, columns), how much each cell counts."""
        super().__init__(inner)
        self._weights, self._overlap = weights, overlap

    def _predict(self, call: DenoiserCall) -> tuple[Tensor, ...]:
        latents = call.latents
        sample, mask = torch.zeros_like(latents), torch.zeros_like(latents[:, :1])
        total = torch.zeros_like(latents[:1, :1])
        weights = self._weights.to(latents)
        for place in self._places(latents):
            seen = call._replace(latents=latents[place], condition=_cut(call.condition, place))
            part, subjects, *_ = super()._predict(seen)
            sample[place] += weights * part
            mask[place] += weights * subjects
            total[place] += weights
        return sample / total, mask / total

    def _places(self, latents: Tensor) -> list[Window]:
        """Return the windows of latents (B, C, h, w)."""
        sides = zip(latents.shape[2:], self._weights.shape[2:], strict=True)
        downs, acrosses = (_spans(length, side, self._overlap) for length, side in sides)
        return [(..., down, across) for down, across in product(downs, acrosses)]


def _window(preset: Preset, latents: Tensor) -> tuple[int, int]:
    """Return rows and columns of a window: the trained size, where the picture is not smaller."""
    trained = preset.image_size_px // preset.latent_cell_px
    return min(trained, latents.shape[2]), min(trained, latents.shape[3])


def _spans(length: int, side: int, overlap: float) -> list[slice]:
    """Return windows of a `side` that cover a `length`, the same way apart."""
    count = 1 + math.ceil((length - side) / ((1 - overlap) * side))
    starts = (round(index * (length - side) / max(1, count - 1)) for index in range(count))
    return [slice(start, start + side) for start in starts]


def _cut(condition: SubjectCondition, place: Window) -> SubjectCondition:
    """Return what a window reads of the subjects."""
    attention = condition.attention
    return condition._replace(
        attention=attention._replace(
            region=attention.region[place], detail_mask=attention.detail_mask[place]
        ),
        aligned=condition.aligned[place],
    )


def _check_regions(components: Components, request: PersonalizeRequest) -> None:
    """Refuse subjects whose place is not given."""
    finds = MaskSource.INLINE in {request.mask, source_of_detail(request, components.preset)}
    for subject in request.subjects:
        is_placed = subject.mask is not None or request.mask is MaskSource.BOX
        if finds or not is_placed:
            height, width = request.size_px or (0, 0)
            raise InputError(
                f"A picture of {width}x{height} px is drawn in windows, and each would show the "
                "subject. Say where it goes, by a box and the mask 'box' or by a mask, or choose a "
                f"size near {components.preset.image_size_px} px."
            )


TECHNIQUE = Technique(
    PersonalizeRequest,
    prepare_panorama,
    claims,
    instead_of="personalize",
    drawn_size=lambda components, _request: (components.preset.image_size_px,) * 2,
)
