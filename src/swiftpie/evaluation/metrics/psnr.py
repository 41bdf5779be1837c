"""PSNR of the whole picture against the exact rendering."""

import torch

from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.metric import Evidence, Metric
from swiftpie.evaluation.regions import psnr


def score(evidence: Evidence) -> float:
    """Return decibels over all pixels."""
    everywhere = torch.ones_like(evidence.mask)
    return psnr(evidence.picture, evidence.truth, everywhere)


METRIC = Metric(
    title="PSNR",
    unit="dB",
    higher_is_better=True,
    candidates=("model", "truth", "text", "paste"),
    score=score,
    applies_to=(CaseKind.PLAIN, CaseKind.PAIR),
)
