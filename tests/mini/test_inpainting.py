from dataclasses import replace

import pytest
import torch

import swiftpie
from swiftpie.geometry.layout import Layout, from_box
from swiftpie.masks import bounding_box
from swiftpie.mini.inpainting import PlacedSubject, inpainting_condition
from swiftpie.pipelines.settings import Scales

STRENGTH = replace(Scales.for_edit(), identity_scale=0.0, background_scale=1.0, text_scale=1.0)


@pytest.fixture(scope="module")
def components():
    return swiftpie.load("mini", size_px=128).components


@pytest.fixture(scope="module")
def session(components):
    return swiftpie.Session(components)


def pixels():
    return torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1


def condition(components, changes, identity=None):
    names = [""] * (1 if identity is None else 2)
    box = from_box(bounding_box(changes), size=(128, 128))
    layout = Layout(*(values.expand(2, *values.shape[1:]) for values in box))
    return inpainting_condition(
        components,
        pixels(),
        changes,
        subject=None if identity is None else PlacedSubject(identity, layout),
        class_tokens=components.text.find_words("a dog on a beach", names),
        scales=STRENGTH,
    )


def centre():
    changes = torch.zeros(1, 1, 128, 128)
    changes[..., 32:96, 32:96] = 1
    return changes


def test_what_stays_is_aligned_with_itself(components):
    aligned = condition(components, centre()).aligned[:, 0, :32]
    kept = components.autoencoder.encode(pixels() * (1 - centre()))
    assert torch.allclose(aligned[..., 0, :], kept[..., 0, :], atol=1e-4)
    assert aligned[..., 5:11, 5:11].abs().max() == 0


def test_what_changes_is_never_shown(components):
    other = pixels() + centre() * 0.5
    again = inpainting_condition(
        components,
        other,
        centre(),
        subject=None,
        class_tokens=components.text.find_words("a dog on a beach", [""]),
        scales=STRENGTH,
    )
    first = condition(components, centre())
    assert torch.equal(first.aligned, again.aligned)
    assert torch.equal(first.attention.identity_tokens, again.attention.identity_tokens)


def test_a_new_subject_fills_the_mask_in_front(components, session, sprite):
    identity = session.encode_identity(sprite)
    both = condition(components, centre(), identity)
    assert both.attention.region.shape[1] == 2
    front, behind = both.attention.region[0]
    assert torch.allclose(front + behind, torch.ones_like(front))
    assert front[8, 8] == 1
    shape = both.aligned[0, 0, 32:].mean(dim=0)
    assert shape[5:11, 5:11].mean() > 0.3
    assert shape[:3].max() == 0
