from dataclasses import replace

import numpy as np
import pytest
import torch

from swiftpie.geometry.layout import Layout, from_box, to_affine, warp
from swiftpie.imageio.images import bounding_box, extent_of
from swiftpie.masks import box_mask
from swiftpie.mini.insert import PlacedSubject, insertion_condition, layout_of
from swiftpie.photo.search import Search
from swiftpie.photo.stance import Orientation
from swiftpie.pipelines.insertion import AS_SHOWN, InsertedSubject, Posture, insertion_of
from swiftpie.pipelines.settings import Scales
from swiftpie.pipelines.tasks import RetouchRequest
from tests.parity.edit import photograph, values

BOX = (0.25, 0.25, 0.75, 0.75)
SOUGHT = Search(points=((0.5, 0.4),))

PIXELS = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
CENTRE = box_mask(BOX, height=128, width=128)
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


def test_what_is_replaced_is_filled_as_a_removal_fills_it(session, identity):
    photo, place = photograph(300, 200), (0.1, 0.2, 0.3, 0.5)
    empty = values(session.remove(photo, mask=place, seed=1).image)
    who = {"source": identity, "box": (0.6, 0.3, 0.8, 0.9)}
    request = RetouchRequest(image=photo, mask=place, seed=1, **who)
    replaced = values(session.draw(request).image)
    assert np.array_equal(replaced[:, :100], empty[:, :100])
    assert not np.array_equal(replaced, empty)


@pytest.mark.parametrize(
    ("box", "mask", "posture", "wide", "high"),
    [
        (BOX, None, AS_SHOWN, 58, 128),
        (BOX, BOX, AS_SHOWN, 58, 128),
        (BOX, SOUGHT, AS_SHOWN, 64, 141),  # hides what is guessed
        ((0.25, 0.0, 0.75, 0.5), SOUGHT, AS_SHOWN, 58, 128),  # stays in the picture
        (BOX, None, Posture(lean=0.0), 128, 128),  # squeezed to its box
        (BOX, None, Posture(Orientation(90.0, (88 / 128, 40 / 128), (0.0, 0.0))), 128, 58),
    ],
)
def test_a_subject_stands_in_its_box_as_large_as_that_lets_it_be(
    session, identity, box, mask, posture, wide, high
):
    frame = torch.zeros(1, 1, 128, 128)
    frame[..., 20:108, 44:84] = 1
    request = RetouchRequest(image=photograph(256, 256), source=identity, box=BOX, seed=1)
    insertion = insertion_of(session.choose(request), side_px=128)
    insertion = insertion._replace(request=replace(request, box=None, mask=mask))
    subject = InsertedSubject(replace(identity, mask=frame), box, posture)
    shown = warp(frame, to_affine(layout_of(insertion, subject)), (256, 256))
    left, top, right, foot = extent_of(shown)
    assert (right - left, foot - top) == pytest.approx((wide, high), abs=3)
    assert ((left + right) / 2, foot) == pytest.approx((128, 256 * box[3]), abs=2)
