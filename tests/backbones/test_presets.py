import pytest
from diffusers import DDIMScheduler, LCMScheduler, TCDScheduler

from swiftpie.backbones.choices import with_steps
from swiftpie.backbones.families.flux2 import flow_times
from swiftpie.backbones.presets import PRESETS, Capability, WeightsKind

FOUR = (999, 749, 499, 249)
LCM = (999, 759, 499, 259)
EIGHT = (999, 874, 749, 624, 499, 374, 249, 124)

# name: family, prediction, timesteps, first noise, between steps, side in pixels
FACTS = {
    "mini": ("tiny", "sample", (999,), "unit", "ddim", 256),
    "swiftbrush-v1": ("sd21", "epsilon", (999,), "unit", "ddim", 512),
    "swiftbrush-v2": ("sd21", "epsilon", (999,), "unit", "ddim", 512),
    "sd-turbo": ("sd21", "epsilon", (999,), "sigma", "ddim", 512),
    "sdxl-turbo": ("sdxl", "epsilon", (999,), "sigma", "euler_ancestral", 512),
    "sdxl-lightning-1": ("sdxl", "sample", (999,), "sigma", "ddim", 1024),
    "dmd2-sdxl-1": ("sdxl", "epsilon", (399,), "unit", "lcm", 1024),
    "dmd2-sdxl-4": ("sdxl", "epsilon", (999, 749, 499, 249), "unit", "lcm", 1024),
    "sdxl-lightning-2": ("sdxl", "epsilon", (999, 499), "sigma", "ddim", 1024),
    "sdxl-lightning-4": ("sdxl", "epsilon", FOUR, "sigma", "ddim", 1024),
    "sdxl-lightning-8": ("sdxl", "epsilon", EIGHT, "sigma", "ddim", 1024),
    "hyper-sdxl-1": ("sdxl", "epsilon", (800,), "unit", "lcm", 1024),
    "hyper-sdxl-1-lora": ("sdxl", "epsilon", (999,), "unit", "tcd", 1024),
    "hyper-sdxl-2": ("sdxl", "epsilon", (999, 499), "unit", "tcd", 1024),
    "hyper-sdxl-4": ("sdxl", "epsilon", FOUR, "unit", "tcd", 1024),
    "hyper-sdxl-8": ("sdxl", "epsilon", EIGHT, "unit", "tcd", 1024),
    "flux2-klein-4b": ("flux2", "flow", flow_times(4, 4096), "flow", "ddim", 1024),
    "sdxs-512": ("sdxs", "epsilon", (999,), "unit", "tcd", 512),
    "instaflow": ("sd15", "flow", (1000,), "flow", "ddim", 512),
    "animatelcm": ("sd15", "epsilon", LCM, "unit", "lcm", 512),
    "motion-lightning-1": ("sd15", "epsilon", (999,), "sigma", "ddim", 512),
    "motion-lightning-2": ("sd15", "epsilon", (999, 499), "sigma", "ddim", 512),
    "motion-lightning-4": ("sd15", "epsilon", FOUR, "sigma", "ddim", 512),
    "motion-lightning-8": ("sd15", "epsilon", EIGHT, "sigma", "ddim", 512),
    "lcm-lora-sd15": ("sd15", "epsilon", LCM, "unit", "lcm", 512),
    "lcm-lora-sdxl": ("sdxl", "epsilon", LCM, "unit", "lcm", 1024),
}


def test_the_facts_are_about_every_preset():
    assert tuple(sorted(FACTS)) == PRESETS.names()


@pytest.mark.parametrize("name", FACTS)
def test_a_preset_samples_as_its_authors_say(name):
    one = PRESETS.get(name)
    found = (
        one.family,
        one.prediction_type,
        one.timesteps,
        one.noise_scale,
        one.renoise,
        one.image_size_px,
    )
    assert found == FACTS[name]
    assert one.eta == (1.0 if name == "hyper-sdxl-1-lora" else 0.0)


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


def test_only_the_embedded_model_places_subjects_and_few_were_made_to_edit():
    able = {
        capability: {name for name, one in PRESETS.all().items() if capability in one.capabilities}
        for capability in Capability
    }
    assert able[Capability.LAYOUT] == {"mini"}
    assert able[Capability.EDIT] == {"mini", "swiftbrush-v2", "flux2-klein-4b"}
    moving = {name for name, one in PRESETS.all().items() if one.kind is WeightsKind.MOTION}
    assert able[Capability.ANIMATE] == {"mini"} | moving
    assert {name for name, one in PRESETS.all().items() if one.betas == "linear"} == moving
    assert able[Capability.PERSONALIZE] == {*PRESETS.names()}
    assert able[Capability.TEXT] == {*PRESETS.names()} - {"mini"}


def test_non_commercial_licences_are_known_as_such():
    closed = {name for name, one in PRESETS.all().items() if one.is_commercial is False}
    conditional = {name for name, one in PRESETS.all().items() if one.is_commercial is None}
    assert closed == {"dmd2-sdxl-1", "dmd2-sdxl-4", "instaflow", "sdxl-turbo", "swiftbrush-v1"}
    assert conditional == {"animatelcm", "sd-turbo", "swiftbrush-v2"}


def test_parts_are_for_the_base_of_their_family():
    words = {"sd15": "v1-5", "sd21": "2-1", "sdxl": "xl"}
    parts = [preset for preset in PRESETS.all().values() if preset.kind is not WeightsKind.PIPELINE]
    assert len(parts) > 10
    assert [part.name for part in parts if words[part.family] not in part.base] == []
