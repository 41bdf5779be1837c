import pytest
import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_world.snapshots import SNAPSHOT_PX, draw_snapshots
from swiftpie_world.textures import make_textures


@pytest.fixture(scope="module")
def tiles():
    return sample_subjects().tiles


@pytest.fixture(scope="module")
def textures(tiles):
    return make_textures(40, tiles, [], seed=0)


@pytest.fixture(scope="module")
def drawn(tiles, textures):
    return draw_snapshots(tiles, textures, count=64, seed=1)


def test_the_seed_decides_everything(tiles, textures):
    first, again, other = (
        draw_snapshots(tiles, textures, count=3, seed=seed) for seed in (5, 5, 6)
    )
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.mask, again.mask)
    assert not torch.equal(first.mask, other.mask)


def test_pictures_and_masks_stay_in_range(drawn):
    assert drawn.pixels.shape == (64, 3, SNAPSHOT_PX, SNAPSHOT_PX)
    assert -1 <= drawn.pixels.min() <= drawn.pixels.max() <= 1
    assert drawn.mask.shape == (64, 1, SNAPSHOT_PX, SNAPSHOT_PX)
    assert 0 <= drawn.mask.min() <= drawn.mask.max() <= 1


def test_subjects_have_all_sizes_and_some_are_cut_by_the_edge(drawn):
    share = (drawn.mask > 0.5).float().mean(dim=(1, 2, 3))
    assert 0.005 < share[share > 0].min() < 0.06
    assert 0 < (share == 0).float().mean() < 0.2  # some have no subject
    assert share.max() > 0.4
    border = torch.cat([drawn.mask[..., 0, :], drawn.mask[..., -1, :]], dim=-1)
    assert 0.05 < (border.amax((1, 2)) > 0.5).float().mean() < 0.5


def test_the_outline_is_where_the_picture_changes(drawn):
    """Nothing but the outline of the mask tells where; colours and grounds are drawn at random."""
    change = drawn.pixels.diff(dim=3).abs().mean(1)
    is_outline = (drawn.mask > 0.5)[:, 0].float().diff(dim=2) != 0
    assert change[is_outline].mean() > 2 * change[~is_outline].mean()


def test_brightness_does_not_tell_the_subject(drawn):
    inside = (drawn.pixels.mean(1, keepdim=True) * drawn.mask).sum((1, 2, 3))
    inside = inside / drawn.mask.sum((1, 2, 3)).clamp_min(1)
    outside = (drawn.pixels.mean(1, keepdim=True) * (1 - drawn.mask)).sum((1, 2, 3))
    outside = outside / (1 - drawn.mask).sum((1, 2, 3))
    brighter = (inside > outside).float().mean()
    assert 0.25 < brighter < 0.75
