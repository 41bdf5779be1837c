"""FLUX.2 [klein], tiny and random: reference tokens, their regions, edits, folders, sizes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline
from PIL import Image

from swiftpie import CapabilityError, ConfigError, InputError, SwiftPiePipeline, WeightsError
from swiftpie.backbones import resolve
from swiftpie.backbones.components import download_plan, load_components
from swiftpie.backbones.hub import root_of
from swiftpie.backbones.presets import RECIPES
from swiftpie.engine.graphs.networks import to_openvino
from swiftpie.engine.graphs.runtime import Precision
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import offload
from swiftpie.pipelines.drawing.request import Subject
from swiftpie.pipelines.drawing.settings import EditMethod, EditSettings, Scales
from swiftpie.types import IdentityBranch
from tests.backbones.tiny_flux2 import make_pipeline
from tests.parity.flux2 import FRAME_PX, PRESET, PROMPT, SEED, levels, ours, reference, theirs
from tests.parity.pipelines import subject

ENTRANCE = "x_embedder"
SQUARE, LEFT = (FRAME_PX, FRAME_PX), (0.0, 0.0, 0.25, 1.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("klein") / "pipeline")


@pytest.fixture(scope="module")
def session(place):
    return Session(load_components(PRESET, weights=place))


@pytest.fixture(scope="module")
def shown(session):
    return session.encode_identity(reference(), cutout="none")


def change(session, subjects, plain, **changes):
    """How much each pixel changes against a picture without subjects, (H, W)."""
    drawn = ours(session, subjects, SQUARE, 1, **changes)[0]
    return np.abs(np.int16(drawn) - np.int16(plain)).max(axis=2)


def test_pictures_with_references_equal_those_of_diffusers_in_another_size(session, place):
    """The times follow the size: with those of the preset's own this one is far off."""
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


def test_a_strength_of_0_is_the_picture_of_the_text_bit_by_bit(session, shown):
    silent = {"scales": Scales(detail_scale=0.0)}
    plain = ours(session, [Subject(shown)], SQUARE, 1, **silent)[0]
    nowhere = torch.zeros(1, 1, *SQUARE)
    for subjects, changes in (
        ([Subject(shown), Subject(shown)], silent),
        ([Subject(shown, mask=nowhere)], {}),
    ):
        assert change(session, subjects, plain, **changes).max() == 0


@pytest.mark.thorough
def test_a_reference_changes_its_region_more_than_the_rest(session, shown):
    plain = ours(session, [Subject(shown)], SQUARE, 1, scales=Scales(detail_scale=0.0))[0]
    result = session.personalize([Subject(shown, box=LEFT)], PROMPT, seed=SEED, mask="box")
    assert result.branches == (IdentityBranch.JOINT_DETAIL,)
    found = change(session, [Subject(shown, box=LEFT)], plain, mask="box")
    assert found[:, :16].mean() > 2 * found[:, 32:].mean()


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
    """Beside one with two views it is filled up with its only one, which changes nothing."""
    two = session.encode_identity([reference(), reference(20)], cutout="none")
    repeated = session.encode_identity([reference(), reference()], cutout="none")
    pictures = [ours(session, [Subject(two), Subject(one)], SQUARE, 1) for one in (shown, repeated)]
    assert levels(*pictures) <= 1
    assert levels(ours(session, shown, SQUARE, 1), ours(session, repeated, SQUARE, 1)) <= 1


def test_an_edit_leaves_every_pixel_outside_of_its_mask(session):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 112, 3), np.uint8))
    mask = torch.zeros(1, 1, 80, 112)
    mask[..., 20:60, 30:80] = 1
    edited = session.edit(photo, "a dog", mask=mask, seed=1)
    moved = np.abs(np.int16(edited.image) - np.int16(photo)).max(axis=2)
    inside = mask[0, 0].numpy() > 0
    assert moved[~inside].max() == 0
    assert moved[inside].mean() > 5
    assert edited.branches == (IdentityBranch.JOINT_DETAIL,)
    other = session.edit(Image.new("RGB", (112, 80)), "a dog", mask=mask, seed=1)
    assert levels([edited.edited], [other.edited]) > 2  # the picture is read


@pytest.mark.thorough
def test_an_edit_of_the_whole_picture_is_that_of_diffusers(session, place):
    pipeline = Flux2KleinPipeline.from_pretrained(place)
    pipeline.set_progress_bar_config(disable=True)
    edited = session.edit(reference(), PROMPT, seed=SEED).edited
    assert levels([edited], theirs(pipeline, SQUARE, 1, [reference()])) <= 1


@pytest.mark.parametrize(
    ("error", "message", "changes"),
    [
        (InputError, "A keyword came", {"keyword": "dog"}),
        (CapabilityError, "no inversion network", {"method": EditMethod.INVERSION}),
    ],
)
def test_edits_that_it_cannot_do_are_refused(session, error, message, changes):
    method = changes.pop("method", None)
    with pytest.raises(error, match=message):
        session.edit(reference(), "a cat", settings=EditSettings(method=method), **changes)


@pytest.mark.parametrize("source", ["inline", "two-pass"])
def test_regions_that_no_layer_finds_are_refused(session, shown, source):
    with pytest.raises(CapabilityError, match="Give a box or a mask"):
        session.personalize(shown, PROMPT, mask=source)


@pytest.mark.thorough
def test_identities_and_pipelines_go_to_files_and_back(session, shown, tmp_path):
    drawn = ours(session, shown, SQUARE, 1)[0]
    session.save_identity(shown, tmp_path / "one.safetensors")
    again = session.load_identity(tmp_path / "one.safetensors")
    assert levels([drawn], ours(session, again, SQUARE, 1)) == 0
    made = SwiftPiePipeline.from_components(session.components)
    made.save_pretrained(tmp_path / "saved")
    loaded = SwiftPiePipeline.from_pretrained(tmp_path / "saved")
    for pipe in (made, loaded):
        pipe.set_progress_bar_config(disable=True)
        picture = pipe(prompt=PROMPT, subjects=shown, seeds=[SEED]).images[0]
        assert levels([drawn], [picture]) == 0
    reloaded = Session(load_components(PRESET, weights=tmp_path / "saved"))
    assert levels([drawn], ours(reloaded, shown, SQUARE, 1)) <= 1
    whole = Flux2KleinPipeline.from_pretrained(tmp_path / "saved")
    whole.set_progress_bar_config(disable=True)
    assert levels([drawn], theirs(whole, SQUARE, 1, [reference()])) <= 1


@pytest.mark.thorough
def test_a_pipeline_of_diffusers_is_shared(session, shown, place):
    theirs_whole = Flux2KleinPipeline.from_pretrained(place)
    shared = SwiftPiePipeline.from_pipe(theirs_whole, preset="flux2-klein-4b")
    shared.set_progress_bar_config(disable=True)
    assert shared.transformer is theirs_whole.transformer
    drawn = shared(prompt=PROMPT, subjects=shown, seeds=[SEED], height=64, width=64).images[0]
    assert levels([drawn], ours(session, shown, SQUARE, 1)) == 0


def test_networks_that_wait_in_their_files_draw_the_same(session, shown, place):
    away = offload.apply(load_components(PRESET, weights=place, offloads=True))
    assert not any(weight.isfinite().all() for weight in away.text.encoder.parameters())
    assert levels(ours(Session(away), shown, SQUARE, 1), ours(session, shown, SQUARE, 1)) == 0


def test_weights_that_are_left_in_their_file_take_no_memory(session, place, tmp_path, monkeypatch):
    needs = download_plan(PRESET, weights=place)
    whole = needs.with_memory(4).memory_bytes
    left = session.components.text.encoder.layers[-1]  # as large as the one behind it
    assert whole - needs.memory_bytes == sum(weight.nbytes for weight in left.parameters())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(resolve, "best_device", lambda: "cuda")  # for which all rest in main memory
    recipe = RECIPES.get("klein")
    shutil.copytree(place, root_of(recipe.references["weights"]))
    assert resolve.best_recipe(free_bytes=needs.memory_bytes, item_bytes=4) is recipe
    with pytest.raises(WeightsError, match="fits the memory that is free"):
        resolve.best_recipe(free_bytes=needs.memory_bytes - 1, item_bytes=4)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"adapter": "a.safetensors"}, "takes no `adapter=`"),
        ({"detail": "adapter"}, "Choose joint or none"),
        ({"steps": 2}, "cannot draw in 2 steps"),
    ],
)
def test_choices_that_it_does_not_leave_are_refused(place, choices, message):
    with pytest.raises(ConfigError, match=message):
        load_components(PRESET, weights=place, **choices)


def test_a_folder_without_a_chat_template_or_with_other_parts_is_refused(place, tmp_path):
    copied = shutil.copytree(place, tmp_path / "copied")
    (copied / "tokenizer" / "chat_template.jinja").unlink()
    with pytest.raises(WeightsError, match="no chat template"):
        load_components(PRESET, weights=copied)
    for folder, changes, message in (
        ("transformer", {"in_channels": 64}, "channels of the transformer is 64, and 128"),
        ("text_encoder", {"num_hidden_layers": 27, "layer_types": None}, "encoder is 27, and 28"),
    ):
        config = copied / folder / "config.json"
        kept = config.read_text()
        config.write_text(json.dumps(json.loads(kept) | changes))
        with pytest.raises(WeightsError, match=message):
            load_components(PRESET, weights=copied)
        config.write_text(kept)


def _with_tokens(identity, tokens):
    return replace(identity, keys={ENTRANCE: tokens}, values={ENTRANCE: tokens})


@pytest.mark.slow
def test_openvino_draws_with_references_the_same(session, shown, tmp_path):
    exact = to_openvino(session.components, precision=Precision.SINGLE, folder=tmp_path)
    drawn = ours(Session(exact), [Subject(shown)], SQUARE, 1)
    assert levels(drawn, ours(session, [Subject(shown)], SQUARE, 1)) <= 1
