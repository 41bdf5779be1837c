import pytest
import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_world.textures import TEXTURE_PX, make_textures, spectral


@pytest.fixture(scope="module")
def tiles():
    return sample_subjects().tiles


@pytest.fixture(scope="module")
def textures(tiles):
    return make_textures(24, tiles, seed=3)


def test_the_seed_decides_and_no_texture_comes_twice(tiles, textures):
    assert torch.equal(make_textures(24, tiles, seed=3), textures)
    assert not torch.equal(make_textures(24, tiles, seed=4), textures)
    assert len({texture.numpy().tobytes() for texture in textures}) == 24


def test_textures_show_something_in_many_colours(textures):
    values = textures.float()
    assert textures.shape == (24, 3, TEXTURE_PX, TEXTURE_PX)
    assert values.std(dim=(2, 3)).mean(1).median() > 5  # of 255
    means = values.mean(dim=(2, 3))
    assert (means.std(dim=0) > 20).all()


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_steeper_spectra_are_smoother(slope):
    (rough,), (smooth,) = (
        spectral(torch.Generator().manual_seed(0), 1, slope=s) for s in (slope, slope + 1)
    )
    assert rough.std().item() == pytest.approx(1, abs=1e-3)
    assert smooth.diff().std() < rough.diff().std()


def test_stretched_fields_change_less_along_their_fibres():
    (field,) = spectral(torch.Generator().manual_seed(0), 1, slope=1.0, stretch=8.0)
    assert field.diff(dim=1).std() < 0.5 * field.diff(dim=0).std()
