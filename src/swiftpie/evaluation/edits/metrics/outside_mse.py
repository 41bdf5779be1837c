"""Mean squared error outside of the true mask, against the source."""

from swiftpie.evaluation.edits.metric import CANDIDATES, EditEvidence, EditMetric

SCALE = 1e4  # as tables of edits print it


def score(evidence: EditEvidence) -> float | None:
    """Return ten thousand times the mean over the pixels outside, of values in [0, 1]."""
    outside = evidence.outside
    if outside is None:
        return None
    error = ((evidence.picture - evidence.source) / 2).square() * outside
    return SCALE * float(error.sum() / (3 * outside.sum()))


METRIC = EditMetric(
    title="MSE outside",
    unit="1e-4",
    higher_is_better=False,
    candidates=CANDIDATES,
    score=score,
)
