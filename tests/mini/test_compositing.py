import numpy as np
import pytest
import torch
from torch.nn import functional as F

from swiftpie.geometry.layout import from_box
from swiftpie.geometry.relief import height
from swiftpie.geometry.shading import Illumination
from swiftpie.mini.insert import composite_patch
from swiftpie.photo.compositing import (
    CanvasDrawing,
    draw_over,
    match_sharpness,
    matching_grain,
    without_model_error,
)
from swiftpie.places.own_pixels import OwnPixels

WHOLE = (0.0, 0.0, 1.0, 1.0)
CELLS, SIDE = 64, 256


def texture(seed, side=SIDE, deviation=0.1):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 1, side, side, generator=generator)
    return (0.5 + deviation * noise).expand(1, 3, -1, -1).clamp(0, 1)


def box(left, top, right, bottom, side=CELLS):
    mask = torch.zeros(1, 1, side, side)
    mask[..., top:bottom, left:right] = 1
    return mask


def flat(value, side=CELLS):
    return torch.full((1, 3, side, side), value)


def drawing(**parts):
    same = {"before": flat(0.5), "after": flat(0.5), "alone": flat(0.5)}
    return CanvasDrawing(**{**same, "changes": box(16, 16, 48, 48), **parts})


def join(photo, seen, reference):
    return composite_patch(photo, seen, reference, ground=photo, place=WHOLE, seed=1)


EVEN = Illumination(torch.ones(1, 3), torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))


def standing(frame, where=(0.4, 0.4, 0.6, 0.6), light=EVEN):
    """Return a subject (1, 4, S, S), premultiplied in [0, 1], in a box."""
    own = OwnPixels.of(height(frame[:, 3:]), (frame.mul(255).round().to(torch.uint8),))
    return own.sprite_at(from_box(where), light, picture_px=SIDE)


def framed(colours, mask):
    return torch.cat([colours * mask, mask], dim=1)


@pytest.fixture
def ball():
    return standing(framed(flat(0.8), box(3, 3, 61, 61)))


@pytest.fixture
def lit_ball():
    left = Illumination(
        torch.full((1, 3), 0.3), torch.full((1, 3), 0.7), torch.tensor([[-0.8, -0.6, 0.0]])
    )
    return standing(framed(flat(0.8), box(3, 3, 61, 61)), light=left)


@pytest.mark.parametrize("shade", [-0.25, 0.4])
def test_the_ground_keeps_its_texture_and_takes_no_shade_of_the_drawing(ball, shade):
    photo, drawn = texture(1), flat(0.5) + shade * box(36, 36, 46, 46)
    seen = [drawing(after=each) for each in (drawn, flat(0.5))]
    shaded, lit = (join(photo, each, ball)[..., 164:172, 164:172] for each in seen)
    assert torch.equal(shaded, lit)
    plain = join(flat(0.5, SIDE), seen[1], ball)[..., 164:172, 164:172]  # it hides some sky
    assert 0.48 < plain.min() < plain.max() <= 0.5
    assert torch.allclose(lit, photo[..., 164:172, 164:172] * plain / 0.5, atol=1e-3)


def test_the_ground_is_darkest_where_a_subject_touches_it(ball):
    below = join(flat(0.5, SIDE), drawing(), ball)[0, 0, 154:, 128]
    assert 0.15 < float(below[0]) < 0.43 < 0.49 < float(below[-60:].min())
    assert (below.diff() > -1e-3).all()


def test_a_known_light_is_trusted_where_the_drawing_does_not_clearly_differ(lit_ball):
    photo, subject = flat(0.5, SIDE), box(25, 25, 39, 39)
    shown = lit_ball.render((CELLS, CELLS))
    alike = torch.lerp(flat(0.5), shown[:, :3] / shown[:, 3:].clamp_min(0.01), subject)
    result = join(photo, drawing(after=alike), lit_ball)
    row = result[0, 0, SIDE // 2]
    assert row[110:120].mean() > row[136:146].mean() + 0.1  # lit from the left
    assert result[0, 0, 154, 128] < 0.45  # and it casts a shadow at its feet
    dark = join(photo, drawing(after=0.3 * alike), lit_ball)
    assert dark[0, 0, 128, 128] < 0.6 * result[0, 0, 128, 128]
    red_and_dark = alike * torch.tensor([0.5, 0.3, 0.3]).view(1, 3, 1, 1)
    ground = join(photo, drawing(after=red_and_dark), lit_ball)[0, :, 128, 80]
    assert ground.tolist() == pytest.approx([0.5] * 3, abs=0.01)  # as bright as it was


def test_a_subject_is_as_fine_as_its_larger_frame():
    stripes = 100 + 155 * (torch.arange(4 * CELLS) // 8 % 2)
    mask, where = box(3, 3, 61, 61), (0.1, 0.1, 0.9, 0.9)
    opacity = F.interpolate(mask, scale_factor=4)
    fine = standing(framed(stripes.expand(1, 3, 4 * CELLS, -1) / 255, opacity), where)
    middle = (2 * stripes / 255 - 1).mean()
    coarse = standing(framed(flat(float(middle + 1) / 2), mask), where)
    everywhere = box(0, 0, CELLS, CELLS)
    shown = torch.lerp(flat(0.5), flat(float(middle + 1) / 2), box(6, 6, 58, 58))
    seen = drawing(after=shown, changes=everywhere)
    photo = texture(2)
    steps = [
        join(photo, seen, grid)[0, 0, 100:156, 60:196].diff(dim=1).abs().mean()
        for grid in (fine, coarse)
    ]
    assert steps[0] > 3 * steps[1]


def test_a_fault_of_the_model_is_taken_off_where_something_goes():
    photo, gone = flat(0.4, SIDE), box(80, 80, 176, 176, SIDE)
    seen = drawing(before=flat(0.4), after=flat(0.6), alone=flat(0.6))
    alone = without_model_error(seen).alone
    filled = draw_over(photo, alone, hole=gone, place=WHOLE, seed=1)
    assert torch.allclose(filled, photo, atol=0.01)


def test_grain_is_as_strong_as_around_and_edges_are_none():
    photo, known = texture(2, deviation=0.05), 1 - box(64, 64, 192, 192, SIDE)
    grain = matching_grain(photo, known, num_octaves=3, seed=1)
    inside = grain[..., 80:176, 80:176]
    high = photo - F.avg_pool2d(photo, 9, stride=1, padding=4, count_include_pad=False)
    assert 0.6 < float(inside.std() / high[:, :1].std()) < 1.4
    step = flat(0.2, SIDE)
    step[..., SIDE // 2 :] = 0.9
    assert matching_grain(step, known, num_octaves=3, seed=1).abs().max() < 1e-3
    assert torch.equal(grain, matching_grain(photo, known, num_octaves=3, seed=1))


def test_a_subject_is_as_soft_as_its_photograph_and_no_softer():
    sharp, inside = texture(3), torch.ones(1, 1, SIDE, SIDE)
    kept = match_sharpness(texture(4), sharp, inside, num_octaves=2)
    assert float((kept - sharp).abs().mean() / sharp.std()) < 0.1
    soft = F.avg_pool2d(texture(4), 7, stride=1, padding=3, count_include_pad=False)
    found = match_sharpness(soft, sharp, inside, num_octaves=2)
    steps = [float(picture.diff(dim=-1).abs().mean()) for picture in (found, sharp)]
    assert steps[0] < 0.5 * steps[1]
    assert np.isclose(float(found.mean()), float(sharp.mean()), atol=1e-2)
