"""Attribute accuracy: does the picture show the one attribute that the prompt asks for?"""

from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.metric import Evidence, Metric


def score(evidence: Evidence) -> float:
    """Return 1 if the attribute is among the judge's answers, else 0."""
    seen = evidence.panel.attributes(evidence.picture, evidence.mask)
    return float(evidence.case.attribute in seen)


METRIC = Metric(
    title="attribute right",
    unit="%",
    higher_is_better=True,
    candidates=("model", "truth", "text"),
    score=score,
    applies_to=(CaseKind.ATTRIBUTED,),
)
