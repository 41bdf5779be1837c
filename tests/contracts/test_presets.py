"""What every preset has to be."""

import json
import re

import pytest
import torch

from swiftpie.backbones.choices import schedule_of
from swiftpie.backbones.presets import PRESETS, Capability, WeightsKind, describe, read_preset

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@pytest.fixture(params=PRESETS.names())
def preset(request):
    return PRESETS.get(request.param)


def test_it_is_known_by_its_own_name_and_survives_json(preset):
    assert PRESETS.get(preset.name) is preset
    assert re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*", preset.name)
    assert read_preset(json.loads(json.dumps(describe(preset)))) == preset


def test_its_timesteps_fall_and_are_in_range_and_its_pictures_are_whole_cells(preset):
    assert (preset.prediction_type == "flow") == (preset.noise_scale == "flow")
    last = 1000 if preset.noise_scale == "flow" else 999
    assert 1 <= len(preset.timesteps) <= 8
    assert list(preset.timesteps) == sorted(set(preset.timesteps), reverse=True)
    assert 0 < preset.timesteps[-1] <= preset.timesteps[0] <= last
    assert 0 <= preset.eta <= 1
    assert preset.image_size_px % preset.latent_cell_px == 0
    assert preset.latent_channels > 0


def test_its_weights_can_be_found_and_are_safetensors(preset):
    kind, _, place = preset.source.partition(":")
    assert kind in {"package", "hub", "local"}
    assert place
    assert (preset.repository is not None) == (kind == "hub")
    for repository in (preset.repository, preset.base):
        assert repository is None or HUB_NAME.fullmatch(repository)
    assert (preset.base is None) == (preset.kind is WeightsKind.PIPELINE)
    assert preset.kind is not WeightsKind.LORA or preset.file is not None
    for file in (preset.file, preset.lora):
        is_pickle = preset.name == "dmd2-sdxl-1"  # whose repository has no other; it asks first
        assert file is None or file.endswith(".bin" if is_pickle else ".safetensors")
    assert preset.lora is None or preset.kind is WeightsKind.MOTION


def test_it_states_what_it_can_do_its_scales_and_its_licence(preset):
    assert preset.capabilities
    assert preset.capabilities <= {*Capability}
    assert {*preset.defaults} - {"edit_text_scale"} == {"identity_scale", "detail_scale"}
    assert all(scale >= 0 for scale in preset.defaults.values())
    assert preset.licence
    assert not (preset.is_commercial and re.search(r"\bnc\b|non-?commercial", preset.licence, re.I))


def test_a_perfect_network_ends_at_the_clean_latents(preset):
    schedule = schedule_of(preset)
    draws = torch.Generator().manual_seed(0)
    clean, first, fresh = (torch.randn(1, 4, 4, 4, generator=draws) for _ in range(3))
    latents = schedule.initial_latents(first)
    for index, step in enumerate(schedule.steps):
        noise = (latents - step.alpha * clean) / step.sigma
        predictions = {"epsilon": noise, "sample": clean, "flow": clean - noise}
        prediction = predictions[schedule.prediction_type]
        drawn = fresh if schedule.needs_noise else None
        latents = schedule.advance(latents, prediction, index, noise=drawn)
    # Trajectory consistency leaves the noise of timestep 0 by design.
    remains = 0.15 if schedule.renoise == "tcd" else 1e-3
    assert (latents - clean).abs().max() < remains
