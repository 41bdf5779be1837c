"""Every preset's schedule can be walked from noise to latents."""

from dataclasses import replace

import pytest
import torch

from swiftpie.backbones.presets import PRESETS
from swiftpie.backbones.scheduling import schedule_of, with_steps


@pytest.mark.parametrize("name", PRESETS.names())
def test_a_perfect_network_ends_at_the_clean_latents(name):
    schedule = schedule_of(PRESETS.get(name))
    draws = torch.Generator().manual_seed(0)
    clean, first, fresh = (torch.randn(1, 4, 4, 4, generator=draws) for _ in range(3))
    latents = schedule.initial_latents(first)
    for index, step in enumerate(schedule.steps):
        noise = (latents - step.alpha * clean) / step.sigma
        prediction = {"epsilon": noise, "sample": clean, "flow": clean - noise}[
            schedule.prediction_type.value
        ]
        latents = schedule.advance(
            latents, prediction, index, noise=fresh if schedule.needs_noise else None
        )
    # Trajectory consistency leaves the noise of timestep 0 by design.
    remains = 0.15 if schedule.renoise.value == "tcd" else 1e-3
    assert (latents - clean).abs().max() < remains


def test_few_steps_of_a_random_kind_need_noise_and_one_step_does_not():
    assert schedule_of(PRESETS.get("dmd2-sdxl-4")).needs_noise
    assert not schedule_of(PRESETS.get("sdxl-turbo")).needs_noise


def test_mini_takes_the_steps_it_was_trained_for():
    mini = PRESETS.get("mini")
    for steps, timesteps in ((1, (999,)), (2, (999, 499)), (4, (999, 749, 499, 249))):
        changed = with_steps(mini, steps)
        assert tuple(step.timestep for step in schedule_of(changed).steps) == timesteps
        assert changed.step_counts == mini.step_counts
        assert with_steps(changed, 1) == replace(mini, more_steps=with_steps(changed, 1).more_steps)
