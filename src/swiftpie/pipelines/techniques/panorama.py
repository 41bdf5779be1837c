"""Wide and tall pictures by published backbones: overlapping windows, fused in every step.

From arXiv:2302.08113 (MultiDiffusion), Eq. 5: each latent cell is the mean of what all windows
predict there. Differs from the paper: windows count less towards their borders, and lie half a
window apart, so that a step takes few calls and shows no seam.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from types import EllipsisType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swiftpie.backbones.components import SAME_AREA, Components
from swiftpie.errors import InputError
from swiftpie.models.denoiser import Denoiser, DenoiserCall, SubjectCondition, WrappedDenoiser
from swiftpie.pipelines.choose import Choice, Technique
from swiftpie.pipelines.denoise import Plan
from swiftpie.pipelines.request import PersonalizeRequest
from swiftpie.pipelines.settings import FOUND, MaskSource
from swiftpie.pipelines.techniques.personalize import (
    check_subjects,
    prepare_subjects,
    source_of_detail,
)
from swiftpie.pipelines.techniques.personalize import claims as claims_picture

ASPECT = 2  # from here on a picture is wide or tall
OVERLAP = 0.5  # The share of a window that the next one covers.

Place = tuple[EllipsisType, slice, slice]  # as an index of (B, C, h, w)


def claims(components: Components, request: PersonalizeRequest) -> bool:
    """Whether a picture is wider or taller than those that the networks were trained on."""
    assert request.size_px is not None, "it is needed"
    preset = components.preset
    if preset.predicts_layout or request.in_one_piece or not claims_picture(components, request):
        return False
    short, long = sorted(request.size_px)
    return long >= ASPECT * short and short * long > SAME_AREA * preset.image_size_px**2


@torch.no_grad()
def prepare_panorama(choice: Choice[PersonalizeRequest]) -> Plan:
    """Prepare the picture, read window by window; InputError for a subject without a region."""
    components, request = choice.components, choice.request
    check_subjects(components, request)
    _check_regions(components, request)
    start = prepare_subjects(components, request, choice.clock)
    # The trained size, where the picture is not smaller.
    trained = components.preset.image_size_px // components.preset.latent_cell_px
    window = min(trained, start.latents.shape[2]), min(trained, start.latents.shape[3])
    windows = partial(cell_windows, weights=fade(*window))
    denoiser = WindowedDenoiser(start.components.denoiser, windows)
    start = start._replace(components=replace(start.components.sized(window), denoiser=denoiser))
    return Plan(request, lambda drawn: drawn, start)


class Window(NamedTuple):
    """A part of a call that is predicted by itself."""

    place: Any  # An index of (B, C, h, w): what it sees.
    weights: Tensor  # how much its prediction counts there
    seen: DenoiserCall


class WindowedDenoiser(WrappedDenoiser):
    """A denoiser that sees latents of any size through windows."""

    def __init__(
        self, inner: Denoiser, windows: Callable[[DenoiserCall], Iterator[Window]]
    ) -> None:
        """See what `windows` yields of a call; all windows together cover it."""
        super().__init__(inner)
        self._windows = windows

    def _predict(self, call: DenoiserCall) -> tuple[Tensor, ...]:
        latents, region = call.latents, call.condition.attention.region
        wholes = [torch.zeros_like(each) for each in (latents, latents[:, :1], region)]
        total = torch.zeros_like(latents[:, :1])
        for place, weights, seen in self._windows(call):
            parts = super()._predict(seen)  # sample, mask, and the inline mask if there is one
            for whole, part in zip(wholes, parts, strict=False):
                whole[place] += weights * part
            total[place] += weights
        return tuple(whole / total for whole in wholes[: len(parts)])


def cell_windows(
    call: DenoiserCall, weights: Tensor, *, overlap: float = OVERLAP
) -> Iterator[Window]:
    """Yield windows of `weights` (1, 1, rows, columns) over all cells of a call."""
    latents = call.latents
    sides = zip(latents.shape[2:], weights.shape[2:], strict=True)
    for down, across in product(*(spans(length, side, overlap) for length, side in sides)):
        place = (..., down, across)
        seen = call._replace(latents=latents[place], condition=_cut(call.condition, place))
        yield Window(place, weights.to(latents), seen)


def fade(height: int, width: int) -> Tensor:
    """Return how much each pixel of a tile counts, (1, 1, H, W): less towards its edges."""
    rows, columns = (
        1 - (2 * (torch.arange(side) + 0.5) / side - 1).abs() for side in (height, width)
    )
    return (rows[:, None] * columns)[None, None]


def spans(length: int, side: int, overlap: float = OVERLAP) -> list[slice]:
    """Return windows of a `side` that cover a `length`, the same way apart."""
    count = 1 + math.ceil((length - side) / ((1 - overlap) * side))
    starts = (round(index * (length - side) / max(1, count - 1)) for index in range(count))
    return [slice(start, start + side) for start in starts]


def _cut(condition: SubjectCondition, place: Place) -> SubjectCondition:
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
    finds = FOUND & {request.mask, source_of_detail(request, components.preset)}
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
    needs="size_px",
    instead_of="personalize",
    drawn_size=lambda components, _request: (components.preset.image_size_px,) * 2,
)
