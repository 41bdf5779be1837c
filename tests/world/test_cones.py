import math

import torch

from swiftpie_world import cones
from swiftpie_world.rays import Camera


def patch_of_a_post(foot, *, tall=0.3, side=64):
    """Return a post in a patch (1, 1, S, S), and the places of the ground there (1, 2, S, S)."""
    camera = Camera.aimed(1.2, 3.0, 0.2, 1.1, foot)
    alpha, left, low = torch.zeros(1, 1, side, side), *(round(part * side) for part in foot)
    alpha[..., low - round(tall * side) : low, left - 2 : left + 2] = 1
    patch, places = cones.patches(alpha, alpha), camera.ground(side)[0].clamp(-100, 100)[None]
    return patch, cones.from_foot(cones.patches(places, alpha), patch)


def test_a_patch_shows_things_alike_wherever_they_stand():
    for foot in ((0.4, 0.8), (0.6, 0.7)):
        patch, ground = patch_of_a_post(foot)
        assert (patch[0, 0] > 0.5).any(1).nonzero().flatten().tolist() == [*range(21, 48)]
        assert ground[..., 47:49, 31:33].mean((2, 3)).abs().max() < 0.01
        # The post is one of its heights tall there: 0.42 of 64 pixels.
        assert math.isclose(
            float(ground[0, 0, 47, 45] - ground[0, 0, 47, 31]), 14 / 27, rel_tol=0.1
        )


def test_shadows_fall_away_from_a_sun_as_far_as_it_is_low():
    patch, ground = patch_of_a_post((0.5, 0.75))
    none = torch.zeros(1, 3, 8, 16)
    for way in ((1.0, 0.3), (-1.0, 0.3), (0.7, 0.7), (-0.7, -0.7)):
        sun = torch.tensor([[*way, 1.0, 2.0, 2.0, 2.0]])
        left = cones.light_left(patch, ground, none, sun)
        far = ground.norm(dim=1) - math.hypot(*way)
        along = (ground * torch.tensor(way)[None, :, None, None]).sum(1)
        assert (left[:, 0][(along > 0.3) | (far > 0.2)] > -0.1).all()
        assert left.min() < math.log(0.1)
    assert -1.5 < cones.light_left(patch, ground, 1 + none, 0 * sun).min() < -0.1
    assert not cones.light_left(patch, ground, none, 0 * sun).any()
