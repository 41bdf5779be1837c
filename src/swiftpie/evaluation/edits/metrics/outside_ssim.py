"""Structural similarity outside of the true mask, against the source."""

from swiftpie.evaluation.edits.metric import CANDIDATES, EditEvidence, EditMetric
from swiftpie.evaluation.edits.pie.measures import ssim_map


def score(evidence: EditEvidence) -> float | None:
    """Return the mean over the pixels outside; what is inside is blackened in both pictures."""
    outside = evidence.outside
    if outside is None:
        return None
    first, second = ((pixels + 1) / 2 * outside for pixels in (evidence.picture, evidence.source))
    similarity = ssim_map(first, second) * outside
    return float(similarity.sum() / (3 * outside.sum()))


METRIC = EditMetric(
    title="SSIM outside",
    unit="",
    higher_is_better=True,
    candidates=CANDIDATES,
    score=score,
)
