import random

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from swiftpie_world.air import SEASONS, TIMES, WEATHERS, Setting, veil
from swiftpie_world.fields import read_fields
from swiftpie_world.places import (
    PLACES,
    SCENE_PLACES,
    draw_foregrounds,
    draw_places,
    is_held_out,
    settings,
)
from tests.quick import thorough_but

SIZE_PX = 48
SAMPLE = 5  # settings of a place besides plain daylight that are drawn in a quick test
SOME = range(0, len(SCENE_PLACES), 4)
OUTDOORS = [index for index, place in enumerate(SCENE_PLACES) if place.outdoors]


def name_of(index):
    return SCENE_PLACES[index].name


class Divisors(TorchDispatchMode):
    """Refuses to divide by what passes zero within a tensor, where some picture divides by 0."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is torch.ops.aten.div and isinstance(args[1], torch.Tensor):
            assert args[1].min() > 0 or args[1].max() < 0
        return func(*args, **(kwargs or {}))


def draw_fields(count, *, size_px=SIZE_PX, seed=0):
    noise = torch.randn(count, 32, 16, 16, generator=torch.Generator().manual_seed(seed))
    return read_fields(noise, size_px=size_px)


def same_fields(count):
    noise = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(3))
    return read_fields(noise.expand(count, -1, -1, -1), size_px=SIZE_PX)


def sample_of(chosen):
    others = random.Random(chosen[0].place).sample(chosen[1:], min(SAMPLE, len(chosen) - 1))
    return [chosen[0], *others]


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("index", thorough_but(range(len(SCENE_PLACES)), SOME), ids=name_of)
def test_settings_of_a_place_are_drawn_in_range_and_differ_from_plain_daylight(index, is_whole):
    chosen = [setting for setting in settings(len(SCENE_PLACES)) if setting.place == index]
    chosen = chosen if is_whole else sample_of(chosen)
    fields = same_fields(len(chosen))
    with Divisors():
        pictures = veil(draw_places(fields, chosen).pixels, fields, chosen)
    assert pictures.shape == (len(chosen), 3, SIZE_PX, SIZE_PX)
    assert torch.isfinite(pictures).all()
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.flatten(1).std(dim=1).min() > 0.008
    changes = (pictures - pictures[:1]).abs().mean(dim=(1, 2, 3))
    for setting, change in zip(chosen[1:], changes[1:].tolist(), strict=True):
        if (setting.weather, setting.season) == (0, 0):
            assert change > 0.05  # another time
        elif (setting.time, setting.season) == (0, 0):
            assert change > 0.03  # another weather
        elif (setting.time, setting.weather) == (0, 0):
            # Of paved places the trees alone change.
            assert change > (0.015 if SEASONS[setting.season] == "winter" else 0.0015)


@pytest.mark.parametrize("index", thorough_but(range(len(PLACES)), SOME), ids=name_of)
def test_pictures_vary_with_the_noise_and_keep_their_look_at_another_size(index):
    chosen = [Setting(index)] * 3
    small, large = (
        draw_places(draw_fields(3, size_px=size_px), chosen).pixels for size_px in (128, 256)
    )
    assert small.std(dim=0).max() > 0.01
    assert (F.avg_pool2d(large, 2) - small).abs().mean() < 0.05


def test_rows_of_a_mixed_batch_are_drawn_as_alone():
    chosen = [
        Setting(index, 2) if SCENE_PLACES[index].outdoors else Setting(index)
        for index in (9, 30, 0, len(PLACES), len(SCENE_PLACES) - 1, 3)
    ]
    fields = draw_fields(len(chosen))
    mixed = draw_places(fields, chosen)
    for row, setting in enumerate(chosen):
        alone = draw_places(fields.select([row]), [setting])
        torch.testing.assert_close(mixed.pixels[row], alone.pixels[0])
        for together, single in zip(mixed.light, alone.light, strict=True):
            torch.testing.assert_close(together[row], single[0])


def test_light_comes_from_where_the_sun_stands_and_is_weaker_by_night():
    chosen = [Setting(OUTDOORS[row % 14], row % 4) for row in range(64)]
    fields = draw_fields(64, size_px=8)
    light = draw_places(fields, chosen).light
    torch.testing.assert_close(light.direction.norm(dim=1), torch.ones(64))
    assert torch.equal(light.direction[:, 0] > 0, fields.sun_x.flatten() > 0.5)
    assert (light.direction[:, 1] < 0).all()
    assert (light.direction[:, 2] > 0).all()
    full = light.ambient + light.strength[:, None] * light.colour
    night = torch.tensor([setting.time == TIMES.index("night") for setting in chosen])
    day = torch.tensor([setting.time == TIMES.index("day") for setting in chosen])
    assert full[night].max() < full[day].min()
    assert ((full[day] > 0.9) & (full[day] < 1.2)).all()
    assert ((light.shadow >= 0) & (light.shadow <= 0.5)).all()


def test_settings_are_many_and_a_tenth_of_those_outdoors_is_held_out():
    every = settings()
    assert len(set(every)) == len(every) > 300
    assert {setting.place for setting in every} == set(range(len(PLACES)))
    assert all(PLACES[setting.place].outdoors for setting in every if setting[1:] != (0, 0, 0))
    outdoors = [setting for setting in every if PLACES[setting.place].outdoors]
    held_out = [setting for setting in every if is_held_out(setting)]
    assert set(held_out) <= set(outdoors)
    assert 0.07 < len(held_out) / len(outdoors) < 0.13
    assert all(PLACES[setting.place].outdoors for setting in held_out)
    names = {place.name: index for index, place in enumerate(PLACES)}
    kept = [is_held_out(Setting(names["meadow"], time)) for time in range(4)]
    # A change would mix what was trained with what is tested.
    assert kept == [False, False, True, False]


def test_snow_falls_only_where_it_is_cold():
    for setting in settings():
        if WEATHERS[setting.weather] == "snowfall":
            assert PLACES[setting.place].is_cold or SEASONS[setting.season] == "winter"


def test_foregrounds_stand_below_their_edge():
    chosen = [Setting(index) for index, place in enumerate(SCENE_PLACES) if place.foreground]
    count = len(chosen)
    fields = draw_fields(count, size_px=64)
    edge, base = torch.full((count, 1, 1, 1), 0.75), torch.full((count, 1, 1, 1), 0.85)
    colour, coverage = draw_foregrounds(fields, chosen, edge=edge, base=base)
    assert torch.isfinite(colour).all()
    assert coverage[:, :, :38].max() < 0.01
    assert coverage[:, :, 48:54].mean(dim=(1, 2, 3)).min() > 0.1
    bare = [Setting(index) for index, place in enumerate(PLACES) if not place.foreground][:2]
    assert not draw_foregrounds(fields.select([0, 1]), bare, edge=edge[:2], base=base[:2])[1].any()
