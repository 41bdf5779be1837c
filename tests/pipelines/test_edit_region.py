import numpy as np
import pytest
import torch

from swiftpie.pipelines.edit_region import canvas_for, square_around
from tests.parity.edit import photograph, values


@pytest.mark.parametrize(
    ("size", "padded"),
    [((128, 128), (128, 128)), ((96, 160), (112, 176)), ((3000, 4000), (112, 160))],
)
def test_a_canvas_keeps_the_shape_and_pads_to_whole_cells(size, padded):
    canvas = canvas_for(size, side_px=128, unit_px=16)
    assert canvas.padded == padded
    assert all(0 <= p - c < 16 for p, c in zip(canvas.padded, canvas.content, strict=True))
    image = photograph(size[1], size[0])
    back = values(canvas.leave(-torch.ones(1, 3, *padded), image))
    assert back.shape == values(image).shape
    assert not back.any()  # all of it is the drawing
    assert tuple(canvas.enter(image).shape) == (1, 3, *padded)


def test_a_picture_comes_back_from_its_canvas_and_padding_repeats_its_border():
    image = photograph(200, 110)
    canvas = canvas_for((110, 200), side_px=128, unit_px=16)
    height, width = canvas.content
    assert height < canvas.padded[0]
    assert width < canvas.padded[1]
    pixels = canvas.enter(image)
    assert torch.equal(
        pixels[..., height:, :],
        pixels[..., height - 1 : height, :].expand_as(pixels[..., height:, :]),
    )
    assert torch.equal(
        pixels[..., width:], pixels[..., width - 1 : width].expand_as(pixels[..., width:])
    )
    assert np.abs(values(canvas.leave(pixels, image)) - values(image)).mean() < 2


def test_a_small_change_of_a_large_picture_has_a_window_of_its_own():
    spot = (2000, 1000, 2400, 1200)
    canvas = canvas_for((3000, 4000), side_px=128, unit_px=16, changes=spot)
    assert canvas.window == (1800, 700, 2600, 1500)
    assert canvas.content == canvas.padded == (128, 128)
    image = photograph(4000, 3000)
    joined = values(canvas.leave(-torch.ones(1, 3, 128, 128), image))
    outside = values(image).copy()
    outside[700:1500, 1800:2600] = 0
    assert np.array_equal(joined, outside)
    large = canvas_for((3000, 4000), side_px=128, unit_px=16, changes=(0, 0, 3000, 2000))
    small = canvas_for((100, 120), side_px=128, unit_px=16, changes=(5, 5, 20, 20))
    assert large == canvas_for((3000, 4000), side_px=128, unit_px=16)
    assert small == canvas_for((100, 120), side_px=128, unit_px=16)


@pytest.mark.parametrize("spot", [(0, 0, 10, 10), (390, 90, 400, 100), (5, 5, 395, 95)])
def test_a_window_lies_in_the_picture_and_holds_what_changes(spot):
    left, top, right, bottom = square_around(spot, (100, 400), least_px=64)
    assert 0 <= left <= spot[0]
    assert 0 <= top <= spot[1]
    assert spot[2] <= right <= 400
    assert spot[3] <= bottom <= 100
    assert right - left >= 64
