from dataclasses import replace

import torch

from swiftpie.backbones.choices import device_of, dtype_of, schedule_of, with_steps
from swiftpie.backbones.machine import BFLOAT16, best_device, best_dtype, instructions
from swiftpie.backbones.presets import PRESETS


def test_a_type_of_numbers_may_be_given_by_its_name():
    by_name = dtype_of({"dtype": "bfloat16"}, "cpu")
    assert by_name is dtype_of({"dtype": torch.bfloat16}, "cpu") is torch.bfloat16
    assert dtype_of({}, "cpu") is dtype_of({"dtype": None}, "cpu") is torch.float32


def test_the_processor_is_given_short_numbers_only_where_it_computes_in_them():
    is_quick = bool(instructions(BFLOAT16))
    assert dtype_of({"dtype": "auto"}, "cpu") is (torch.bfloat16 if is_quick else torch.float32)
    assert best_dtype("cpu") is dtype_of({"dtype": "auto"}, "cpu")


def test_apples_accelerator_is_given_the_type_that_all_of_them_know():
    assert best_dtype("mps") is torch.float16


def test_small_networks_stay_with_the_processor():
    assert device_of("auto", is_large=False) == "cpu"
    assert device_of("auto") == best_device()


def test_few_steps_of_a_random_kind_need_noise_and_one_step_does_not():
    assert schedule_of(PRESETS.get("lcm-lora-sdxl")).needs_noise
    assert not schedule_of(PRESETS.get("sdxl-turbo")).needs_noise


def test_mini_takes_the_steps_it_was_trained_for():
    mini = PRESETS.get("mini")
    for steps, timesteps in ((1, (999,)), (2, (999, 499)), (4, (999, 749, 499, 249))):
        changed = with_steps(mini, steps)
        assert tuple(step.timestep for step in schedule_of(changed).steps) == timesteps
        assert changed.step_counts == mini.step_counts
        assert with_steps(changed, 1) == replace(mini, more_steps=with_steps(changed, 1).more_steps)
