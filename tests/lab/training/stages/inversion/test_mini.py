import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import avg_pool2d, pixel_unshuffle

import swiftpie
from swiftpie.mini.denoiser import TinyInversion
from swiftpie.noise import COUPLED_CHANNELS, LAYOUT_FIELD, draw_noise, grain
from swiftpie_lab.training.loop import LoopConfig, fit
from swiftpie_lab.training.stages.inversion.mini import (
    MiniInversionConfig,
    noise_error,
    window_means,
)
from swiftpie_lab.training.stages.one_step.tasks import Drops
from swiftpie_lab.training.state import STATE_FILE
from swiftpie_world.compositor import PlacedSprite
from swiftpie_world.placement import place
from tests.lab.training.stages.conftest import unseen

LOOP = LoopConfig(steps=2, learning_rate=1e-3, save_every=1, sample_every=100, warmup_steps=1)


@pytest.fixture(scope="module")
def stage(context):
    config = MiniInversionConfig(
        generator="mini",
        num_subjects=2,
        views=1,
        drops=Drops(everything=0.5),
        reconstruct_every=1,
        validation_pictures=12,
    )
    stage = config.build(context)
    return replace(stage, model=replace(stage.model, world=stage.model.held_out))


@pytest.fixture(scope="module")
def quick(stage):
    return replace(stage, config=replace(stage.config, latents_weight=0.0, generated_share=0.0))


def test_all_of_the_network_is_trained_and_nothing_of_the_generator(stage):
    network = stage.network()
    frozen = [stage.networks, stage.model.autoencoder]
    before = copy.deepcopy([part.state_dict() for part in frozen])
    terms = stage.losses(network, 0)
    torch.stack(list(terms.values())).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())
    for old, part in zip(before, frozen, strict=True):
        assert all(torch.equal(old[name], now) for name, now in part.state_dict().items())
        assert all(weight.grad is None for weight in part.parameters())


def test_weights_are_those_of_a_run_or_of_a_folder(context, tmp_path):
    (context.runs / "world_inversion" / "export").mkdir(parents=True)
    for find in (context.export_of, context.weights_of):
        assert find("world_inversion") == context.runs / "world_inversion" / "export"
        assert find(str(tmp_path)) == tmp_path


@torch.no_grad()
def test_references_are_withheld_as_often_as_the_settings_say(stage):
    batch = stage.world.batch(2, 1, seed=3)
    for share in (0.0, 1.0):
        encoded = stage._encode(batch, Drops(share, semantic=0, detail=0, aligned=0), seed=0)
        assert bool(encoded.subject.pooled.any()) == (share == 0)


@pytest.mark.thorough
def test_a_stopped_run_continues_bit_for_bit(quick, tmp_path):
    list(fit(unseen(quick), LOOP, tmp_path / "whole"))
    list(fit(unseen(quick), LOOP, tmp_path / "parts", time_limit_s=0.0))
    list(fit(unseen(quick), LOOP, tmp_path / "parts"))
    whole, parts = (load_file(tmp_path / run / STATE_FILE) for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.thorough
def test_an_export_beside_its_generator_loads_with_it(stage, tmp_path):
    network = stage.network()
    figures = stage.sample(network, tmp_path / "samples.png")
    assert {"noise_error", "psnr_db", "iou_located"} <= set(figures)
    assert (tmp_path / "samples.png").is_file()
    stage.model.export(stage.networks, tmp_path / "export")
    stage.export(network, tmp_path / "export")
    components = swiftpie.load("mini", weights=tmp_path / "export").components
    assert isinstance(components.inversion, TinyInversion)
    latents = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    text = components.text.encode(["a cat on a beach"])
    with torch.no_grad():
        error = components.inversion(latents, text) - network(latents, text)
    assert error.abs().max() < 0.1  # eight bits a weight


@pytest.fixture(scope="module")
def noise():
    return draw_noise(range(96), (32, 16, 16))


def test_guessing_the_mean_counts_as_one(noise):
    error = noise_error(torch.zeros_like(noise), noise)
    assert [float(part) for part in error] == pytest.approx([1, 1, 1], abs=0.2)


def test_windows_of_noise_have_unit_variance(noise):
    deviations = [float(means.std()) for means in window_means(noise)]
    assert deviations == pytest.approx([1.0] * len(deviations), abs=0.2)


def test_true_noise_has_no_error_whatever_channels_say_that_no_picture_depends_on(noise):
    other = noise.clone()
    other[:, COUPLED_CHANNELS:] = 7
    assert noise_error(other, noise).total == 0


def test_pictures_depend_on_no_fourth_field_but_its_blocks(stage):
    world = stage.world
    batch = world.batch(2, 2, seed=3)
    fields = grain(batch.noise)
    fields[:, LAYOUT_FIELD] = block_means(fields[:, LAYOUT_FIELD])
    noise = torch.cat([pixel_unshuffle(fields, 2), torch.zeros_like(batch.noise[:, 16:])], dim=1)
    rows = torch.tensor([0, 0, 1, 1])
    figure = PlacedSprite(
        batch.frames[rows], batch.relief[rows], place(noise, batch.frames[rows], batch.specs)
    )
    drawn = world.draw(noise, figure, batch.specs)
    assert (drawn.pixels - batch.pixels).abs().max() < 1e-3
    error = noise_error(noise, batch.noise)
    assert error.texture == error.raw == 0
    assert error.layout < 1e-6


def block_means(field):
    """Replace each of the sixteen blocks of a field (B, 32, 32) by its mean."""
    return avg_pool2d(field[:, None], 8).repeat_interleave(8, 2).repeat_interleave(8, 3)[:, 0]
