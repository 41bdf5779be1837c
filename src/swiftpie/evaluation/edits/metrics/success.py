"""Edit success: do the judges see what was asked for?"""

from types import MappingProxyType

from swiftpie.data.scenes import SCENES
from swiftpie.evaluation.edits.case import EditKind
from swiftpie.evaluation.edits.metric import CANDIDATES, EditEvidence, EditMetric

# Nobody knows from its name alone what a subject looks like that no model was trained on.
NEW_SUBJECTS = frozenset({EditKind.OBJECT, EditKind.SECOND})


def score(evidence: EditEvidence) -> float:
    """Return 1 if the judge of what changes sees it changed, else 0."""
    case, panel = evidence.case, evidence.panel
    match case.kind:
        case EditKind.OBJECT | EditKind.SECOND:
            is_done = panel.nearest(evidence.picture, evidence.asked) == case.other_code
        case EditKind.DELETE:
            is_gone = panel.nearest(evidence.picture, evidence.asked) != case.code
            is_done = is_gone and _shows_scene(evidence)
        case EditKind.SCENE | EditKind.LIGHT:
            is_done = _shows_scene(evidence)
        case (
            EditKind.HAT
            | EditKind.SIZE
            | EditKind.SIDE
            | EditKind.SWAP
            | EditKind.GREY
            | EditKind.COLOUR
        ):
            is_done = case.after in panel.attributes(evidence.picture, evidence.kept)
    return float(is_done)


def of_scene_or_attribute(evidence: EditEvidence) -> float | None:
    """Return the same; None where a new subject is asked for."""
    return None if evidence.case.kind in NEW_SUBJECTS else score(evidence)


def _shows_scene(evidence: EditEvidence) -> bool:
    seen = SCENES[evidence.panel.scene(evidence.picture)].name
    return seen == evidence.case.target_scene


METRICS = MappingProxyType(
    {
        name: EditMetric(
            title=title, unit="%", higher_is_better=True, candidates=CANDIDATES, score=judge
        )
        for name, title, judge in (
            ("edit-success", "edit succeeded", score),
            ("scene-attribute-success", "of scene or attribute", of_scene_or_attribute),
        )
    }
)
