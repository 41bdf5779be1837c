import pytest
from diffusers import DDIMScheduler, LCMScheduler, TCDScheduler

from swiftpie.backbones.choices import with_steps
from swiftpie.backbones.presets import PRESETS

TO_EIGHT = tuple(range(1, 9))


@pytest.mark.parametrize(
    ("name", "counts", "scheduler"),
    [
        ("lcm-lora-sd15", TO_EIGHT, LCMScheduler()),
        ("lcm-lora-sdxl", TO_EIGHT, LCMScheduler()),
        ("animatelcm", TO_EIGHT, LCMScheduler()),
        ("hyper-sdxl-1-lora", TO_EIGHT, TCDScheduler()),  # the unified LoRA
        ("sd-turbo", (1, 2, 3, 4), DDIMScheduler(timestep_spacing="trailing")),
        ("sdxl-turbo", (1, 2, 3, 4), DDIMScheduler(timestep_spacing="trailing")),
        ("mini", (1, 2, 4), DDIMScheduler(timestep_spacing="trailing")),
        ("hyper-sdxl-1", (1,), None),
        ("sdxl-lightning-4", (4,), None),
    ],
)
def test_other_counts_of_steps_lie_where_their_schedulers_have_them(name, counts, scheduler):
    preset = PRESETS.get(name)
    assert preset.step_counts == counts
    for count in counts if scheduler else ():
        scheduler.set_timesteps(count)
        changed = with_steps(preset, count)
        assert changed.timesteps == tuple(scheduler.timesteps.tolist())
        assert changed.step_counts == counts


def test_non_commercial_licences_are_known_as_such():
    closed = {name for name, one in PRESETS.all().items() if one.is_commercial is False}
    conditional = {name for name, one in PRESETS.all().items() if one.is_commercial is None}
    assert closed == {"dmd2-sdxl-1", "dmd2-sdxl-4", "instaflow", "sdxl-turbo", "swiftbrush-v1"}
    assert conditional == {"animatelcm", "sd-turbo", "swiftbrush-v2"}
