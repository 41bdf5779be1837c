import pytest

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_world.sampler import World


@pytest.fixture(scope="session")
def subjects():
    return sample_subjects()


@pytest.fixture(scope="session")
def world(subjects):
    return World(subjects, "held_out", size_px=128)


@pytest.fixture(scope="session")
def batch(world):
    return world.batch(6, 4, seed=11)
