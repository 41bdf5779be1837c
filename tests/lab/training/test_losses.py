"""The formulas of score distillation against plain float64 ones, on tensors and on a U-Net."""

import numpy as np
import pytest
import torch

from swiftpie.noise import PredictionType, draw_noise
from swiftpie_lab.training.losses import (
    add_noise_at,
    levels_at,
    loss_of_gradient,
    noise_seen,
    score_regulariser,
)

SHAPE = (3, 4, 8, 8)
TIMESTEPS = torch.tensor([20, 500, 999])


def normal(seed, shape=SHAPE, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense(tensor):
    return tensor.detach().double().numpy()


def assert_equal(tensor, array, atol=1e-11):
    np.testing.assert_allclose(dense(tensor), array, atol=atol, rtol=1e-9)


@pytest.mark.parametrize("kind", [PredictionType.EPSILON, PredictionType.V])
def test_a_perfect_prediction_of_any_kind_tells_the_noise(kind):
    clean, noise, levels = normal(0), normal(1), levels_at(TIMESTEPS, like=normal(0))
    prediction = {
        PredictionType.EPSILON: noise,
        PredictionType.V: levels.alpha * noise - levels.sigma * clean,
    }[kind]
    found = noise_seen(add_noise_at(clean, noise, levels), prediction, levels, kind)
    torch.testing.assert_close(found, noise, atol=1e-12, rtol=0)


def test_the_gradient_of_the_loss_is_the_given_one_over_the_number_of_elements():
    generated = normal(0).requires_grad_()
    gradient = normal(1)
    loss = loss_of_gradient(generated, gradient)
    loss.backward()
    assert_equal(generated.grad, dense(gradient) / gradient.numel())
    assert_equal(loss, 0.5 * np.mean(dense(gradient) ** 2))


def test_the_score_term_has_the_gradient_of_its_formula():
    latents, start = draw_noise([1, 2, 3, 4], (4, 4, 4)).double().view(2, 2, 4, 4, 4).unbind()
    noise = start.clone().requires_grad_(True)
    levels = levels_at(torch.tensor([40, 700]), like=latents)

    def teach(noisy, timesteps):
        return torch.sin(noisy) * timesteps.view(-1, 1, 1, 1) / 1000

    score_regulariser(
        teach, latents, noise, levels=levels, prediction_type=PredictionType.EPSILON
    ).backward()
    seen = teach(levels.alpha * latents + levels.sigma * start, levels.timesteps)
    expected = (start - seen) / start.numel()
    assert torch.allclose(noise.grad, expected, rtol=1e-9, atol=1e-12)
