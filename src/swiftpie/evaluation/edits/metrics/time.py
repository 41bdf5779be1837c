"""Time of an edit, as the editor measured it on whatever machine it ran on."""

from swiftpie.evaluation.edits.metric import EditEvidence, EditMetric


def score(evidence: EditEvidence) -> float | None:
    """Return milliseconds."""
    return evidence.time_ms


METRIC = EditMetric(
    title="time",
    unit="ms",
    higher_is_better=False,
    candidates=("edit",),
    score=score,
)
