import numpy as np
import pytest
import torch

from swiftpie_lab.data.collages import COLLAGE_PX, MASK_PX, draw_collages
from tests.lab.collages import collection_of


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return collection_of(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def drawn(collection):
    return draw_collages(collection, count=48, seed=1).tensors()


def test_the_seed_decides_everything(collection):
    first, again, other = (draw_collages(collection, count=3, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.mask, other.mask)


def test_subjects_have_all_sizes_and_some_are_cut_by_the_edge(drawn):
    _, mask = drawn
    share = (mask > 0.5).float().mean(dim=(1, 2, 3))
    assert 0.005 < share[share > 0].min() < 0.1
    assert (share == 0).float().mean() < 0.2  # some have no subject
    assert share.max() > 0.4
    border = torch.cat([mask[..., 0, :], mask[..., -1, :]], dim=-1)
    assert 0.05 < (border.amax((1, 2)) > 0.5).float().mean() < 0.6


def test_the_outline_is_where_the_picture_changes(drawn):
    pixels, mask = drawn
    pixels = torch.nn.functional.avg_pool2d(pixels, COLLAGE_PX // MASK_PX)
    change = pixels.diff(dim=3).abs().mean(1)
    is_outline = (mask > 0.5)[:, 0].float().diff(dim=2) != 0
    assert change[is_outline].mean() > 2 * change[~is_outline].mean()
