"""The formulas of losses, against plain ones."""

import math

import numpy as np
import pytest
import torch

from swiftpie.geometry.layout import Layout
from swiftpie.geometry.shading import Illumination, Lighting
from swiftpie.mini.layout_predictor import LayoutScores, LightVotes, illumination
from swiftpie.noise import draw_noise
from swiftpie_lab.training import losses

SHAPE = (3, 4, 8, 8)
TIMESTEPS = torch.tensor([20, 500, 999])


def normal(seed, shape=SHAPE, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_of_any_kind_tells_the_noise(kind):
    clean, noise, levels = normal(0), normal(1), losses.levels_at(TIMESTEPS, like=normal(0))
    prediction = {"epsilon": noise, "v_prediction": levels.alpha * noise - levels.sigma * clean}[
        kind
    ]
    found = losses.noise_seen(losses.add_noise_at(clean, noise, levels), prediction, levels, kind)
    torch.testing.assert_close(found, noise, atol=1e-12, rtol=0)


def test_the_gradient_of_the_loss_is_the_given_one_over_the_number_of_elements():
    generated = normal(0).requires_grad_()
    gradient = normal(1)
    loss = losses.loss_of_gradient(generated, gradient)
    loss.backward()
    torch.testing.assert_close(generated.grad, gradient / gradient.numel(), rtol=1e-9, atol=1e-11)
    assert loss.item() == pytest.approx(0.5 * gradient.square().mean().item(), rel=1e-9)


def test_the_score_term_has_the_gradient_of_its_formula():
    latents, start = draw_noise([1, 2, 3, 4], (4, 4, 4)).double().view(2, 2, 4, 4, 4).unbind()
    noise = start.clone().requires_grad_(True)
    levels = losses.levels_at(torch.tensor([40, 700]), like=latents)

    def teach(noisy, timesteps):
        return torch.sin(noisy) * timesteps.view(-1, 1, 1, 1) / 1000

    losses.score_regulariser(
        teach, latents, noise, levels=levels, prediction_type="epsilon"
    ).backward()
    seen = teach(levels.alpha * latents + levels.sigma * start, levels.timesteps)
    expected = (start - seen) / start.numel()
    assert torch.allclose(noise.grad, expected, rtol=1e-9, atol=1e-12)


FLIP = 0.2 * math.log(2)  # what an undecided flip costs


def layout(*, centre=(0.5, 0.5), scale=1.0, rotation=0.0, pose=(0.0, 0.0, 0.0, 0.0)):
    return Layout(
        centre=torch.tensor([centre]),
        scale=torch.tensor([scale]),
        rotation=torch.tensor([rotation]),
        flip=torch.zeros(1),
        pose=torch.tensor([pose]),
    )


def loss_of(guess, truth):
    return float(losses.layout_loss(LayoutScores(guess, torch.zeros(1)), truth))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: {"centre": (0.5 + 0.2 * s, 0.5)}, 25 * 0.04 / 2 + 2 * 0.1),
        (lambda s: {"scale": math.exp(0.3 * s)}, 5 * 0.09 + 0.5 * 0.3),
        (lambda s: {"rotation": 0.4 * s}, 5 * 0.16 + 0.5 * 0.4),
        (lambda s: {"rotation": 2 * math.pi * s}, 0.0),
        (lambda s: {"pose": (0.1 * s, 0.0, 0.0, 0.2 * s)}, 5 * 0.05 + 0.5 * 0.3),
    ],
)
def test_each_part_of_a_layout_costs_what_its_weights_say(change, expected, sign):
    assert loss_of(layout(**change(sign)), layout()) == pytest.approx(expected + FLIP, abs=1e-5)
    assert loss_of(layout(), layout(**change(sign))) == pytest.approx(expected + FLIP, abs=1e-5)


def light(ambient=0.6, colour=0.3):
    levels = (torch.full((1, 3), value) for value in (ambient, colour))
    return Illumination(*levels, torch.tensor([[0.0, -1.0, 0.0]]))


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ((light(), light()), (light(), light()), 0),
        ((light(), light(0.8)), (light(), light()), 0.2),
        ((light(1.2, 0.0), light()), (light(0.6, 0.0), light()), math.log(2)),
        ((light(0.001, 0.0), light()), (light(losses.LEAST_BRIGHTNESS, 0.0), light()), 0),
    ],
)
def test_lights_cost_their_difference_on_surfaces(found, truth, expected):
    cost = losses.light_loss(Lighting(*found), Lighting(*truth))
    assert float(cost) == pytest.approx(expected, abs=1e-5)


def test_cells_that_show_the_light_are_judged_and_others_doubt():
    numbers, shows = torch.randn(1, 9, 16, 16), torch.zeros(1, 1, 16, 16)
    shows[..., :4] = 1
    sure = torch.where(shows > losses.COVERED, 20.0, -20.0)
    truth = illumination(numbers[0, :, 0, 0][None])
    same = numbers[:, :, :1, :1].expand(-1, -1, 16, 16)
    elsewhere = torch.where(shows > losses.COVERED, same, same + 5)
    wrong = torch.where(shows > losses.COVERED, same + 5, same)
    none = (same, -20 + 0 * sure), 0 * shows
    for votes, shown in (((same, sure), shows), ((elsewhere, sure), shows), none):
        assert float(losses.vote_loss(LightVotes(*votes), truth, shown)) == pytest.approx(
            0, abs=1e-4
        )
    assert float(losses.vote_loss(LightVotes(same, -sure), truth, shows)) > 10
    assert float(losses.vote_loss(LightVotes(wrong, sure), truth, shows)) > 0.01


def test_errors_of_pixels_cost_what_their_formulas_say():
    target, weight = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    square = (0.25 + 1e-3) ** 0.5 + 0.25
    for apart, times in ((0.5, 1), (-0.5, 1), (0.5, 3)):
        found = losses.robust_and_squared(target + apart, target, times * weight)
        assert float(found) == pytest.approx(0.5 * times * square, abs=1e-6)
    ramp = torch.tensor([[[[0.0, 1.0], [3.0, 4.0]]]])
    assert float(losses.gradient_l1(ramp, target)) == 4
    assert (
        float(losses.gradient_l1(ramp + 7, target)) == float(losses.gradient_l1(-ramp, target)) == 4
    )


def test_maps_that_cover_their_subject_cost_least():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    small = mask[..., ::2, ::2]
    right, inverse = (float(losses.map_loss([attention], mask)) for attention in (small, 1 - small))
    assert right == pytest.approx(-math.log(1 - 1e-4), abs=1e-5)
    assert inverse == pytest.approx(-math.log(1e-4), abs=1e-3)
    assert float(losses.map_loss([small, 1 - small], mask)) == pytest.approx(
        (right + inverse) / 2, rel=1e-5
    )


def test_only_places_under_the_mask_count():
    distance = losses.feature_distance(lambda pixels: [pixels])
    first = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    second = first.clone()
    second[..., :4] = -first[..., :4]
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    maps = distance(first, second)
    assert float(losses.masked_mean(maps, left)) == pytest.approx(4)
    assert float(losses.masked_mean(maps, 1 - left)) == 0


def test_matching_draws_each_sample_to_what_the_guided_model_makes_of_it():
    clean, noise = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(5)).unbind()
    clean, levels = (
        clean.double().requires_grad_(),
        losses.levels_at(torch.tensor([120, 700]), like=clean),
    )

    def teach(noisy, _timesteps):
        return (0.3 * noisy.double() + 0.1).tanh()

    losses.matching_loss(
        teach, clean, noise, levels=levels, prediction_type="v_prediction"
    ).backward()
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    cumulative = np.cumprod(1 - betas)[[120, 700]].reshape(2, 1, 1, 1)
    alpha, sigma = cumulative**0.5, (1 - cumulative) ** 0.5
    start = clean.detach().numpy()
    noisy = alpha * start + sigma * noise.numpy()
    gap = start - (alpha * noisy - sigma * np.tanh(0.3 * noisy + 0.1))
    wanted = gap / np.abs(gap).mean((1, 2, 3), keepdims=True) / start.size
    assert clean.grad.numpy() == pytest.approx(wanted, rel=1e-5, abs=1e-9)
