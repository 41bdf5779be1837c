"""PSNR of what the networks draw where nothing should change, before anything is put back."""

from types import MappingProxyType

import torch
from torch import Tensor

from swiftpie.evaluation.edits.metric import EditEvidence, EditMetric
from swiftpie.evaluation.regions import psnr


def reconstruction(evidence: EditEvidence) -> float | None:
    """Return decibels of the source through inversion and generation, itself as a condition."""
    return _everywhere(evidence.reconstruction, evidence.source)


def from_noise(evidence: EditEvidence) -> float | None:
    """Return decibels of the source out of its inverted noise and its prompt alone."""
    return _everywhere(evidence.from_noise, evidence.source)


def around_edit(evidence: EditEvidence) -> float | None:
    """Return decibels over the pixels outside of the true mask, as the edit was drawn."""
    outside, drawn = evidence.outside, evidence.uncomposed
    return None if outside is None or drawn is None else psnr(drawn, evidence.source, outside)


def _everywhere(picture: Tensor | None, source: Tensor) -> float | None:
    return None if picture is None else psnr(picture, source, torch.ones_like(source[:, :1]))


METRICS = MappingProxyType(
    {
        name: EditMetric(
            title=title, unit="dB", higher_is_better=True, candidates=("edit",), score=score
        )
        for name, title, score in (
            ("reconstruction-psnr", "PSNR of the reconstruction", reconstruction),
            ("noise-psnr", "PSNR from noise and prompt alone", from_noise),
            ("outside-psnr-drawn", "PSNR outside, before the composite", around_edit),
        )
    }
)
