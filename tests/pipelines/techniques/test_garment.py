"""Subjects that take the pose of what they replace."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from swiftpie import Scales, Session
from swiftpie.imageio.images import to_tensor
from swiftpie.noise import add_noise, draw_step_noise, scaled_linear_step
from swiftpie.photo.search import Search
from swiftpie.pipelines.tasks import RetouchRequest
from tests.golden.cases import SIDE_PX, hard_mask, photo
from tests.golden.networks import random_networks
from tests.parity.tiny import Spy, difference, picture

SILENT = Scales(identity_scale=0.0, detail_scale=0.0)
WAYS = {"chord": {}, "inversion": {"inverts": True}}
SHIRT = "a red shirt"


@pytest.fixture(scope="module", params=WAYS)
def session(request):
    return random_networks("sd21", **WAYS[request.param])


def spied(session):
    spy = Spy(session.components.denoiser)
    return Session(replace(session.components, denoiser=spy)), spy


def garment(session, **given):
    where = {"image": photo(), "mask": torch.from_numpy(np.array(hard_mask()))[None, None] / 255}
    shown = {"source": session.encode_identity(picture(1)), "keep_pose": True, "seed": 3}
    return RetouchRequest(**where | shown | given)


def changed(result):
    return (np.asarray(result.image) != np.asarray(photo())).any(axis=2)


@pytest.mark.parametrize("where", [{}, {"mask": None, "prompt": SHIRT}], ids=["mask", "words"])
def test_nothing_changes_outside_of_the_region(session, where):
    result = session.draw(garment(session, **where))
    region = np.asarray(result.region) > 0
    assert not changed(result)[~region].any()
    assert changed(result)[region].any()
    if not where:
        assert np.array_equal(region, np.asarray(hard_mask()) > 0)


def test_a_point_marks_the_thing_without_its_shadow(session):
    found = session.draw(garment(session, mask=Search(points=((0.5, 0.6),))))
    gone = session.draw(garment(session, mask=Search(points=((0.5, 0.6),)), keep_pose=None))
    here, there = (np.asarray(result.region) > 0 for result in (found, gone))
    assert 0 < (here & there).sum() == here.sum() < there.sum()


def test_both_branches_read_the_subject_in_the_region_alone(session):
    drawing, spy = spied(session)
    assert [*drawing.draw(garment(session)).branches] == ["semantic", "detail"]
    for _, _, _, condition, _ in spy.calls:
        attention = condition.attention
        assert attention.keys
        assert not attention.detail_background_scale.any()
        assert not attention.identity_background_scale.any()
    assert spy.calls[0][3].attention.detail_scale.any()


def test_a_silent_subject_leaves_what_the_photograph_starts_from(session):
    drawing, spy = spied(session)
    assert drawing.draw(garment(session, scales=SILENT)).branches == ()
    components = session.components
    known = components.autoencoder.encode(to_tensor(photo()))
    if components.inversion is None:  # the drift is 0, so the refinement starts from the photograph
        noise, step = draw_step_noise([3], tuple(known.shape[1:]), count=1)[0], 0.3 * 999
        expected = add_noise(known, noise, scaled_linear_step(round(step)))
    else:
        text = components.text.encode(["a photo of a subject"])
        noise = components.inversion(known, text)
        expected = add_noise(known, noise, components.schedule.steps[0])
    assert difference(spy.calls[-1][0], expected) < 1e-4


def test_the_subject_is_all_that_is_new(session):
    drawing, spy = spied(session)
    drawing.draw(garment(session, prompt=SHIRT))
    (_, _, text, condition, _), *later = spy.calls
    assert (text.hidden_states == text.hidden_states[:1]).all()
    shows = condition.attention.region.amax(dim=(1, 2, 3)).tolist()
    by_chord = session.components.inversion is None
    assert (shows, len(later)) == (([0, 1, 0, 1], 1) if by_chord else ([1], 0))


def test_sizes_stay(session):
    wide = photo((200, SIDE_PX))
    result = session.draw(garment(session, image=wide, mask=(0.3, 0.2, 0.7, 0.9)))
    assert result.image.size == result.region.size == wide.size
