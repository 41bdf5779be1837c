"""Distribution matching on the packaged sprites."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import swiftpie
from swiftpie_lab.training.losses import noised
from swiftpie_lab.training.stages.distillation.base import predict
from swiftpie_lab.training.stages.distillation.dmd2 import Dmd2Config, Dmd2Stage
from swiftpie_lab.training.stages.one_step.stage import fast_precision
from tests.lab.training.stages.conftest import LOOP, SCENES, changed_parts

CONFIG = Dmd2Config(scenes=SCENES, student_every=2)


@pytest.fixture(scope="module")
def stage(models):
    student, teacher = models
    return Dmd2Stage(student, teacher.networks, config=CONFIG)


@pytest.fixture
def network(stage):
    return stage.network()


def test_terms_of_no_weight_are_left_out(stage, network):
    config = replace(
        CONFIG, adversarial_weight=0.0, regression_weight=0.0, discriminator_weight=0.0
    )
    updates = replace(stage, config=config).updates(network, 0, 3)
    assert [(group, set(terms)) for group, terms in updates] == [
        ("student", {"distillation"}),
        ("critic", {"critic"}),
    ]


@torch.no_grad()
def test_the_student_moves_by_the_normalised_difference_of_clean_latents(stage, network, encoded):
    batch, told = encoded
    for weight in network.critic.denoiser.unet.conv_out.parameters():
        weight.mul_(1.2)
    found = stage.score_difference(network, batch.noise, told, torch.Generator().manual_seed(2))
    noisy, levels = noised(batch.noise, torch.Generator().manual_seed(2), first=20, last=980)
    with fast_precision(noisy.device):
        prompted, blank, critic = (
            predict(denoiser, noisy, levels.timesteps, one).sample.double().numpy()
            for denoiser, one in (
                (stage.teacher.denoiser, told),
                (stage.teacher.denoiser, told._replace(text=told.no_text)),
                (network.critic.denoiser, told),
            )
        )
    teacher = blank + 1.75 * (prompted - blank)
    distance = np.abs(batch.noise.double().numpy() - teacher).mean(axis=(1, 2, 3), keepdims=True)
    assert np.abs(critic - teacher).max() > 0.1
    np.testing.assert_allclose(found.numpy(), (critic - teacher) / distance, atol=1e-5)


@torch.no_grad()
def test_the_critic_sees_what_its_denoiser_says_and_judges_it(network, encoded):
    batch, told = encoded
    timesteps = torch.tensor([900, 100])
    clean, logits = network.critic(batch.noise, timesteps, told)
    wanted = predict(network.critic.denoiser, batch.noise, timesteps, told).sample
    assert torch.equal(clean, wanted)
    assert logits.shape == (2, 1)


def test_the_discriminator_reaches_the_student_through_the_denoiser(network, encoded):
    batch, told = encoded
    latents = batch.noise.clone().requires_grad_()
    network.critic(latents, torch.tensor([900, 100]), told)[1].sum().backward()
    assert float(latents.grad.abs().sum()) > 0
    assert float(network.critic.denoiser.unet.conv_in.weight.grad.abs().sum()) > 0


@pytest.mark.slow
def test_each_group_trains_what_it_owns_and_the_student_loads_as_a_preset(stage, train, sprite):
    config = replace(LOOP, steps=3, sample_every=3, learning_rates=(1e-4, 0.0))
    events, folder = train(stage, config)
    assert {"critic", "discriminator"} <= events[1].losses.keys()
    assert "distillation" not in events[1].losses
    assert {"distillation", "adversarial", "regression", "psnr_db"} <= events[2].losses.keys()
    # The student's term flows through the critic, whose own learning rate is 0 here.
    assert {name.split(".")[0] for name in changed_parts(folder, stage.network())} == {"student"}
    session = swiftpie.load("mini", weights=folder / "export", size_px=128)
    result = session.personalize(session.encode_identity(sprite), "a robot on a beach")
    assert result.images[0].size == (128, 128)
