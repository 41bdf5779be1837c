"""Tests of eyes in photographs."""

import torch

from swiftpie.geometry.eyes import photographed_eyes
from swiftpie.geometry.layout import pixel_grid

HEAD_X, TOP, WIDTH, APART = 0.1, -0.7, 0.9, 0.2


def frame_with_face(roughness):
    """Return a disc with eyes, (1, 4, 128, 128), as rough as fur or as smooth as a drawing."""
    x, y = pixel_grid(128, 128, like=torch.zeros(1)).unbind(-1)
    inside = (x.square() + y.square() < 0.7**2).float()
    grain = torch.rand(128, 128, generator=torch.Generator().manual_seed(0)) - 0.5
    light = 0.6 + roughness * grain
    for spot_x, spot_y in ((HEAD_X - APART, -0.3), (HEAD_X + APART, -0.3), (HEAD_X, 0.0)):
        light = torch.where((x - spot_x) ** 2 + (y - spot_y) ** 2 < 0.05**2, 0.05, light)
    return torch.cat([(light * inside).expand(1, 3, -1, -1), inside[None, None]], dim=1)


def test_eyes_are_found_in_fur_and_not_in_drawings():
    frames = torch.cat([frame_with_face(0.1), frame_with_face(0.0)])
    head = (torch.full((2,), value) for value in (HEAD_X, TOP, WIDTH))
    found = torch.stack(photographed_eyes(frames, *head), dim=1)
    torch.testing.assert_close(found[0], torch.tensor([HEAD_X, -0.3, APART]), atol=0.04, rtol=0)
    assert found[1].isnan().all()
