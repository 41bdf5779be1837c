"""Variational score distillation on the packaged sprites."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import swiftpie
from swiftpie_lab.training.critics import without_low_rank
from swiftpie_lab.training.losses import noised
from swiftpie_lab.training.stages.distillation import predict
from swiftpie_lab.training.stages.one_step import fast_precision
from swiftpie_lab.training.stages.vsd import VsdConfig, VsdStage, drop_text, load_similarity
from tests.lab.training.stages.conftest import LOOP, SCENES, changed_parts

CONFIG = VsdConfig(scenes=SCENES, rank=4, alpha=8, similarity_steps=4, similarity_samples=1)


@pytest.fixture(scope="module")
def stage(models):
    student, teacher = models
    return VsdStage(student, teacher.networks, load_similarity("cpu"), config=CONFIG)


@pytest.fixture
def network(stage):
    return stage.network()


def excite(network):
    """Let the low-rank change do something."""
    for name, weight in network.critic.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(0))


def test_only_the_low_rank_change_of_queries_and_values_is_trained(network):
    trained = [name for name, weight in network.critic.named_parameters() if weight.requires_grad]
    assert trained
    assert {name.split(".")[-4] for name in trained} == {"to_q", "to_v"}
    assert {name.split(".")[-3] for name in trained} == {"lora_A", "lora_B"}
    assert all(weight.requires_grad for weight in network.student.parameters())


@torch.no_grad()
def test_the_copy_starts_as_the_teacher_and_becomes_it_again_without_its_change(
    stage, network, encoded
):
    batch, told = encoded
    ask = (batch.noise, torch.tensor([700, 200]), told)
    wanted = predict(stage.teacher.denoiser, *ask).sample
    torch.testing.assert_close(predict(network.critic, *ask).sample, wanted)
    excite(network)
    assert not torch.allclose(predict(network.critic, *ask).sample, wanted, atol=1e-2)
    with without_low_rank(network.critic.unet):
        torch.testing.assert_close(predict(network.critic, *ask).sample, wanted)
    assert not torch.allclose(predict(network.critic, *ask).sample, wanted, atol=1e-2)


@torch.no_grad()
def test_the_student_moves_by_the_guided_difference_of_both_noises(stage, network, encoded):
    excite(network)
    batch, told = encoded
    found = stage.score_difference(
        network.critic, batch.noise, told, torch.Generator().manual_seed(2)
    )
    noisy, levels = noised(batch.noise, torch.Generator().manual_seed(2), first=20, last=980)
    alpha, sigma = levels.alpha.numpy(), levels.sigma.numpy()
    guided = []
    for denoiser in (stage.teacher.denoiser, network.critic):
        with fast_precision(noisy.device):
            prompted, blank = (
                predict(denoiser, noisy, levels.timesteps, one).sample.double().numpy()
                for one in (told, told._replace(text=told.no_text))
            )
        noises = [(noisy.double().numpy() - alpha * clean) / sigma for clean in (prompted, blank)]
        guided.append(noises[1] + 4.5 * (noises[0] - noises[1]))
    wanted = sigma**2 * (guided[0] - guided[1])
    assert np.abs(wanted).max() > 0.05
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_the_weight_of_similarity_falls_to_nothing(stage):
    weights = [stage.similarity_weight(step) for step in (0, 2, 4, 9)]
    assert weights == pytest.approx([0.1, 0.05, 0, 0])


@torch.no_grad()
def test_judges_find_true_pictures_more_alike_than_strangers(stage):
    batch = stage.student.stage.world.batch(4, 1, seed=1, augment=False)
    rows = torch.arange(4)
    true = stage.similarity(batch.pixels, batch, rows)
    false = stage.similarity(batch.pixels.roll(1, 0), batch, rows)
    assert float(true.mean()) > 0.8
    assert float(false.mean()) < 0.5


def test_prompts_are_dropped_row_by_row(encoded):
    _, told = encoded
    mixed = drop_text(told, torch.tensor([True, False]))
    for kept, blank, found in zip(told.text, told.no_text, mixed, strict=True):
        assert torch.equal(found[0], blank[0])
        assert torch.equal(found[1], kept[1])


@pytest.mark.thorough
def test_each_group_trains_what_it_owns_and_the_student_loads_as_a_preset(stage, train, sprite):
    config = replace(LOOP, learning_rates=(1e-4, 1e-2))
    events, folder = train(stage, config)
    assert {"distillation", "similarity", "critic", "psnr_db"} <= events[-1].losses.keys()
    assert events[0].losses["distillation"] == 0  # the copy still is the teacher
    assert events[-1].losses["distillation"] > 0
    changed = changed_parts(folder, stage.network())
    assert any(name.startswith("student.denoiser") for name in changed)
    critic = {name for name in changed if name.startswith("critic.")}
    assert critic
    assert all("lora_" in name for name in critic)
    session = swiftpie.load("mini", weights=folder / "export", size_px=128)
    result = session.personalize(session.encode_identity(sprite), "a robot on a beach")
    assert result.images[0].size == (128, 128)
