import pytest
import torch

from swiftpie.geometry import relief
from swiftpie.geometry.layout import Layout
from swiftpie.geometry.relief import Turned
from swiftpie_world.frames import pose_subjects
from swiftpie_world.lighting import Light

SHOWN = ("1f439", "1f916", "1f980", "1f995", "1f3e1", "1f687")


@pytest.fixture(scope="session")
def frames(subjects):
    """Reference frames (6, 4, 128, 128): a face, a robot, two animals, a house and a train."""
    tiles = subjects.tiles[[subjects.index(code) for code in SHOWN]]
    still = torch.zeros(len(tiles))
    return pose_subjects(tiles, rotation=still, flip=still, hue=still)


@pytest.fixture(scope="session")
def turned(frames):
    height = relief.height(frames[:, 3:])
    return Turned(frames, height, relief.normals(height))


@pytest.fixture
def make_layout(frames):
    def make(*, x=0.5, rotation=0.0, flip=0.0, pose=(0.0, 0.0, 0.0, 0.0)):
        def rows(*value):
            return torch.tensor(value).expand(len(frames), len(value))

        return Layout(
            centre=rows(x, 0.5),
            scale=rows(0.5)[:, 0],
            rotation=rows(rotation)[:, 0],
            flip=rows(flip)[:, 0],
            pose=rows(*pose),
        )

    return make


@pytest.fixture
def make_light(frames):
    def make(direction, *, strength=0.6, shadow=0.4, length=0.6):
        rows = torch.ones(len(frames), 1)
        towards = torch.nn.functional.normalize(torch.tensor([direction]), dim=1)
        return Light(
            direction=rows * towards,
            colour=rows.expand(-1, 3),
            ambient=rows.expand(-1, 3) * max(1 - strength, 0),
            strength=rows[:, 0] * strength,
            shadow=rows[:, 0] * shadow,
            length=rows[:, 0] * length,
        )

    return make
