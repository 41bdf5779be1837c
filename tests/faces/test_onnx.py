import logging
import math

import numpy as np
import onnx
import pytest
from PIL import Image

from swiftpie.errors import WeightsError
from swiftpie.faces import ModelFile
from swiftpie.faces.choose import align
from swiftpie.faces.encoders.onnx import (
    MAX_OVERLAP,
    MIN_SCORE,
    OUTPUTS,
    SFACE,
    STRIDES,
    YUNET,
    OnnxNetwork,
    Recogniser,
    YuNet,
    decode,
    open_model,
    overlap,
    prepare,
    suppress,
)
from tests.tiny.faces import BOX, LANDMARKS, recogniser, similarity, steady_detector


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_missing_file_is_named_with_its_licence_and_its_source(tmp_path, has_folder):
    with pytest.raises(WeightsError) as caught:
        open_model(tmp_path if has_folder else None, SFACE)
    message = str(caught.value)
    for part in (SFACE.name, "Apache-2.0", "opencv_zoo", "`face_models=`"):
        assert part in message


def test_a_broken_file_is_reported(tmp_path):
    (tmp_path / YUNET.name).write_bytes(b"no model")
    with pytest.raises(WeightsError, match="not a readable ONNX model"):
        open_model(tmp_path, YUNET)


def test_a_file_that_is_not_the_published_one_is_reported(face_models, caplog):
    with caplog.at_level(logging.WARNING):
        open_model(face_models, SFACE)
    assert "not the published file" in caplog.text


@pytest.fixture
def opened(face_models):
    return Recogniser(open_model(face_models, SFACE), mean=0.0, deviation=1.0)


@pytest.fixture
def theirs(face_models):
    cv2 = pytest.importorskip("cv2", reason="needs `pip install opencv-python`")
    return cv2.FaceRecognizerSF.create(str(face_models / SFACE.name), "")


def blue_first(image):
    return np.ascontiguousarray(np.asarray(image)[..., ::-1])


def test_crops_agree_with_those_of_opencv(theirs, portrait):
    found = np.zeros((1, 15), dtype=np.float32)
    found[0, 4:14] = np.ravel(LANDMARKS)
    crop = theirs.alignCrop(blue_first(portrait), found).astype(int)
    ours = blue_first(align(portrait, np.array(LANDMARKS))).astype(int)
    # Of 255 levels: OpenCV cuts off where we round, and its release 4 counts in 32nds of a pixel.
    assert np.abs(ours - crop).max() <= 2
    assert crop.std() > 20


def test_vectors_agree_with_those_of_opencv(opened, theirs, portrait):
    crop = align(portrait, np.array(LANDMARKS))
    vector = theirs.feature(blue_first(crop)).ravel()
    assert np.allclose(opened.embed(crop), vector / np.linalg.norm(vector), rtol=0, atol=1e-5)
    assert similarity(opened.embed(Image.fromarray(blue_first(crop))), vector) < 0.999


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


INPUT_WIDTH, INPUT_HEIGHT = 96, 64


@pytest.fixture(scope="module")
def outputs():
    random = np.random.default_rng(3)
    values = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    found = {}
    for name in OUTPUTS:
        kind, stride = name.split("_")
        cells = (INPUT_WIDTH // int(stride)) * (INPUT_HEIGHT // int(stride))
        shape = (1, cells, values[kind])
        spread = (
            random.uniform(-0.2, 1.2, shape) if values[kind] == 1 else random.normal(size=shape)
        )
        found[name] = spread.astype(np.float32)
    return found


def decoded_one_by_one(outputs):
    faces = []
    for stride in STRIDES:
        columns = INPUT_WIDTH // stride
        for cell in range(columns * (INPUT_HEIGHT // stride)):
            x, y = cell % columns, cell // columns
            cls, obj, box, points = (
                [float(output) for output in outputs[f"{kind}_{stride}"][0, cell]]
                for kind in ("cls", "obj", "bbox", "kps")
            )
            score = math.sqrt(min(max(cls[0], 0), 1) * min(max(obj[0], 0), 1))
            if score < MIN_SCORE:
                continue
            middle = ((x + box[0]) * stride, (y + box[1]) * stride)
            size = (math.exp(box[2]) * stride, math.exp(box[3]) * stride)
            edges = [middle[0] - size[0] / 2, middle[1] - size[1] / 2]
            edges += [middle[0] + size[0] / 2, middle[1] + size[1] / 2]
            places = [
                ((points[2 * i] + x) * stride, (points[2 * i + 1] + y) * stride) for i in range(5)
            ]
            faces.append((score, edges, places))
    return sorted(faces, key=lambda face: -face[0])


def test_decoding_matches_the_definition_cell_by_cell(outputs):
    found, wanted = decode(outputs, (INPUT_WIDTH, INPUT_HEIGHT)), decoded_one_by_one(outputs)
    assert len(found.scores) == len(wanted) > 20
    for part, index in ((found.scores, 0), (found.boxes, 1), (found.landmarks, 2)):
        assert np.allclose(part, [face[index] for face in wanted], rtol=1e-4, atol=1e-3)


def test_suppression_keeps_the_surest_of_those_that_overlap(outputs):
    found = decode(outputs, (INPUT_WIDTH, INPUT_HEIGHT))
    kept = suppress(found)
    assert 1 < len(kept.scores) < len(found.scores)
    assert (np.diff(kept.scores) <= 0).all()
    for index, box in enumerate(kept.boxes[:-1]):
        assert overlap(box, kept.boxes[index + 1 :]).max() <= MAX_OVERLAP
    for box, score in zip(found.boxes, found.scores, strict=True):
        surer = kept.boxes[kept.scores >= score]
        assert overlap(box, surer).max() > MAX_OVERLAP or (surer == box).all(axis=1).any()


def test_overlap_of_known_boxes():
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]], dtype=np.float32)
    assert np.allclose(overlap(others[0], others), [1, 2 / 6, 0])


def test_the_network_sees_blue_first_and_the_picture_in_the_corner():
    values = prepare(Image.new("RGB", (4, 2), (10, 20, 30)), 2.0, (12, 8))
    assert values.shape == (1, 3, 8, 12)
    assert values[0, :, 0, 0].tolist() == [30, 20, 10]
    assert values[0, :, 4:].max() == values[0, :, :, 8:].max() == 0


@pytest.mark.parametrize("scale", [0.5, 1, 3])
def test_a_face_is_found_where_it_is_at_any_size_of_the_picture(encoder, portrait, scale):
    side = int(256 * scale)
    (face,) = encoder.find(portrait.resize((side, side), Image.Resampling.LANCZOS))
    assert np.allclose(np.array(face.box) / scale, BOX, atol=1)
    assert np.allclose(face.landmarks / scale, LANDMARKS, atol=1)


def test_a_smaller_look_finds_what_is_too_large(encoder, portrait):
    """Cut out and letterboxed, this face fills twice as much of the input as the filter's does."""
    (face,) = encoder.find(portrait.crop((64, 54, 192, 182)))
    assert np.allclose(np.add(face.box, (64, 54, 64, 54)), BOX, atol=8)


def test_another_network_is_refused(face_models):
    recogniser = open_model(face_models, SFACE)
    assert isinstance(recogniser, OnnxNetwork)
    with pytest.raises(WeightsError, match=r"cls_8.*no YuNet"):
        YuNet(recogniser)
