import numpy as np
import onnx
import pytest
from PIL import Image

from swiftpie.errors import WeightsError
from swiftpie.faces.align import align
from swiftpie.faces.encoders.opencv import SFACE
from swiftpie.faces.face import ModelFile, similarity
from swiftpie.faces.recogniser import Recogniser
from swiftpie.faces.runtime import open_model
from swiftpie.faces.yunet import YuNet
from tests.faces.tiny_faces import LANDMARKS, recogniser, steady_detector


@pytest.fixture
def opened(face_models):
    """The tiny recogniser, fed like SFace."""
    return Recogniser(open_model(face_models, SFACE), mean=0.0, deviation=1.0)


@pytest.fixture
def theirs(face_models):
    """OpenCV's own code for SFace with the same file."""
    cv2 = pytest.importorskip("cv2")
    return cv2.FaceRecognizerSF.create(str(face_models / SFACE.name), "")


def blue_first(image):
    return np.ascontiguousarray(np.asarray(image)[..., ::-1])


def test_crops_agree_with_those_of_opencv(theirs, portrait):
    found = np.zeros((1, 15), dtype=np.float32)
    found[0, 4:14] = np.ravel(LANDMARKS)
    crop = theirs.alignCrop(blue_first(portrait), found).astype(int)
    ours = blue_first(align(portrait, np.array(LANDMARKS))).astype(int)
    assert np.abs(ours - crop).max() <= 1  # of 255 levels: one rounds, one cuts off
    assert crop.std() > 20


def test_vectors_agree_with_those_of_opencv(opened, theirs, portrait):
    crop = align(portrait, np.array(LANDMARKS))
    vector = theirs.feature(blue_first(crop)).ravel()
    assert np.allclose(opened.embed(crop), vector / np.linalg.norm(vector), rtol=0, atol=1e-5)
    swapped = Image.fromarray(blue_first(crop))
    assert similarity(opened.embed(swapped), vector) < 0.999


def test_brightness_is_shifted_and_scaled_before_the_network_sees_it(opened, portrait):
    crop = align(portrait, np.array(LANDMARKS))
    scaled = Recogniser(opened.model, mean=127.5, deviation=127.5)
    assert similarity(scaled.embed(crop), opened.embed(crop)) < 0.99


def test_a_detector_is_no_recogniser(tmp_path):
    onnx.save(steady_detector(), tmp_path / "other.onnx")
    detector = open_model(tmp_path, ModelFile("other.onnx", "none", is_commercial=None))
    assert YuNet(detector)
    with pytest.raises(WeightsError, match="one output is needed"):
        Recogniser(detector, mean=0.0, deviation=1.0)


def test_vectors_have_length_one_whatever_their_width(tmp_path, portrait):
    onnx.save(recogniser(3, width=24), tmp_path / "wide.onnx")
    wide = open_model(tmp_path, ModelFile("wide.onnx", "none", is_commercial=None))
    vector = Recogniser(wide, mean=0.0, deviation=1.0).embed(align(portrait, np.array(LANDMARKS)))
    assert vector.shape == (24,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
