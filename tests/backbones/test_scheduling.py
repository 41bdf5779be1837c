"""Every preset's schedule can be walked from noise to latents."""

import json
from dataclasses import replace

import pytest
import torch

from swiftpie.backbones.presets import PRESETS
from swiftpie.backbones.scheduling import MAX_FILE_BYTES, schedule_of, with_steps, with_stored_steps
from swiftpie.errors import ConfigError, WeightsError


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
    assert not schedule_of(PRESETS.get("dmd2-sdxl-1")).needs_noise
    assert not schedule_of(PRESETS.get("sdxl-turbo")).needs_noise


def test_mini_takes_the_steps_it_was_trained_for():
    mini = PRESETS.get("mini")
    for steps, timesteps in ((1, (999,)), (2, (999, 499)), (4, (999, 749, 499, 249))):
        changed = with_steps(mini, steps)
        assert tuple(step.timestep for step in schedule_of(changed).steps) == timesteps
        assert changed.step_counts == mini.step_counts
        assert with_steps(changed, 1) == replace(mini, more_steps=with_steps(changed, 1).more_steps)


@pytest.mark.parametrize(("name", "steps"), [("mini", 3), ("sdxl-lightning-4", 1)])
def test_other_counts_are_refused_and_the_known_ones_named(name, steps):
    preset = PRESETS.get(name)
    with pytest.raises(ConfigError, match=" or ".join(map(str, preset.step_counts))):
        with_steps(preset, steps)


def test_a_folder_may_bring_its_own_steps(tmp_path):
    mini = PRESETS.get("mini")
    assert with_stored_steps(mini, tmp_path) is mini
    stored = {"timesteps": [999, 499, 0], "noise_scale": "sigma", "renoise": "lcm"}
    (tmp_path / "schedule.json").write_text(json.dumps(stored))
    schedule = schedule_of(with_stored_steps(mini, tmp_path))
    assert [step.timestep for step in schedule.steps] == [999, 499, 0]
    assert (schedule.noise_scale, schedule.renoise) == ("sigma", "lcm")
    with pytest.raises(ConfigError, match="trained for 3"):
        with_steps(with_stored_steps(mini, tmp_path), 4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[999]",
        "{}",
        '{"timesteps": []}',
        '{"timesteps": [499, 999]}',
        '{"timesteps": [999, 999]}',
        '{"timesteps": [1000]}',
        '{"timesteps": [999, -1]}',
        '{"timesteps": [true]}',
        '{"timesteps": [1e400]}',
        '{"timesteps": [999], "noise_scale": "flow", "renoise": "none"}',
        '{"timesteps": [999], "eval": 1}',
        '{"timesteps": [999]}' + " " * MAX_FILE_BYTES + "!",
        "[" * 60_000,
        "\ud800",
    ],
)
def test_steps_that_make_no_sense_are_refused(tmp_path, text):
    (tmp_path / "schedule.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(WeightsError, match=r"schedule\.json"):
        with_stored_steps(PRESETS.get("mini"), tmp_path)
