"""Sharpness of the whole picture: its detail as a share of that in the exact rendering."""

import torch

from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.metric import Evidence, Metric
from swiftpie.evaluation.regions import mean_gradient


def score(evidence: Evidence) -> float:
    """Return the mean step between neighbouring pixels; pixels span two units."""
    return mean_gradient(evidence.picture, torch.ones_like(evidence.mask))


METRIC = Metric(
    title="sharpness",
    unit="",
    higher_is_better=True,
    candidates=("model", "truth", "text", "paste"),
    score=score,
    applies_to=(CaseKind.PLAIN, CaseKind.PAIR),
    is_relative=True,
)
