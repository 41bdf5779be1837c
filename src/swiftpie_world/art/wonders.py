"""Balloons, standing stones and giant toadstools."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.art.parts import block, dither, ellipse, look, shadow, stroke, turned
from swiftpie_world.features import (
    GRASS,
    GRASS_BLADES,
    GRASS_NEAR,
    LEAF_DARK,
    ground,
    hazed,
    hills,
    place,
    relief,
    treeline,
)
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, gaussian, ramp, texture, within


@place(
    "at a balloon festival",
    "among hot air balloons",
    "in front of hot air balloons",
    "under hot air balloons",
    foreground=GRASS_BLADES,
)
def balloon_festival(f: Fields, air: Air) -> Tensor:
    """Draw striped balloons at all heights over hills and a meadow; by night burners light them."""
    blue, pale, far, near = air.seen(
        (LEAF_DARK, 1.4), (GRASS, 1.0), (GRASS, 0.35), (GRASS_NEAR, 0.0)
    )
    f, air = turned(f, air)
    line = f.horizon + 0.06
    picture = air.sky
    for x, y, size, away, hue in (
        (0.63, 0.24, 0.035, 0.7, 0.1),
        (0.4, 0.33, 0.03, 0.8, 0.55),
        (0.93, 0.34, 0.04, 0.6, 0.9),
    ):
        picture = _balloon(f, air, picture, (x, y), size, away, hue)
    picture = hills(f, picture, line - 0.1 + 0.04 * f.ridge(6), blue, pale, 0.14)
    picture = treeline(f, air, picture, line + 0.006, 0.045, 0.7)
    picture = ground(f, air, picture, line, far, near)
    picture = hazed(f, air, picture, line)
    for x, low, size, away, hue in (
        (0.5, -0.19, 0.06, 0.35, 0.33), (0.86, -0.02, 0.085, 0.2, 0.75),
        (0.18, -0.16, 0.15, 0.05, 0.0),
        (0.74, -0.3, 0.11, 0.1, 0.5),
    ):  # fmt: skip
        picture = _balloon(f, air, picture, (x, line + low), size, away, hue)
    return picture


def _balloon(
    f: Fields,
    air: Air,
    picture: Tensor,
    centre: tuple[float, float | Tensor],
    size: float,
    away: float,
    hue: float,
) -> Tensor:
    """Draw a balloon of the radius `size` whose stripes run from pole to pole."""
    x, y = centre
    veiled = 1 - torch.exp(-away * (0.35 + 2.8 * air.mist))
    across, down = (f.x - x) / size, (f.y - y) / size
    # Below its middle an envelope narrows towards the basket.
    girth = torch.where(
        down < 0, (1 - down.square()).clamp_min(0).sqrt(), 1 - 0.16 * down - 0.26 * down.square()
    )
    body = ((girth - across.abs()) * (size * f.size_px) + 0.5).clamp(0, 1)
    body = (
        body
        * ((down + 1) * (size * f.size_px)).clamp(0, 1)
        * ((1.35 - down) * (size * f.size_px)).clamp(0, 1)
    )
    turn = torch.asin((across / girth.clamp_min(0.05)).clamp(-0.99, 0.99)) / math.pi
    stripe = torch.frac(5 * turn + 10)
    kind = (stripe > 0.5).to(f.x.dtype)
    one = hsv(f.u(6) + hue, saturation=0.78, value=0.94)
    two = hsv(f.u(6) + hue + 0.12 + 0.3 * (f.u(13) > 0.5), saturation=0.5, value=1.0)
    colour = blend(one, two, kind)
    band = ramp(0.16, 0.14, (down + 0.05).abs())
    colour = over(colour, blend(two, one, kind), band)
    light = 0.74 + 0.34 * (across / girth.clamp_min(0.05)).clamp(-1, 1) * air.side - 0.2 * down
    light = light - 0.18 * ramp(0.3, 0.5, (stripe * 2 % 1 - 0.5).abs())
    lit = blend(light, 0.65 + 0.7 * torch.exp(-(down - 0.9).square()), air.stars)
    tone = blend(air.tone, torch.ones_like(air.tone), 0.75 * air.stars)
    picture = over(picture, torch.lerp(colour * lit * tone, air.haze, veiled), body)
    ropes = stroke(
        f,
        (x - 0.26 * size, y + 1.3 * size),
        (x - 0.14 * size, y + 1.75 * size),
        0.012 * size + 0.0006,
    )
    ropes = torch.maximum(
        ropes,
        stroke(
            f,
            (x + 0.26 * size, y + 1.3 * size),
            (x + 0.14 * size, y + 1.75 * size),
            0.012 * size + 0.0006,
        ),
    )
    basket = box(f, x - 0.17 * size, x + 0.17 * size, y + 1.68 * size, y + 1.95 * size)
    wicker = air.seen((plain(142, 94, 54), away))[0]
    weave = 0.85 + 0.3 * dither(40 * across, 40 * down)
    picture = over(picture, wicker * 0.6, ropes)
    return over(picture, wicker * weave, basket)


@place(
    "in a stone circle",
    "among standing stones",
    "by ancient standing stones",
    "inside a ring of stones",
    foreground=GRASS_BLADES,
)
def stone_circle(f: Fields, air: Air) -> Tensor:
    """Draw a ring of mossy pillars, some with lintels, that cast shadows on a lawn."""
    blue, pale, far, near, stone = air.seen(
        (LEAF_DARK, 1.4),
        (GRASS, 1.0),
        (GRASS, 0.25),
        (GRASS_NEAR, 0.0),
        (plain(172, 168, 158, snow=0.15), 0.1),
    )
    line = f.horizon
    picture = hills(f, air.sky, line - 0.05 + 0.03 * f.ridge(6), blue, pale, 0.1)
    picture = treeline(f, air, picture, line + 0.006, 0.03, 0.8)
    picture = ground(f, air, picture, line, far, near)
    picture = hazed(f, air, picture, line)
    v = look(f, line, 0.5 + 0.1 * (f.u(6) - 0.5))
    rough = (
        1
        + 0.05 * air.lumps
        + 0.07 * relief(f, air, 1, 1)
        + 0.08 * (dither(90 * f.x, 90 * f.y) - 0.5)
    )
    moss = blend(
        stone, air.seen((LEAF_DARK, 0.2))[0] * 1.3, 0.28 * ramp(0.4, 1.6, texture(f, 1, 3, 3))
    )
    ring = (
        (-0.5, 8.2, 1), (0.9, 8.2, 1), (-2.3, 7.4, 1), (2.7, 7.4, 0), (-3.7, 6.0, 1), (4.0, 6.0, 1),
        (-3.1, 4.4, 0), (3.2, 4.4, 1), (-1.62, 3.1, 2), (1.62, 3.1, 2),
    )  # fmt: skip
    for x, z, kind in ring:
        tall = 1.15 if kind else 0.55
        for side in (-0.42, 0.42) if kind == 1 else (0.0,):
            legs = (x + side - 0.2, x + side + 0.2)
            picture = shadow(picture, v, legs, (z, z + 0.4), 0.35 * (0.5 + air.direct))
            picture = block(
                picture, v, moss * rough, x=legs, y=(-tall, 1.0), z=(z, z + 0.35), light=air.side
            )
        if kind == 1:
            picture = block(
                picture,
                v,
                stone * rough,
                x=(x - 0.72, x + 0.72),
                y=(-tall - 0.3, -tall),
                z=(z - 0.04, z + 0.4),
                light=air.side,
            )
    return picture


@place(
    "in a mushroom forest",
    "among giant mushrooms",
    "under giant toadstools",
    "in an enchanted forest",
    foreground=GRASS_BLADES,
)
def mushroom_forest(f: Fields, air: Air) -> Tensor:
    """Draw giant toadstools before dark trunks, ferns, and sparks that glow by night."""
    deep, back, floor, near, trunk = air.seen(
        (plain(26, 66, 62), 0.6),
        (plain(112, 172, 140), 0.8),
        (GRASS, 0.2),
        (GRASS_NEAR, 0.0),
        (plain(54, 62, 56), 0.55),
    )
    line = f.horizon + 0.06
    f, air = turned(f, air)
    light = gaussian(f, f.sun_x, line - 0.2, 0.3, 0.3)
    picture = blend(deep, back, (0.3 + 0.7 * light + 0.1 * air.lumps).clamp(0, 1))
    picture = over(picture, air.low, 0.4 * light)
    for which, count in enumerate((22, 11)):
        cell = count * f.x + 0.4 * which
        tone = dither(cell, torch.full_like(cell, 5.0 + which))
        across = torch.frac(cell) - 0.5 - 0.4 * (tone - 0.5)
        half = 0.16 + 0.12 * tone + 0.3 * ramp(-0.06, 0.03, f.y - line).square()
        bark = torch.lerp(trunk, back, 0.45 - 0.35 * which)
        picture = over(
            picture,
            bark * (0.9 + 0.6 * across * air.side),
            within(across.abs(), half, count / f.size_px),
        )
    picture = ground(f, air, picture, line + 0.01 * f.ridge(3), floor, near, 0.08)
    picture = hazed(f, air, picture, line, 0.14)
    fern = dither(44 * f.x + 16 * f.y, 30 * f.y - 9 * f.x)
    tuft = ramp(0.05, 0.0, (f.y - line - 0.02).abs()) * ramp(0.4, 0.7, fern)
    picture = over(picture, air.seen((LEAF_DARK, 0.2))[0], tuft)
    for x, low, size, hue, away in (
        (0.42, 0.02, 0.13, 0.08, 0.5), (0.6, 0.03, 0.17, 0.0, 0.45), (0.88, 0.05, 0.24, 0.04, 0.25),
        (0.28, 0.08, 0.24, 0.72, 0.2), (0.08, 0.2, 0.5, 0.0, 0.0), (0.95, 0.24, 0.34, 0.98, 0.0),
        (0.24, 0.23, 0.15, 0.05, 0.0),
    ):  # fmt: skip
        picture = _toadstool(f, air, picture, (x, line + low), size, hue, away)
    spark = dither(37 * f.x, 37 * f.y)
    dot = torch.hypot(torch.frac(37 * f.x) - 0.5, torch.frac(37 * f.y) - 0.5)
    fly = (spark > 0.94).to(f.x.dtype) * ramp(0.22, 0.02, dot) * (0.15 + 0.85 * air.stars)
    return over(picture, f.rgb(230, 255, 160), fly * (1 - below(f, line + 0.2)))


def _toadstool(
    f: Fields,
    air: Air,
    picture: Tensor,
    foot: tuple[float, Tensor],
    size: float,
    hue: float,
    away: float,
) -> Tensor:
    """Draw a toadstool `size` tall; its gills shine by night."""
    x, y = foot
    pale, gill, dot = air.seen(
        (plain(240, 230, 206), away), (plain(214, 190, 158), away), (plain(252, 248, 240), away)
    )
    shine = air.stars * f.rgb(110, 240, 220)
    top = y - size
    picture = picture * (1 - 0.35 * gaussian(f, x, y, 0.3 * size, 0.06 * size))
    up = ((y - f.y) / size).clamp(0, 1)
    half = size * (0.085 + 0.07 * (1 - up).square() + 0.012 * torch.sin(9 * up))
    stem = (
        ((half - (f.x - x).abs()) * f.size_px + 0.5).clamp(0, 1)
        * below(f, top + 0.3 * size)
        * (1 - below(f, y))
    )
    round_light = 0.82 + 0.24 * ((f.x - x) / half).clamp(-1, 1) * air.side
    picture = over(picture, pale * round_light + 0.25 * shine * up, stem)
    rim = top + 0.36 * size
    under = ellipse(f, x, rim, 0.48 * size, 0.1 * size)
    near = (1 + 2 * (f.y - rim)).clamp_min(0.5)  # the clamp keeps it from 0 above the toadstool
    ribs = 0.88 + 0.12 * torch.sin(2 * math.pi * 60 * (f.x - x) / near * 0.5 / size * 0.3)
    picture = over(picture, gill * 0.8 * ribs + 0.6 * shine, under)
    across, down = (f.x - x) / (0.52 * size), (f.y - rim) / (0.4 * size)
    cap = ellipse(f, x, rim, 0.52 * size, 0.4 * size) * (
        1 - below(f, rim + 0.05 * size * (1 - across.square()))
    )
    red = hsv(
        f.x.new_tensor(hue).view(1, 1, 1, 1) + 0.03 * (f.u(6) - 0.5), saturation=0.82, value=0.86
    )
    veiled = 1 - torch.exp(-away * (0.35 + 2.8 * air.mist))
    red = torch.lerp(red * air.tone, air.haze, veiled)
    gloss = 0.72 + 0.36 * across * air.side - 0.42 * down.clamp(-1, 0.2) * 0.8
    gloss = gloss + 0.5 * torch.exp(
        -((across - 0.3 * air.side) / 0.22).square() - ((down + 0.7) / 0.16).square()
    )
    picture = over(picture, red * gloss + 0.12 * shine, cap)
    bulge = 0.9 / (1 - 0.55 * across.square().clamp_max(1)).sqrt()
    cell_x, cell_y = 2.6 * across * bulge + 7, 2.3 * down + 7
    tone = dither(cell_x, cell_y)
    reach = torch.hypot(torch.frac(cell_x) - 0.5, torch.frac(cell_y) - 0.5 + 0.2 * (tone - 0.5))
    edge = 2.6 / (size * f.size_px)
    spots = within(reach, 0.2 + 0.16 * tone, edge) * (tone > 0.2)
    return over(picture, dot * (0.9 + 0.14 * across * air.side), spots * cap)
