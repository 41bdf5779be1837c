"""SANA-Sprint, tiny and random: pictures from words, edits, folders, what it refuses."""

import math
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import SanaSprintPipeline, SCMScheduler
from PIL import Image

from swiftpie import CapabilityError, ConfigError, SwiftPiePipeline, WeightsError
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import trigflow
from swiftpie.backbones.scheduling import schedule_of, with_steps
from swiftpie.engine.graphs import int8
from swiftpie.engine.graphs.export import export_onnx
from swiftpie.engine.graphs.functions import outline
from swiftpie.engine.graphs.int8 import denoiser_calls
from swiftpie.engine.graphs.networks import to_openvino
from swiftpie.engine.graphs.runtime import Precision
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import offload
from swiftpie.noise import draw_noise
from swiftpie.pipelines.drawing.edit_region import canvas_for, found_region
from swiftpie.pipelines.drawing.prepare import text_condition
from swiftpie.pipelines.drawing.settings import EditSettings
from swiftpie.schedules import PredictionType, flow_step, predict_clean
from tests.backbones.families.test_dreamlite import Recording
from tests.backbones.tiny_sana import make_pipeline
from tests.parity.sana import PRESET, PROMPT, SEED, SIDE_PX, levels, opened, ours, theirs

SQUARE = (SIDE_PX, SIDE_PX)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("sana") / "pipeline")


@pytest.fixture(scope="module")
def session(place):
    return Session(load_components(PRESET, weights=place))


@pytest.fixture(scope="module")
def pipeline(place):
    return opened(place)


def test_pictures_equal_those_of_diffusers_in_another_size_two_at_a_time(session, pipeline):
    size = (64, 192)
    assert levels(ours(session, size, 2, seed=8), theirs(pipeline, size, 2, 2, seed=8)) <= 1


@pytest.mark.parametrize("prompt", ["", "A cat", "many words " * 60])
def test_prompts_are_read_as_diffusers_reads_them(session, pipeline, prompt, caplog):
    lines = session.components.text.instruction.split("\n")
    states, mask = pipeline.encode_prompt(prompt, complex_human_instruction=lines)
    text = session.components.text.encode([prompt])
    assert torch.equal(text.attention_mask, mask)
    assert torch.allclose(text.hidden_states[mask > 0], states[mask > 0], atol=1e-5)
    assert not text.hidden_states[mask == 0].any()  # padding is hidden, so it is not read
    assert ("cut" in caplog.text) == (len(prompt) > 300)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_times_are_the_angles_of_its_scheduler_as_a_flow(steps):
    scheduler = SCMScheduler()
    scheduler.set_timesteps(steps, intermediate_timesteps=1.3 if steps == 2 else None)
    angles = scheduler.timesteps[:-1].double()
    expected = 1000 * angles.sin() / (angles.sin() + angles.cos())
    assert trigflow(steps) == pytest.approx(expected.tolist(), abs=0.005)
    schedule = schedule_of(with_steps(PRESET, steps))
    for index in range(steps):  # all noise is fresh
        to = schedule.transition(index)
        assert to.noise < 1e-7
        assert to.clean + to.fresh == pytest.approx(1, abs=1e-7)


def test_its_clean_latents_are_those_of_angles(session):
    """Equation by equation as the authors sample, in float64."""
    components, at_angle = session.components, draw_noise([3], (32, 4, 4)).double()
    sine, cosine = math.sin(1.2), math.cos(1.2)
    time, size = sine / (sine + cosine), 1 / (sine + cosine)
    entering = at_angle * size
    text = components.text.encode([PROMPT])
    condition = text_condition(components, entering.float())
    with torch.no_grad():
        found = components.denoiser(entering.float(), 1000 * time, text, condition, {}).sample
    raw = -found.double()
    velocity = ((1 - 2 * time) * entering + (1 - 2 * time + 2 * time**2) * raw) / size
    expected = cosine * at_angle - sine * velocity
    clean = predict_clean(entering, found, flow_step(1000 * time), PredictionType.FLOW)
    assert torch.allclose(clean.double(), expected, atol=1e-5)


def test_an_edit_by_two_prompts_leaves_every_pixel_outside_of_its_mask(session):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (160, 224, 3), np.uint8))
    mask = torch.zeros(1, 1, 160, 224)
    mask[..., 40:120, 60:160] = 1
    edited = session.edit(photo, "a dog", source_prompt="a cat", mask=mask, seed=1)
    moved = np.abs(np.int16(edited.image) - np.int16(photo)).max(axis=2)
    inside = mask[0, 0].numpy() > 0
    assert edited.origin["method"] == "chord"
    assert moved[~inside].max() == 0
    assert moved[inside].mean() > 5


def test_a_region_that_is_found_is_widened_by_a_cell(session):
    canvas = canvas_for(SQUARE, side_px=SIDE_PX, unit_px=64)
    found = torch.zeros(1, 1, 4, 4)
    found[..., 1, 1] = 1
    region = found_region(found, canvas)[0, 0] > 0
    sides = region.any(0).sum(), region.any(1).sum()
    assert sides == (3 * session.components.preset.latent_cell_px,) * 2


def test_an_edit_that_says_the_same_changes_nothing(session):
    photo = Image.new("RGB", SQUARE, (90, 120, 30))
    settings = EditSettings(without_refinement=True)
    edited = session.edit(photo, "a cat", source_prompt="a cat", settings=settings, seed=1)
    assert levels([edited.image], [photo]) == 0


def test_a_picture_of_a_subject_is_refused(session):
    with pytest.raises(CapabilityError, match="Leave the picture out"):
        session.encode_identity(Image.new("RGB", SQUARE), cutout="none")


def test_the_language_model_has_all_threads_beside_openvino(session, tmp_path, request):
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(3)
    components = to_openvino(session.components, folder=tmp_path)
    counts = []
    hook = components.text.network.register_forward_pre_hook(
        lambda *_: counts.append(torch.get_num_threads())
    )
    with components.scope():
        components.text.encode(["a bicycle that nobody else asks for"])
        outside = torch.get_num_threads()
    hook.remove()
    assert set(counts) == {3}
    assert outside == 1


@pytest.mark.slow
def test_openvino_draws_and_edits_the_same(session, tmp_path):
    exact = Session(
        to_openvino(session.components, precision=Precision.SINGLE, folder=tmp_path / "single")
    )
    drawn = ours(session, SQUARE, 1)
    assert levels(ours(exact, SQUARE, 1), drawn) <= 1
    asked = {"source_prompt": "a cat", "mask": torch.ones(1, 1, *SQUARE), "seed": 1}
    edits = [one.edit(drawn[0], "a dog", **asked).edited for one in (exact, session)]
    assert levels(edits[:1], edits[1:]) <= 2
    rounded = to_openvino(session.components, quantizes=True, folder=tmp_path / "rounded")
    found = ours(Session(rounded), SQUARE, 1)
    assert np.abs(np.int16(found[0]) - np.int16(drawn[0])).mean() < 8


@pytest.mark.thorough
def test_what_calibrates_8_bits_draws_from_words(session, monkeypatch):
    monkeypatch.setattr(int8, "MOST_CALLS", int8.LEAST_CALLS)
    recorder = Recording(session.components.denoiser)
    ours(Session(replace(session.components, denoiser=recorder)), SQUARE, 1)
    assert denoiser_calls(session.components, outline(recorder.calls[0]))


def test_graphs_without_pytorch_are_refused(session, tmp_path):
    with pytest.raises(CapabilityError, match="read by InstructedText, which cannot be exported"):
        export_onnx(session.components, tmp_path)


@pytest.mark.thorough
def test_pipelines_go_to_folders_and_back_and_are_shared(session, pipeline, tmp_path):
    drawn = ours(session, SQUARE, 1)
    made = SwiftPiePipeline.from_components(session.components)
    made.save_pretrained(tmp_path / "saved")
    loaded = SwiftPiePipeline.from_pretrained(tmp_path / "saved")
    shared = SwiftPiePipeline.from_pipe(pipeline, preset="sana-sprint-0.6b")
    assert shared.transformer is pipeline.transformer
    for pipe in (made, loaded, shared):
        pipe.set_progress_bar_config(disable=True)
        picture = pipe(PROMPT, seeds=[SEED], height=SIDE_PX, width=SIDE_PX).images[0]
        assert levels(drawn, [picture]) <= (pipe is not made)  # those weights lie elsewhere
    again = SanaSprintPipeline.from_pretrained(tmp_path / "saved")
    assert levels(drawn, theirs(again, SQUARE, 1, 2)) <= 1


def test_networks_that_wait_in_their_files_draw_the_same(session, place):
    away = offload.apply(load_components(PRESET, weights=place, offloads=True))
    assert not any(weight.isfinite().all() for weight in away.text.encoder.parameters())
    assert levels(ours(Session(away), SQUARE, 1), ours(session, SQUARE, 1)) == 0


@pytest.mark.parametrize(
    ("error", "message", "choices"),
    [
        (ConfigError, "takes no `adapter=`", {"adapter": "a.safetensors"}),
        (ConfigError, "takes no `detail=`", {"detail": "joint"}),
        (ConfigError, "cannot draw in 5 steps", {"steps": 5}),
        (CapabilityError, "cannot compute in float16", {"dtype": "float16"}),
    ],
)
def test_choices_that_it_does_not_leave_are_refused(place, error, message, choices):
    with pytest.raises(error, match=message):
        load_components(PRESET, weights=place, **choices)


@pytest.mark.parametrize(
    ("folder", "old", "new", "message"),
    [
        ("transformer", '"caption_channels": 16', '"caption_channels": 8', "width of the text is"),
        ("transformer", '"guidance_embeds": true', '"guidance_embeds": false', "its guidance"),
        ("vae", '"latent_channels": 32', '"latent_channels": 4', "latent channels is 4, and 32"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(place, tmp_path, folder, old, new, message):
    copied = shutil.copytree(place, tmp_path / "copied")
    config = copied / folder / "config.json"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(WeightsError, match=message):
        load_components(PRESET, weights=copied)
