import numpy as np
import pytest
from PIL import Image

from swiftpie.errors import ImageError
from swiftpie.faces.choose import face_region
from tests.faces.tiny_faces import BOX


def test_the_region_holds_the_face_and_little_else(encoder, portrait):
    mask = np.asarray(face_region(encoder, portrait).mask) > 0
    left, top, right, bottom = (round(edge) for edge in BOX)
    assert mask[top:bottom, left:right].all()
    assert mask.shape == (256, 256)
    assert mask.mean() < 2.5 * (right - left) * (bottom - top) / mask.size


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_the_region_of_a_turned_photograph_turns_with_it(encoder, portrait, turn):
    upright = np.asarray(face_region(encoder, portrait).mask)
    turned = face_region(encoder, portrait.rotate(turn)).mask.rotate(-turn)
    assert np.mean(upright != np.asarray(turned)) < 0.01


def test_a_picture_without_a_face_is_refused_with_what_to_do(encoder):
    with pytest.raises(ImageError, match=r"80x60 px.*by a mask or a box"):
        face_region(encoder, Image.new("RGB", (80, 60)))
