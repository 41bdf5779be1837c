import pytest
import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.training.stages.one_step.tasks import repainting
from swiftpie_world.sampler import LEAST_CHANGE, World
from swiftpie_world.textures import make_textures

SEEDS = range(8)


@pytest.fixture(scope="module")
def batch():
    world = World(sample_subjects(), "held_out")
    return world.batch(4, 3, seed=5)


def test_emptied_pictures_are_the_background_and_say_so(batch):
    emptied = 0
    for seed in SEEDS:
        wanted = repainting(batch, seed=seed, may_empty=True)
        for row, caption in enumerate(wanted.captions):
            if caption == batch.captions[row]:
                assert torch.equal(wanted.pixels[row], batch.pixels[row])
                continue
            emptied += 1
            assert caption != batch.captions[row]
            assert torch.equal(wanted.pixels[row], batch.background[row])
            assert wanted.mask[row].max() == 0
            # All of the subject that was there may be painted over.
            assert wanted.allowed[row][batch.mask[row] > 0.5].min() == 1
    assert 5 < emptied < 60


@pytest.fixture(scope="module")
def off_distribution(subjects):
    surfaces = make_textures(8, subjects.tiles, seed=0)
    return World(subjects, "held_out", surfaces=surfaces).batch(8, 2, seed=1, off_distribution=True)


@pytest.mark.parametrize("seed", range(4))
def test_of_pictures_unlike_the_world_only_what_changes_is_drawn(seed, off_distribution):
    wanted = repainting(off_distribution, seed=seed, may_empty=True)
    given = 1 - wanted.allowed
    is_whole = wanted.allowed.amin(dim=(1, 2, 3)) == 1
    assert is_whole.float().mean() < 0.5
    # What is given is the same with the subject and without it.
    untouched = (off_distribution.pixels - off_distribution.background).abs() * given
    is_drawn = wanted.allowed.amax(dim=(1, 2, 3)) > 0
    is_hat = wanted.hats.amax(dim=(1, 2, 3)) > 0.5
    assert (untouched.amax(dim=(1, 2, 3))[is_drawn & ~is_hat] <= LEAST_CHANGE).float().mean() > 0.7
