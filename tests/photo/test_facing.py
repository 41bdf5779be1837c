import json

import numpy as np
import pytest
import torch

from benchmarks.facing import fitted, measure
from swiftpie.geometry.ground import ASSETS
from swiftpie.imageio.decoding import load_image
from swiftpie.library import subject_library
from swiftpie.photo.cutout import cut_out
from swiftpie.photo.stance import FACING, facing_of
from tests.policy.project import SOURCE


def test_the_file_is_what_its_command_writes():
    new, stored = json.loads(measure(*fitted())), json.loads((ASSETS / FACING).read_text())
    assert new["left"] == stored["left"]
    assert np.abs(np.array(new["weights"]) - np.array(stored["weights"])).max() <= 1
    assert {*stored["left"]} <= {*subject_library().names()}


def test_an_outline_and_its_mirror_image_face_opposite_ways():
    mask = cut_out(load_image(SOURCE / "assets" / "photos" / "hedgehog.jpg")).mask
    assert (facing_of(mask), facing_of(mask.flip(3))) == (1, -1)
    assert facing_of(torch.zeros(1, 1, 8, 8)) == facing_of(torch.ones(1, 1, 8, 8)) == 0


@pytest.mark.parametrize(("name", "way"), [("zebra", -1), ("elephant", -1), ("robot", 0)])
def test_animals_of_the_library_face_left(session, name, way):
    identity = session.named(name)
    assert facing_of(identity.mask[:1], name=identity.named.name) == way
