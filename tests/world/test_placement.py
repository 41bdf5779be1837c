import math
from dataclasses import replace

import pytest
import torch

from swiftpie.geometry.layout import seen_view
from swiftpie_world.captions import POSE_PHRASES, VIEWS, SceneSpec
from swiftpie_world.placement import place
from swiftpie_world.places import PLACES, Setting

PLAIN = SceneSpec(
    Setting(next(i for i, place in enumerate(PLACES) if not place.outdoors and place.grounded))
)
COUNT = 12  # layouts a spec


def layout_of(**words):
    noise = torch.randn(COUNT, 32, 16, 16, generator=torch.Generator().manual_seed(2))
    frames = torch.zeros(COUNT, 4, 128, 128)
    frames[..., 20:110, 30:100] = 1
    return place(noise, frames, [replace(PLAIN, **words)] * COUNT)


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_a_view_in_words_is_the_view_that_is_drawn(view):
    yaw, more, pitch, above = VIEWS[view]
    layout = layout_of(view=view)
    assert 0 < layout.flip.sum() < COUNT, "mirrored subjects are among them"
    pose = seen_view(layout) * 180 / math.pi
    for value, low, span in ((pose[:, 0], yaw, more), (pose[:, 1], pitch, above)):
        first, last = sorted((low, low + span))
        assert ((value >= first - 1e-3) & (value <= last + 1e-3)).all()


def test_words_turn_stretch_bend_lift_and_move():
    plain, left, right = layout_of(), layout_of(side="left"), layout_of(side="right")
    layouts = {pose: layout_of(pose=pose) for pose in POSE_PHRASES}
    assert plain.rotation.abs().max() < 0.2
    assert ((layouts["lying"].rotation.abs() - math.pi / 2).abs() < 0.2).all()
    assert ((layouts["upside down"].rotation.abs() - math.pi).abs() < 0.21).all()
    assert (layouts["squashed"].pose[:, 2] > 0.15).all()
    assert (layouts["stretched"].pose[:, 2] < -0.15).all()
    assert (layouts["bent"].pose[:, 3].abs() > 0.2).all()
    assert torch.allclose(layouts["jumping"].centre[:, 1], plain.centre[:, 1] - 0.16)
    assert {float(x) for x in layouts["bent"].pose[:, 3].sign()} == {-1.0, 1.0}
    assert left.centre[:, 0].max() < 0.5 < right.centre[:, 0].min()
