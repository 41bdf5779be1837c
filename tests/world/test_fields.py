import torch

from swiftpie.mini.denoiser import anchor_codes
from swiftpie.noise import anchors, layout_uniforms
from swiftpie_world.fields import read_fields


def draw(count):
    return torch.randn(count, 32, 16, 16, generator=torch.Generator().manual_seed(1))


def test_layout_numbers_are_uniform():
    numbers = layout_uniforms(draw(1500))
    assert numbers.min() > 0
    assert numbers.max() < 1
    deciles = torch.histc(numbers, bins=10, min=0, max=1) / numbers.numel()
    assert (deciles - 0.1).abs().max() < 0.012


def test_soft_fields_have_about_unit_deviation():
    fields = read_fields(draw(200), size_px=32)
    for width in (3, 5, 7):
        assert 0.6 < fields.soft(width).std() < 1.6


def test_selecting_rows_commutes_with_reading():
    fields = read_fields(draw(4), size_px=48)
    assert torch.allclose(fields.soft(5)[[2, 0]], fields.select([2, 0]).soft(5), atol=1e-5)


def test_anchors_stay_in_the_picture_and_move_with_the_noise():
    places = anchors(layout_uniforms(draw(500)))
    assert places.shape == (500, 3)
    assert places.min() > 0.09
    assert places.max() < 0.86
    assert places.std(dim=0).min() > 0.03


def test_the_denoiser_sees_places_relative_to_the_anchors():
    noise = draw(6)
    codes = anchor_codes(noise)
    assert codes.shape == (6, 30, 16, 16)
    fields = read_fields(noise, size_px=16)
    # The slowest sine of the first axis is 0 on the horizon and grows below it.
    slowest = codes[:, :1]
    below = fields.y - fields.horizon
    near = below.abs() < 0.3
    assert torch.equal((slowest > 0) & near, ((below > 0) & near).expand_as(slowest))
