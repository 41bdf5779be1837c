"""Leakage: is a subject taken for the other one of the same picture?"""

from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.metric import Evidence, Metric


def score(evidence: Evidence) -> float:
    """Return 1 if the judge finds the other subject where this one belongs, else 0."""
    others = {*evidence.case.codes} - {evidence.code}
    return float(evidence.panel.nearest(evidence.picture, evidence.mask) in others)


METRIC = Metric(
    title="other subject found instead",
    unit="%",
    higher_is_better=False,
    candidates=("model", "truth", "text", "paste"),
    score=score,
    applies_to=(CaseKind.PAIR,),
)
