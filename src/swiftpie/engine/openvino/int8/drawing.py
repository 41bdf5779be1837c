"""Calls of a denoiser as users make them, from the pictures in the package."""

import importlib.resources
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from swiftpie.attention.condition import Notes
from swiftpie.backbones.components import Components
from swiftpie.engine.openvino.arguments import outline, shapes
from swiftpie.images import load_image
from swiftpie.models.denoiser import Denoiser, Prediction, SubjectCondition
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.identity import encode_identity
from swiftpie.pipelines.request import MaskSource, Output, PersonalizeRequest, Scales, Subject
from swiftpie.types import Identity, TextCondition

MOST_CALLS, LEAST_CALLS = 24, 6  # statistics of ranges change little beyond
NUM_CELLS = 24 * 256  # that are seen where pictures are small
NUM_IDENTITIES = 6
PROMPTS = (
    "a photo of a subject on a beach",
    "a tiny subject on a pink background",
    "the subject in a forest on the left",
    "a picture of a subject at sunset",
    "a huge subject in the snow",
    "a subject wearing a crown in a desert",
    "a 3d render of a subject in outer space",
    "a black and white photo of a subject in front of a city skyline",
    "a subject in a field of flowers",
    "a subject wearing a top hat in front of a blue wall",
    "a small subject in the mountains on the right",
    "an image of the subject under water",
)
SCALES = (0.6, 0.8, 1.0, 1.2, 1.5)  # of either branch, in turns
SOURCES = (MaskSource.NONE, MaskSource.INLINE)


class Call(NamedTuple):
    """The arguments of a denoiser, as its exported graph takes them."""

    latents: Tensor
    timestep: Tensor
    text: TextCondition
    condition: SubjectCondition


class _Recorder(nn.Module):
    """A denoiser that remembers what it was asked."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self._inner = [inner]  # in a list, because its weights are not this module's
        self.installation = inner.installation
        self.place_subject = inner.place_subject
        self.encode_reference = inner.encode_reference
        self.read_reference = inner.read_reference
        self.calls: list[Call] = []

    def forward(
        self,
        latents: Tensor,
        timestep: int,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Predict as the denoiser does."""
        self.calls.append(Call(latents, torch.tensor(timestep), text, condition))
        return self._inner[0](latents, timestep, text, condition, notes)


@torch.no_grad()
def denoiser_calls(components: Components, form: Any) -> list[Call]:  # noqa: ANN401 - see `outline`
    """Return calls whose shapes are those of the outline `form`, always the same ones.

    Empty where calls of this kind come about in another way than by `personalize`.

    Raises:
        SwiftPieError: These networks cannot encode the pictures in the package.
    """
    wanted = Call(*form)
    attention = wanted.condition.attention
    batch, _, rows, columns = wanted.latents.shape
    subjects, views = attention.coverage.shape[1:3]
    identities = _identities(components, views, has_detail=bool(attention.keys))
    recorder = _Recorder(components.denoiser)
    serving = replace(components, denoiser=recorder)
    for number in range(max(LEAST_CALLS, min(MOST_CALLS, NUM_CELLS // (batch * rows * columns)))):
        shown = [identities[(number + k) % len(identities)] for k in range(subjects)]
        seeds = range(number * batch, (number + 1) * batch)
        _draw(serving, shown, seeds, cells=(rows, columns))
    return [call for call in recorder.calls if shapes(outline(call)) == shapes(wanted)]


def sample_pictures(count: int) -> list[Path]:
    """Return the first pictures of subjects in the package."""
    folder = Path(str(importlib.resources.files("swiftpie"))) / "assets" / "samples"
    return sorted(folder.glob("*.webp"))[:count]


def _identities(components: Components, views: int, *, has_detail: bool) -> list[Identity]:
    """Return the first subjects in the package, each from so many copies of its picture."""
    pictures = [load_image(one) for one in sample_pictures(NUM_IDENTITIES)]
    found = [encode_identity(components, [one] * views) for one in pictures]
    return found if has_detail else [one.without_detail() for one in found]


def _draw(
    components: Components,
    identities: Sequence[Identity],
    seeds: Sequence[int],
    *,
    cells: tuple[int, int],
) -> None:
    """Denoise one batch; the first seed decides about everything else."""
    number, cell_px = seeds[0], components.preset.latent_cell_px
    request = PersonalizeRequest(
        subjects=tuple(Subject(one) for one in identities),
        prompt=PROMPTS[number % len(PROMPTS)],
        seeds=tuple(seeds),
        size_px=(cell_px * cells[0], cell_px * cells[1]),
        scales=Scales(
            identity_scale=SCALES[number % len(SCALES)],
            detail_scale=SCALES[number // 2 % len(SCALES)],
        ),
        mask=SOURCES[number % len(SOURCES)],
        output=Output.LATENTS,
    )
    draw(components, request)
