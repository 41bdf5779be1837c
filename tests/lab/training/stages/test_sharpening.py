import pytest
import torch
from torch.nn import functional as F

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig
from swiftpie_lab.training.stages.one_step.tasks import Tasks
from swiftpie_lab.training.stages.sharpening import SharpeningConfig, SharpeningStage
from swiftpie_world.sampler import World
from tests.lab.training.stages.conftest import small_model

PLAIN = OneStepConfig(num_subjects=2, views=1, tasks=Tasks(0.0, 0.0, 0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def stage():
    world = World(sample_subjects(), "held_out")
    return SharpeningStage(small_model(world, PLAIN), SharpeningConfig(PLAIN, critic_width=32))


@pytest.mark.thorough
def test_the_model_is_drawn_to_what_the_critic_takes_for_true(stage):
    network = stage.network()
    model = next(iter(stage.updates(network, 0, 2)))
    attempt = stage.model.attempt(network.model, 2)
    noise, drawn = attempt.answer.noise, attempt.outcome.prediction.sample.float()
    ahead = network.critic(attempt.latents, noise) - network.critic(drawn, noise)
    assert model.group == "model"
    torch.testing.assert_close(model.terms.pop("adversarial"), 0.5 * F.softplus(ahead).mean())
    plain = stage.model.losses(network.model, 2)
    assert plain.keys() == model.terms.keys()
    for name, term in plain.items():
        torch.testing.assert_close(model.terms[name], term)
