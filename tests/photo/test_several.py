"""Outlines that agree are one subject; what joins two, and what is a part, is none."""

from pathlib import Path

import pytest
import torch

import swiftpie
from swiftpie.errors import NoSubject
from swiftpie.imageio.decoding import load_image
from swiftpie.photo.several import agreeing, cut_out_all
from tests.golden.cases import photo


def box(left, top, right, bottom):
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., top:bottom, left:right] = 1
    return mask


LEFT, RIGHT, BOTH = box(5, 20, 40, 80), box(55, 20, 90, 80), box(5, 20, 90, 80)


@pytest.mark.parametrize(
    ("masks", "sure", "kept"),
    [
        ([], [], []),
        ([LEFT, box(6, 20, 40, 80), RIGHT], [0.8, 0.9, 0.9], [1, 2]),
        ([BOTH, LEFT, RIGHT], [0.99, 0.9, 0.8], [1, 2]),
        ([LEFT, box(10, 30, 25, 50)], [0.8, 0.9], [0]),
    ],
)
def test_each_subject_is_kept_once(masks, sure, kept):
    assert sorted(agreeing(masks, sure)) == kept


def test_a_plain_picture_shows_none():
    with pytest.raises(NoSubject, match="No subject stands out"):
        cut_out_all(photo().resize((64, 64)).point(lambda _: 128))


def test_a_subject_that_is_not_sure_enough_for_several_is_said_to_stand_out():
    sample = load_image(Path(swiftpie.__file__).parent / "assets" / "photos" / "dog.jpg")
    with pytest.raises(NoSubject, match=r"no outline is sure.*Cut out one subject alone"):
        cut_out_all(sample)
