"""What the judges of rendered scenes see: subjects, scenes, attributes, and whether edits came."""

from swiftpie.data.scenes import SCENES
from swiftpie.evaluation.case import Evidence, Expected, Metric
from swiftpie.evaluation.judges import Panel


def retrieval(evidence: Evidence) -> float | None:
    """Return 1 if the right subject is the nearest of all held-out ones, else 0."""
    expected = evidence.expected
    if expected is None or not expected.subject:
        return None
    return float(_nearest(evidence, expected) == expected.subject)


def leakage(evidence: Evidence) -> float | None:
    """Return 1 if the judge finds another subject of the picture where this one belongs, else 0."""
    expected = evidence.expected
    if expected is None or not expected.others:
        return None
    return float(_nearest(evidence, expected) in expected.others)


def scene(evidence: Evidence) -> float | None:
    """Return 1 if the judge names the scene that is asked for, else 0."""
    expected = evidence.expected
    return None if expected is None or not expected.scene else float(_shows(evidence, expected))


def attribute(evidence: Evidence) -> float | None:
    """Return 1 if the attribute that is asked for is among the judge's answers, else 0."""
    expected = evidence.expected
    if expected is None or not expected.attribute:
        return None
    return float(_has_attribute(evidence, expected))


def success(evidence: Evidence) -> float | None:
    """Return 1 if judges see all that is asked for, else 0."""
    expected = evidence.expected
    if expected is None:
        return None
    is_done = True
    if expected.subject:
        is_done &= _nearest(evidence, expected) == expected.subject
    if expected.gone:
        is_done &= _nearest(evidence, expected) != expected.gone
    if expected.scene:
        is_done &= _shows(evidence, expected)
    if expected.attribute:
        is_done &= _has_attribute(evidence, expected)
    return float(is_done)


def success_in_words(evidence: Evidence) -> float | None:
    """Return the same; None where a new subject is asked for.

    Nobody knows from its name alone what a subject looks like that no model was trained on.
    """
    expected = evidence.expected
    return None if expected is None or expected.subject else success(evidence)


def identity_kept(evidence: Evidence) -> float | None:
    """Return 1 if the subject that was to stay is found where it belongs; None if it never was."""
    kept, source = evidence.kept, evidence.source
    if kept is None or source is None or not bool((kept.after > 0).any()):
        return None
    panel = _panel(evidence)
    if panel.nearest(source, kept.before) != kept.code:
        return None
    return float(panel.nearest(evidence.picture, kept.after) == kept.code)


def _nearest(evidence: Evidence, expected: Expected) -> str:
    return _panel(evidence).nearest(evidence.picture, expected.where)


def _shows(evidence: Evidence, expected: Expected) -> bool:
    return SCENES[_panel(evidence).scene(evidence.picture)].name == expected.scene


def _has_attribute(evidence: Evidence, expected: Expected) -> bool:
    seen = _panel(evidence).attributes(evidence.picture, expected.where)
    return expected.attribute in seen


def _panel(evidence: Evidence) -> Panel:
    assert evidence.networks.panel is not None, "benchmarks that expect something have judges"
    return evidence.networks.panel


METRICS = {
    "subject-retrieval": Metric(title="subject found", unit="%", score=retrieval),
    "leakage": Metric(
        title="other subject found instead", unit="%", higher_is_better=False, score=leakage
    ),
    "scene-accuracy": Metric(title="scene right", unit="%", score=scene),
    "attribute-accuracy": Metric(
        title="attribute right",
        unit="%",
        score=attribute,
        leaves_out=("paste",),  # it lays the reference where the truth has it, as it is
    ),
    "edit-success": Metric(title="edit succeeded", unit="%", score=success),
    "scene-attribute-success": Metric(
        title="of scene or attribute", unit="%", score=success_in_words
    ),
    "identity-kept": Metric(title="subject kept", unit="%", score=identity_kept),
}
