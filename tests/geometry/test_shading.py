import math

import pytest
import torch
from torch.nn import functional as F

from swiftpie.geometry.layout import from_box, pixel_grid, whole_frame
from swiftpie.geometry.relief import Turned, height, normals, turn
from swiftpie.geometry.shading import (
    Illumination,
    Lighting,
    cast_around,
    cast_on_ground,
    contact_points,
    contact_shadow,
    match_exposure,
    relit,
    thrown,
    usual_shadow,
    without_bounce,
)
from swiftpie_world.lighting import Light, light_of_reference, relight_reference, shaded
from swiftpie_world.shadows import cast_shadow

EVEN = Illumination(torch.ones(1, 3), torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
FROM_LEFT = Illumination(
    torch.full((1, 3), 0.3), torch.tensor([[0.8, 0.7, 0.6]]), torch.tensor([[-0.8, -0.36, 0.48]])
)
LOW = (0.4, 0.5, 0.6, 0.9)


def ball():
    """Return a patterned ball: its frame in [-1, 1], grey around, and its mask."""
    grid = pixel_grid(128, 128, like=torch.zeros(())).movedim(-1, 0)
    mask = ((0.8 - grid.norm(dim=0)) * 64 + 0.5).clamp(0, 1)[None, None]
    waves = 0.3 * torch.sin(9 * grid).sum(dim=0)
    return torch.stack([waves + 0.1, -waves, waves - 0.2])[None] * mask, mask


def frame_of(pixels, mask):
    return torch.cat([(pixels + mask) / 2, mask], dim=1)


def decibels(one, other):
    return float(-10 * ((one - other) / 2).square().mean().log10())


def test_a_light_comes_from_its_side_and_the_same_light_changes_nothing():
    pixels, mask = ball()
    same = relit(pixels, mask, Lighting(FROM_LEFT, FROM_LEFT), whole_frame(pixels))
    assert decibels(same, pixels) > 30
    lit = relit(pixels, mask, Lighting(EVEN, FROM_LEFT), whole_frame(pixels))
    change = ((lit - pixels) * mask).mean(dim=(0, 1, 2))
    assert change[20:50].mean() > change[78:108].mean() + 0.1


@pytest.mark.parametrize("seed", range(4))
def test_the_light_of_a_reference_is_taken_off(seed):
    pixels, mask = ball()
    numbers = torch.rand(1, 6, generator=torch.Generator().manual_seed(seed))
    numbers[:, 0], numbers[:, 5] = 0.0, 0.0  # lit, without a highlight
    relief = height(mask)
    lit = relight_reference(Turned(frame_of(pixels, mask), relief, normals(relief)), numbers)
    shown = 2 * lit[:, :3] - lit[:, 3:]
    lighting = Lighting(light_of_reference(numbers).illumination(), EVEN)
    plain = relit(shown, mask, lighting, whole_frame(pixels))
    assert decibels(plain, pixels) > 35
    assert decibels(plain, pixels) > decibels(shown, pixels) + 8


def test_a_turned_subject_is_lit_from_where_the_light_of_the_picture_is():
    pixels, mask = ball()
    relief, pose = height(mask), torch.tensor([[math.radians(40), math.radians(-15), 0.0, 0.0]])
    layout = whole_frame(pixels)._replace(pose=pose)
    lit = relit(pixels, mask, Lighting(EVEN, FROM_LEFT), layout)
    ours = turn(frame_of(lit, mask), relief, pose).frame
    turned = turn(frame_of(pixels, mask), relief, pose)
    none = torch.zeros(1)
    light = Light(FROM_LEFT.direction, FROM_LEFT.colour, FROM_LEFT.ambient, none + 1, none, none)
    right = shaded(turned, light.illumination(), whole_frame(pixels), none)
    assert decibels(ours, right) > decibels(turned.frame, right) + 8


def test_a_mirrored_and_rotated_subject_is_lit_from_the_same_side_of_the_picture():
    pixels, mask = ball()
    place = whole_frame(pixels)._replace(rotation=torch.tensor([0.7]), flip=torch.ones(1))
    lit = relit(pixels, mask, Lighting(EVEN, FROM_LEFT), place)
    grid = pixel_grid(128, 128, like=pixels)
    gain = ((lit - pixels) * mask).mean(dim=1)[0]
    x, y = (gain[..., None] * grid).sum(dim=(0, 1))  # where the frame is bright
    cos, sin = math.cos(0.7), math.sin(0.7)
    bright = torch.stack([-cos * x - sin * y, -sin * x + cos * y])  # and the picture
    assert F.cosine_similarity(bright, FROM_LEFT.direction[0, :2], dim=0) > 0.9


def test_a_subject_and_the_ground_lose_light_where_they_touch():
    alpha, layout = torch.zeros(1, 1, 256, 256), from_box((0.4, 0.2, 0.6, 0.7))
    alpha[..., 52:180, 104:152] = 1
    alpha[..., 168:180, 128:152] = 0  # a foot that is further away
    colours, ground = torch.ones(1, 3, 256, 256), torch.full((1, 3, 256, 256), 200).byte()
    contact_shadow(colours, ground, alpha, layout, 256)
    assert ground[0, 0, (181, 169), (112, 144)].max() < 160
    assert ground[0, 0, 195:].min() > 190
    assert colours[0, 0, (179, 167), (112, 144)].max() < 0.9
    contact_shadow(cut := torch.ones(1, 3, 180, 256), ground, alpha[..., :180, :], layout, 256)
    assert (cut == 1).all()  # its feet are below the picture
    contacts = contact_points(alpha, layout.scale, torch.full((1, 1, 1, 1), 180 / 256))
    assert cast_shadow(contacts, usual_shadow(FROM_LEFT))[0, 0, (180, 168), (112, 144)].min() > 0.3
    assert not cast_shadow(
        contacts, usual_shadow(FROM_LEFT)._replace(darkness=torch.zeros(1))
    ).any()


def test_the_shadow_of_a_foot_that_stands_further_back_begins_there():
    alpha, cast = torch.zeros(1, 1, 256, 256), usual_shadow(FROM_LEFT)
    alpha[..., 52:180, 90:130] = 1
    alpha[..., 52:168, 130:170] = 1
    feet = torch.cat([alpha, alpha.flip(3)])  # the nearer foot is on the left, then on the right
    base, wide = torch.full((2, 1, 1, 1), 180 / 256), torch.full((2,), 0.5)
    shades = F.interpolate(thrown(contact_points(feet, wide, base), cast), 256, mode="bilinear")
    begins = [int((shade > shade.max() / 2).nonzero()[-1]) for shade in shades[:, 0, :, 180]]
    assert begins[1] - begins[0] == pytest.approx(12, abs=3)


def test_light_near_the_horizon_throws_no_longer_a_shadow_than_light_a_little_higher():
    alpha, layout = torch.zeros(1, 1, 256, 256), from_box((0.4, 0.5, 0.6, 0.7))
    alpha[..., 128:180, 104:152] = 1
    lengths = []
    for rise in (0.2, 0.02, 0.0, -0.3):
        direction = F.normalize(torch.tensor([[-1.0, -rise, 0.2]]), dim=1)
        cast = usual_shadow(FROM_LEFT._replace(direction=direction))
        lengths.append(float(cast.length))
        assert cast_on_ground(alpha, layout, cast).isfinite().all()
    assert lengths[1:] == pytest.approx([max(lengths)] * 3, rel=0.2)


def test_ground_loses_the_sky_that_a_wall_hides():
    wall, layout = torch.zeros(1, 1, 256, 256), from_box((0.1, 0.2, 0.9, 0.5))
    wall[..., 51:128, 26:230] = 1
    cast, rows = usual_shadow(EVEN)._replace(darkness=torch.zeros(1)), torch.arange(136, 181, 8)
    far = (rows + 0.5 - 128) / 0.45
    hidden = 0.5 - far / torch.hypot(far, torch.tensor(77.0)) / 2  # an endless wall's form factor
    lost = cast_on_ground(wall, layout, cast)[0, 0, rows, 128]
    assert torch.allclose(lost, 0.5 * (hidden - 0.02).clamp_min(0), atol=0.03)


def test_light_of_coloured_ground_is_taken_off_a_subject_and_its_brightness_stays():
    _, mask = ball()
    paper = torch.tensor([0.95, 0.55, 0.2]).view(1, 3, 1, 1)
    shown = 0.5 * (1 + 0.3 * (paper**2.2 - (paper**2.2).mean())) ** (1 / 2.2)
    photo = 2 * torch.lerp(paper, shown, mask) - 1
    plain = without_bounce(photo, mask)
    casts = [(each[:, 0] - each[:, 2])[mask[:, 0] == 1].abs().mean() for each in (photo, plain)]
    assert casts[1] < casts[0] / 2
    assert ((plain - photo).mean(dim=1, keepdim=True) * (mask == 1)).abs().max() < 0.02
    grey = 2 * torch.lerp(torch.full_like(shown, 0.6), shown, mask) - 1
    assert torch.allclose(without_bounce(grey, mask), grey, atol=1e-4)
    assert torch.equal(without_bounce(photo, torch.ones_like(mask)), photo)
    sky = torch.linspace(0.2, 0, 128)[:, None] * torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    white = without_bounce(torch.lerp(torch.tensor(0.0), 0.4 + sky, mask), mask)
    assert white[0, :, (32, 64, 96), 64].std(dim=0).max() < 0.05  # below a blue sky


def test_low_parts_lose_more_of_the_hue_of_ground_than_upper_parts_have():
    _, mask = ball()
    paper, orange, reds = *torch.tensor([[0.95, 0.45, 0.15], [0.7, 0.5, 0.3]])[..., None, None], []
    for upper in (orange.mean().expand(3, 1, 1), orange):
        shown = torch.cat([upper.expand(-1, 77, 128), orange.expand(-1, 51, 128)], dim=1)
        plain = without_bounce(2 * torch.lerp(paper, shown, mask) - 1, mask)[0]
        reds.append((plain[0] - plain[2])[85:][mask[0, 0, 85:] == 1].mean())
    assert reds[0] < 0.5 < reds[1]


def test_what_is_kept_of_a_subject_changes_its_shadow_in_no_light():
    opacity, layout, cache = torch.zeros(1, 1, 64, 96), from_box((0.4, 0.2, 0.6, 0.7)), {}
    opacity[..., 13:45, 38:57] = 1
    for light in (FROM_LEFT, FROM_LEFT._replace(direction=torch.tensor([[-0.75, -0.4, 0.53]]))):
        (alone, shadow), (part, shared) = (
            cast_around(opacity, (38, 13, 57, 45), layout, usual_shadow(light), **more)
            for more in ({}, {"cache": cache})
        )
        assert alone == part
        assert torch.equal(shadow, shared)
    assert len(cache) == 1


def test_nothing_leaves_the_outline_or_the_range():
    pixels, mask = ball()
    dark = Illumination(torch.full((1, 3), 0.02), torch.full((1, 3), 0.1), FROM_LEFT.direction)
    for lighting in (Lighting(dark, FROM_LEFT), Lighting(FROM_LEFT, dark)):
        lit = relit(pixels, mask, lighting, whole_frame(pixels))
        assert lit.abs().max() <= 1 + 1e-5
        assert (lit * (mask == 0)).abs().max() == 0
    plain = relit(pixels, mask, Lighting(dark, EVEN), whole_frame(pixels))
    assert (plain > 0.9).float().mean() < 0.03  # nothing so bright was as dark as that


def test_light_is_as_dim_and_as_blue_as_a_photograph_by_night():
    day = torch.full((1, 3, 8, 8), 0.8)
    day[:, 2, :4] = day[:, :2, 4:] = 0.4  # yellow above blue ground is no light of one hue
    night = torch.tensor([-0.6, -0.6, -0.4]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    thing = torch.where(torch.arange(8) < 3, torch.tensor([1, 1, -0.4]).view(1, 3, 1, 1), 0.5)
    for photo in (day, thing.expand(1, 3, 8, 8)):  # nor is a yellow thing before grey
        torch.testing.assert_close(match_exposure(FROM_LEFT, photo, LOW).colour, FROM_LEFT.colour)
    ambient, colour = (match_exposure(FROM_LEFT, night, LOW)[k] / FROM_LEFT[k] for k in (0, 1))
    torch.testing.assert_close(ambient, colour)
    assert 1.05 * colour[0, 0] < colour[0, 2] < 0.5


def test_black_ground_below_a_bright_sky_leaves_a_quarter_of_the_light():
    dusk = torch.cat([torch.full((1, 3, 24, 32), 0.8), torch.full((1, 3, 8, 32), -1.0)], dim=2)
    factors = match_exposure(FROM_LEFT, dusk, LOW).ambient / FROM_LEFT.ambient
    assert 0.2 < factors.mean() < 0.3
    assert torch.equal(match_exposure(FROM_LEFT, dusk, (0.4, 0.2, 0.6, 0.5))[0], FROM_LEFT.ambient)
    assert usual_shadow(match_exposure(FROM_LEFT, -torch.ones_like(dusk), LOW)).darkness.isfinite()
