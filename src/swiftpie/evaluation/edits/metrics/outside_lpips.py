"""LPIPS outside of the true mask, against the source; only with weights of the user's own."""

from swiftpie.evaluation.edits.metric import CANDIDATES, EditEvidence, EditMetric

SCALE = 1e3  # as tables of edits print it


def score(evidence: EditEvidence) -> float | None:
    """Return a thousand times the distance; what is inside is blackened in both pictures."""
    outside = evidence.outside
    if outside is None or evidence.lpips is None:
        return None
    first, second = ((pixels + 1) * outside - 1 for pixels in (evidence.picture, evidence.source))
    return SCALE * evidence.lpips.distance(first, second)


METRIC = EditMetric(
    title="LPIPS outside",
    unit="1e-3",
    higher_is_better=False,
    candidates=CANDIDATES,
    score=score,
)
