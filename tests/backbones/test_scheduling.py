"""Every preset's schedule can be walked from noise to latents."""

import pytest
import torch

from swiftpie.backbones.preset import PRESETS
from swiftpie.backbones.scheduling import schedule_of


@pytest.mark.parametrize("name", PRESETS.names())
def test_a_perfect_network_ends_at_the_clean_latents(name):
    schedule = schedule_of(PRESETS.get(name))
    draws = torch.Generator().manual_seed(0)
    clean, first, fresh = (torch.randn(1, 4, 4, 4, generator=draws) for _ in range(3))
    latents = schedule.initial_latents(first)
    for index, step in enumerate(schedule.steps):
        noise = (latents - step.alpha * clean) / step.sigma
        prediction = {
            "epsilon": noise,
            "sample": clean,
            "flow": clean - noise,
        }[schedule.prediction_type.value]
        latents = schedule.advance(
            latents, prediction, index, noise=fresh if schedule.needs_noise else None
        )
    # Trajectory consistency leaves the noise of timestep 0 by design.
    remains = 0.15 if schedule.renoise.value == "tcd" else 1e-3
    assert (latents - clean).abs().max() < remains


def test_few_steps_of_a_random_kind_need_noise_and_one_step_does_not():
    assert schedule_of(PRESETS.get("dmd2-sdxl-4")).needs_noise
    assert not schedule_of(PRESETS.get("dmd2-sdxl-1")).needs_noise
    assert not schedule_of(PRESETS.get("sdxl-turbo")).needs_noise
