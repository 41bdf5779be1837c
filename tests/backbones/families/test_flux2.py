from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline
from PIL import Image

from swiftpie import Scales, SwiftPiePipeline
from swiftpie.backbones.components import download_plan, load_components
from swiftpie.engine import offload
from swiftpie.engine.graphs import int8
from swiftpie.engine.graphs.int8 import denoiser_calls
from swiftpie.engine.graphs.runtime import Precision, outline
from swiftpie.engine.openvino import to_openvino
from swiftpie.engine.session import Session
from swiftpie.models.denoiser import WrappedDenoiser
from swiftpie.pipelines.request import Subject
from swiftpie.types import IdentityBranch
from tests.parity.flux2 import FRAME_PX, PRESET, PROMPT, SEED, levels, ours, reference, theirs
from tests.tiny.sessions import subject

ENTRANCE = "x_embedder"
SQUARE = (FRAME_PX, FRAME_PX)
LEFT = (0.0, 0.0, 0.25, 1.0)
BRANCHES = (IdentityBranch.JOINT_DETAIL,)
SILENT = {"scales": Scales(detail_scale=0.0)}


@pytest.fixture(scope="module")
def place(tiny):
    return tiny("flux2")


@pytest.fixture(scope="module")
def session(place):
    return Session(load_components(PRESET, weights=place))


@pytest.fixture(scope="module")
def shown(session):
    return session.encode_identity(reference(), cutout="none")


def their_pipeline(place):
    return Flux2KleinPipeline.from_pretrained(place)


def change(session, subjects, plain, **changes):
    """How much each pixel changes against a picture from text alone, (H, W)."""
    drawn = ours(session, subjects, SQUARE, 1, **changes)[0]
    return np.abs(np.int16(drawn) - np.int16(plain)).max(axis=2)


def test_pictures_with_references_equal_those_of_diffusers_in_another_size(session, place):
    pipeline = their_pipeline(place)
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
    shuffled = replace(one, keys={ENTRANCE: other}, values={ENTRANCE: other})
    pictures = [ours(session, identity, SQUARE, 1) for identity in (one, shuffled)]
    assert levels(*pictures) <= 1


@pytest.mark.thorough
def test_a_subject_with_fewer_views_is_not_counted_twice(session, shown):
    two = session.encode_identity([reference(), reference(20)], cutout="none")
    repeated = session.encode_identity([reference(), reference()], cutout="none")
    pictures = [
        ours(session, [Subject(two), Subject(picture)], SQUARE, 1) for picture in (shown, repeated)
    ]
    assert levels(*pictures) <= 1
    assert levels(ours(session, shown, SQUARE, 1), ours(session, repeated, SQUARE, 1)) <= 1


def test_a_strength_of_0_is_the_picture_of_the_text_bit_by_bit(session, shown):
    plain = ours(session, shown, SQUARE, 1, **SILENT)[0]
    nowhere = torch.zeros(1, 1, *SQUARE)
    for silent in ([], [Subject(shown, mask=nowhere)], [Subject(shown, scale=0.0)]):
        assert change(session, silent, plain).max() == 0
    assert change(session, shown, plain).max() > 2


@pytest.mark.thorough
def test_a_reference_changes_its_region_more_than_the_rest(session, shown):
    plain = ours(session, shown, SQUARE, 1, **SILENT)[0]
    placed = [Subject(shown, box=LEFT)]
    assert session.personalize(placed, PROMPT, seed=SEED, mask="box").branches == BRANCHES
    found = change(session, placed, plain, mask="box")
    assert found[:, :16].mean() > 2 * found[:, 32:].mean()


def test_an_edit_reads_its_picture_and_leaves_every_pixel_outside_of_its_mask(session):
    height, width = FRAME_PX * 5 // 4, FRAME_PX * 7 // 4
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    mask = torch.zeros(1, 1, height, width)
    mask[..., height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 1
    given = {"mask": mask, "seed": 1, "source_prompt": ""}
    edited = session.edit(Image.fromarray(noise), "a dog", **given)
    moved = np.abs(np.int16(edited.image) - np.int16(noise)).max(axis=2)
    inside = mask[0, 0].numpy() > 0
    assert moved[~inside].max() == 0
    assert moved[inside].mean() > 5
    assert edited.branches == BRANCHES
    other = session.edit(Image.new("RGB", (width, height)), "a dog", **given)
    assert levels([edited.edited], [other.edited]) > 2


@pytest.mark.thorough
def test_an_edit_of_the_whole_picture_is_that_of_diffusers(session, place):
    edited = session.edit(reference(), PROMPT, seed=SEED).edited
    assert levels([edited], theirs(their_pipeline(place), SQUARE, 1, [reference()])) <= 1


def test_networks_that_wait_in_their_files_draw_the_same(session, place, shown):
    away = offload.apply(load_components(PRESET, weights=place, offloads=True))
    assert not any(weight.isfinite().all() for weight in away.text.encoder.parameters())
    assert levels(ours(Session(away), shown, SQUARE, 1), ours(session, shown, SQUARE, 1)) == 0


def test_weights_that_are_left_in_their_file_take_no_memory(session, place):
    needs = download_plan(PRESET, weights=place)
    whole = needs.with_memory(4).memory_bytes
    left = session.components.text.encoder.layers[-1]  # as large as the one behind it
    assert whole - needs.memory_bytes == sum(weight.nbytes for weight in left.parameters())


@pytest.mark.thorough
def test_identities_and_pipelines_go_to_files_and_back(session, shown, place, tmp_path):
    drawn = ours(session, shown, SQUARE, 1)
    session.save_identity(shown, tmp_path / "one.safetensors")
    again = session.load_identity(tmp_path / "one.safetensors")
    assert levels(drawn, ours(session, again, SQUARE, 1)) == 0
    made = SwiftPiePipeline.from_components(session.components)
    made.save_pretrained(tmp_path / "saved")
    loaded = SwiftPiePipeline.from_pretrained(tmp_path / "saved")
    pipeline = their_pipeline(place)
    shared = SwiftPiePipeline.from_pipe(pipeline, preset=PRESET.name)
    size = {"height": FRAME_PX, "width": FRAME_PX}
    for pipe in (made, loaded, shared):
        picture = pipe(PROMPT, seeds=[SEED], subjects=shown, **size).images
        # Some processors round otherwise where weights lie elsewhere.
        assert levels(drawn, picture) <= (pipe is not made)
    ours_network, network = shared.transformer, pipeline.transformer
    assert next(ours_network.parameters()) is next(network.parameters())
    reloaded = Session(load_components(PRESET, weights=tmp_path / "saved"))
    assert levels(drawn, ours(reloaded, shown, SQUARE, 1)) <= 1
    redrawn = theirs(their_pipeline(tmp_path / "saved"), SQUARE, 1, [reference()])
    assert levels(drawn, redrawn) <= 1


class Recording(WrappedDenoiser):
    def __init__(self, inner):
        super().__init__(inner)
        self.calls = []

    def _predict(self, call):
        self.calls.append(call)
        return super()._predict(call)


@pytest.mark.thorough
def test_what_calibrates_8_bits_meets_each_kind_of_call(session, shown, monkeypatch):
    monkeypatch.setattr(int8, "MOST_CALLS", int8.LEAST_CALLS)
    components = session.components
    for draw in (
        lambda one: ours(one, shown, SQUARE, 1, **SILENT),
        lambda one: ours(one, shown, SQUARE, 1),
        lambda one: one.edit(reference(), "make it night", seed=SEED),
    ):
        recorder = Recording(components.denoiser)
        draw(Session(replace(components, denoiser=recorder)))
        assert denoiser_calls(components, outline(recorder.calls[0]))


@pytest.mark.slow
def test_openvino_draws_and_edits_the_same(session, shown, tmp_path):
    exact = to_openvino(session.components, precision=Precision.SINGLE, folder=tmp_path / "single")
    assert exact.text.encoder is session.components.text.encoder
    both = (Session(exact), session)
    drawn = [ours(drawer, shown, SQUARE, 1) for drawer in both]
    assert levels(*drawn) <= 2
    given = {"mask": torch.ones(1, 1, *SQUARE), "seed": 1}
    edits = [drawer.edit(drawn[1][0], "a dog", **given).edited for drawer in both]
    assert levels(edits[:1], edits[1:]) <= 2
