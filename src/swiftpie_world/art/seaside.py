"""Places of holidays: a pier and a swimming pool."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.art.parts import (
    View,
    block,
    convex,
    dither,
    ellipse,
    glow,
    level,
    look,
    palm,
    seam,
    shadow,
    stroke,
    turned,
)
from swiftpie_world.art.water import water
from swiftpie_world.features import hazed, place
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, disc, ramp, texture, within

_DARK = plain(52, 56, 64)


@place(
    "on a pier",
    "on a wooden pier",
    "on the boardwalk",
    "on a jetty above the sea",
    has_seasons=False,
)
def pier(f: Fields, air: Air) -> Tensor:
    """Draw planks that run out over the sea between rails and lamps to a pavilion."""
    deep, shallow, land, wood, gap, rail, white, roof, dark = air.seen(
        (plain(36, 112, 168), 0.3),
        (plain(78, 186, 196), 0.0),
        (plain(90, 124, 128), 1.0),
        (plain(196, 158, 116), 0.0),
        (plain(92, 68, 50), 0.0),
        (plain(246, 242, 232), 0.0),
        (plain(250, 244, 230), 0.25),
        (plain(74, 150, 152), 0.25),
        (_DARK, 0.1),
    )
    f, air = turned(f, air)
    line = f.horizon
    picture = over(
        air.sky, land, below(f, line - 0.035 * ramp(0.55, 0.0, f.x) * (1.3 + 0.3 * f.ridge(3)))
    )
    picture = water(f, air, picture, line, deep, shallow)
    picture = hazed(f, air, picture, line, 0.08)
    v = look(f, line + 0.005)
    x, foot = 0.5, line + 0.075
    glass = blend(torch.lerp(dark, air.low, 0.4), f.rgb(255, 214, 130), air.lamps)
    hall = box(f, x - 0.2, x + 0.2, foot - 0.1, foot)
    picture = over(picture, white, hall)
    bays = torch.frac(14 * (f.x - x) + 0.5 + 14)
    arch = ramp(0.34, 0.3, (bays - 0.5).abs()) * below(f, foot - 0.07 + 0.2 * (bays - 0.5).square())
    picture = over(picture, glass, arch * hall)
    picture = over(
        picture,
        roof,
        convex(
            f,
            (x - 0.225, foot - 0.095),
            (x - 0.17, foot - 0.135),
            (x + 0.17, foot - 0.135),
            (x + 0.225, foot - 0.095),
        ),
    )
    for dome_x, half, tall in ((x, 0.075, 0.09), (x - 0.17, 0.035, 0.05), (x + 0.17, 0.035, 0.05)):
        base = foot - 0.13
        picture = over(
            picture,
            white,
            box(f, dome_x - 0.8 * half, dome_x + 0.8 * half, base - 0.02, base + 0.02),
        )
        cover = ellipse(f, dome_x, base - 0.015, half, tall) * (1 - below(f, base - 0.015))
        ribs = 1 - 0.14 * seam(4 * (f.x - dome_x) / half, 0.2) + 3 * (f.x - dome_x) * air.side
        picture = over(picture, roof * ribs, cover)
        tip = base - 0.015 - tall
        picture = over(picture, dark, stroke(f, (dome_x, tip), (dome_x, tip - 0.035), 0.003))
        flag = convex(
            f, (dome_x, tip - 0.035), (dome_x + 0.035, tip - 0.026), (dome_x, tip - 0.016)
        )
        picture = over(picture, f.rgb(226, 70, 60) * air.tone, flag)
    deck, across, away = level(v, (-1.35, 1.35), 1.0, (1.0, 13.0))
    under, _, _ = level(v, (-1.35, 1.35), 1.1, (1.0, 13.0))
    picture = over(picture, gap * 0.7, under)
    board = 6 * away
    tone = dither(board)
    fibre = 0.5 + 0.25 * torch.sin(7 * across + 11 * tone) + 0.16 * texture(f, 0, 1, 5)
    plank = blend(gap, wood, (0.35 + 0.35 * fibre + 0.4 * tone).clamp(0, 1))
    plank = plank * (1 - 0.5 * seam(board, 0.1 + 0.012 * away) * ramp(11, 3, away))
    nails = within(torch.hypot((across.abs() - 1.1), (board - board.floor() - 0.5) / 6), 0.02, 0.01)
    plank = blend(plank * (1 - 0.5 * nails), air.low, 0.4 * air.wet)
    picture = over(picture, plank, deck)
    for z in (11.0, 8.2, 6.1, 4.6, 3.45, 2.55):
        for side in (-1, 1):
            post = (1.3 * side - 0.05, 1.3 * side + 0.05)
            picture = block(
                picture, v, rail, x=post, y=(0.42, 1.0), z=(z, z + 0.09), light=air.side
            )
    closeness = (f.x - 0.5).abs() / 1.3
    for height, thick in ((0.42, 0.035), (0.64, 0.022), (0.84, 0.022)):
        y = line + 0.005 + height * closeness
        bar = ramp(thick * closeness + 0.002, thick * closeness - 0.002, (f.y - y).abs())
        picture = over(
            picture, rail * (1.02 - 0.1 * height), bar * ramp(1 / 13.2, 1 / 12.8, closeness)
        )
    for z in (9.0, 5.2, 3.0):
        for side_x in (-1, 1):
            lamp_x, lamp_y = 0.5 + 1.3 * side_x / z, line + 0.005 - 0.7 / z
            picture = over(
                picture, dark, stroke(f, (lamp_x, line + 1 / z), (lamp_x, lamp_y), 0.03 / z)
            )
            picture = glow(f, picture, lamp_x, lamp_y, 0.42 / z, air.lamps)
            globe = blend(rail, f.rgb(255, 246, 210), air.lamps)
            picture = over(picture, globe, disc(f, lamp_x, lamp_y, 0.13 / z))
    return picture


@place(
    "by a swimming pool",
    "at the swimming pool",
    "at the poolside",
    "by the hotel pool",
    has_seasons=False,
    floor=(0.86, 0.95),
)
def swimming_pool(f: Fields, air: Air) -> Tensor:
    """Draw a pool with light on its floor, loungers under parasols, palms, and a white hotel."""
    wall, dark, hedge, leaf, stone, rim, cloth, wood, bark, frond, shade = air.seen(
        (plain(250, 246, 238), 0.25),
        (_DARK, 0.25),
        (plain(44, 110, 58), 0.25),
        (plain(96, 168, 74), 0.25),
        (plain(228, 212, 186), 0.0),
        (plain(250, 248, 242), 0.0),
        (plain(250, 250, 246), 0.05),
        (plain(186, 134, 86), 0.05),
        (plain(150, 112, 76), 0.1),
        (plain(96, 164, 72), 0.1),
        (plain(40, 98, 56), 0.1),
    )
    f, air = turned(f, air)
    line = f.horizon
    picture = air.sky
    top = line - 0.26
    hotel = box(f, 0.42, 1.1, top, line + 0.02)
    picture = over(picture, wall, hotel)
    level_y, bay = torch.frac((f.y - top) / 0.07), torch.frac((f.x - 0.42) / 0.085)
    pane = ramp(0.34, 0.31, (bay - 0.5).abs()) * (level_y > 0.25) * (level_y < 0.86)
    lit = air.lamps * (dither((f.x - 0.42) / 0.085, (f.y - top) / 0.07) > 0.4)
    picture = over(
        picture, blend(torch.lerp(dark, air.low, 0.5), f.rgb(255, 216, 134), lit), pane * hotel
    )
    rail = ramp(0.8, 0.82, level_y) * (1 - 0.4 * seam((f.x - 0.42) / 0.0085, 0.3))
    picture = over(picture, wall * 0.84, (rail + ramp(0.08, 0.04, level_y)).clamp(0, 1) * hotel)
    crown = line - 0.045 - 0.012 * f.ridge(1)
    tuft = dither(70 * f.x, 70 * f.y)
    for x, low, tall, lean in (
        (0.3, 0.0, 0.34, -0.1),
        (0.12, 0.02, 0.42, 0.14),
        (0.9, 0.01, 0.38, -0.14),
    ):
        picture = palm(f, air, picture, (x, line + low), tall, (bark, frond, shade), lean)
    picture = over(
        picture,
        blend(hedge, leaf, (0.3 + 0.3 * air.lumps + 0.5 * (tuft - 0.4)).clamp(0, 1)),
        below(f, crown),
    )
    v = look(f, line - 0.02, 0.47)
    _, across, away = level(v, (-60.0, 60.0), 1.0, (1.0, 60.0))
    joint = torch.maximum(seam(1.7 * across, 0.03), seam(1.7 * away, 0.05)) * ramp(8, 3, away)
    paving = stone * (0.97 + 0.07 * dither(1.7 * across, 1.7 * away)) * (1 - 0.14 * joint)
    picture = over(picture, blend(paving, air.low, 0.3 * air.wet), below(f, line + 0.035))
    pool, across, away = level(v, (-1.75, 1.9), 1.0, (2.75, 6.4))
    edge, _, _ = level(v, (-1.9, 2.05), 1.0, (2.6, 6.7))
    picture = over(picture, rim, edge)
    warp = 0.5 * torch.sin(3 * across + 2 * away + 6 * f.u(6)) + 0.4 * texture(f, 2, 3, 5)
    tiles = torch.maximum(seam(3 * across + 0.16 * warp, 0.06), seam(3 * away + 0.16 * warp, 0.07))
    far, near = f.rgb(40, 150, 206), f.rgb(98, 214, 232)
    floor = blend(near, far, ramp(2.8, 6.2, away)) * (1 - 0.1 * tiles)
    lines = torch.sin(5.2 * across + 2.2 * torch.sin(2.3 * away + 6 * f.u(13)) + warp) * torch.sin(
        4.6 * away + 2 * torch.sin(2.6 * across) - warp
    )
    caustic = ramp(0.26, 0.0, lines.abs())
    basin = floor * blend(air.tone, torch.ones_like(air.tone), 0.75 * air.lamps) + 0.2 * caustic * (
        0.25 + air.direct
    )
    basin = over(basin, air.low, 0.3 * ramp(0.75, 1.0, torch.sin(9 * away + 3 * warp)) + 0.1)
    picture = over(picture, basin, pool)
    picture = over(picture, rim * 0.7, level(v, (-1.75, 1.9), 1.0, (6.28, 6.4))[0])
    for x, z, hue in ((-2.7, 6.3, 0.0), (-2.55, 4.2, 0.09), (2.75, 5.2, 0.55)):
        picture = _lounger(f, air, picture, v, (x, z), hue, (cloth, wood))
    steel = air.seen((plain(206, 214, 222), 0.0))[0]
    for x in (1.2, 1.6):
        sx, sy = 0.47 + x / 2.75, line - 0.02 + 1 / 2.75
        picture = over(picture, steel, stroke(f, (sx, sy - 0.11), (sx, sy + 0.03), 0.007))
        picture = over(picture, steel, stroke(f, (sx, sy - 0.11), (sx + 0.025, sy - 0.12), 0.007))
    return picture


def _lounger(
    f: Fields,
    air: Air,
    picture: Tensor,
    v: View,
    spot: tuple[float, float],
    hue: float,
    paints: tuple[Tensor, Tensor],
) -> Tensor:
    """Draw a lounger and a striped parasol behind it."""
    x, z = spot
    cloth, wood = paints
    paint = hsv(f.u(6) + hue, saturation=0.75, value=0.9) * air.tone
    picture = shadow(picture, v, (x - 0.5, x + 0.5), (z, z + 0.8), 0.3)
    px, py = 0.47 + (x + 0.2) / (z + 0.4), f.horizon - 0.02
    size = 1.0 / (z + 0.4)
    picture = over(
        picture, wood, stroke(f, (px, py + 1.0 * size), (px, py - 0.72 * size), 0.025 * size)
    )
    across = (f.x - px) / (0.85 * size)
    canopy = ellipse(f, px, py - 0.42 * size, 0.85 * size, 0.42 * size)
    hem = py - 0.42 * size + 0.05 * size * torch.sin(2 * math.pi * 3.5 * across).abs()
    canopy = canopy * (1 - below(f, hem))
    stripe = (torch.frac(6 * torch.asin(across.clamp(-0.99, 0.99)) / math.pi + 6.25) > 0.5).to(
        f.x.dtype
    )
    light = 0.95 + 0.22 * across * air.side - 0.3 * (f.y - py + 0.6 * size) / size
    picture = over(picture, blend(paint, cloth, stripe) * light, canopy)
    picture = block(
        picture, v, wood, x=(x - 0.5, x + 0.5), y=(0.78, 0.84), z=(z, z + 0.42), light=air.side
    )
    for leg in (x - 0.44, x + 0.4):
        picture = block(picture, v, wood * 0.8, x=(leg, leg + 0.05), y=(0.84, 1.0), z=(z, z + 0.05))
    picture = block(
        picture, v, cloth, x=(x - 0.5, x + 0.36), y=(0.7, 0.78), z=(z, z + 0.42), light=air.side
    )
    return block(
        picture, v, paint, x=(x + 0.3, x + 0.5), y=(0.5, 0.78), z=(z, z + 0.42), light=air.side
    )
