import numpy as np
import pytest
from PIL import Image

from swiftpie.faces.choose import CROP_PX, TEMPLATE, align, similarity_transform
from tests.tiny.faces import LANDMARKS


def applied(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def dense_solution(points, targets):
    rows, values = [], []
    for (x, y), (u, v) in zip(points, targets, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, x, y = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, x], [b, a, y]])


@pytest.mark.parametrize("seed", range(8))
def test_the_transform_is_the_least_squares_solution(seed):
    random = np.random.default_rng(seed)
    points, targets = random.normal(size=(2, 5, 2)) * 50 + random.normal(size=(2, 1, 2)) * 200
    found = similarity_transform(points, targets)
    assert np.allclose(found, dense_solution(points, targets), atol=1e-9)


def test_a_mirrored_face_is_not_mirrored_back():
    mirrored = TEMPLATE * [-1, 1]
    found = similarity_transform(mirrored, TEMPLATE)
    assert np.linalg.det(found[:, :2]) > 0
    assert not np.allclose(applied(found, mirrored), TEMPLATE, atol=1)


@pytest.mark.parametrize("side", [CROP_PX, 2 * CROP_PX])
def test_the_crop_is_the_picture_sampled_through_the_inverse(portrait, side):
    landmarks = np.array(LANDMARKS)
    crop = np.asarray(align(portrait, landmarks, side_px=side), dtype=float)
    matrix = similarity_transform(landmarks, TEMPLATE * side / CROP_PX)
    whole = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    rows, columns = np.mgrid[:side, :side]
    places = applied(whole, np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float))
    pixels = np.asarray(portrait, dtype=float)
    corner = np.floor(places).astype(int)
    share = places - corner
    dense = np.zeros((side * side, 3))
    for y in (0, 1):
        for x in (0, 1):
            weight = np.abs(1 - x - share[:, 0]) * np.abs(1 - y - share[:, 1])
            dense += weight[:, None] * pixels[corner[:, 1] + y, corner[:, 0] + x]
    assert np.abs(dense.reshape(side, side, 3) - crop).max() <= 1.01  # Pillow rounds down


def test_beyond_the_picture_is_black():
    crop = np.asarray(align(Image.new("RGB", (60, 60), "white"), TEMPLATE))
    assert crop[:59, :59].min() == 255
    assert crop[61:, 61:].max() == 0
