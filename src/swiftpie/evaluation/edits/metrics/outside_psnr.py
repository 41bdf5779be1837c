"""PSNR outside of the true mask, against the source: what should have stayed."""

from swiftpie.evaluation.edits.metric import CANDIDATES, EditEvidence, EditMetric
from swiftpie.evaluation.regions import psnr


def score(evidence: EditEvidence) -> float | None:
    """Return decibels over the pixels outside; equal pixels count as 60 dB."""
    outside = evidence.outside
    return None if outside is None else psnr(evidence.picture, evidence.source, outside)


METRIC = EditMetric(
    title="PSNR outside",
    unit="dB",
    higher_is_better=True,
    candidates=CANDIDATES,
    score=score,
)
