import pytest
import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.training.stages.one_step.tasks import repainting
from swiftpie_world.sampler import World

SEEDS = range(8)


@pytest.fixture(scope="module")
def batch():
    return World(sample_subjects(), "held_out").batch(4, 3, seed=5)


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
