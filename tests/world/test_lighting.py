import math

import pytest
import torch

from swiftpie.geometry import relief
from swiftpie.geometry.relief import Turned
from swiftpie.geometry.shading import cast_shadow, shaded
from swiftpie_world.frames import draw_frames, lowest_point
from swiftpie_world.lighting import REFERENCE_NUMBERS, opposite_numbers, relight_reference

LEFT, RIGHT, ABOVE = (-0.8, -0.2, 0.5), (0.8, -0.2, 0.5), (0.0, -0.8, 0.5)


def draw(turned, light, layout, gloss=0.0):
    dull = torch.full((len(turned.frame),), gloss)
    return shaded(turned, light.illumination(), layout, dull)


def gain(turned, lit, layout, part):
    plain = draw_frames(turned.frame, layout, size_px=64)
    shown = draw_frames(lit, layout, size_px=64)
    halves = {
        "left": (..., slice(0, 32)),
        "right": (..., slice(32, 64)),
        "top": (..., slice(0, 32), slice(None)),
        "bottom": (..., slice(32, 64), slice(None)),
    }
    half = halves[part]
    return shown[:, :3][half].sum(dim=(1, 2, 3)) / plain[:, :3][half].sum(dim=(1, 2, 3))


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("rotation", [0.0, math.pi / 2, -2.0])
@pytest.mark.parametrize(
    ("direction", "bright", "dark"),
    [(LEFT, "left", "right"), (RIGHT, "right", "left"), (ABOVE, "top", "bottom")],
)
def test_the_side_of_the_picture_that_the_light_is_on_is_brighter(
    turned, make_layout, make_light, direction, bright, dark, rotation, flip
):
    layout = make_layout(rotation=rotation, flip=flip)
    lit = draw(turned, make_light(direction), layout)
    assert (gain(turned, lit, layout, bright) > 1.1 * gain(turned, lit, layout, dark)).all()


def test_the_mirrored_subject_in_mirrored_light_is_the_mirror_image(
    turned, make_layout, make_light
):
    height = turned.height.flip(3)
    mirrored = Turned(turned.frame.flip(3), height, relief.normals(height))
    first = draw(turned, make_light(LEFT), make_layout())
    second = draw(mirrored, make_light(RIGHT), make_layout())
    assert torch.allclose(first, second.flip(3), atol=1e-5)


def test_a_front_that_faces_the_light_by_half_is_as_bright_as_its_sprite(
    turned, make_layout, make_light
):
    lit = draw(turned, make_light((-0.6, -0.62, 0.5)), make_layout())
    brightness = lit[:, :3].mean(dim=(1, 2, 3)) / turned.frame[:, :3].mean(dim=(1, 2, 3))
    assert (brightness - 1).abs().max() < 0.15


def test_the_light_keeps_the_outline_and_colours_below_it(turned, make_layout, make_light):
    lit = draw(turned, make_light(LEFT, strength=2.0), make_layout(), gloss=1.0)
    assert torch.equal(lit[:, 3], turned.frame[:, 3])
    assert lit.min() >= 0
    # Colours of a resampled frame themselves may lie a little above its opacity.
    assert (lit[:, :3] - lit[:, 3:]).max() < 0.03


def test_gloss_adds_a_highlight(turned, make_layout, make_light):
    dull = draw(turned, make_light(LEFT), make_layout())
    glossy = draw(turned, make_light(LEFT), make_layout(), gloss=0.8)
    difference = (glossy - dull)[:, :3].amax(dim=(1, 2, 3))
    assert (difference > 0.1).all()
    assert (glossy >= dull - 1e-6).all()


def stand(turned, layout, light):
    alpha = draw_frames(turned.frame, layout, size_px=64)[:, 3:]
    base = (layout.centre[:, 1] + lowest_point(turned.frame, layout)).view(-1, 1, 1, 1)
    return alpha, base, cast_shadow(alpha, layout, base, light.cast())


@pytest.mark.parametrize("direction", [LEFT, RIGHT])
def test_shadows_fall_away_from_the_light(turned, make_layout, make_light, direction):
    _, _, shadow = stand(turned, make_layout(), make_light(direction))
    across = torch.linspace(-1, 1, 64)
    middle = (shadow * across).sum(dim=(1, 2, 3)) / shadow.sum(dim=(1, 2, 3))
    assert (middle * -direction[0] > 0.02).all()


@pytest.mark.parametrize(("depth", "sign"), [(0.6, -1), (-0.6, 1)])
def test_shadows_of_light_from_the_front_fall_behind(turned, make_layout, make_light, depth, sign):
    _, base, shadow = stand(turned, make_layout(), make_light((0.1, -0.4, depth), length=1.0))
    down = torch.linspace(0, 1, 64).view(1, 1, -1, 1) - base
    assert (sign * (shadow * down).sum(dim=(1, 2, 3)) > 0).all()


def test_long_shadows_reach_further_and_none_is_darker_than_reported(
    turned, make_layout, make_light
):
    _, _, short = stand(turned, make_layout(), make_light(LEFT, length=0.2))
    _, _, long = stand(turned, make_layout(), make_light(LEFT, length=1.2))
    assert (long[..., 56:].sum(dim=(1, 2, 3)) > 2 * short[..., 56:].sum(dim=(1, 2, 3))).all()
    assert long.min() >= 0
    assert long.max() <= 0.8
    _, _, none = stand(turned, make_layout(), make_light(LEFT, shadow=0.0))
    assert none.max() == 0


def test_hardly_any_light_gets_where_the_ground_is_touched(turned, make_layout, make_light):
    alpha, base, shadow = stand(turned, make_layout(), make_light(ABOVE, shadow=0.2, length=0.2))
    rows = (torch.arange(64) + 0.5).view(1, 1, -1, 1) / 64
    ground = shadow * (alpha < 0.1)
    feet = (ground * ((rows - base).abs() < 0.05)).amax(dim=(1, 2, 3))
    assert (feet > 0.28).all()
    assert (feet > 1.2 * (ground * (rows > base + 0.1)).amax(dim=(1, 2, 3))).all()


def test_references_are_lit_from_anywhere_or_not_at_all(turned):
    count = len(turned.frame)
    numbers = torch.rand(count, REFERENCE_NUMBERS, generator=torch.Generator().manual_seed(0))
    numbers[:, 0] = 0.1
    numbers[:, 5] = 0
    lit = relight_reference(turned, numbers)
    change = (lit - turned.frame)[:, :3].abs().mean(dim=(1, 2, 3))
    assert (change > 0.005).all()
    assert (lit[:, :3] - lit[:, 3:]).max() < 0.03
    numbers[:, 0] = 0.9
    assert torch.allclose(relight_reference(turned, numbers), turned.frame, atol=1e-5)


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize(
    ("direction", "bright", "dark"), [(LEFT, "right", "left"), (RIGHT, "left", "right")]
)
def test_a_reference_can_be_lit_from_where_the_light_of_its_picture_does_not_come_from(
    turned, make_light, make_layout, direction, bright, dark, flip
):
    layout = make_layout(flip=flip)
    numbers = opposite_numbers(make_light(direction), layout)
    assert numbers.shape[1] == REFERENCE_NUMBERS
    lit = relight_reference(turned, numbers)
    assert (gain(turned, lit, layout, bright) > 1.1 * gain(turned, lit, layout, dark)).all()
