"""PSNR inside of the true mask, against the exact target: what should have come."""

from swiftpie.evaluation.edits.metric import CANDIDATES, EditEvidence, EditMetric
from swiftpie.evaluation.regions import psnr


def score(evidence: EditEvidence) -> float | None:
    """Return decibels over the pixels inside; equal pixels count as 60 dB."""
    inside = evidence.inside
    return None if inside is None else psnr(evidence.picture, evidence.target, inside)


METRIC = EditMetric(
    title="PSNR inside",
    unit="dB",
    higher_is_better=True,
    candidates=CANDIDATES,
    score=score,
)
