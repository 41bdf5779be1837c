"""Air: time, weather and season as colours, the light and the sky they give, rain, snow and fog."""

import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie_world.fields import Colour, Fields, over
from swiftpie_world.lighting import Light
from swiftpie_world.shapes import below, blend, disc, enlarge, pool, ramp, scatter, slopes, texture

TIMES = ("day", "sunset", "night", "dawn")
WEATHERS = ("clear", "cloudy", "rain", "snowfall", "fog")
SEASONS = ("summer", "autumn", "winter", "spring")
WINTER = SEASONS.index("winter")

_DATA = tomllib.loads(Path(__file__).with_name("air.toml").read_text(encoding="utf-8"))
TIME_PHRASES, WEATHER_PHRASES, SEASON_PHRASES = _DATA["phrases"].values()
_SNOW = (238, 243, 250)
_RAIN_COLUMNS, _RAIN_LEAN = 32, 0.16


class Setting(NamedTuple):
    """Place, time, weather and season of a background; indoors all but the place are 0."""

    place: int
    time: int = 0
    weather: int = 0
    season: int = 0


class Paint(NamedTuple):
    """The colour of a thing in daylight, in each season."""

    summer: Colour
    autumn: Colour
    winter: Colour
    spring: Colour


def plain(red: int, green: int, blue: int, *, snow: float = 0.0) -> Paint:
    """Return a colour that stays all year, but for the share of `snow` on it in winter."""
    colour = (red, green, blue)
    covered = (round(c + snow * (s - c)) for c, s in zip(colour, _SNOW, strict=True))
    red, green, blue = covered
    return Paint(colour, colour, (red, green, blue), colour)


class _Time(NamedTuple):
    zenith: Colour
    low: Colour  # colour of the sky above the horizon
    overcast: Colour  # colour of a closed cover of clouds
    disc: Colour
    cloud: Colour  # where the light falls on it
    cloud_shade: Colour
    tone: Colour  # all light on the ground
    rays: Colour  # light of sun or moon alone
    height: float  # how high the sun stands, 0 on the horizon, 1 at the upper edge
    glow: float  # how far light scatters around the sun
    stars: float
    lamps: float  # how many windows are lit
    mist: float
    length: float  # length of shadows
    radius: float  # radius of sun or moon


_TIME_TABLE = [_Time(**_DATA["times"][time]) for time in TIMES]


class _Weather(NamedTuple):
    cover: float  # share of the sky that clouds cover
    grey: float  # how much of the colours of the clear sky is lost
    dim: float  # what is left of the light
    mist: float
    wet: float
    direct: float  # share of the light that has a direction


_WEATHER_TABLE = [_Weather(**_DATA["weathers"][weather]) for weather in WEATHERS]
_LEAFAGE = (1.0, 0.92, 0.4, 0.96)  # how dense crowns are, for each season


class Air(NamedTuple):
    """Time, weather and season of a group of pictures: what places are painted with."""

    season: Tensor  # (B,) index into SEASONS; winter where snow lies all year
    zenith: Tensor  # this and the other colours (B, 3, 1, 1)
    low: Tensor  # colour of the sky above the horizon
    disc: Tensor  # colour of sun, moon and stars
    cloud: Tensor
    cloud_shade: Tensor
    haze: Tensor  # what things far away fade to
    tone: Tensor  # all light on the ground
    rays: Tensor  # light of sun or moon alone
    sun_y: Tensor  # this and the other numbers (B, 1, 1, 1)
    side: Tensor  # -1 where the light comes from the left, 1 from the right
    radius: Tensor
    glow: Tensor
    stars: Tensor  # 1 by night
    clear: Tensor  # 1 under a clear sky, 0 below closed clouds
    lamps: Tensor
    mist: Tensor
    cover: Tensor
    wet: Tensor
    direct: Tensor
    length: Tensor
    leafage: Tensor
    sky: Tensor  # (B, 3, R, R) what `draw_sky` draws; before it does, the colour of the zenith
    clumps: Tensor  # (B, 1, R, R) a texture of about unit deviation; 0 before `spread`
    lumps: Tensor  # how the light falls on it: > 0 on lit sides, < 0 behind; 0 before `spread`
    turf: Tensor  # how it falls on rough ground; 0 before `spread`

    def select(self, rows: list[int] | slice) -> "Air":
        """Return the air of some pictures of the group."""
        return Air(*(value[rows] for value in self))

    def seen(self, *things: tuple[Paint, float]) -> tuple[Tensor, ...]:
        """Return the colours (B, 3, 1, 1) of things, each a paint and how far away it is.

        At distance 0 there is no haze before a thing; at 1 it is on the horizon.
        """
        paints = tuple(paint for paint, _ in things)
        table = _paint_table(paints).to(self.tone)[self.season]  # (B, n, 3)
        far = self.tone.new_tensor([far for _, far in things]).view(1, -1, 1)
        veiled = 1 - torch.exp(-far * (0.35 + 2.8 * self.mist[..., 0]))
        lit = torch.lerp(table * self.tone[:, None, :, 0, 0], self.haze[:, None, :, 0, 0], veiled)
        return lit[..., None, None].unbind(1)

    def light(self) -> Light:
        """Return the light out of doors; it comes from where the sun stands, a little forward."""
        tone, rays = self.tone.flatten(1), self.rays.flatten(1)
        direct = self.direct.view(-1, 1)
        brightness = tone.amax(dim=1, keepdim=True)
        up = torch.full_like(self.side, -0.62) + 0.5 * self.sun_y
        direction = torch.cat([0.75 * self.side, up, torch.full_like(up, 0.6)], dim=1)
        return Light(
            direction=F.normalize(direction.flatten(1), dim=1),
            colour=rays,
            ambient=(tone - 0.8 * direct * brightness * rays).clamp_min(0.08),
            strength=(direct * brightness).flatten(),
            shadow=0.08 + 0.6 * self.direct.flatten(),
            length=self.length.flatten(),
        )


def read_air(fields: Fields, settings: Sequence[Setting], *, is_cold: Sequence[bool]) -> Air:
    """Return the air of `settings`; where it is cold, snow lies in every season."""
    x = fields.x
    season = [WINTER if cold else s.season for s, cold in zip(settings, is_cold, strict=True)]
    times, weathers = [s.time for s in settings], [s.weather for s in settings]
    colours = (x.new_tensor([row[:8] for row in _TIME_TABLE]) / 255)[times][..., None, None]
    zenith, low, overcast, disc, cloud, cloud_shade, tone, rays = colours.unbind(1)
    numbers = x.new_tensor([row[8:] for row in _TIME_TABLE])[times][..., None, None, None]
    height, glow, stars, lamps, mist, length, radius = numbers.unbind(1)
    numbers = x.new_tensor(_WEATHER_TABLE)[weathers][..., None, None, None]
    cover, grey, dim, weather_mist, wet, direct = numbers.unbind(1)
    closed = overcast * (1 - 0.18 * wet)
    mean = tone.mean(dim=1, keepdim=True)
    low = blend(low, 1.06 * closed, grey)
    zenith = blend(zenith, 0.86 * closed, grey)
    return Air(
        season=torch.tensor(season, device=x.device),
        zenith=zenith,
        low=low,
        disc=disc,
        cloud=blend(cloud, 1.1 * closed, grey),
        cloud_shade=blend(cloud_shade, 0.82 * closed, grey),
        haze=blend(low, zenith, 0.18 * (1 - grey)),
        tone=blend(tone, mean, 0.6 * grey) * dim,
        rays=rays,
        sun_y=fields.horizon * (1 - height),
        side=(3 * (fields.sun_x - 0.5)).clamp(-1, 1),
        radius=radius,
        glow=glow * (1 - 0.85 * grey),
        stars=stars,
        clear=1 - grey,
        lamps=(lamps + 0.25 * grey * (1 - stars)).clamp_max(1),
        mist=mist + weather_mist,
        cover=cover,
        wet=wet,
        direct=direct,
        length=length,
        leafage=x.new_tensor(_LEAFAGE)[season].view(-1, 1, 1, 1),
        sky=zenith,
        clumps=zenith[:, :1] * 0,
        lumps=zenith[:, :1] * 0,
        turf=zenith[:, :1] * 0,
    )


@cache
def _paint_table(paints: tuple[Paint, ...]) -> Tensor:
    """Return the colours (4, n, 3) in [0, 1] of some paints in each season."""
    return torch.tensor(paints).transpose(0, 1) / 255


def spread(f: Fields, air: Air) -> Air:
    """Return the air with the textures that most places share, drawn for all of them at once."""
    field = f.noise[:, :1]
    clumps = pool(field, 3, 3)
    rough = 0.5 * slopes(field, air.side) + pool(f.noise[:, 2:3], 3, 7)
    textures = enlarge(f, torch.cat([clumps, slopes(clumps, air.side), rough], dim=1))
    clumps, lumps, turf = textures.split(1, dim=1)
    return air._replace(clumps=clumps, lumps=lumps, turf=turf)


def draw_sky(f: Fields, air: Air) -> Tensor:
    """Draw the sky (B, 3, R, R): sun or moon with its glow, stars and clouds."""
    up = (1 - f.y / f.horizon).clamp(0, 1)
    picture = blend(air.low, air.zenith, up.sqrt() * (0.4 + 0.6 * up))
    near = torch.exp(-((f.x - f.sun_x) / 0.26).square())
    glow = near * (air.glow * torch.exp(-((f.y - air.sun_y) / 0.2).square()))
    # At night the disc is a moon: part of it is dark, and the sky has stars.
    beside = f.sun_x + air.radius * (0.5 + f.u(10))
    dark = disc(f, beside, air.sun_y - 0.3 * air.radius, air.radius) * air.stars.round()
    moon = disc(f, f.sun_x, air.sun_y, air.radius) * (1 - dark)
    centre = (1 - 2.6 * (torch.frac(32 * f.x) - 0.5).abs()).clamp(0, 1)
    middle = (1 - 2.6 * (torch.frac(32 * f.y) - 0.5).abs()).clamp(0, 1)
    star = (f.cells(32, 2) - 1.2).clamp(0, 1) * (centre * (middle * air.stars))
    lit = glow + (star + moon) * air.clear
    picture = blend(picture, air.disc, lit.clamp_(0, 1))
    return _draw_clouds(f, air, picture)


def _draw_clouds(f: Fields, air: Air, picture: Tensor) -> Tensor:
    rows = (torch.arange(32, device=f.x.device, dtype=f.x.dtype) + 0.5).view(1, 1, -1, 1) / 32
    broad = pool(pool(f.noise[:, 1:2], 3, 7), 3, 5) * 0.5
    billow = pool(f.noise[:, 2:3], 3, 5)
    # Clouds far away, low in the sky, are flat and thin.
    low = (rows / f.horizon).clamp(0, 1)
    density = broad + 0.55 * billow * (1 - 0.5 * low) + 4.2 * (air.cover - 0.5) - 0.3 * low
    lit = F.pad(density, (0, 0, 0, 1), mode="replicate")[:, :, 1:] - density
    density, lit = enlarge(f, torch.cat([density, lit], dim=1)).split(1, dim=1)
    colour = blend(air.cloud_shade, air.cloud, ramp(-0.7, 0.8, lit))
    return over(picture, colour, 0.94 * ramp(0.1, 1.3, density))


def drench(picture: Tensor, f: Fields, air: Air, floor: Tensor) -> Tensor:
    """Return `picture` with wet ground, and from `floor` (B, 1, 1, 1) on puddles of sky."""
    puddle = ramp(0.5, 1.0, texture(f, 1, 3, 9)) * ramp(floor - 0.06, floor + 0.06, f.y)
    picture = picture * (1 - 0.16 * air.wet * below(f, f.horizon + 0.04, 0.04))
    return over(picture, 0.9 * air.low, 0.6 * air.wet * puddle)


def veil(picture: Tensor, f: Fields, settings: Sequence[Setting]) -> Tensor:
    """Return `picture` (B, 3, R, R) behind rain, flakes or fog, as `settings` say."""
    picture = picture.clone()
    for name, draw in (("rain", _draw_rain), ("snowfall", _draw_flakes), ("fog", _draw_fog)):
        if rows := _rows_in(name, settings):
            chosen = [settings[row] for row in rows]
            part = f.select(rows)
            air = read_air(part, chosen, is_cold=[False] * len(rows))
            picture[rows] = draw(picture[rows], part, air)
    return picture


def _rows_in(weather: str, settings: Sequence[Setting]) -> list[int]:
    index = WEATHERS.index(weather)
    return [row for row, setting in enumerate(settings) if setting.weather == index]


def _draw_rain(picture: Tensor, f: Fields, air: Air) -> Tensor:
    return over(picture, torch.lerp(air.low, air.disc, 0.35), 0.4 * _streaks(f))


def _streaks(f: Fields) -> Tensor:
    slant = _RAIN_COLUMNS * (f.x + _RAIN_LEAN * f.y)
    fallen = torch.frac(3 * f.y + torch.special.ndtr(f.cells(32, 0)) * 0.3 + 0.37 * slant.floor())
    across = (torch.frac(slant) - 0.5).abs()
    return ramp(0.2, 0.05, across) * ramp(0.45, 0.9, fallen)


def _draw_flakes(picture: Tensor, f: Fields, air: Air) -> Tensor:
    white = 0.4 + 0.6 * air.tone
    for flakes in _flakes(f):
        picture = over(picture, white, flakes)
    return picture


def _flakes(f: Fields) -> Iterator[Tensor]:
    for count, channel, above, radius in ((16, 0, -0.2, 0.24), (8, 2, -0.2, 0.17)):
        flake, *_ = scatter(f, count, size=channel, place=1, above=above, radius=radius)
        yield 0.9 * flake


def _draw_fog(picture: Tensor, f: Fields, air: Air) -> Tensor:
    bands = enlarge(f, pool(pool(f.noise[:, 1:2], 3, 9), 3, 9)) * 0.03
    away = ramp(1.0, 0.45, f.y)  # what is far stands higher in the picture
    return over(picture, air.haze, (0.1 + 0.3 * away + bands).clamp(0, 0.6))
