"""Subjects keep their shape and their footing in pictures of any shape."""

import pytest
import torch

from swiftpie.geometry.layout import (
    SQUARE,
    SUBJECT_FILL,
    fitted,
    from_box,
    pixel_grid,
    to_affine,
    warp,
)

SIZES = [(96, 96), (96, 192), (192, 96)]  # height and width
BOX = (0.3, 0.4, 0.6, 0.8)


def disc(side=256):
    points = pixel_grid(side, side, like=torch.zeros(1))
    return (points.norm(dim=-1) < SUBJECT_FILL).float()[None, None]


def sides_px(picture):
    solid = picture[0, 0] > 0.5
    return int(solid.any(dim=0).sum()), int(solid.any(dim=1).sum())


@pytest.mark.parametrize("size", SIZES)
def test_a_disc_stays_round_and_fills_its_box_along_the_longer_side(size):
    drawn = warp(disc(), to_affine(from_box(BOX, size=size)), size)
    wide, tall = sides_px(drawn)
    assert wide == pytest.approx(tall, abs=1)
    longer = max((BOX[2] - BOX[0]) * size[1], (BOX[3] - BOX[1]) * size[0])
    assert wide == pytest.approx(longer, abs=2)


@pytest.mark.parametrize("size", SIZES)
def test_a_turned_disc_is_round_too(size):
    layout = from_box(BOX, size=size)._replace(rotation=torch.tensor([0.7]))
    wide, tall = sides_px(warp(disc(), to_affine(layout), size))
    assert wide == pytest.approx(tall, abs=1)


@pytest.mark.parametrize("size", SIZES)
def test_what_was_placed_in_a_square_keeps_size_and_feet_in_another_shape(size):
    square = from_box(BOX)
    drawn = warp(disc(), to_affine(fitted(square, size)), size)
    wide, tall = sides_px(drawn)
    assert wide == pytest.approx(tall, abs=1)
    assert tall == pytest.approx((BOX[3] - BOX[1]) * min(size), abs=2)
    feet = (drawn[0, 0] > 0.5).any(dim=1).nonzero().max() + 1
    assert feet == pytest.approx(BOX[3] * size[0], abs=2)


def test_squares_are_placed_as_they_were():
    layout = from_box(BOX)
    assert layout.scale.shape == (1,)
    for one, other in zip(layout, fitted(layout, SQUARE), strict=True):
        assert torch.equal(one, other)
