"""What faces tell: whose they are, how large, and whether there is one at all."""

from swiftpie.evaluation.case import Evidence, Metric, of
from swiftpie.faces.choose import face_ratio, likeness


def ratio(evidence: Evidence) -> float | None:
    """Return the face's share of the picture."""
    return None if evidence.face is None else face_ratio(evidence.face, evidence.image.size)


def shown(evidence: Evidence) -> float:
    """Return 1 if the picture shows a face, else 0."""
    return float(evidence.face is not None)


METRICS = {
    "identity": Metric(
        title="identity: likeness to the person",
        unit="cosine",
        score=of(likeness, "person", "face"),
        needs="face_judge",
    ),
    "face-shown": Metric(title="pictures with a face", unit="%", score=shown),
    "face-ratio": Metric(
        title="face ratio: its share of the picture", unit="%", higher_is_better=None, score=ratio
    ),
}
