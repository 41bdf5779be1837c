from dataclasses import replace

import pytest
import torch

from swiftpie.geometry.layout import Layout, from_box
from swiftpie.imageio.images import bounding_box
from swiftpie.masks import box_mask
from swiftpie.mini.insert import PlacedSubject, insertion_condition
from swiftpie.pipelines.settings import Scales

PIXELS = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
CENTRE = box_mask((0.25, 0.25, 0.75, 0.75), height=128, width=128)
STRENGTH = replace(Scales.for_edit(), identity_scale=0.0, background_scale=1.0, text_scale=1.0)


@pytest.fixture
def components(session):
    return session.components


def condition(components, changes, identity, shown=None):
    box = from_box(bounding_box(changes), size=(128, 128))
    layout = Layout(*(values.expand(2, *values.shape[1:]) for values in box))
    return insertion_condition(
        components,
        PIXELS if shown is None else shown,
        changes,
        subject=PlacedSubject(identity, layout, None),
        shows=(1.0, 0.0),
        class_tokens=components.text.find_words("a dog on a beach", ["", ""]),
        scales=STRENGTH,
    )


def test_what_stays_is_aligned_with_itself(components, identity):
    aligned = condition(components, CENTRE, identity).aligned[1:, 1, :32]  # without the subject
    kept = components.autoencoder.encode(PIXELS * (1 - CENTRE))
    assert torch.allclose(aligned[..., 0, :], kept[..., 0, :], atol=1e-4)
    assert aligned[..., 5:11, 5:11].abs().max() == 0


def test_what_changes_is_never_shown(components, identity):
    first = condition(components, CENTRE, identity)
    again = condition(components, CENTRE, identity, PIXELS + CENTRE * 0.5)
    assert torch.equal(first.aligned, again.aligned)
    assert torch.equal(first.attention.identity_tokens, again.attention.identity_tokens)


def test_a_new_subject_fills_the_mask_in_front(components, identity):
    both = condition(components, CENTRE, identity)
    assert both.attention.region.shape[1] == 2
    front, behind = both.attention.region[0]
    assert torch.allclose(front + behind, torch.ones_like(front))
    assert front[8, 8] == 1
    shape = both.aligned[0, 0, 32:].mean(dim=0)
    assert shape[5:11, 5:11].mean() > 0.3
    assert shape[:3].max() == 0
