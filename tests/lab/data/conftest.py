import pytest

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.stickers.stickers import StickerWorld


@pytest.fixture(scope="session")
def subjects():
    return sample_subjects()


@pytest.fixture(scope="session")
def world(subjects):
    return StickerWorld(subjects, "held_out", size_px=64)


@pytest.fixture(scope="session")
def batch(world):
    return world.batch(6, 4, seed=11)
