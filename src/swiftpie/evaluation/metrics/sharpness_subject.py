"""Sharpness of the subject: 1 is as sharp as the exact rendering, less is blurred."""

from swiftpie.evaluation.metric import Evidence, Metric
from swiftpie.evaluation.regions import inner, sharpness_ratio


def score(evidence: Evidence) -> float | None:
    """Return the ratio of mean gradients inside the true mask."""
    return sharpness_ratio(evidence.picture, evidence.truth, inner(evidence.mask))


METRIC = Metric(
    title="sharpness of the subject",
    unit="",
    higher_is_better=True,
    candidates=("model", "truth", "text", "paste"),
    score=score,
)
