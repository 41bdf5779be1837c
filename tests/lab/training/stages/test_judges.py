import math

import pytest
import torch
from torch import nn

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.training.stages.judges import (
    CLOSE_QUESTIONS,
    UNKNOWN,
    WHOLE_QUESTIONS,
    WorldJudgesConfig,
    WorldJudgesStage,
    labels_of,
)
from swiftpie_world.captions import NONE, SceneSpec
from swiftpie_world.places import PLACES, Setting
from swiftpie_world.sampler import World

ROOM = next(i for i, place in enumerate(PLACES) if not place.outdoors)
LAND = next(i for i, place in enumerate(PLACES) if place.has_seasons)


@pytest.fixture(scope="module")
def stage():
    world = World(sample_subjects(), "held_out")
    return WorldJudgesStage(world, world, config=WorldJudgesConfig(num_subjects=8))


def test_labels_are_what_was_asked_and_unknown_where_nothing_tells(stage):
    specs = [
        SceneSpec(Setting(ROOM)),
        SceneSpec(Setting(LAND, 2, 1, 3), colour="red", rendition="ink"),
    ]
    labels = labels_of(stage.world.batch(2, 1, seed=1, specs=specs))
    assert labels["time"].tolist() == [UNKNOWN, 2]
    assert labels["weather"].tolist() == [UNKNOWN, 1]
    assert labels["season"].tolist() == [UNKNOWN, 3]
    assert labels["place"].tolist() == [ROOM, LAND]
    assert labels["colour"].tolist() == [
        CLOSE_QUESTIONS["colour"].index(name) for name in (NONE, "red")
    ]
    assert labels["rendition"].tolist() == [0, WHOLE_QUESTIONS["rendition"].index("ink")]


def test_a_jump_is_known_only_where_there_is_ground_to_leave(stage):
    floor = next(i for i, place in enumerate(PLACES) if place.grounded)
    sky = next(i for i, place in enumerate(PLACES) if not place.grounded)
    poses = [(floor, "jumping"), (floor, "lying"), (sky, "jumping")]
    specs = [SceneSpec(Setting(place), size="huge", pose=pose) for place, pose in poses]
    assert labels_of(stage.world.batch(3, 1, seed=1, specs=specs))["jump"].tolist() == [
        CLOSE_QUESTIONS["jump"].index("jumping"),
        CLOSE_QUESTIONS["jump"].index(NONE),
        UNKNOWN,
    ]


class NumberEmbedder(nn.Module):
    """Embeds a picture by the number of its row alone; `views` rows share a number."""

    def __init__(self, views):
        super().__init__()
        self.views = views

    def forward(self, pixels):
        return torch.eye(len(pixels)).repeat_interleave(self.views, dim=0)[: len(pixels)]


def test_two_pictures_of_a_subject_are_compared_and_no_picture_with_itself(stage):
    network = stage.network()
    network.subject_embedder = NumberEmbedder(views=2)
    assert stage.losses(network, 5)["subject"] < 1e-3
    network.subject_embedder = NumberEmbedder(views=1)  # tells pictures apart, and no subject
    chance = math.log(stage.config.num_subjects)
    assert stage.losses(network, 5)["subject"].item() == pytest.approx(chance)
