import math

import pytest
import torch

from swiftpie.geometry.layout import Layout
from swiftpie.geometry.shading import Illumination, Lighting
from swiftpie.mini.placing import LayoutScores, LightVotes, illumination
from swiftpie_lab.training.losses import (
    COVERED,
    LEAST_BRIGHTNESS,
    feature_distance,
    gradient_l1,
    layout_loss,
    light_loss,
    map_loss,
    masked_mean,
    robust_and_squared,
    vote_loss,
)

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
    return float(layout_loss(LayoutScores(guess, torch.zeros(1)), truth))


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


def light(ambient=0.6, colour=0.3, direction=(0.0, -1.0, 0.0)):
    return Illumination(
        torch.full((1, 3), ambient), torch.full((1, 3), colour), torch.tensor([direction])
    )


def test_lights_cost_their_difference_on_surfaces():
    same = Lighting(light(), light())
    assert float(light_loss(same, same)) == 0
    brighter = Lighting(light(), light(ambient=0.8))
    assert float(light_loss(brighter, same)) == pytest.approx(0.2, abs=1e-5)
    own = Lighting(light(ambient=1.2, colour=0.0), light())
    half = Lighting(light(ambient=0.6, colour=0.0), light())
    assert float(light_loss(own, half)) == pytest.approx(math.log(2), abs=1e-5)
    dark = Lighting(light(ambient=0.001, colour=0.0), light())
    floor = Lighting(light(ambient=LEAST_BRIGHTNESS, colour=0.0), light())
    assert float(light_loss(dark, floor)) == pytest.approx(0, abs=1e-5)


def test_cells_that_show_the_light_are_judged_and_others_doubt():
    numbers, shows = torch.randn(1, 9, 16, 16), torch.zeros(1, 1, 16, 16)
    shows[..., :4] = 1
    sure = torch.where(shows > COVERED, 20.0, -20.0)
    truth = illumination(numbers[0, :, 0, 0][None])
    same = numbers[:, :, :1, :1].expand(-1, -1, 16, 16)
    assert float(vote_loss(LightVotes(same, sure), truth, shows)) == pytest.approx(0, abs=1e-4)
    assert float(vote_loss(LightVotes(same, -sure), truth, shows)) > 10
    elsewhere = torch.where(shows > COVERED, same, same + 5)
    assert float(vote_loss(LightVotes(elsewhere, sure), truth, shows)) == pytest.approx(0, abs=1e-4)
    wrong = torch.where(shows > COVERED, same + 5, same)
    assert float(vote_loss(LightVotes(wrong, sure), truth, shows)) > 0.01
    nothing = vote_loss(LightVotes(same, -20 * torch.ones_like(sure)), truth, 0 * shows)
    assert float(nothing) == pytest.approx(0, abs=1e-4)


def test_errors_of_pixels_cost_what_their_formulas_say():
    target, weight = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    square = (0.25 + 1e-3) ** 0.5 + 0.25
    for sign in (1, -1):
        found = robust_and_squared(target + 0.5 * sign, target, weight)
        assert float(found) == pytest.approx(0.5 * square, abs=1e-6)
        assert float(robust_and_squared(target + 0.5 * sign, target, 3 * weight)) == pytest.approx(
            1.5 * square, abs=1e-6
        )
    ramp = torch.tensor([[[[0.0, 1.0], [3.0, 4.0]]]])
    assert float(gradient_l1(ramp, target)) == 4
    assert float(gradient_l1(ramp + 7, target)) == float(gradient_l1(-ramp, target)) == 4


def test_maps_that_cover_their_subject_cost_least():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    small = mask[..., ::2, ::2]
    right, inverse = (float(map_loss([attention], mask)) for attention in (small, 1 - small))
    assert right == pytest.approx(-math.log(1 - 1e-4), abs=1e-5)
    assert inverse == pytest.approx(-math.log(1e-4), abs=1e-3)
    assert float(map_loss([small, 1 - small], mask)) == pytest.approx(
        (right + inverse) / 2, rel=1e-5
    )


def test_only_places_under_the_mask_count():
    distance = feature_distance(lambda pixels: [pixels])
    first = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    second = first.clone()
    second[..., :4] = -first[..., :4]
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    maps = distance(first, second)
    assert float(masked_mean(maps, left)) == pytest.approx(4)
    assert float(masked_mean(maps, 1 - left)) == 0
