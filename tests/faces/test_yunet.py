import math

import numpy as np
import pytest
from PIL import Image

from swiftpie.errors import WeightsError
from swiftpie.faces.encoders.onnx import SFACE
from swiftpie.faces.onnx import OnnxModel, open_model
from swiftpie.faces.yunet import (
    MAX_OVERLAP,
    MIN_SCORE,
    OUTPUTS,
    STRIDES,
    Detections,
    YuNet,
    decode,
    overlap,
    prepare,
    suppress,
)
from tests.faces.tiny_faces import BOX, LANDMARKS

WIDTH, HEIGHT = 96, 64


@pytest.fixture(scope="module")
def outputs():
    """What the network might say of a picture that is not square."""
    random = np.random.default_rng(3)
    values = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    found = {}
    for name in OUTPUTS:
        kind, stride = name.split("_")
        cells = (WIDTH // int(stride)) * (HEIGHT // int(stride))
        shape = (1, cells, values[kind])
        spread = (
            random.uniform(-0.2, 1.2, shape) if values[kind] == 1 else random.normal(size=shape)
        )
        found[name] = spread.astype(np.float32)
    return found


def decoded_one_by_one(outputs):
    """The definition, cell by cell, in plain numbers."""
    faces = []
    for stride in STRIDES:
        columns = WIDTH // stride
        for cell in range(columns * (HEIGHT // stride)):
            x, y = cell % columns, cell // columns
            cls, obj, box, points = (
                [float(one) for one in outputs[f"{kind}_{stride}"][0, cell]]
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
    found, wanted = decode(outputs, (WIDTH, HEIGHT)), decoded_one_by_one(outputs)
    assert len(found.scores) == len(wanted) > 20
    for part, index in ((found.scores, 0), (found.boxes, 1), (found.landmarks, 2)):
        assert np.allclose(part, [face[index] for face in wanted], rtol=1e-4, atol=1e-3)


def test_suppression_keeps_the_surest_of_those_that_overlap(outputs):
    found = decode(outputs, (WIDTH, HEIGHT))
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


def test_nothing_is_found_among_nothing():
    empty = Detections(np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0))
    assert len(suppress(empty).scores) == 0


def test_the_network_sees_blue_first_and_the_picture_in_the_corner():
    picture = Image.new("RGB", (4, 2), (10, 20, 30))
    values = prepare(picture, 2.0, (12, 8))
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
    middle = portrait.crop((64, 54, 192, 182))
    (face,) = encoder.find(middle)
    assert np.allclose(np.add(face.box, (64, 54, 64, 54)), BOX, atol=8)


def test_another_network_is_refused(face_models):
    recogniser = open_model(face_models, SFACE)
    assert isinstance(recogniser, OnnxModel)
    with pytest.raises(WeightsError, match=r"cls_8.*no YuNet"):
        YuNet(recogniser)
