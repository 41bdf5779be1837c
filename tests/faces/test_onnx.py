import logging

import numpy as np
import onnx
import pytest
from PIL import Image

from swiftpie.errors import WeightsError
from swiftpie.faces.align import align
from swiftpie.faces.encoders.onnx import SFACE, YUNET
from swiftpie.faces.face import ModelFile
from swiftpie.faces.likeness import similarity
from swiftpie.faces.onnx import Recogniser, open_model
from swiftpie.faces.yunet import YuNet
from tests.faces.tiny_faces import LANDMARKS, WIDTH, recogniser, steady_detector


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_missing_file_is_named_with_its_licence_and_its_source(tmp_path, has_folder):
    with pytest.raises(WeightsError) as caught:
        open_model(tmp_path if has_folder else None, SFACE)
    message = str(caught.value)
    for part in (SFACE.name, "Apache-2.0", "opencv_zoo", "--face-models", "never fetched"):
        assert part in message


def test_a_broken_file_is_told(tmp_path):
    (tmp_path / YUNET.name).write_bytes(b"no model")
    with pytest.raises(WeightsError, match="not a readable ONNX model"):
        open_model(tmp_path, YUNET)


def test_a_file_that_is_not_the_published_one_is_told(face_models, caplog):
    with caplog.at_level(logging.WARNING):
        open_model(face_models, SFACE)
    assert "not the published file" in caplog.text


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (127.5, 127.5)])
def test_a_vector_is_the_output_for_red_green_and_blue_at_length_one(
    face_models, portrait, mean, deviation
):
    model, crop = open_model(face_models, SFACE), portrait.resize((112, 112))
    pixels = np.zeros((1, 3, 112, 112), dtype=np.float32)
    for channel, band in enumerate(crop.split()):
        pixels[0, channel] = (np.array(band, dtype=np.float32) - mean) / deviation
    wanted = model(pixels)["fc1"][0]
    found = Recogniser(model, mean=mean, deviation=deviation).embed(crop)
    assert found.shape == (WIDTH,)
    assert np.allclose(found, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_a_black_crop_still_has_finite_numbers(face_models):
    model = open_model(face_models, SFACE)
    vector = Recogniser(model, mean=0.0, deviation=1.0).embed(Image.new("RGB", (112, 112)))
    assert np.isfinite(vector).all()


def test_a_detector_is_no_recogniser(face_models):
    with pytest.raises(WeightsError, match="112 x 112"):
        Recogniser(open_model(face_models, YUNET), mean=0.0, deviation=1.0)


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


def test_a_network_of_several_outputs_is_no_recogniser(tmp_path):
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
