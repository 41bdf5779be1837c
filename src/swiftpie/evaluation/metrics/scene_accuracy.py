"""Scene accuracy: does the picture show the scene of the prompt?"""

from swiftpie.data.scenes import SCENES
from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.metric import Evidence, Metric


def score(evidence: Evidence) -> float:
    """Return 1 if the judge names the scene of the case, else 0."""
    return float(SCENES[evidence.panel.scene(evidence.picture)].name == evidence.case.scene)


METRIC = Metric(
    title="scene right",
    unit="%",
    higher_is_better=True,
    candidates=("model", "truth", "text", "paste"),
    score=score,
    applies_to=(CaseKind.PLAIN, CaseKind.PAIR),
)
