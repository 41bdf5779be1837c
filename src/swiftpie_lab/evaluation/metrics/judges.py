"""What judges see: subjects, also in the place of others, settings, wishes, edits and faces."""

import math
from collections.abc import Callable
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from swiftpie.faces import Face
from swiftpie.faces.choose import share_outside
from swiftpie_lab.evaluation.case import Expected, Kept, Metric, of
from swiftpie_lab.evaluation.judges import JudgeReading, Panel
from swiftpie_world.air import Setting
from swiftpie_world.captions import ATTRIBUTE_QUESTIONS, VIEWS


def retrieval(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return 1 if the right subject is the nearest of all held-out ones, else 0."""
    if not expected.subject:
        return None
    return float(panel.nearest(picture, expected.where) == expected.subject)


def remains(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return 1 if the judge still finds the subject that was to go, else 0."""
    return float(panel.nearest(picture, expected.where) == expected.gone) if expected.gone else None


def identity_kept(panel: Panel, picture: Tensor, source: Tensor, kept: Kept) -> float | None:
    """Return 1 if the subject that was to stay is found where it belongs; None if it never was."""
    was_there = bool((kept.after > 0).any()) and panel.nearest(source, kept.before) == kept.code
    return float(panel.nearest(picture, kept.after) == kept.code) if was_there else None


def found(reading: JudgeReading, expected: Expected) -> float | None:
    """Return 1 if the right subject is the nearest of all held-out ones, else 0."""
    return float(reading.subject == expected.subject) if expected.subject else None


def mistaken(reading: JudgeReading, expected: Expected) -> float | None:
    """Return 1 if another subject of the picture is found where this one belongs, else 0."""
    return float(reading.subject in expected.others) if expected.others else None


def right(*questions: str) -> Callable[[JudgeReading, Expected], float | None]:
    """Return what gives 1 if all of these that have a right answer get it, and else 0."""

    def all_right(reading: JudgeReading, expected: Expected) -> float | None:
        requested = [name for name in questions if name in expected.answers]
        if not requested:
            return None
        return float(all(reading.answers[name] == expected.answers[name] for name in requested))

    return all_right


def fulfilled(reading: JudgeReading, expected: Expected) -> float | None:
    """Return 1 if judges see everything requested, else 0.

    A subject is turned right if no other view that words can request is nearer.
    """
    seen = [found(reading, expected), right(*expected.answers)(reading, expected)]
    if expected.gone:
        seen.append(float(reading.subject != expected.gone))
    if expected.view is not None:
        seen.append(float(view_named(view_of(reading)) == view_named(expected.view)))
    requested = [verdict for verdict in seen if verdict is not None]
    return float(all(requested)) if requested else None


def fulfilled_in_words(reading: JudgeReading, expected: Expected) -> float | None:
    """Return the same; None where a new subject is requested.

    The name alone does not say what a subject looks like that no model was trained on.
    """
    return None if expected.subject else fulfilled(reading, expected)


def view_of(reading: JudgeReading) -> tuple[float, float]:
    """Return yaw and pitch in degrees of a reading that looked for them."""
    assert reading.view is not None, "a view is found wherever one is requested"
    return reading.view


def view_named(view: tuple[float, float]) -> str:
    """Return the view in words whose middle is nearest to yaw and pitch in degrees."""

    def apart(name: str) -> float:
        yaw, more, pitch, above = VIEWS[name]
        return math.dist(view, (yaw + more / 2, pitch + above / 2))

    return min(VIEWS, key=apart)


def view_error(axis: int) -> Callable[[JudgeReading, Expected], float | None]:
    """Return what gives the degrees between the view that is seen and the right one."""

    def degrees(reading: JudgeReading, expected: Expected) -> float | None:
        if expected.view is None:
            return None
        return abs(view_of(reading)[axis] - expected.view[axis])

    return degrees


def shared_likeness(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return by how much other subjects of the picture are nearer than unrelated ones.

    That is the mean cosine of the place of one subject to the others of the picture, less that to
    subjects which the picture does not have.
    """
    if not expected.others or not expected.unrelated:
        return None
    near = panel.likeness(picture, expected.where)
    others = fmean(near[code] for code in expected.others)
    return others - fmean(near[code] for code in expected.unrelated)


def leakage(panel: Panel, picture: Tensor, alone: Tensor, expected: Expected) -> float | None:
    """Return by how much `shared_likeness` is above that where the subject is drawn alone.

    Two subjects may be alike by nature; this counts only what drawing them together adds.
    """
    together = shared_likeness(panel, picture, expected)
    apart = shared_likeness(panel, alone, expected)
    return None if together is None or apart is None else together - apart


def nearest(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return 1 if the right subject is nearer than the others of the picture and unrelated ones."""
    if not expected.unrelated:
        return None
    near = panel.likeness(picture, expected.where)
    others = expected.others | expected.unrelated
    return float(all(near[expected.subject] > near[code] for code in others))


def face_ratio(face: Face, size: tuple[int, int]) -> float:
    """Return the share of a picture of (width, height) that the face's box covers, 0 to 1."""
    return face.box.area * (1 - share_outside(face.box, size)) / (size[0] * size[1])


def likeness(reference: Face | None, shown: Face | None) -> float | None:
    """Return the cosine of two faces of one judge, -1 to 1, or None if one was not found."""
    if reference is None or shown is None:
        return None
    return _similarity(reference.embedding, shown.embedding)


SEEN = ("networks.panel", "picture", "expected")
READ = ("reading", "expected")

SETTING = Setting._fields
UNCHANGED = ("paste",)  # it lays the unchanged reference where the truth has it

METRICS = {
    "subject-retrieval": Metric("subject found", of(retrieval, *SEEN), "%"),
    "subject-remains": Metric(
        "removed subject found", of(remains, *SEEN), "%", higher_is_better=False
    ),
    "wish-success": Metric("edit succeeded", of(fulfilled, *READ), "%"),
    "wish-success-in-words": Metric("of what words tell", of(fulfilled_in_words, *READ), "%"),
    "recognition-kept": Metric(
        "subject kept", of(identity_kept, "networks.panel", "picture", "source", "kept"), "%"
    ),
    "subject-recognition": Metric("subject found", of(found, *READ), "%"),
    "subject-mistaken": Metric(
        "other subject found instead", of(mistaken, *READ), "%", higher_is_better=False
    ),
    "setting-accuracy": Metric("setting right", of(right(*SETTING), *READ), "%"),
    "wish-accuracy": Metric(
        "wish right", of(right(*ATTRIBUTE_QUESTIONS), *READ), "%", leaves_out=UNCHANGED
    ),
    **{
        f"{name}-accuracy": Metric(
            f"{name} right",
            of(right(name), *READ),
            "%",
            leaves_out=UNCHANGED * (name in ATTRIBUTE_QUESTIONS),
        )
        for name in (*SETTING, *ATTRIBUTE_QUESTIONS)
    },
    **{
        f"{angle}-error": Metric(
            f"median error of {angle}",
            of(view_error(axis), *READ),
            "degrees",
            higher_is_better=False,
            is_median=True,
        )
        for axis, angle in enumerate(("yaw", "pitch"))
    },
    "leakage": Metric(
        "leakage: others nearer than when alone",
        of(leakage, "networks.panel", "picture", "alone", "expected"),
        "cosine",
        higher_is_better=False,
    ),
    "subject-nearest": Metric(
        "right subject nearest", of(nearest, "networks.panel", "picture", "expected"), "%"
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


def _similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the cosine of two embeddings (D,) of one encoder, -1 to 1."""
    return float(np.dot(first, second) / (np.linalg.norm(first) * np.linalg.norm(second)))
