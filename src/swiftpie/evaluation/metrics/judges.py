"""What judges see: subjects, scenes and attributes of rendered pictures, edits, and faces."""

from torch import Tensor

from swiftpie.data.scenes import SCENES
from swiftpie.evaluation.case import Expected, Kept, Metric, of
from swiftpie.evaluation.judges import Panel
from swiftpie.faces.choose import face_ratio, likeness


def retrieval(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return 1 if the right subject is the nearest of all held-out ones, else 0."""
    if not expected.subject:
        return None
    return float(panel.nearest(picture, expected.where) == expected.subject)


def leakage(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return 1 if the judge finds another subject of the picture where this one belongs, else 0."""
    if not expected.others:
        return None
    return float(panel.nearest(picture, expected.where) in expected.others)


def scene(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return 1 if the judge names the scene that is asked for, else 0."""
    return float(SCENES[panel.scene(picture)].name == expected.scene) if expected.scene else None


def attribute(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return 1 if the attribute that is asked for is among the judge's answers, else 0."""
    if not expected.attribute:
        return None
    return float(expected.attribute in panel.attributes(picture, expected.where))


def success(panel: Panel, picture: Tensor, expected: Expected) -> float:
    """Return 1 if judges see all that is asked for, else 0."""
    seen = [ask(panel, picture, expected) for ask in (retrieval, scene, attribute)]
    if expected.gone:
        seen.append(float(panel.nearest(picture, expected.where) != expected.gone))
    return float(all(one for one in seen if one is not None))


def success_in_words(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return the same; None where a new subject is asked for.

    Nobody knows from its name alone what a subject looks like that no model was trained on.
    """
    return None if expected.subject else success(panel, picture, expected)


def identity_kept(panel: Panel, picture: Tensor, source: Tensor, kept: Kept) -> float | None:
    """Return 1 if the subject that was to stay is found where it belongs; None if it never was."""
    was_there = bool((kept.after > 0).any()) and panel.nearest(source, kept.before) == kept.code
    return float(panel.nearest(picture, kept.after) == kept.code) if was_there else None


SEEN = ("networks.panel", "picture", "expected")

METRICS = {
    "subject-retrieval": Metric("subject found", of(retrieval, *SEEN), "%"),
    "leakage": Metric(
        "other subject found instead", of(leakage, *SEEN), "%", higher_is_better=False
    ),
    "scene-accuracy": Metric("scene right", of(scene, *SEEN), "%"),
    "attribute-accuracy": Metric(
        "attribute right",
        of(attribute, *SEEN),
        "%",
        leaves_out=("paste",),  # it lays the reference where the truth has it, as it is
    ),
    "edit-success": Metric("edit succeeded", of(success, *SEEN), "%"),
    "scene-attribute-success": Metric("of scene or attribute", of(success_in_words, *SEEN), "%"),
    "identity-kept": Metric(
        "subject kept", of(identity_kept, "networks.panel", "picture", "source", "kept"), "%"
    ),
    "identity": Metric(
        "identity: likeness to the person",
        of(likeness, "person", "face"),
        "cosine",
        needs="face_judge",
    ),
    "face-shown": Metric(
        "pictures with a face", lambda evidence: float(evidence.face is not None), "%"
    ),
    "face-ratio": Metric(
        "face ratio: its share of the picture",
        of(lambda face, image: face_ratio(face, image.size), "face", "image"),
        "%",
        higher_is_better=None,
    ),
}
