from dataclasses import replace

import pytest
import torch
from diffusers import Flux2KleinPipeline

from swiftpie.backbones.components import download_plan, load_components
from swiftpie.engine.session import Session
from swiftpie.pipelines.request import Subject
from tests.parity.flux2 import FRAME_PX, PRESET, PROMPT, SEED, levels, ours, reference, theirs
from tests.parity.pipelines import subject

ENTRANCE = "x_embedder"
SQUARE = (FRAME_PX, FRAME_PX)


@pytest.fixture(scope="module")
def place(tiny):
    return tiny("flux2")


@pytest.fixture(scope="module")
def session(place):
    return Session(load_components(PRESET, weights=place))


@pytest.fixture(scope="module")
def shown(session):
    return session.encode_identity(reference(), cutout="none")


def test_pictures_with_references_equal_those_of_diffusers_in_another_size(session, place):
    pipeline = Flux2KleinPipeline.from_pretrained(place)
    pipeline.set_progress_bar_config(disable=True)
    pictures, size = [reference(), reference(20)], (96, 64)
    both = session.encode_identity(pictures, cutout="none")
    assert levels(ours(session, both, size, 1), theirs(pipeline, size, 1, pictures)) <= 1
    assert len(pipeline.text_encoder.model.layers) == 29
    assert len(session.components.text.encoder.layers) == 28
    components = session.components
    sized = components.sized((6, 4)).schedule.steps
    assert sized[1].timestep < components.schedule.steps[1].timestep - 10
    assert components.sized((64, 64)) is components


@pytest.mark.thorough
def test_what_is_outside_of_a_subject_in_its_picture_is_not_read(session):
    one = session.encode_identity(subject())
    other = one.keys[ENTRANCE].clone()
    covered = torch.nn.functional.avg_pool2d(one.mask, 16).flatten() >= 0.5
    assert covered.any()
    assert not covered.all()
    other[:, ~covered] = 5.0
    shuffled = Subject(_with_tokens(one, other))
    assert levels(ours(session, one, SQUARE, 1), ours(session, [shuffled], SQUARE, 1)) <= 1


@pytest.mark.thorough
def test_a_subject_with_fewer_views_is_not_counted_twice(session, shown):
    two = session.encode_identity([reference(), reference(20)], cutout="none")
    repeated = session.encode_identity([reference(), reference()], cutout="none")
    pictures = [
        ours(session, [Subject(two), Subject(picture)], SQUARE, 1) for picture in (shown, repeated)
    ]
    assert levels(*pictures) <= 1
    assert levels(ours(session, shown, SQUARE, 1), ours(session, repeated, SQUARE, 1)) <= 1


@pytest.mark.thorough
def test_an_edit_of_the_whole_picture_is_that_of_diffusers(session, place):
    pipeline = Flux2KleinPipeline.from_pretrained(place)
    pipeline.set_progress_bar_config(disable=True)
    edited = session.edit(reference(), PROMPT, seed=SEED).edited
    assert levels([edited], theirs(pipeline, SQUARE, 1, [reference()])) <= 1


def test_weights_that_are_left_in_their_file_take_no_memory(session, place):
    needs = download_plan(PRESET, weights=place)
    whole = needs.with_memory(4).memory_bytes
    left = session.components.text.encoder.layers[-1]  # as large as the one behind it
    assert whole - needs.memory_bytes == sum(weight.nbytes for weight in left.parameters())


def _with_tokens(identity, tokens):
    return replace(identity, keys={ENTRANCE: tokens}, values={ENTRANCE: tokens})
