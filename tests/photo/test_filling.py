from pathlib import Path

import pytest
import torch

import swiftpie
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import extrapolate, resized, to_tensor
from swiftpie.photo.completion import lines_through, tone_across_gap
from swiftpie.photo.compositing import BAND_PX, blurred, enlarged, match_border
from swiftpie.photo.filling import FINEST_PX, in_pieces, inpaint, neighbours, steps_at_border

SIDE = 160


def box(left, top, right, bottom, side=SIDE):
    mask = torch.zeros(1, 1, side, side)
    mask[..., top:bottom, left:right] = 1
    return mask


def flat(value, side=SIDE):
    return torch.full((1, 3, side, side), value)


def textured(value, deviation, seed=1):
    noise = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return (value + deviation * noise).expand(1, 3, -1, -1)


@pytest.fixture
def hole():
    return box(50, 60, 100, 110)


@pytest.mark.parametrize("carry_on", [extrapolate, tone_across_gap])
def test_what_is_known_stays_and_is_carried_on_smoothly(carry_on):
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(1, 2, 33, 20, generator=generator)
    known = (torch.rand(1, 1, 33, 20, generator=generator) > 0.5).float()
    found = carry_on(values, known)
    assert torch.equal(found * known, values * known)
    assert 0 <= found.min() <= found.max() <= 1
    even = flat(0.3, 64)
    assert torch.allclose(carry_on(even, box(3, 3, 6, 6, side=64)), even, atol=1e-3)


def test_a_line_goes_tone_across_gap_behind_what_went():
    hole, away = box(12, 16, 34, 30, side=45), torch.arange(45.0) - 22
    for slope in (-0.3 * away, 0 * away, 0.2 * away):
        below = (away[:, None] > slope).float()[None, None]
        apart = (tone_across_gap(below * (1 - hole), 1 - hole) - below).abs() > 0.5
        assert apart.sum() < 0.05 * hole.sum()


def test_a_plain_backdrop_and_its_horizon_go_level_through_a_gap():
    down, across = torch.arange(SIDE)[:, None], torch.arange(SIDE)
    vase = (across - 80).abs() < 8 + 22 * ((down - 30) / 90).clamp(0, 1)
    hole = (vase * (down >= 30) * (down < 120))[None, None].float()
    photo = torch.where(down < 100, torch.linspace(1.0, 0.9, SIDE), 0.8).expand(1, 3, -1, -1)
    assert (inpaint(photo * (1 - hole), hole) - photo)[..., 80:120, :].abs().mean() < 2e-3


def test_what_fills_has_no_step_at_its_border(hole):
    photo = torch.linspace(0.2, 0.8, SIDE).expand(1, 3, SIDE, -1)
    result = match_border(flat(0.9), photo, hole)
    assert torch.equal(result * (1 - hole), photo * (1 - hole))
    assert (result - photo).abs().max() < 0.1


def test_nothing_of_what_goes_stays_even_if_that_is_all_but_a_pixel(hole):
    for went, goes in ((0.0, hole), (1.0, hole), (0.9, 1 - box(0, 0, 1, 1))):
        filled = inpaint(torch.lerp(flat(0.5), flat(went), goes), goes)
        assert torch.allclose(filled, flat(0.5), atol=0.02)


def test_a_pattern_goes_on_behind_what_went(hole):
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    is_joint = ((x + 8 * (y // 16 % 2)) % 32 < 4) | (y % 16 < 3)  # a wall of bricks
    photo = torch.lerp(flat(0.5), flat(0.8), is_joint.float())
    result = inpaint(torch.lerp(photo, flat(0.9), hole), hole)
    apart = (result - photo).abs()[hole.expand_as(photo) > 0]
    assert apart.mean() < 0.04
    assert (apart > 0.15).float().mean() < 0.05


def test_both_surfaces_go_on_where_little_stays_beside_what_went():
    hole = box(20, 40, 140, 145)
    shown = textured(0.3, 0.03) + 0.5 * box(0, 80, SIDE, SIDE)
    filled = inpaint(shown, hole)
    assert float(((filled - shown).abs() * hole).sum() / (3 * hole.sum())) < 0.06
    assert steps_at_border(filled, hole) < 0.05 < steps_at_border(filled + 0.2 * hole, hole)


def test_texture_is_borrowed_as_strong_as_it_is_around(hole):
    photo, inside = textured(0.5, 0.05, seed=3), (..., slice(65, 105), slice(55, 95))
    result = inpaint(torch.lerp(photo, flat(0.9), hole), hole)
    assert torch.equal(result * (1 - hole), photo * (1 - hole))
    assert 0.6 < float(result[inside].std() / photo[inside].std()) < 1.4
    assert float(blurred(result - 0.5, 5.0)[inside].abs().max()) < 0.01, "that at the border stains"
    assert float(inpaint(torch.lerp(flat(0.5), flat(0.9), hole), hole)[inside].std()) < 1e-3


def test_rough_texture_keeps_its_larger_spots():
    generator, hole = torch.Generator().manual_seed(1), box(120, 120, 264, 264, side=384)
    fine, spots = torch.randn(2, 1, 1, 384, 384, generator=generator)
    spots = blurred(spots, 6.0)
    photo = (0.5 + 0.06 * (fine + 0.6 * spots / spots.std())).expand(1, 3, -1, -1)
    kept, shown = (
        (blurred(each, 4.5) - blurred(each, 12.0))[..., 136:248, 136:248].std()
        for each in (inpaint(photo * (1 - hole), hole), photo)
    )
    assert kept > 0.55 * shown


def test_each_ground_keeps_its_own_texture_where_both_are_as_bright():
    ripples = torch.nn.functional.avg_pool2d(textured(0, 1)[:, :1], (1, 9), 1, (0, 4))
    ripples = 0.5 + 0.08 * ripples / ripples.std()
    is_below, hole = box(0, 80, SIDE, SIDE), box(30, 50, 130, 130)
    photo = torch.lerp(ripples, textured(0.5, 0.08, seed=2), is_below)
    result = inpaint(photo * (1 - hole), hole)
    above, below = (
        float(part.diff(dim=3).abs().mean() / part.diff(dim=2).abs().mean())
        for part in (result[..., 55:75, 35:125], result[..., 85:120, 35:125])
    )
    assert above < 0.5 < 0.85 < below


def test_texture_has_colours_and_reaches_every_part_of_what_went():
    hole = torch.maximum(box(20, 30, 90, 130), box(80, 80, SIDE, 120))
    generator = torch.Generator().manual_seed(1)
    photo = 0.5 + 0.05 * torch.randn(1, 3, SIDE, SIDE, generator=generator)
    result = inpaint(torch.lerp(photo, flat(0.9), hole), hole)
    for inside in ((..., slice(60, 100), slice(40, 70)), (..., slice(92, 108), slice(130, SIDE))):
        kept = result[inside].std(dim=(2, 3)) / photo[inside].std(dim=(2, 3))
        assert 0.6 < float(kept.min()) <= float(kept.max()) < 1.4
        red, green, _ = (result[inside] - 0.5)[0].flatten(1)
        assert float(torch.corrcoef(torch.stack([red, green]))[0, 1].abs()) < 0.3


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_a_part_is_enlarged_in_bands_as_it_is_in_the_whole(mode):
    values = torch.rand(1, 2, 40, 50, generator=torch.Generator().manual_seed(1))
    size, there, bands = (2 * BAND_PX + 100, 700), (slice(30, 600), slice(11, 690)), []
    part = enlarged(values, size, there, mode=mode, on_band=lambda: bands.append(1))
    torch.testing.assert_close(part, resized(values, size, mode=mode)[..., *there])
    assert len(bands) == 3


def test_a_large_photo_is_filled_as_its_smaller_copy_and_keeps_its_own_pixels():
    size, small = (2 * SIDE, 2 * FINEST_PX), (SIDE, FINEST_PX)
    generator = torch.Generator().manual_seed(1)
    photo = resized(torch.rand(1, 3, 8, 64, generator=generator), size)
    photo += 0.02 * torch.randn(1, 3, *size, generator=generator)
    hole = torch.zeros(1, 1, *size)
    hole[..., 100:201, 1001:1200] = 1
    result = inpaint(torch.lerp(photo, torch.ones(1), hole), hole)
    assert torch.equal(result * (1 - hole), photo * (1 - hole))
    copy, goes = resized(photo, small), (resized(hole, small) > 0).float()
    apart = (resized(result, small) - inpaint(copy, goes)).abs()
    assert apart.mean() < 1 / 255
    assert float((apart * (resized(hole, small) == 1)).max()) < 12 / 255


def test_texture_is_copied_in_large_pieces_and_each_once():
    noise = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    shifts, gone = torch.tensor([[0, 40], [0, 56]]), torch.ones(1, 32, 32)
    pieces = in_pieces(0.05 * noise, shifts, hole=gone)
    assert torch.equal(pieces.sum(dim=1), gone)
    chosen = pieces.argmax(dim=1).float()
    assert chosen.diff(dim=2).abs().mean() < 0.1  # 0.5 by the costs alone
    first, second = pieces[0]
    assert (first[:, 16:] * second[:, :16]).mean() < 0.25  # both come from the same place


def test_others_of_the_kind_are_not_copied_to_the_place_of_what_goes():
    patch = 0.1 * torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    patch[:, 1] += 0.6
    gone, red = (box(40, 40, 90, 100, side=128) for _ in range(2))
    for left in range(4, 120, 20):  # a herd, part of which touches what goes
        red[..., 32:40, left : left + 8] = 1
    patch = torch.where(red > 0, patch.new_tensor([0.7, 0.1, 0.1]).view(1, 3, 1, 1), patch)
    assert (inpaint(patch, gone)[:, 0, 40:100, 40:90] > 0.3).float().mean() < 0.01


def test_a_twig_beside_what_goes_is_not_seen_again(hole):
    patch = textured(0.35, 0.04).clone()
    for top, left in [(45 + 12 * k, side + 7 * k % 15) for k in range(8) for side in (16, 112)]:
        patch[..., top : top + 2, left : left + 24] = 0.8
    assert (inpaint(patch, hole)[..., 60:110, 50:100] > 0.6).float().mean() < 0.001


@pytest.mark.parametrize(("place", "is_left_out"), [((0.7, 0.9), True), ((0.1, 0.35), False)])
def test_a_thing_beside_is_not_copied_and_one_behind_goes_on(place, is_left_out):
    path = Path(swiftpie.__file__).parent / "assets" / "photos" / "sheep.jpg"
    photo = (to_tensor(load_image(path).resize((384, 288))) + 1) / 2
    gone = torch.zeros(1, 1, 288, 384)
    gone[..., 120:230, round(384 * place[0]) : round(384 * place[1])] = 1
    assert (float(neighbours(photo, gone).mean()) > 0.15) == is_left_out


def test_a_thin_line_goes_on_through_a_gap_with_its_grain_and_noise_draws_none():
    torch.manual_seed(0)
    rows = torch.arange(160.0)[:, None] - 0.2 * torch.arange(160.0)
    line = 0.3 * (1 - (rows - 64).abs() / 2).clamp_min(0).expand(1, 3, 160, 160)
    noise, known = 0.04 * torch.randn(1, 3, 160, 160), 1 - box(50, 50, 110, 110)
    (drawn, _), gap = lines_through(line + noise, known), (known == 0).expand_as(line)
    assert drawn[gap & (line > 0.25)].mean() > 0.2
    assert (drawn - line)[gap & (line > 0.25)].std() > 0.025
    assert drawn[gap & (line == 0)].abs().mean() < 0.005
    assert not any(each.any() for each in lines_through(noise, known))
