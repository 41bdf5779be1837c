import logging

import numpy as np
import pytest
from PIL import Image

from swiftpie.errors import WeightsError
from swiftpie.faces.encoders.opencv import SFACE
from swiftpie.faces.onnx_encoder import YUNET
from swiftpie.faces.recogniser import Recogniser
from swiftpie.faces.runtime import open_model
from tests.faces.tiny_faces import WIDTH


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
