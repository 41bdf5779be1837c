"""The formulas of score distillation against plain float64 ones, on tensors and on a U-Net."""

import numpy as np
import pytest
import torch

from swiftpie.noise import PredictionType, draw_noise
from swiftpie_lab.training.losses import (
    add_noise_at,
    clean_of,
    draw_levels,
    levels_at,
    loss_of_gradient,
    noise_of,
    score_regulariser,
)

SHAPE = (3, 4, 8, 8)
TIMESTEPS = torch.tensor([20, 500, 999])
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2


def normal(seed, shape=SHAPE, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense(tensor):
    return tensor.detach().double().numpy()


def dense_levels(timesteps=TIMESTEPS):
    kept = np.cumprod(1 - BETAS)[timesteps.numpy()].reshape(-1, 1, 1, 1)
    return np.sqrt(kept), np.sqrt(1 - kept)


def assert_equal(tensor, array, atol=1e-11):
    np.testing.assert_allclose(dense(tensor), array, atol=atol, rtol=1e-9)


def test_levels_are_those_of_the_schedule_of_stable_diffusion():
    levels = levels_at(TIMESTEPS, like=normal(0))
    alpha, sigma = dense_levels()
    assert_equal(levels.alpha, alpha)
    assert_equal(levels.sigma, sigma)
    assert levels.alpha.dtype == torch.float64


def test_drawn_timesteps_fill_their_range_and_follow_from_the_generator():
    rows = torch.zeros(4000, 1, 1, 1)
    first, again = (
        draw_levels(torch.Generator().manual_seed(1), like=rows, first=20, last=25).timesteps
        for _ in range(2)
    )
    assert torch.equal(first, again)
    assert set(first.tolist()) == {20, 21, 22, 23, 24, 25}


@pytest.mark.parametrize("kind", [PredictionType.EPSILON, PredictionType.V, PredictionType.SAMPLE])
def test_a_perfect_prediction_of_any_kind_gives_back_clean_latents_and_noise(kind):
    clean, noise, levels = normal(0), normal(1), levels_at(TIMESTEPS, like=normal(0))
    noisy = add_noise_at(clean, noise, levels)
    prediction = {
        PredictionType.EPSILON: noise,
        PredictionType.V: levels.alpha * noise - levels.sigma * clean,
        PredictionType.SAMPLE: clean,
    }[kind]
    found = clean_of(noisy, prediction, levels, kind)
    torch.testing.assert_close(found, clean, atol=1e-12, rtol=0)
    torch.testing.assert_close(noise_of(noisy, found, levels), noise, atol=1e-12, rtol=0)


def test_the_gradient_of_the_loss_is_the_given_one_over_the_number_of_elements():
    generated = normal(0).requires_grad_()
    gradient = normal(1)
    loss = loss_of_gradient(generated, gradient)
    loss.backward()
    assert_equal(generated.grad, dense(gradient) / gradient.numel())
    assert_equal(loss, 0.5 * np.mean(dense(gradient) ** 2))


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_score_term_has_the_gradient_of_its_formula(weight):
    latents, start = draw_noise([1, 2, 3, 4], (4, 4, 4)).double().view(2, 2, 4, 4, 4).unbind()
    noise = start.clone().requires_grad_(True)
    levels = levels_at(torch.tensor([40, 700]), like=latents)

    def teach(noisy, timesteps):
        return torch.sin(noisy) * timesteps.view(-1, 1, 1, 1) / 1000

    score_regulariser(
        teach, latents, noise, levels=levels, prediction_type=PredictionType.EPSILON, weight=weight
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
            lambda *_, answer=answer: answer, latents, noise, levels=levels, prediction_type=kind
        )
        assert pull < 1e-20
