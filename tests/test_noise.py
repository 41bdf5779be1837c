from typing import get_args

import pytest
import torch

from swiftpie.backbones.presets import trailing_timesteps
from swiftpie.config import Prediction, Renoise
from swiftpie.noise import (
    NUM_STATISTICS,
    Step,
    anchors,
    block_normals,
    build_schedule,
    draw_noise,
    flow_step,
    grain,
    noise_statistics,
    predict_clean,
    scaled_linear_step,
)
from tests.parity.schedules import SHAPE, STEP_COUNTS, round_trip, rows

FOUR = (999, 749, 499, 249)


def draw(count):
    return torch.randn(count, 32, 16, 16, generator=torch.Generator().manual_seed(0))


def test_block_normals_are_the_scaled_means_of_the_fourth_field():
    noise = draw(2)
    field = grain(noise)[:, 3]
    first_block = field[:, :8, :8].mean(dim=(1, 2)) * 8
    assert torch.allclose(block_normals(noise)[:, 0], first_block, atol=1e-5)


def test_second_half_of_the_channels_decides_nothing():
    noise = draw(2)
    changed = noise.clone()
    changed[:, 16:] += 1
    assert torch.equal(grain(noise), grain(changed))


def test_the_places_that_noise_decides_are_those_of_the_training_pictures():
    lowest, highest = torch.zeros(1, 16), torch.ones(1, 16)
    assert torch.allclose(anchors(lowest), torch.tensor([[0.42, 0.15, 0.10]]))
    assert torch.allclose(anchors(highest), torch.tensor([[0.58, 0.85, 0.35]]))
    for place, number in enumerate((5, 7, 8)):
        one = lowest.clone()
        one[0, number] = 1
        assert (anchors(one) != anchors(lowest)).nonzero()[:, 1].tolist() == [place]


def test_statistics_are_those_that_networks_were_trained_with():
    noise = draw(4)
    found, uniform = noise_statistics(noise), torch.erf(block_normals(noise) / 2**0.5)
    assert found.shape == (4, NUM_STATISTICS) == (4, 48)
    assert torch.allclose(found[:, :16], uniform)
    assert torch.allclose(found[:, 16:32], torch.sin(torch.pi * uniform))
    assert torch.allclose(found[:, 32:], torch.cos(torch.pi * uniform))


@pytest.fixture
def latents():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def noise():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def test_every_schedule_equals_that_of_diffusers():
    found = rows()
    assert len(found) == 88
    names = " ".join(name for name, _, _ in found)
    assert all(word in names for word in ("ddim", "euler", "ancestral", "lcm", "tcd", "flow"))
    assert {name: gap for name, gap, bound in found if not gap <= bound} == {}


@pytest.mark.parametrize(
    ("scale", "timestep", "factor"),
    [
        ("unit", 999, 1.0),
        ("sigma", 999, 0.997667),
        ("unit", 399, 1.0),
        ("sigma", 399, 0.757571),
        ("flow", 1000, 1.0),
    ],
)
def test_noise_enters_the_first_step_at_the_scale_the_network_knows(scale, timestep, factor, noise):
    schedule = build_schedule((timestep,), "epsilon", noise_scale=scale)
    torch.testing.assert_close(schedule.initial_latents(noise), factor * noise, rtol=1e-5, atol=0)


@pytest.mark.parametrize("prediction_type", get_args(Prediction))
@pytest.mark.parametrize("timestep", [100, 500, 999])
def test_an_exact_prediction_gives_the_clean_latents_back(prediction_type, timestep):
    assert round_trip(prediction_type, timestep) < 2e-5


def test_half_precision_is_solved_in_float32(latents, noise):
    step = scaled_linear_step(999)
    clean = predict_clean(latents.half(), noise.half(), step, "epsilon")
    assert clean.dtype is torch.float32
    exact = predict_clean(latents.half().double(), noise.half().double(), step, "epsilon")
    torch.testing.assert_close(clean, exact)


@pytest.mark.parametrize("renoise", get_args(Renoise))
def test_latents_advance_in_float32(renoise, latents, noise):
    schedule = build_schedule(FOUR, "epsilon", renoise=renoise, eta=0.3)
    assert schedule.advance(latents.half(), noise.half(), 0, noise=noise).dtype is torch.float32


@pytest.mark.parametrize(
    ("renoise", "eta", "expected"),
    [
        ("ddim", 0.0, False),
        ("tcd", 0.0, False),
        ("tcd", 0.3, True),
        ("euler_ancestral", 0.0, True),
        ("lcm", 0.0, True),
    ],
)
def test_noise_is_needed_between_steps_of_random_kinds_and_never_after_the_last(
    renoise, eta, expected, latents, noise
):
    few = build_schedule(FOUR, "epsilon", renoise=renoise, eta=eta)
    one = build_schedule(FOUR[:1], "epsilon", renoise=renoise, eta=eta)
    assert few.needs_noise is expected
    assert one.needs_noise is False
    last = few.advance(latents, noise, 3)
    assert torch.equal(last, few.advance(latents, noise, 3, noise=noise))


def test_a_flow_in_one_step_adds_the_velocity(latents, noise):
    schedule = build_schedule((1000,), "flow", noise_scale="flow")
    assert schedule.steps == (flow_step(1000),) == (Step(timestep=1000, alpha=0.0, sigma=1.0),)
    assert torch.equal(schedule.advance(latents, noise, 0), latents + noise)


def test_each_sample_advances_as_if_alone(latents, noise):
    schedule = build_schedule(FOUR, "epsilon", renoise="lcm")
    together = schedule.advance(latents, noise, 0, noise=noise)
    alone = schedule.advance(latents[1:], noise[1:], 0, noise=noise[1:])
    assert torch.equal(together[1:], alone)


@pytest.mark.parametrize("num_steps", STEP_COUNTS)
def test_trailing_timesteps_are_those_of_diffusers(num_steps):
    import diffusers

    theirs = diffusers.DDIMScheduler(timestep_spacing="trailing")
    theirs.set_timesteps(num_steps)
    assert trailing_timesteps(num_steps) == tuple(theirs.timesteps.tolist())


@pytest.mark.parametrize("more", [2**31, 2**32, 2**33, 2**62])
def test_all_bits_of_a_seed_count(more):
    one, other = draw_noise([1, 1 + more], (4, 8, 8))
    assert (one - other).abs().max() > 1


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1])
def test_short_seeds_are_those_of_pytorch(seed):
    plain = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(draw_noise([seed], (4, 8, 8))[0], plain)
