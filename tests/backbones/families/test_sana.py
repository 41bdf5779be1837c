import inspect
import math
from functools import partial

import pytest
import torch
from diffusers import SCMScheduler
from PIL import Image

from swiftpie.backbones.choices import schedule_of, with_steps
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import trigflow
from swiftpie.engine.session import Session
from swiftpie.engine.transforms.openvino import to_openvino
from swiftpie.noise import PredictionType, draw_noise, flow_step, predict_clean
from swiftpie.pipelines.edit_region import canvas_for, found_region
from swiftpie.pipelines.settings import ChordForm, EditSettings
from swiftpie.pipelines.techniques.personalize import text_condition
from tests.parity.sana import PRESET, PROMPT, SIDE_PX, levels, opened, ours, theirs

SQUARE = (SIDE_PX, SIDE_PX)


@pytest.fixture(scope="module")
def place(tiny):
    return tiny("sana")


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
    lines = inspect.signature(pipeline.__call__).parameters["complex_human_instruction"].default
    states, mask = pipeline.encode_prompt(prompt, complex_human_instruction=lines)
    text = session.components.text.encode([prompt])
    assert torch.equal(text.attention_mask, mask)
    assert torch.allclose(text.hidden_states[mask > 0], states[mask > 0], atol=1e-5)
    assert not text.hidden_states[mask == 0].any()  # padding is hidden, so it is not read
    assert ("cut" in caplog.text) == (len(prompt) > 300)


@torch.no_grad()
def test_its_latents_are_scaled(session, pipeline):
    vae, pixels = pipeline.vae, torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = session.components.autoencoder.posterior(pixels)
    expected = vae.config.scaling_factor * vae.encode(pixels).latent
    torch.testing.assert_close(found.mean, expected, rtol=1e-5, atol=1e-6)
    assert not found.deviation.any()


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


def test_a_region_that_is_found_is_widened_by_a_cell(session):
    canvas = canvas_for(SQUARE, side_px=SIDE_PX, unit_px=64)
    found = torch.zeros(1, 1, 4, 4)
    found[..., 1, 1] = 1
    region = found_region(found, canvas)[0, 0] > 0
    sides = region.any(0).sum(), region.any(1).sum()
    assert sides == (3 * session.components.preset.latent_cell_px,) * 2


def test_an_edit_that_says_the_same_changes_nothing(session):
    photo = Image.new("RGB", SQUARE, (90, 120, 30))
    settings = EditSettings(chord=ChordForm.FAST)
    edited = session.edit(photo, "a cat", source_prompt="a cat", settings=settings, seed=1)
    assert levels([edited.image], [photo]) == 0


def test_the_language_model_has_all_threads_beside_openvino(session, tmp_path, request):
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(3)
    components = to_openvino(session.components, folder=tmp_path)
    counts = []
    hook = components.text.network.register_forward_pre_hook(
        lambda *_: counts.append(torch.get_num_threads())
    )
    with components.scope():
        components.text.encode(["a bicycle that no other test draws"])
        outside = torch.get_num_threads()
    hook.remove()
    assert set(counts) == {3}
    assert outside == 1
