"""The catalogue of places, the settings that make sense, and how a batch of them is drawn."""

from collections.abc import Iterator, Sequence
from itertools import groupby, product
from typing import NamedTuple
from zlib import crc32

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie_world.air import (
    SEASONS,
    TIMES,
    WEATHERS,
    WINTER,
    Air,
    Setting,
    draw_sky,
    drench,
    read_air,
    spread,
)
from swiftpie_world.art import KNOWN, SCENES
from swiftpie_world.features import Place
from swiftpie_world.fields import Fields
from swiftpie_world.lighting import Light

_ROWS_AT_ONCE = 8  # more do not fit in the cache of a core
_ROWS_ON_A_DEVICE = 128  # elsewhere fewer, larger pieces of work are quicker
_NO_RADIUS = 1e-6  # radius of a disc smaller than a pixel; places divide by it
_HELD_OUT_OF = 10  # one in so many outdoor settings is kept from training
_RAIN, _SNOWFALL = WEATHERS.index("rain"), WEATHERS.index("snowfall")

# The places of the world: its captions name them, and networks know them by these numbers.
PLACES: tuple[Place, ...] = KNOWN
# The scene network is trained on more places without a name. `Setting.place` counts in all of them.
SCENE_PLACES: tuple[Place, ...] = (*PLACES, *SCENES)


class Background(NamedTuple):
    """Empty places, and how they light what stands in them."""

    pixels: Tensor  # (B, 3, R, R) in [0, 1]
    light: Light
    horizon: Tensor  # (B, 1, 1, 1)


def settings(num_places: int = len(PLACES)) -> tuple[Setting, ...]:
    """Return all settings of the first places that make sense.

    Snow falls in winter and where it is cold, rain elsewhere.
    """
    found = []
    for index, place in enumerate(SCENE_PLACES[:num_places]):
        if not place.outdoors:
            found.append(Setting(index))
            continue
        seasons = range(len(SEASONS)) if place.has_seasons else (0,)
        for time, weather, season in product(range(len(TIMES)), range(len(WEATHERS)), seasons):
            out_of_season = _RAIN if place.is_cold or season == WINTER else _SNOWFALL
            if weather != out_of_season:
                found.append(Setting(index, time, weather, season))
    return tuple(found)


def is_held_out(setting: Setting) -> bool:
    """Whether training leaves out a setting, to see if a network composes what it has learned."""
    place = SCENE_PLACES[setting.place]
    names = (place.name, TIMES[setting.time], WEATHERS[setting.weather], SEASONS[setting.season])
    return place.outdoors and crc32("|".join(names).encode()) % _HELD_OUT_OF == 0


def draw_places(
    fields: Fields, settings: Sequence[Setting], *, shows_sun: bool = True
) -> Background:
    """Draw empty places; rows of one place are drawn together.

    Light falls as usual where the disc of sun or moon is not shown.
    """
    # Those under the sky stand first: they share one sky.
    order = sorted(range(len(settings)), key=lambda row: _rank(settings[row]))
    arranged, chosen = fields.select(order), [settings[row] for row in order]
    air = _read(arranged, chosen)
    if not shows_sun:
        air = air._replace(radius=torch.full_like(air.radius, _NO_RADIUS))
    side = fields.size_px
    pictures = fields.noise.new_empty(len(order), 3, side, side)
    at_once = _ROWS_AT_ONCE if pictures.device.type == "cpu" else _ROWS_ON_A_DEVICE
    for first in range(0, len(order), at_once):
        rows = slice(first, first + at_once)
        pictures[rows] = _draw(arranged.select(rows), air.select(rows), chosen[rows])
    back = torch.tensor(order, device=pictures.device).argsort()
    return Background(
        pixels=pictures[back].clamp_(0, 1),
        light=Light(*(value[back] for value in _light(arranged, air, chosen))),
        horizon=fields.horizon,
    )


def _draw(fields: Fields, bare: Air, settings: Sequence[Setting]) -> Tensor:
    """Draw sorted `settings`, those under the sky first: one sky and one ground for all of them."""
    places = [SCENE_PLACES[setting.place] for setting in settings]
    air = spread(fields, bare)
    under_sky = slice(sum(place.outdoors for place in places))
    if under_sky.stop:
        sky = draw_sky(fields.select(under_sky), bare.select(under_sky))
        air = air._replace(sky=sky)
    picture = torch.cat(
        [
            SCENE_PLACES[index].draw(fields.select(rows), air.select(rows))
            for index, rows in _groups(settings)
        ]
    )
    rainy = [row for row, setting in enumerate(settings) if setting.weather == _RAIN]
    if rainy:
        floor = fields.x.new_tensor([places[row].floor[0] for row in rainy]).view(-1, 1, 1, 1)
        picture[rainy] = drench(picture[rainy], fields.select(rainy), bare.select(rainy), floor)
    return picture


def draw_foregrounds(
    fields: Fields, settings: Sequence[Setting], *, edge: Tensor, base: Tensor
) -> tuple[Tensor, Tensor]:
    """Return colour (B, 3, R, R) and coverage (B, 1, R, R) of what stands before subjects.

    Args:
        fields: Noise of the pictures.
        settings: Where and when, one a row; places without a foreground get coverage 0.
        edge: Height where it should begin, (B, 1, 1, 1).
        base: Lowest point of the subject, (B, 1, 1, 1).
    """
    side = fields.size_px
    colour = fields.noise.new_zeros(len(settings), 3, side, side)
    coverage = fields.noise.new_zeros(len(settings), 1, side, side)
    air = spread(fields, _read(fields, settings))
    for index in sorted({setting.place for setting in settings}):
        draw = SCENE_PLACES[index].foreground
        if draw is None:
            continue
        rows = [row for row, setting in enumerate(settings) if setting.place == index]
        paint, shape = draw(fields.select(rows), air.select(rows), edge[rows], base[rows])
        colour[rows] = paint.clamp(0, 1).expand(len(rows), 3, side, side)
        coverage[rows] = shape.expand(len(rows), 1, side, side)
    return colour, coverage


def _rank(setting: Setting) -> tuple[bool, Setting]:
    return not SCENE_PLACES[setting.place].outdoors, setting


def _read(fields: Fields, settings: Sequence[Setting]) -> Air:
    return read_air(fields, settings, is_cold=[SCENE_PLACES[s.place].is_cold for s in settings])


def _groups(settings: Sequence[Setting]) -> Iterator[tuple[int, slice]]:
    """Yield each place of sorted `settings` with its rows."""
    start = 0
    for index, members in groupby(settings, key=lambda setting: setting.place):
        stop = start + len(list(members))
        yield index, slice(start, stop)
        start = stop


def _light(fields: Fields, air: Air, settings: Sequence[Setting]) -> Light:
    """Return the light of the air out of doors, and of the place's lamp elsewhere."""
    places = [SCENE_PLACES[setting.place] for setting in settings]
    lamps = [place.lamp for place in places]
    x = fields.x
    height = x.new_tensor([[lamp.height] for lamp in lamps])
    side = (1 - height) * (2 * fields.sun_x.flatten(1) - 1) * 3
    direction = torch.cat([side, -0.25 - height, torch.full_like(height, 0.7)], dim=1)
    indoors = Light(
        direction=F.normalize(direction, dim=1),
        colour=x.new_tensor([lamp.colour for lamp in lamps]),
        ambient=x.new_tensor([lamp.ambient for lamp in lamps]),
        strength=x.new_tensor([lamp.strength for lamp in lamps]),
        shadow=x.new_tensor([lamp.shadow for lamp in lamps]),
        length=x.new_tensor([lamp.length for lamp in lamps]),
    )
    outdoors = torch.tensor([place.outdoors for place in places], device=x.device)
    return Light(
        *(
            torch.where(outdoors.view(-1, *[1] * (free.dim() - 1)), free, lit)
            for free, lit in zip(air.light(), indoors, strict=True)
        )
    )
