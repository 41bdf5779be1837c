import math
from dataclasses import replace

import pytest
import torch

from swiftpie.geometry.layout import seen_view
from swiftpie_world.captions import POSE_PHRASES, VIEWS, SceneSpec
from swiftpie_world.placement import place
from swiftpie_world.places import PLACES, Setting

GROUNDED = next(i for i, place in enumerate(PLACES) if not place.outdoors and place.grounded)
PLAIN = SceneSpec(Setting(GROUNDED))
VIEWED = 12  # layouts a spec


@pytest.fixture(scope="module")
def layout_of(frames):
    noise = torch.randn(VIEWED, 32, 16, 16, generator=torch.Generator().manual_seed(2))
    rows = frames[:1].expand(VIEWED, -1, -1, -1)
    return lambda specs: place(noise, rows, [specs] * VIEWED)


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_a_view_in_words_is_the_view_that_is_drawn(layout_of, view):
    yaw, more, pitch, above = VIEWS[view]
    layout = layout_of(replace(PLAIN, view=view))
    assert 0 < layout.flip.sum() < VIEWED, "mirrored subjects are among them"
    pose = seen_view(layout) * 180 / math.pi
    for value, low, span in ((pose[:, 0], yaw, more), (pose[:, 1], pitch, above)):
        first, last = sorted((low, low + span))
        assert ((value >= first - 1e-3) & (value <= last + 1e-3)).all()


def test_poses_turn_stretch_bend_and_lift(layout_of):
    plain = layout_of(PLAIN)
    layouts = {pose: layout_of(replace(PLAIN, pose=pose)) for pose in POSE_PHRASES}
    assert plain.rotation.abs().max() < 0.2
    assert ((layouts["lying"].rotation.abs() - math.pi / 2).abs() < 0.2).all()
    assert ((layouts["upside down"].rotation.abs() - math.pi).abs() < 0.21).all()
    assert (layouts["squashed"].pose[:, 2] > 0.15).all()
    assert (layouts["stretched"].pose[:, 2] < -0.15).all()
    assert (layouts["bent"].pose[:, 3].abs() > 0.2).all()
    assert torch.allclose(layouts["jumping"].centre[:, 1], plain.centre[:, 1] - 0.16)
    assert {float(x) for x in layouts["bent"].pose[:, 3].sign()} == {-1.0, 1.0}


def test_sides_are_kept(layout_of):
    left, right = (layout_of(replace(PLAIN, side=side)) for side in ("left", "right"))
    assert left.centre[:, 0].max() < 0.5 < right.centre[:, 0].min()
