import copy
from dataclasses import replace

import pytest
import torch

import swiftpie
from swiftpie.mini.denoiser import TinyInversion
from swiftpie.noise import COUPLED_CHANNELS, draw_noise
from swiftpie_lab.training.stages.inversion.mini import MiniInversionConfig, noise_error
from swiftpie_lab.training.stages.one_step.tasks import Drops


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


def test_true_noise_has_no_error_whatever_channels_say_that_no_picture_depends_on(noise):
    other = noise.clone()
    other[:, COUPLED_CHANNELS:] = 7
    assert noise_error(other, noise).total == 0
