"""Subject retrieval@1: is the right subject the nearest of all held-out ones?"""

from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.metric import Evidence, Metric


def score(evidence: Evidence) -> float:
    """Return 1 if the judge finds the subject where it belongs, else 0."""
    return float(evidence.panel.nearest(evidence.picture, evidence.mask) == evidence.code)


METRIC = Metric(
    title="subject found",
    unit="%",
    higher_is_better=True,
    candidates=("model", "truth", "text", "paste"),
    score=score,
    applies_to=(CaseKind.PLAIN, CaseKind.PAIR),
)
