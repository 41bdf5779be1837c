"""Mask IoU: does the editor change the right place?"""

from swiftpie.evaluation.edits.metric import EditEvidence, EditMetric
from swiftpie.masks import iou


def score(evidence: EditEvidence) -> float | None:
    """Return intersection over union of the mask that was used and the true one."""
    return None if evidence.used is None else float(iou(evidence.used, evidence.mask))


METRIC = EditMetric(
    title="mask IoU",
    unit="",
    higher_is_better=True,
    candidates=("edit",),
    score=score,
)
