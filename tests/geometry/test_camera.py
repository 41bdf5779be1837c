import math

import pytest
import torch

from swiftpie.geometry.camera import Camera


@pytest.mark.parametrize("pitch", [0.0, 0.3])
def test_a_pixel_sees_the_ground_where_its_ray_meets_it(pitch):
    camera = Camera(height=1.5, distance=4.0, pitch=pitch, focal=0.6, column=0.4, row=0.45)
    places, is_ground = camera.ground(256)
    for right, behind in ((0.0, 0.0), (0.5, -1.0), (-0.8, 2.0)):
        ahead = camera.distance + behind
        depth = ahead * math.cos(pitch) + camera.height * math.sin(pitch)
        above = ahead * math.sin(pitch) - camera.height * math.cos(pitch)
        column = round(256 * (camera.column + camera.focal * right / depth) - 0.5)
        row = round(256 * (camera.row - camera.focal * above / depth) - 0.5)
        assert is_ground[0, row, column]
        found = places[:, row, column]
        assert torch.allclose(found, torch.tensor([right, behind]), atol=0.2), (right, behind)


def test_an_aimed_camera_sees_the_foot_where_it_should():
    camera = Camera.aimed(1.2, 3.0, 0.2, 1.1, (0.4, 0.75))
    places, is_ground = camera.ground(200)
    assert is_ground[0, 149, 79]
    assert places[:, 149:151, 79:81].mean((1, 2)).abs().max() < 0.02


def test_nothing_above_the_horizon_is_ground():
    camera = Camera(height=1.0, distance=3.0, pitch=0.0, focal=1.0, column=0.5, row=0.5)
    _, is_ground = camera.ground(64)
    assert not is_ground[0, :32].any()
    assert is_ground[0, 33:].all()
