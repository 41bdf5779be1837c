"""Pictures of any shape on the canvas that the networks see, and back."""

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie.images import to_pil
from swiftpie.pipelines.edit_region import canvas_for
from tests.parity.edit import photograph


def values(image):
    return np.asarray(image, dtype=np.int16)


@pytest.mark.parametrize(
    ("size", "padded"),
    [((128, 128), (128, 128)), ((96, 160), (112, 176)), ((3000, 4000), (112, 160))],
)
def test_a_canvas_keeps_the_shape_and_pads_to_whole_cells(size, padded):
    canvas = canvas_for(size, side_px=128, unit_px=16)
    assert canvas.padded == padded
    assert all(0 <= p - c < 16 for p, c in zip(canvas.padded, canvas.content, strict=True))
    image = photograph(size[1], size[0])
    back = canvas.leave(Image.new("RGB", (padded[1], padded[0])))
    assert back.size == image.size
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
    assert np.abs(values(canvas.leave(to_pil(pixels)[0])) - values(image)).mean() < 2
