import pytest
import torch

from swiftpie.geometry.layout import SUBJECT_FILL
from swiftpie_world.frames import bounding_box, pose_subjects


def pose(tiles, *, rotation=0.0, flip=0.0, hue=0.0):
    values = {"rotation": rotation, "flip": flip, "hue": hue}
    return pose_subjects(tiles, **{k: torch.full((len(tiles),), v) for k, v in values.items()})


@pytest.mark.parametrize("rotation", [0.0, 0.2, -0.7, 2.0])
def test_posed_subjects_are_centred_and_fill_the_frame(subjects, rotation):
    low, high = bounding_box(pose(subjects.tiles, rotation=rotation)[:, 3:])
    longer_side = (high - low).amax(dim=1) / 2
    assert (longer_side - SUBJECT_FILL).abs().max() < 0.03
    assert ((low + high) / 2).abs().max() < 0.03


def test_flip_mirrors_the_frame(subjects):
    mirrored = pose(subjects.tiles, flip=1.0)
    assert torch.allclose(mirrored.flip(3), pose(subjects.tiles), atol=0.02)


def test_hue_changes_colours_but_not_the_shape(subjects):
    plain, turned = pose(subjects.tiles), pose(subjects.tiles, hue=2.0)
    assert torch.allclose(plain[:, 3], turned[:, 3])
    assert (plain[:, :3] - turned[:, :3]).abs().mean() > 0.02


def test_frames_are_premultiplied(subjects):
    frames = pose(subjects.tiles, rotation=0.1, hue=1.0)
    assert frames.min() >= 0
    assert (frames[:, :3] - frames[:, 3:]).max() < 0.02
