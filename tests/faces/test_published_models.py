"""The published YuNet: our decoder beside OpenCV's own, and faces that lie on their side.

SWIFTPIE_FACE_MODELS names the folder; `pip install opencv-python-headless` brings OpenCV.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swiftpie.faces.choose import find_faces
from swiftpie.faces.encoders.opencv import SFACE
from swiftpie.faces.onnx_encoder import YUNET, OnnxFaceEncoder
from swiftpie.faces.recogniser import Recogniser
from swiftpie.faces.runtime import open_model
from swiftpie.faces.yunet import MAX_CANDIDATES, MAX_OVERLAP, MIN_SCORE, YuNet

FOLDER = Path(os.environ.get("SWIFTPIE_FACE_MODELS", "no-face-models"))
SIDE = 640

pytestmark = pytest.mark.weights


@pytest.fixture
def crowd(portrait):
    """A picture of the network's own size with the face four times."""
    picture = Image.new("RGB", (SIDE, SIDE))
    for place, side in {(0, 0): 256, (300, 20): 300, (40, 300): 180, (330, 350): 220}.items():
        picture.paste(portrait.resize((side, side)), place)
    return picture


@pytest.fixture
def detector():
    if not (FOLDER / YUNET.name).is_file():
        pytest.skip(f"{FOLDER} has no {YUNET.name}")
    return YuNet(open_model(FOLDER, YUNET))


def test_our_decoder_agrees_with_opencv(detector, crowd):
    cv2 = pytest.importorskip("cv2")
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
