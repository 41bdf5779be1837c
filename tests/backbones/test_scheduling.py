"""Every preset's schedule can be walked from noise to latents."""

from dataclasses import replace

from swiftpie.backbones.presets import PRESETS
from swiftpie.backbones.scheduling import schedule_of, with_steps


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
