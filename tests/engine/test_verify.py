"""Pictures by diffusers' own loading and by SwiftPie beside each other, on tiny random weights."""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from swiftpie.backbones.components import load_components
from swiftpie.backbones.hub import RemoteFile, files_unlike
from swiftpie.backbones.presets import PRESETS, Recipe
from swiftpie.engine.load import plan_load
from swiftpie.engine.verify import (
    EDIT,
    NUM_FRAMES,
    READING,
    SILENT,
    SUBJECT,
    TEXT,
    compare,
    draw_ours,
    read_subject,
    verify_plan,
)
from tests.tiny import klein
from tests.tiny.adapters import make_lora, make_public_adapter
from tests.tiny.folders import SCHEDULERS, make_model, make_motion, make_pipeline, make_unet

SIDE_PX = 64
ALL_EQUAL = dict.fromkeys((TEXT, READING, SUBJECT, SILENT), True)
UNET = "unet/diffusion_pytorch_model.safetensors"
BASE = SCHEDULERS["stabilityai/stable-diffusion-xl-base-1.0"]


def verified(choices, name="sd-turbo", **changes):
    """Compare a preset in small; its choices are those of a recipe, on this machine."""
    recipe = Recipe(name="tiny", summary="", preset=name)
    choices = {"dtype": "float32", **choices}
    plan = plan_load(None, recipe=recipe, device="cpu", engine=(), choices=choices)
    preset = replace(plan.preset, image_size_px=SIDE_PX, **changes)
    return verify_plan(plan._replace(preset=preset))


def verdicts(found):
    return {row.what: row.is_equal for row in found.rows}


def check_equal(found, *, rows=frozenset(ALL_EQUAL)):
    assert found.differences == ()
    assert verdicts(found) == dict.fromkeys(rows, True)
    assert found.is_equal is True


@pytest.fixture(scope="module")
def turbo(tmp_path_factory):
    """A folder that diffusers itself saved, and an adapter for it."""
    return make_model(tmp_path_factory.mktemp("turbo"), "sd21", adapter="public")


@pytest.fixture
def copied(turbo, tmp_path):
    folder = tmp_path / "pipeline"
    shutil.copytree(turbo["weights"], folder)
    return {**turbo, "weights": folder}


def test_both_draw_the_same(turbo):
    found = verified(turbo)
    check_equal(found)
    assert ("the subject", "equal") in [(line[0], line[-1]) for line in found.table()]
    assert str(turbo["weights"].parent) not in json.dumps(found.report())
    assert found.sheet().width > 0


@pytest.mark.thorough
def test_both_draw_the_same_in_16_bits_up_to_rounding(turbo):
    found = verified({**turbo, "dtype": "bfloat16"})
    check_equal(found)
    assert max(row.differences[1] for row in found.rows if row.what == TEXT) > 0.01
    assert replace(found.rows[0], max_levels=None).is_equal is None  # other fresh noise


PLAIN, FACE_ID = "ip-adapter_sdxl_vit-h", "ip-adapter-faceid-plusv2_sdxl"
CASES = {  # by preset: its base's scheduler, its adapter, and what makes its own weights
    "sdxl-turbo": ("sdxl-turbo", PLAIN, None),
    "sdxl-lightning-4": ("stable-diffusion-xl-base-1.0", FACE_ID, make_unet),
    "hyper-sdxl-1-lora": ("stable-diffusion-xl-base-1.0", PLAIN, make_lora),
    "motion-lightning-1": ("sd-turbo", "ip-adapter_sd15", make_motion),
    "animatelcm": ("sd-turbo", "ip-adapter_sd15", make_motion),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_both_draw_the_same_by_the_parts_of_a_recipe(tmp_path, name):
    base, adapter, make = CASES[name]
    pytest.importorskip("peft", reason="needs swiftpie[lora]")
    family = "sd15" if make is make_motion else "sdxl"
    scheduler = SCHEDULERS[f"stabilityai/{base}"]
    weights = make_pipeline(tmp_path / "pipeline", family, scheduler=scheduler)
    path = make_public_adapter(tmp_path / f"{adapter}.safetensors", family, name=adapter)
    choices = {"adapter": path, "image_encoder": tmp_path / "encoder"}
    if make is not None:
        choices["base"] = weights
        weights = make(tmp_path / "own.safetensors", *([] if make is make_motion else [family]))
    if name in {"sdxl-lightning-4", "motion-lightning-1"}:
        weights /= "diffusion_pytorch_model.safetensors"
    found = verified({**choices, "weights": weights}, name)
    check_equal(found)
    frames = NUM_FRAMES if make is make_motion else 1
    assert found.rows[0].ours.shape == (3, SIDE_PX, frames * SIDE_PX)


@pytest.mark.thorough
def test_both_draw_and_edit_the_same_where_references_are_tokens(tmp_path):
    choices = {"weights": klein.make_pipeline(tmp_path / "pipeline")}
    check_equal(verified(choices, "flux2-klein-4b"), rows={TEXT, SUBJECT, SILENT, EDIT})


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (DDIMScheduler.from_config(BASE.config), "the timesteps: [999] here, [1] by DDIM"),
        (
            type(BASE).from_config(
                BASE.config, prediction_type="v_prediction", timestep_spacing="trailing"
            ),
            "epsilon here, v_prediction by Euler",
        ),
    ],
    ids=["another scheduler", "another prediction type"],
)
def test_a_schedule_of_the_folder_that_differs_is_seen(copied, scheduler, said):
    scheduler.save_pretrained(copied["weights"] / "scheduler")
    index = copied["weights"] / "model_index.json"
    named = json.loads(index.read_text()) | {"scheduler": ["diffusers", type(scheduler).__name__]}
    index.write_text(json.dumps(named))
    found = verified(copied)
    assert found.is_equal is False
    assert said in " ".join(found.differences)
    assert verdicts(found)[TEXT] is False


def test_a_projection_that_one_program_loads_otherwise_is_seen(turbo, monkeypatch):
    theirs = UNet2DConditionModel.from_pretrained

    def transposed(*args, **options):
        network = theirs(*args, **options)
        square = network.mid_block.attentions[0].transformer_blocks[0].attn1.to_q
        square.weight.data = square.weight.data.T.contiguous()
        return network

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", transposed)
    found = verified(turbo)
    assert "attn1.to_q.weight" in found.differences[0]
    assert found.is_equal is False  # although pictures hardly change


def test_a_text_encoder_of_another_base_is_seen_by_its_size(copied):
    folder, name = copied["weights"], "text_encoder/model.safetensors"
    listing = {name: RemoteFile(name, (folder / name).stat().st_size, name, None)}
    tensors = load_file(folder / name)
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(tensors, folder / name)
    [note] = files_unlike(folder, listing, listing)
    assert re.match(rf"{name} has \+6\d\d bytes", note)  # positions, 616, and their entry
    assert verified(copied).is_equal is True  # nothing reads them


@pytest.mark.thorough
def test_a_variant_that_one_program_reads_is_seen(copied):
    path = copied["weights"] / UNET
    tensors = {name: tensor.half() + 0.1 for name, tensor in load_file(path).items()}
    save_file(tensors, path.with_suffix(".fp16.safetensors"))
    found = verified({**copied, "dtype": "bfloat16"})
    assert found.is_equal is False
    assert found.differences[0].startswith("unet: ")


def test_a_mean_over_training_in_place_of_the_published_file_is_seen_by_its_sum(copied):
    path = copied["weights"] / UNET
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    listing = {UNET: RemoteFile(UNET, 0, digest, digest)}
    assert not [*files_unlike(copied["weights"], listing, listing)]
    save_file({name: 0.9 * tensor for name, tensor in load_file(path).items()}, path)
    [note] = files_unlike(copied["weights"], listing, listing)
    assert "sha256" in note


def test_a_strength_that_is_one_percent_off_is_seen(turbo):
    found = verified(turbo)
    theirs = {row.what: row.theirs for row in found.rows}
    preset = replace(PRESETS.get("sd-turbo"), image_size_px=SIDE_PX)
    components = load_components(preset, **turbo, detail="none")
    subject = read_subject(components)
    ours = draw_ours(components, subject._replace(scale=1.01 * subject.scale))
    assert {row.what: row.is_equal for row in compare(ours, theirs)} == ALL_EQUAL | {SUBJECT: False}
