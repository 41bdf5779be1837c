import math
from random import Random

import pytest
import torch

from swiftpie.geometry.layout import SUBJECT_FILL, to_affine, warp
from swiftpie_world.compositor import PlacedSprite
from swiftpie_world.photographs import bystanders
from swiftpie_world.places import PLACES
from swiftpie_world.rays import FOCAL, Plane, Source, ground_light
from swiftpie_world.sampler import World
from swiftpie_world.textures import make_textures


@pytest.fixture(scope="module")
def world(subjects):
    return World(subjects, "held_out", surfaces=make_textures(24, subjects.tiles, seed=0))


@pytest.fixture(scope="module")
def off_distribution(world):
    return world.batch(6, 4, seed=3, off_distribution=True)


def test_sceneries_hide_the_place_of_the_subject_and_show_bystanders(world):
    seen = world.scenery(8, seed=1)
    pixels, given = seen.given[:, :3], seen.given[:, 3:]
    assert world.surfaces.shape == (24, 3, 160, 160)
    assert set(given.unique().tolist()) == {0.0, 1.0}
    assert (pixels * (1 - given)).abs().max() == 0
    assert (seen.shows * (1 - given)).max() == 0
    assert (seen.shows.flatten(1).amax(1) > 0.9).sum() >= 3


def test_bystanders_stand_whole_beside_the_subject(off_distribution):
    rows = torch.arange(len(off_distribution.frames)).repeat_interleave(4)
    frames, relief = off_distribution.frames[rows], off_distribution.relief[rows]
    figure = PlacedSprite(frames, relief, off_distribution.layout)
    reach = SUBJECT_FILL / 2 * off_distribution.layout.scale
    for bystander in bystanders(figure, off_distribution.noise, 4, share=1.0):
        x, half = bystander.layout.centre[:, 0], SUBJECT_FILL / 2 * bystander.layout.scale
        away = (x - off_distribution.layout.centre[:, 0]).abs()
        is_there = bystander.layout.centre[:, 1] < 1.5
        assert is_there.any()
        assert ((x - half > -1e-5) & (x + half < 1.00001))[is_there].all()
        assert (away >= reach + half - 1e-5)[is_there].all()


def test_captions_of_off_distribution_pictures_name_no_place(off_distribution):
    phrases = {phrase for place in PLACES for phrase in place.phrases}
    for row, caption in enumerate(off_distribution.captions):
        said = caption + off_distribution.empty_caption(Random(0), row)
        assert not any(phrase in said for phrase in phrases)


@pytest.fixture(scope="module")
def insertions(world):
    photo = torch.full((1, 3, 128, 128), 0.5)
    return [world.insert(photo, world.pool[seed : seed + 3], seed=seed) for seed in range(6)]


def test_an_insertion_changes_a_photograph_by_subject_and_shadow_alone(insertions):
    for inserted in insertions:
        shown, layout = inserted.answer.rendering, inserted.answer.layout
        change = shown.pixels - shown.background
        ground = change * (shown.mask == 0)
        assert ground.max() <= 1e-6  # a shadow only darkens
        assert ground.min() < -0.05
        assert (change.abs() * (shown.mask > 0.9)).max() > 0.2
        # Upright, as a whole, and as the reference shows it.
        assert not any(part.any() for part in (layout.rotation, layout.flip, layout.pose))
        assert shown.mask[..., [0, -1], :].max() < 0.5 > shown.mask[..., [0, -1]].max()
        assert ((inserted.unlit > 0).any(dim=1, keepdim=True) <= (shown.mask > 0)).all()


def slope(drawn, unlit, solid):
    """Return how much brighter than without light a subject becomes across and down."""
    rows, columns = torch.nonzero(solid, as_tuple=True)
    there = unlit[0].mean(0)[solid]
    across, down = (
        (places - places.float().mean()) / places.float().std() for places in (columns, rows)
    )
    basis = torch.stack([there, there * across, there * down], dim=1)
    return torch.linalg.lstsq(basis, drawn[0].mean(0)[solid][:, None]).solution[1:, 0]


def test_the_reference_of_an_insertion_is_lit_from_the_other_side(insertions):
    for inserted in insertions:
        answer = inserted.answer
        solid = answer.rendering.mask[0, 0] > 0.95
        placed = warp(answer.reference, to_affine(answer.layout), (128, 128))
        right, wrong = (
            slope((pixels + 1) / 2, inserted.unlit, solid)
            for pixels in (answer.rendering.pixels, placed)
        )
        assert torch.cosine_similarity(right, wrong, dim=0) < -0.5


def test_a_wall_hides_the_sky_from_ground_by_its_form_factor():
    solid = torch.zeros(1, 1, 128, 128)
    solid[..., 25:77, :] = 1
    light = ground_light(solid, 0.02 * solid, Plane(77 / 128, 0.2), Source(torch.zeros(3), 0.0))
    away = FOCAL - FOCAL * (77 / 128 - 0.2) / (96.5 / 128 - 0.2)
    top = math.hypot(away, 52 / 128)
    seen = math.atan(0.5 / away) - away / top * math.atan(0.5 / top)  # as wide as the picture
    assert light[0, 0, 96, 64] ** 2.2 == pytest.approx(1 - 0.7 * seen / math.pi, abs=0.05)
