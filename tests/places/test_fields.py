import pytest
import torch

from swiftpie.noise import draw_noise
from swiftpie.places.fields import PixelRows, draw_weather

FALLING = ("rain", "snowfall", "fog")


@pytest.fixture(scope="module")
def noise():
    return draw_noise([3], (32, 32, 32))


def drawn(noise, name, *, size=(256, 256), rows=None, time=0, repeat=1, is_photo=False):
    first, last = rows or (0, size[0])
    pixels = torch.full((1, 3, last - first, size[1]), -0.5)
    view = PixelRows(size, (first, last), repeat)
    return draw_weather(pixels, noise, name=name, time=time, view=view, is_photo=is_photo)


@pytest.mark.parametrize("name", ["clear", "cloudy"])
def test_other_weathers_leave_every_bit(noise, name):
    assert (drawn(noise, name) == -0.5).all()


@pytest.mark.parametrize("name", FALLING)
def test_bands_join_to_the_whole_picture(noise, name):
    size = (130, 211)
    whole = drawn(noise, name, size=size, repeat=2)
    bands = [drawn(noise, name, size=size, rows=rows, repeat=2) for rows in ((0, 47), (47, 130))]
    torch.testing.assert_close(torch.cat(bands, dim=2), whole, atol=1e-5, rtol=0)
    assert whole.amin() >= -0.5 - 1e-6
    assert whole.amax() <= 1


def test_each_weather_covers_its_own_share(noise):
    shares = {name: float((drawn(noise, name) > -0.49).float().mean()) for name in FALLING}
    assert 0.03 < shares["snowfall"] < shares["rain"] < 0.4
    assert shares["fog"] > 0.95


def test_fog_is_thicker_far_away(noise):
    rows = drawn(noise, "fog").mean(dim=(0, 1, 3))
    assert rows[:64].mean() > rows[-64:].mean() + 0.1


def test_at_night_all_is_darker(noise):
    for name in FALLING:
        assert drawn(noise, name, time=2).mean() < drawn(noise, name).mean()


def test_flakes_in_photographs_are_small_and_soft(noise):
    usual, photo = (
        drawn(noise, "snowfall", size=(512, 512), is_photo=each) + 0.5 for each in (False, True)
    )
    few, many = ((each > 0.02).float().mean() for each in (photo, usual))
    assert 0.03 < few < 0.5 * many
    assert (photo > 1).float().mean() < 0.2 * (usual > 1).float().mean()


def test_rain_in_photographs_is_not_ruled(noise):
    ruled, photo = (
        drawn(noise, "rain", size=(512, 512), is_photo=each)[0, 0] + 0.5 for each in (False, True)
    )
    assert 0.005 < (photo > 0.02).float().mean() < 0.5 * (ruled > 0.02).float().mean()
    slant = torch.tensor([1, 2, 4])
    ruled, photo = (
        max(
            float(
                torch.corrcoef(torch.stack([each.flatten(), each.roll(int(shift), 1).flatten()]))[
                    0, 1
                ]
            )
            for shift in 512 // 32 * slant
        )
        for each in (ruled, photo)
    )
    assert photo < 0.2 < ruled
