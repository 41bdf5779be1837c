"""Subject retrieval@1: is the right subject the nearest of all held-out ones?"""

from swiftpie.evaluation.metric import Evidence, Metric


def score(evidence: Evidence) -> float:
    """Return 1 if the judge finds the subject of the case where it belongs, else 0."""
    return float(evidence.panel.nearest(evidence.picture, evidence.mask) == evidence.case.code)


METRIC = Metric(
    title="subject found",
    unit="%",
    higher_is_better=True,
    candidates=("model", "truth", "text", "paste"),
    score=score,
)
