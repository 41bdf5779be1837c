import math

import pytest
import torch

from swiftpie.geometry.layout import seen_view
from swiftpie.noise import draw_noise
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.posing import SeenPose, find_pose
from swiftpie_world.captions import SceneSpec
from swiftpie_world.places import PLACES, Setting
from swiftpie_world.sampler import World

LAWN = next(i for i, place in enumerate(PLACES) if place.name == "meadow")
HAMSTER = 0


@pytest.fixture(scope="module")
def world():
    return World(sample_subjects(), "held_out")


def found(world, spec, *, seed):
    noise, numbers = draw_noise([seed], (32, 16, 16)), torch.full((1, 16), 0.5)
    answer = world.answer(noise, [world.pool[HAMSTER]], [spec], numbers=numbers)
    shown = (answer.reference + 1) / 2 * answer.reference_mask
    reference = torch.cat([shown, answer.reference_mask], dim=1)
    rendering = answer.rendering
    return find_pose(rendering.pixels, rendering.mask, reference), answer.layout


@pytest.mark.thorough
@pytest.mark.parametrize("view", ["left", "above"])
def test_a_view_is_found_to_some_degrees(world, view):
    seen, layout = found(world, SceneSpec(Setting(LAWN), view=view), seed=5)
    yaw, pitch = torch.rad2deg(seen_view(layout)[0]).tolist()
    assert seen.view == pytest.approx((yaw, pitch), abs=8)
    assert seen.name == "none"


@pytest.mark.thorough
@pytest.mark.parametrize("pose", ["lying", "bent", "stretched"])
def test_a_pose_is_found_by_name(world, pose):
    seen, layout = found(world, SceneSpec(Setting(LAWN), pose=pose), seed=6)
    assert seen.name == pose
    apart = (seen.rotation - float(layout.rotation) + math.pi) % math.tau - math.pi
    assert abs(apart) < 0.25
    assert seen.stretch == pytest.approx(float(layout.pose[0, 2]), abs=0.1)


def test_a_pose_has_the_name_it_is_nearest_to():
    upright = SeenPose((30, 10), rotation=0.1, stretch=0.0, bend=0.0)
    assert upright.name == "none"
    assert upright._replace(rotation=-1.5).name == "lying"
    assert upright._replace(rotation=3.1).name == "upside down"
    assert upright._replace(rotation=0.45).name == "leaning"
    assert upright._replace(stretch=-0.3).name == "stretched"
    assert upright._replace(bend=-0.35).name == "bent"
