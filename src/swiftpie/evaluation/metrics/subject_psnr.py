"""PSNR over the subject against the exact rendering."""

from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.metric import Evidence, Metric
from swiftpie.evaluation.regions import psnr


def score(evidence: Evidence) -> float | None:
    """Return decibels over the true mask; None where the subject is hidden."""
    if not bool((evidence.mask > 0).any()):
        return None
    return psnr(evidence.picture, evidence.truth, evidence.mask)


METRIC = Metric(
    title="PSNR of the subject",
    unit="dB",
    higher_is_better=True,
    candidates=("model", "truth", "text", "paste"),
    score=score,
    applies_to=(CaseKind.PLAIN, CaseKind.PAIR),
)
