"""The loss terms against their formulas."""

import pytest
import torch

from swiftpie.noise import COUPLED_CHANNELS, draw_noise
from swiftpie.schedules import PredictionType
from swiftpie.training.losses import levels_at, score_regulariser
from swiftpie.training.stages.inversion_mini import noise_error, window_means


@pytest.fixture(scope="module")
def noise():
    return draw_noise(range(96), (32, 16, 16))


def test_true_noise_has_no_error(noise):
    assert noise_error(noise, noise).total == 0


def test_guessing_the_mean_counts_as_one(noise):
    error = noise_error(torch.zeros_like(noise), noise)
    assert [float(one) for one in error] == pytest.approx([1, 1, 1], abs=0.2)


def test_windows_of_noise_have_unit_variance(noise):
    deviations = [float(means.std()) for means in window_means(noise)]
    assert deviations == pytest.approx([1.0] * len(deviations), abs=0.2)


def test_channels_that_no_picture_depends_on_do_not_count(noise):
    other = noise.clone()
    other[:, COUPLED_CHANNELS:] = 7
    assert noise_error(other, noise).total == 0


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_score_term_has_the_gradient_of_its_formula(weight):
    latents, start = draw_noise([1, 2, 3, 4], (4, 4, 4)).double().view(2, 2, 4, 4, 4).unbind()
    noise = start.clone().requires_grad_(True)
    levels = levels_at(torch.tensor([40, 700]), like=latents)

    def teach(noisy, timesteps):
        return torch.sin(noisy) * timesteps.view(-1, 1, 1, 1) / 1000

    score_regulariser(
        teach,
        latents,
        noise,
        levels=levels,
        prediction_type=PredictionType.EPSILON,
        weight=weight,
    ).backward()
    seen = teach(levels.alpha * latents + levels.sigma * start, levels.timesteps)
    expected = weight * (start - seen) / start.numel()
    assert torch.allclose(noise.grad, expected, rtol=1e-9, atol=1e-12)


def test_a_teacher_that_sees_the_very_noise_does_not_pull():
    latents, noise = draw_noise([1, 2], (4, 4, 4)).double().split(1)
    noise.requires_grad_(True)
    levels = levels_at(torch.tensor([500]), like=latents)
    kinds = {
        PredictionType.EPSILON: noise.detach(),
        PredictionType.SAMPLE: latents,
        PredictionType.V: levels.alpha * noise.detach() - levels.sigma * latents,
    }
    for kind, answer in kinds.items():
        pull = score_regulariser(
            lambda *_, answer=answer: answer,
            latents,
            noise,
            levels=levels,
            prediction_type=kind,
        )
        assert pull < 1e-20
