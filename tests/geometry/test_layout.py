import math

import pytest
import torch

from swiftpie.geometry.layout import (
    SQUARE,
    SUBJECT_FILL,
    fitted,
    from_box,
    pixel_grid,
    sample,
    seen_view,
    to_affine,
    upright,
    warp,
)
from swiftpie.imageio.images import bounding_box

SIZES = [(96, 96), (96, 192), (192, 96)]  # height and width
BOX = (0.3, 0.4, 0.6, 0.8)


def disc(side=256):
    points = pixel_grid(side, side, like=torch.zeros(1))
    return (points.norm(dim=-1) < SUBJECT_FILL).float()[None, None]


def sides_px(picture):
    solid = picture[0, 0] > 0.5
    return int(solid.any(dim=0).sum()), int(solid.any(dim=1).sum())


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 96)])
@pytest.mark.parametrize("extent", [(0.9, 0.3), (0.3, 0.9), (0.9, 0.9)])
def test_a_subject_fits_into_its_box_and_stands_on_its_lower_side(size, extent):
    box = (0.25, 0.1, 0.75, 0.9)
    frame = torch.zeros(1, 1, 128, 128)
    wide, tall = (round(64 * share) for share in extent)
    frame[..., 64 - tall : 64 + tall, 64 - wide : 64 + wide] = 1
    layout = from_box(box, size=size, extent=torch.tensor([extent]))
    drawn = warp(frame, to_affine(layout), (4 * size[0], 4 * size[1]))
    left, top, right, bottom = bounding_box(drawn)
    assert bottom == pytest.approx(0.9, abs=0.02)
    assert (left + right) / 2 == pytest.approx(0.5, abs=0.02)
    assert left > 0.25 - 0.02
    assert right < 0.75 + 0.02
    assert top > 0.1 - 0.02
    fills = [(right - left) / 0.5, (bottom - top) / 0.8]
    assert max(fills) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("size", SIZES)
def test_a_disc_stays_round_and_fills_its_box_along_the_longer_side(size):
    wide, tall = sides_px(warp(disc(), to_affine(from_box(BOX, size=size)), size))
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
    drawn = warp(disc(), to_affine(fitted(from_box(BOX), size)), size)
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


@pytest.fixture
def three_cores():
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(usual)


@pytest.mark.usefixtures("three_cores")
def test_cores_that_share_rows_sample_what_one_does():
    values, grid = torch.rand(1, 2, 9, 9), 2.2 * torch.rand(1, 131, 128, 2) - 1.1
    expected = torch.nn.functional.grid_sample(values, grid, align_corners=False)
    assert torch.equal(sample(values, grid), expected)


def test_upright_subjects_show_the_side_that_they_showed_and_bend_to_it():
    layout = from_box(BOX, view=(20, 10))._replace(
        rotation=torch.tensor([0.4]), pose=torch.tensor([[0.3, 0.1, 0.2, 0.4]])
    )
    for was, flip in ((0.0, False), (1.0, False), (0.0, True), (1.0, True)):
        before = layout._replace(flip=torch.tensor([was]))
        after = upright(before, flip=flip, tilt=90)
        assert torch.equal(after.flip, torch.tensor([float(flip)]))
        assert float(after.rotation) == pytest.approx(math.pi / 2)
        assert torch.equal(seen_view(after), seen_view(layout) * torch.tensor([1 - 2 * was, 1]))
        bends = (after.pose[:, 3] * (1 - 2 * after.flip), before.pose[:, 3] * (1 - 2 * was))
        assert torch.equal(*bends)
        assert torch.equal(after.pose[:, 2], before.pose[:, 2])
