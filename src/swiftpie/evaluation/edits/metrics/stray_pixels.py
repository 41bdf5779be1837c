"""Stray pixels: what changed although the editor's own mask says it did not."""

from swiftpie.evaluation.edits.metric import EditEvidence, EditMetric


def score(evidence: EditEvidence) -> float | None:
    """Return how many pixels outside of the used mask are not the source's own, bit for bit."""
    if evidence.used is None:
        return None
    changed = (evidence.picture != evidence.source).any(dim=1, keepdim=True)
    return float((changed & (evidence.used <= 0)).sum())


METRIC = EditMetric(
    title="stray pixels",
    unit="",
    higher_is_better=False,
    candidates=("edit",),
    score=score,
)
