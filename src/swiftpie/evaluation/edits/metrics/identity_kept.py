"""Kept identity: is the subject that was not to be replaced still found, if it was before?"""

from swiftpie.evaluation.edits.metric import CANDIDATES, EditEvidence, EditMetric


def score(evidence: EditEvidence) -> float | None:
    """Return 1 if the judge finds the subject where it belongs; None if it never did."""
    case, panel = evidence.case, evidence.panel
    if not bool((evidence.kept > 0).any()):
        return None
    if panel.nearest(evidence.source, evidence.before) != case.code:
        return None
    return float(panel.nearest(evidence.picture, evidence.kept) == case.code)


METRIC = EditMetric(
    title="subject kept",
    unit="%",
    higher_is_better=True,
    candidates=CANDIDATES,
    score=score,
)
