"""Mask IoU: does the model know where its subject is?"""

from swiftpie.evaluation.metric import Evidence, Metric
from swiftpie.masks import iou


def score(evidence: Evidence) -> float | None:
    """Return intersection over union of the model's mask and the true one."""
    return None if evidence.found is None else float(iou(evidence.found, evidence.mask))


METRIC = Metric(
    title="mask IoU",
    unit="",
    higher_is_better=True,
    candidates=("model", "truth"),
    score=score,
)
