import pytest

from swiftpie.data.stickers import StickerWorld
from swiftpie.data.subjects import sample_subjects


@pytest.fixture(scope="session")
def subjects():
    return sample_subjects()


@pytest.fixture(scope="session")
def world(subjects):
    return StickerWorld(subjects, "held_out", size_px=64)


@pytest.fixture(scope="session")
def batch(world):
    return world.batch(6, 4, seed=11)
