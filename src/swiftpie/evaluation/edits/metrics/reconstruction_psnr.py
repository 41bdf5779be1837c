"""Reconstruction: how much of the source survives inversion and generation without an edit."""

import torch

from swiftpie.evaluation.edits.metric import EditEvidence, EditMetric
from swiftpie.evaluation.regions import psnr


def score(evidence: EditEvidence) -> float | None:
    """Return decibels over the whole picture."""
    if evidence.reconstruction is None:
        return None
    everywhere = torch.ones_like(evidence.mask)
    return psnr(evidence.reconstruction, evidence.source, everywhere)


METRIC = EditMetric(
    title="PSNR of the reconstruction",
    unit="dB",
    higher_is_better=True,
    candidates=("edit",),
    score=score,
)
