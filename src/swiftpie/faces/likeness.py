"""How alike two faces are in the eyes of a second encoder, which did not help to draw them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swiftpie.errors import ConfigError
from swiftpie.faces.choose import ChosenFace, main_face, on_white
from swiftpie.faces.face import FACE_ENCODERS, Face, FaceBox, FaceEncoder, FaceSettings

SAME_PLACE = 0.5  # of a face's width: nearer middles belong to one face


class FaceEncoders(NamedTuple):
    """Who looks at faces."""

    encoder: FaceEncoder  # what the generator reads
    judge: FaceEncoder | None  # did not help to draw


def open_encoders(settings: FaceSettings) -> FaceEncoders:
    """Open the encoder, and a judge if one is there.

    Raises:
        ConfigError: There is no such encoder, or the judge makes the vectors of the encoder.
        WeightsError: A file is missing or damaged.
        MissingExtra: A package is not installed.
    """
    folder = settings.face_models
    encoder = FACE_ENCODERS.get(settings.encoder).open(folder)
    judge = open_judge(encoder, settings.judge_models or folder, name=settings.judge)
    return FaceEncoders(encoder, judge)


def open_judge(
    encoder: FaceEncoder, folder: Path | None, *, name: str | None = None
) -> FaceEncoder | None:
    """Return an encoder whose vectors are not those of `encoder`, or None if there is none.

    Args:
        encoder: What the generator reads; a judge that it was drawn for would flatter it.
        folder: Where the models are; None is where an encoder keeps its own.
        name: Of the judge; None takes the first other one whose files are in `folder`.

    Raises:
        ConfigError: The named one makes the vectors of `encoder`.
    """
    if name is not None:
        judge = FACE_ENCODERS.get(name).open(folder)
        if judge.fingerprint == encoder.fingerprint:
            raise ConfigError(
                f"The judge {name!r} has the same recogniser as {encoder.name!r}, which helps to "
                "draw. A second one is needed to judge fairly. Choose another --judge."
            )
        return judge
    for choice in FACE_ENCODERS.all().values():
        if folder is not None and choice.name != encoder.name and choice.is_in(folder):
            judge = choice.open(folder)
            if judge.fingerprint != encoder.fingerprint:
                return judge
    return None


def see_again(judge: FaceEncoder, chosen: ChosenFace) -> Face | None:
    """Return the chosen face as `judge` sees it, or None if it sees none in that place."""
    wanted = _middle(chosen.face.box)
    distances = {math.dist(_middle(face.box), wanted): face for face in judge.find(chosen.image)}
    nearest = min(distances, default=math.inf)
    return distances[nearest] if nearest < SAME_PLACE * chosen.face.box.width else None


def shown_face(judge: FaceEncoder, image: Image.Image) -> Face | None:
    """Return the main face of a generated picture, or None if there is none."""
    faces = judge.find(on_white(image))
    return faces[main_face(faces, image.size)] if faces else None


def likeness(reference: Face | None, shown: Face | None) -> float | None:
    """Return the cosine of two faces of one judge, -1 to 1, or None where one was not found."""
    if reference is None or shown is None:
        return None
    return similarity(reference.embedding, shown.embedding)


def similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the cosine of two embeddings (D,) of one encoder, -1 to 1."""
    return float(np.dot(first, second) / (np.linalg.norm(first) * np.linalg.norm(second)))


def likenesses(
    judge: FaceEncoder, reference: Face | None, images: Sequence[Image.Image]
) -> list[float | None]:
    """Return how alike the main face of each picture and the reference are to the judge."""
    return [likeness(reference, shown_face(judge, image)) for image in images]


def _middle(box: FaceBox) -> tuple[float, float]:
    return (box.left + box.right) / 2, (box.top + box.bottom) / 2
