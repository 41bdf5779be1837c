"""Sharpness of the background: 1 is as sharp as the exact rendering, less is blurred."""

from swiftpie.evaluation.metric import Evidence, Metric
from swiftpie.evaluation.regions import inner, sharpness_ratio


def score(evidence: Evidence) -> float | None:
    """Return the ratio of mean gradients outside of the true mask."""
    return sharpness_ratio(evidence.picture, evidence.truth, inner(1 - evidence.mask))


METRIC = Metric(
    title="sharpness of the background",
    unit="",
    higher_is_better=True,
    candidates=("model", "truth", "text", "paste"),
    score=score,
)
