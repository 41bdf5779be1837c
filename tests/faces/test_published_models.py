"""Published detectors and recognisers, which the user brings, and the whole command with them.

SWIFTPIE_FACE_MODELS names their folder, and
SWIFTPIE_FACE_PHOTOS one with a folder of photographs for each person;
`pip install opencv-python-headless` brings OpenCV.
"""

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swiftpie.faces import FACE_ENCODERS
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.faces.encoders.onnx import (
    MAX_CANDIDATES,
    MAX_OVERLAP,
    MIN_SCORE,
    SFACE,
    YUNET,
    OnnxFaceEncoder,
    Recogniser,
    YuNet,
    open_model,
)
from swiftpie.imageio.decoding import load_image
from tests.tiny.faces import similarity

FOLDER = Path(os.environ.get("SWIFTPIE_FACE_MODELS", "no-face-models"))
PEOPLE = Path(os.environ.get("SWIFTPIE_FACE_PHOTOS", "no-face-photos"))
SIDE = 640
MARGIN = 0.2  # of a cosine; at least 0.4 with the recognisers that docs/full-size.md names

pytestmark = pytest.mark.weights


@pytest.fixture
def crowd(portrait):
    picture = Image.new("RGB", (SIDE, SIDE))
    for place, side in {(0, 0): 256, (300, 20): 300, (40, 300): 180, (330, 350): 220}.items():
        picture.paste(portrait.resize((side, side)), place)
    return picture


@pytest.fixture
def detector():
    if not (FOLDER / YUNET.name).is_file():
        pytest.skip(f"{FOLDER} has no {YUNET.name}")
    return YuNet(open_model(FOLDER, YUNET))


@pytest.fixture(params=["opencv", "arcface"])
def published(request):
    choice = FACE_ENCODERS.get(request.param)
    if not choice.is_in(FOLDER):
        pytest.skip(f"{FOLDER} lacks files of {choice.name}")
    return choice.open(FOLDER)


def test_our_decoder_agrees_with_opencv(detector, crowd):
    cv2 = pytest.importorskip("cv2", reason="needs `pip install opencv-python`")
    other = cv2.FaceDetectorYN.create(
        str(FOLDER / YUNET.name), "", (SIDE, SIDE), MIN_SCORE, MAX_OVERLAP, MAX_CANDIDATES
    )
    theirs = other.detect(np.ascontiguousarray(np.asarray(crowd)[..., ::-1]))[1]
    theirs = theirs[np.argsort(-theirs[:, 14])]
    ours = detector.detect(crowd)
    assert len(theirs) == len(ours.scores) == 4
    corners = np.hstack([theirs[:, :2], theirs[:, :2] + theirs[:, 2:4]])
    assert np.allclose(corners, ours.boxes, rtol=0, atol=1e-3)
    assert np.allclose(theirs[:, 4:14].reshape(-1, 5, 2), ours.landmarks, rtol=0, atol=1e-3)
    assert np.allclose(theirs[:, 14], ours.scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_face_on_its_side_is_seen_but_misread_until_it_is_turned(
    detector, face_models, portrait, turn
):
    """So looking again only where nothing was found would not be enough."""
    recogniser = Recogniser(open_model(face_models, SFACE), mean=0.0, deviation=1.0)
    encoder = OnnxFaceEncoder("published detector", detector, recogniser)
    (upright,), turned = encoder.find(portrait), portrait.rotate(turn, expand=True)
    (misread,) = encoder.find(turned)
    found = find_faces(encoder, turned)
    assert found.turn == 360 - turn
    crops = [np.asarray(face.crop, dtype=float) for face in (upright, misread, found.faces[0])]
    assert np.abs(crops[0] - crops[1]).mean() > 40  # of 255 levels
    assert np.array_equal(crops[0], crops[2])


def test_photographs_of_one_person_are_nearer_than_those_of_two(published):
    if not PEOPLE.is_dir():
        pytest.skip("SWIFTPIE_FACE_PHOTOS names no folder with one of photographs for each person")
    seen = [
        (path.parent.name, choose_face(find_faces(published, load_image(path))).face.embedding)
        for path in sorted(PEOPLE.glob("*/*.jpg"))
    ]
    pairs = [(a == b, similarity(one, other)) for (a, one), (b, other) in combinations(seen, 2)]
    same = [cosine for is_same, cosine in pairs if is_same]
    others = [cosine for is_same, cosine in pairs if not is_same]
    assert same
    assert others
    assert min(same) > max(others) + MARGIN
