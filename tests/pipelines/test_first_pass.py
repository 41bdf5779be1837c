"""Masks that a first pass finds, on tiny random networks."""

import pytest
import torch

from swiftpie import CapabilityError, InputError, MaskSource, Scales, Subject
from swiftpie.diffusers.personalize import SwiftPiePipeline
from swiftpie.pipelines.animation import AnimateRequest
from tests.golden import networks
from tests.golden.networks import moving_networks, random_networks
from tests.parity.tiny import picture

PROMPT = "a dinosaur in a forest"
SOURCES = [MaskSource.TWO_PASS, MaskSource.LAYOUT_FIRST]


@pytest.fixture(scope="module")
def session():
    return random_networks("sd15")


@pytest.fixture(scope="module")
def identity(session):
    return session.encode_identity(picture(0))


def drawn(session, subjects, **request):
    return session.personalize(subjects, PROMPT, seed=3, **request)


def pixels(result):
    return [image.tobytes() for image in result.images]


@pytest.mark.parametrize("source", SOURCES)
def test_the_region_of_the_first_pass_is_used_as_if_it_were_given(session, identity, source):
    found = drawn(session, identity, mask=source)
    assert found.regions.min() < 0.1 < 0.9 < found.regions.max()
    assert pixels(found) == pixels(drawn(session, identity, mask=found.regions))
    assert pixels(found) != pixels(drawn(session, identity))
    both = drawn(session, identity, mask=source, detail_mask=source)
    given = drawn(session, identity, mask=found.regions, detail_mask=found.regions)
    assert pixels(both) == pixels(given)


def test_layout_first_does_not_follow_how_strong_the_subject_is(session, identity):
    def region(source, scale):
        scales = Scales(identity_scale=scale)
        return drawn(session, identity, mask=source, scales=scales).regions

    two_pass, layout_first = ([region(source, scale) for scale in (0.3, 1.5)] for source in SOURCES)
    assert torch.equal(*layout_first)
    assert not torch.equal(*two_pass)


def test_each_picture_and_subject_has_a_region_of_its_own(session, identity):
    subjects = [Subject(identity), Subject(session.encode_identity(picture(1)))]
    found = drawn(session, subjects, mask="two-pass", num_images=6)  # more than a pass holds
    assert len({region.numpy().tobytes() for region in found.regions.flatten(0, 1)}) == 12


def test_a_call_of_the_diffusers_pipeline_finds_the_same(session, identity):
    pipe = SwiftPiePipeline.from_components(session.components)
    call = {"subjects": identity, "seeds": [3], "mask": "two-pass"}
    shown = pipe(PROMPT, **call).images
    assert [image.tobytes() for image in shown] == pixels(drawn(session, identity, mask="two-pass"))


def test_each_frame_of_an_animation_has_a_region():
    session = moving_networks()
    subject = Subject(session.encode_identity(picture(0)))
    request = AnimateRequest(
        subjects=(subject,), prompt=PROMPT, seeds=(3,), num_frames=3, mask=MaskSource.TWO_PASS
    )
    assert len(session.draw(request).regions) == 3


def test_a_mask_is_found_or_given(session, identity):
    subject = Subject(identity, mask=torch.ones(1, 1, 8, 8))
    with pytest.raises(InputError, match="Leave one"):
        drawn(session, [subject], mask="two-pass")


def test_mini_places_subjects_before_it_draws():
    mini = networks.mini()
    with pytest.raises(CapabilityError, match="places subjects"):
        drawn(mini, mini.encode_identity(picture(0)), mask="layout-first")
