"""What every preset has to be."""

import json
import re
from typing import get_args

import pytest
import torch

from swiftpie import schedules
from swiftpie.backbones import presets as vocabulary
from swiftpie.backbones.presets import (
    PRESETS,
    Capability,
    Preset,
    WeightsKind,
    describe,
    read_preset,
)
from swiftpie.backbones.scheduling import schedule_of

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@pytest.fixture(params=PRESETS.names())
def preset(request):
    return PRESETS.get(request.param)


@pytest.mark.parametrize(
    ("spelled", "enum"),
    [
        (vocabulary.Prediction, schedules.PredictionType),
        (vocabulary.NoiseScale, schedules.NoiseScale),
        (vocabulary.Renoise, schedules.Renoise),
    ],
)
def test_presets_spell_choices_as_schedules_do(spelled, enum):
    assert set(get_args(spelled)) == {choice.value for choice in enum}


def test_it_is_known_by_its_own_name(preset):
    assert isinstance(preset, Preset)
    assert PRESETS.get(preset.name) is preset
    assert re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*", preset.name)


def test_its_words_are_ones_that_schedules_know(preset):
    assert schedules.PredictionType(preset.prediction_type)
    assert schedules.Renoise(preset.renoise)
    assert schedules.NoiseScale(preset.noise_scale)
    assert (preset.prediction_type == "flow") == (preset.noise_scale == "flow")


def test_its_timesteps_fall_and_are_in_range(preset):
    last = 1000 if preset.noise_scale == "flow" else 999
    assert 1 <= len(preset.timesteps) <= 8
    assert list(preset.timesteps) == sorted(set(preset.timesteps), reverse=True)
    assert 0 < preset.timesteps[-1] <= preset.timesteps[0] <= last
    assert 0 <= preset.eta <= 1


def test_its_pictures_are_whole_latent_cells(preset):
    assert preset.image_size_px % preset.latent_cell_px == 0
    assert preset.latent_channels > 0


def test_its_weights_can_be_found(preset):
    kind, _, place = preset.source.partition(":")
    assert kind in {"package", "hub", "local"}
    assert place
    assert (preset.repository is not None) == (kind == "hub")
    for repository in (preset.repository, preset.base):
        assert repository is None or HUB_NAME.fullmatch(repository)


def test_a_part_names_its_base_and_a_whole_does_not(preset):
    assert (preset.base is None) == (preset.kind is WeightsKind.PIPELINE)
    assert preset.kind is not WeightsKind.LORA or preset.file is not None


def test_files_are_safetensors(preset):
    assert preset.file is None or preset.file.endswith(".safetensors")


def test_it_states_what_it_can_do_and_under_which_licence(preset):
    assert preset.capabilities
    assert preset.capabilities <= {*Capability}
    assert preset.licence
    assert preset.is_commercial in {True, False, None}
    assert not (preset.is_commercial and re.search(r"\bnc\b|non-?commercial", preset.licence, re.I))


def test_it_has_scales_to_begin_with(preset):
    assert {*preset.defaults} - {"edit_text_scale"} == {"identity_scale", "detail_scale"}
    assert all(scale >= 0 for scale in preset.defaults.values())


def test_its_summary_is_one_sentence_that_fits_a_line(preset):
    assert preset.summary.endswith(".")
    assert 20 <= len(preset.summary) <= 90


def test_it_survives_json(preset):
    assert read_preset(json.loads(json.dumps(describe(preset)))) == preset


def test_a_perfect_network_ends_at_the_clean_latents(preset):
    schedule = schedule_of(preset)
    draws = torch.Generator().manual_seed(0)
    clean, first, fresh = (torch.randn(1, 4, 4, 4, generator=draws) for _ in range(3))
    latents = schedule.initial_latents(first)
    for index, step in enumerate(schedule.steps):
        noise = (latents - step.alpha * clean) / step.sigma
        predictions = {"epsilon": noise, "sample": clean, "flow": clean - noise}
        prediction = predictions[schedule.prediction_type.value]
        drawn = fresh if schedule.needs_noise else None
        latents = schedule.advance(latents, prediction, index, noise=drawn)
    # Trajectory consistency leaves the noise of timestep 0 by design.
    remains = 0.15 if schedule.renoise.value == "tcd" else 1e-3
    assert (latents - clean).abs().max() < remains
