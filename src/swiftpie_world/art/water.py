"""Places by the water, under it, and away from the ground."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.features import (
    GRASS,
    GRASS_BLADES,
    GRASS_NEAR,
    LEAF,
    LEAF_DARK,
    ROCK,
    ROCK_DARK,
    SNOW,
    SNOW_SHADE,
    Lamp,
    crowns,
    drift,
    ground,
    hazed,
    hills,
    peaks,
    place,
    relief,
    treeline,
    weeds,
)
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import (
    below,
    blend,
    box,
    depth,
    disc,
    gaussian,
    ramp,
    scatter,
    texture,
    within,
)

_BEACH = plain(244, 218, 164)
_BEACH_NEAR = plain(222, 184, 124)
_SEA_FAR, _SEA_NEAR = plain(38, 120, 176), plain(92, 204, 206)


def water(f: Fields, air: Air, picture: Tensor, line: Tensor, far: Tensor, near: Tensor) -> Tensor:
    """Draw a sheet of water from the height `line` on, with waves and the sun's path."""
    nearness = ((f.y - line) / (1 - line)).clamp(0, 1)
    mirror = blend(air.low, air.zenith, (1.6 * nearness).clamp(0, 1))
    colour = blend(blend(far, near, nearness), mirror, 0.42 - 0.14 * nearness)
    swell = torch.sin(9.0 / (nearness + 0.06) + 1.6 * texture(f, 2, 1, 9) + 5 * f.x * nearness)
    swell = 0.6 * swell + 0.4 * texture(f, 0, 1, 5)
    colour = colour * (1 + (0.02 + 0.1 * nearness) * swell)
    path = torch.exp(-((f.x - f.sun_x) / (0.05 + 0.14 * nearness)).square())
    glitter = path * ramp(0.2, 0.9, swell) * (air.glow * 1.3).clamp_max(0.9)
    return over(
        picture, over(colour, air.disc, glitter * (1 - 0.5 * nearness)), below(f, line, 0.004)
    )


@place(
    "on a beach",
    "at the beach",
    "on a sandy beach",
    "by the sea",
    has_seasons=False,
    foreground=drift(_BEACH, _BEACH_NEAR),
)
def beach(f: Fields, air: Air) -> Tensor:
    """Draw a far headland, a turquoise sea with surf, wet and dry sand, and a palm tree."""
    land, deep, shallow, sand, near, foam, bark, leaf, shade = air.seen(
        (plain(88, 122, 118), 0.9),
        (_SEA_FAR, 0.3),
        (_SEA_NEAR, 0.0),
        (_BEACH, 0.0),
        (_BEACH_NEAR, 0.0),
        (plain(252, 252, 250), 0.0),
        (plain(150, 112, 76), 0.0),
        (plain(92, 158, 70), 0.0),
        (plain(40, 96, 56), 0.0),
    )
    line = f.horizon
    side = 1 - 2 * (f.u(9) > 0.5).to(f.x.dtype)  # -1 puts the palm on the right
    cape = line - 0.07 * ramp(0.05, 0.75, 0.5 + side * (f.x - 0.5)) * (1 + 0.25 * f.ridge(2))
    picture = over(air.sky, land, below(f, cape))
    picture = water(f, air, picture, line, deep, shallow)
    shore = line + 0.19 + 0.025 * torch.sin(f.x * 6 + 6 * f.u(6)) + 0.012 * f.ridge(2)
    for back in (0.085, 0.035):
        crest = shore - back + 0.006 * f.ridge(1)
        wave = ramp(0.012, 0.0, (f.y - crest).abs()) * ramp(-0.9, 0.3, texture(f, 0, 1, 5))
        picture = over(picture, foam, 0.7 * wave)
    picture = over(picture, foam, below(f, shore - 0.014 + 0.004 * texture(f, 0, 1, 3)))
    wet = torch.lerp(0.72 * near, air.low, 0.22)
    picture = over(picture, wet, below(f, shore))
    picture = hazed(f, air, picture, line, 0.08)
    dry = ramp(0.03, 0.07, f.y - shore)
    lumps = 0.6 * relief(f, air, 0, 1) + 0.6 * relief(f, air, 2)
    colour = blend(sand, near, depth(f, shore, 0.35)) * (1 + 0.05 * lumps)
    picture = over(picture, colour, dry)
    return _palm(f, air, picture, 0.5 - 0.42 * side, side, bark, leaf, shade)


def _palm(
    f: Fields,
    air: Air,
    picture: Tensor,
    x: Tensor,
    side: Tensor,
    bark: Tensor,
    leaf: Tensor,
    shade: Tensor,
) -> Tensor:
    foot, top = f.horizon + 0.32, f.horizon - 0.27
    up = ((foot - f.y) / (foot - top)).clamp(0, 1)
    stem = x + side * (0.05 * torch.sin(1.4 * math.pi * up) - 0.03)
    half = 0.024 - 0.012 * up
    trunk = within((f.x - stem).abs(), half, 0.006)
    trunk = trunk * below(f, top) * (1 - below(f, foot))
    rings = 1 - 0.2 * ramp(0.6, 0.9, torch.frac(34 * up))
    light = 1 + 0.3 * ((f.x - stem) / half).clamp(-1, 1) * air.side
    picture = over(picture, bark * light * rings, trunk)
    across, down = f.x - x - side * (0.05 * math.sin(1.4 * math.pi) - 0.03), f.y - top
    reach = torch.hypot(across, down)
    drooping = torch.atan2(down - 1.6 * across.square() - 0.01, across)
    fan = torch.cos(3.5 * drooping + 1.1).abs()
    leaves = ramp(0.0, 0.3, fan.square() - (reach / 0.27).square() * (0.75 + 0.25 * fan))
    comb = 0.75 + 0.25 * torch.sin(150 * reach)
    colour = blend(shade, leaf, (0.4 + 0.9 * fan - 2.2 * down).clamp(0, 1) * comb)
    return over(picture, colour, leaves)


@place(
    "by a lake",
    "at the lake",
    "on the shore of a lake",
    "in front of a calm lake",
    floor=(0.86, 0.95),
    foreground=GRASS_BLADES,
)
def lake(f: Fields, air: Air) -> Tensor:
    """Draw mountains and a wood that a calm lake mirrors, and a shore with stones and reed."""
    line = f.horizon
    blue, pale, deep, far, near, stone, reed = air.seen(
        (ROCK_DARK, 1.3),
        (LEAF_DARK, 0.9),
        (plain(36, 84, 112), 0.2),
        (GRASS, 0.1),
        (GRASS_NEAR, 0.0),
        (plain(150, 148, 146, snow=0.6), 0.0),
        (LEAF, 0.0),
    )
    # Below its shore the picture is drawn a second time, upside down.
    mirrored = replace(f, y=line - 0.9 * (f.y - line).abs())
    gradient = blend(air.low, air.zenith, (1 - mirrored.y / line).clamp(0, 1))
    picture = over(air.sky, gradient, below(f, line))
    picture = hills(mirrored, picture, line - 0.13 + 0.05 * f.ridge(3), blue, pale, 0.16)
    picture = hazed(f, air, picture, line, 0.1)
    bank = line - 0.03 - 0.012 * f.ridge(5, 1)
    wood = treeline(mirrored, air, picture, bank + 0.03, 0.09, 0.4)
    wood = over(wood, far, below(mirrored, bank + 0.025) * (1 - below(f, line + 0.008)))
    picture = wood
    nearness = depth(f, line, 0.45)
    ripple = torch.sin(7.0 / (nearness + 0.07) + 1.5 * texture(f, 2, 1, 9))
    shine = 0.06 * nearness + 0.16 * ramp(0.7, 1.0, ripple) * texture(f, 0, 1, 9).clamp(0, 1)
    sheet = over(picture, deep, 0.22 + 0.3 * nearness)
    sheet = over(sheet, air.low, shine)
    path = torch.exp(-((f.x - f.sun_x) / 0.05).square()) * ramp(0.1, 0.8, ripple)
    sheet = over(sheet, air.disc, (0.9 * air.glow * path).clamp(0, 0.8))
    picture = over(picture, sheet, below(f, line))
    shore = 0.83 + 0.02 * f.ridge(3) + 0.05 * (f.x - 0.5) * (1 - 2 * (f.u(9) > 0.5).to(f.x.dtype))
    picture = over(picture, 0.55 * stone, below(f, shore - 0.012))
    picture = ground(f, air, picture, shore, far, near)
    pebble, tone, rim = scatter(f, 16, size=2, place=0, above=0.2, radius=0.4)
    colour = stone * (0.85 + 0.3 * tone - 0.3 * rim)
    picture = over(picture, colour, pebble * ramp(0.05, 0.0, (f.y - shore - 0.01).abs()))
    tall = f.columns(32, 1)
    stalk = ramp(0.2, 0.06, (torch.frac(32 * f.x + 0.7 * f.y) - 0.5).abs())
    top = shore - 0.1 - 0.05 * torch.tanh(tall)
    keep = ramp(0.3, 0.4, (f.x - 0.5).abs()) * (tall > -0.4)
    return over(picture, reed, stalk * keep * below(f, top) * (1 - below(f, shore + 0.03)))


@place(
    "in a harbour",
    "at the harbour",
    "on a quay",
    "in front of sailing boats",
    floor=(0.84, 0.95),
    has_seasons=False,
)
def harbour(f: Fields, air: Air) -> Tensor:
    """Draw houses across the water, sailing boats with their mirror images, and a stone quay."""
    line = f.horizon + 0.02
    deep, shallow, hill, pale, stone, dark = air.seen(
        (plain(34, 88, 128), 0.2),
        (plain(62, 132, 152), 0.0),
        (plain(96, 132, 116), 0.9),
        (plain(130, 152, 120), 0.7),
        (plain(176, 168, 158), 0.0),
        (plain(104, 98, 98), 0.0),
    )
    picture = hills(f, air.sky, line - 0.14 + 0.03 * f.ridge(5), hill, pale, 0.12)
    picture = _quay_houses(f, air, picture, line)
    picture = hazed(f, air, picture, line, 0.1)
    picture = water(f, air, picture, line, deep, shallow)
    picture = _boats(f, air, picture, line + 0.1)
    edge = 0.8
    picture = over(picture, 0.8 * dark, below(f, edge))
    near = ((f.y - 0.62) / 0.38).clamp_min(0.1)
    row = torch.frac(2.2 / near)
    column = torch.frac((f.x - 0.5) / near * 3 + 0.5 * (2.2 / near).floor() + 40)
    joint = ramp(0.1, 0.02, torch.minimum(row, 1 - row))
    joint = torch.maximum(joint, ramp(0.05, 0.01, torch.minimum(column, 1 - column)))
    slab = stone * (1 + 0.06 * relief(f, air, 0, 1)) * (1 - 0.25 * joint)
    picture = over(picture, slab, below(f, edge + 0.025))
    bollard = box(f, 0.09, 0.14, 0.76, 0.83) + box(f, 0.86, 0.91, 0.76, 0.83)
    cap = box(f, 0.08, 0.15, 0.75, 0.775) + box(f, 0.85, 0.92, 0.75, 0.775)
    light = 1 + 0.3 * torch.cos(40 * math.pi * f.x) * air.side
    return over(picture, 0.5 * dark * light, (bollard + cap).clamp(0, 1))


def _quay_houses(f: Fields, air: Air, picture: Tensor, line: Tensor) -> Tensor:
    number, tint = f.columns(8, 0), f.columns(8, 1)
    across = torch.frac(8 * f.x)
    top = line - 0.1 - 0.03 * torch.tanh(number)
    warm, cool, roof = air.seen(
        (plain(236, 196, 140), 0.35), (plain(214, 120, 100), 0.35), (plain(164, 84, 66), 0.35)
    )
    wall = blend(warm, cool, torch.sigmoid(2.5 * tint))
    wall = blend(wall, wall.flip(1), 0.35 * (tint * number > 0.3))
    eaves = top - 0.03 * (1 - (2 * across - 1).abs())
    picture = over(picture, roof, below(f, eaves) * (1 - below(f, line)))
    picture = over(
        picture, wall * (0.9 + 0.2 * across * air.side), below(f, top) * (1 - below(f, line))
    )
    pane = ramp(0.32, 0.24, (torch.frac(24 * f.x) - 0.5).abs())
    pane = pane * ramp(0.32, 0.24, (torch.frac(24 * (f.y - line) + 48) - 0.5).abs())
    pane = pane * below(f, top + 0.006) * (1 - below(f, line - 0.006))
    lit = air.lamps * ramp(-0.6, -0.2, f.cells(32, 2))
    return over(picture, blend(0.45 * wall, f.rgb(255, 214, 128), lit), 0.9 * pane)


def _boats(f: Fields, air: Air, picture: Tensor, line: Tensor) -> Tensor:
    """Draw one boat in some of four columns, above `line` and mirrored below it."""
    number, tint = f.columns(4, 1), f.columns(4, 0)
    down = f.y - line
    image = 1 - 0.72 * below(f, line + 0.012)  # a mirror image is weaker than the boat
    across = torch.frac(4 * f.x) - 0.5 - 0.1 * torch.tanh(tint)
    height = down.abs() * torch.where(down > 0, 1.6, 1.0)
    bow = 0.3 + 1.2 * height
    hull = within(across.abs(), bow, 0.02) * ramp(0.05, 0.042, height)
    mast = ramp(0.022, 0.01, across.abs()) * ramp(0.36, 0.35, height)
    tall = ((height - 0.06) / 0.26).clamp(0, 1)
    sail = ramp(0.0, 0.03, across - 0.03) * ramp(0.015, -0.015, across - 0.32 * (1 - tall))
    jib = ramp(0.0, 0.03, -across - 0.03) * ramp(0.015, -0.015, -across - 0.3 * (1 - 1.3 * tall))
    cloth = (sail + jib) * ramp(0.06, 0.07, height) * ramp(0.32, 0.31, height)
    there = (number > -0.7).to(f.x.dtype) * image
    white, wood = air.seen((plain(250, 246, 238), 0.1), (plain(112, 84, 66), 0.1))
    colour = hsv(torch.sigmoid(3 * tint), saturation=0.6, value=0.8) * air.tone
    picture = over(picture, wood, mast * there)
    picture = over(picture, white * (0.92 - 0.25 * across * (1 - air.side)), cloth * there)
    stripe = ramp(0.034, 0.04, height)
    return over(picture, blend(colour, white, stripe), hull * there)


@place(
    "by a waterfall",
    "at a waterfall",
    "in front of a waterfall",
    "below a waterfall",
    floor=(0.85, 0.95),
    foreground=GRASS_BLADES,
)
def waterfall(f: Fields, air: Air) -> Tensor:
    """Draw water that falls over mossy cliffs into a pool."""
    rock, dark, moss, deep, white, pool, near, far, leaf, leaf_dark = air.seen(
        (ROCK, 0.2),
        (ROCK_DARK, 0.2),
        (LEAF_DARK, 0.2),
        (plain(40, 110, 128), 0.1),
        (plain(246, 251, 255), 0.0),
        (plain(96, 178, 182), 0.0),
        (GRASS_NEAR, 0.0),
        (GRASS, 0.1),
        (LEAF, 0.15),
        (LEAF_DARK, 0.15),
    )
    line, x = f.horizon + 0.1, 0.36 + 0.28 * f.u(6)
    top = line - 0.42 + 0.025 * f.ridge(2) - 0.12 * (f.x - x).square()
    layers = 0.5 + 0.28 * air.lumps + 0.3 * texture(f, 2, 5, 1) * 0.7
    face = blend(dark, rock, layers.clamp(0, 1))
    face = blend(face, moss, 0.75 * ramp(0.3, 1.2, texture(f, 1, 3, 3)))
    picture = over(air.sky, face, below(f, top))
    half = (f.x - x).abs()
    lip = top - 0.02 + 0.25 * torch.exp(-(half / 0.1).square()) * 0.12
    cover, light = crowns(
        f, air, torch.cat([x - 0.32, x - 0.22, x + 0.24, x + 0.36], 1), top, 0.13, 0.09
    )
    picture = over(picture, blend(leaf_dark, leaf, light), cover)
    wide = 0.085 + 0.03 * depth(f, top, 0.45) + 0.012 * texture(f, 0, 9, 1)
    fall = within(half, wide, 0.02) * below(f, lip)
    threads = 0.8 + 0.2 * torch.sin(90 * f.x + 2.2 * texture(f, 1, 9, 1) + 3 * f.y)
    threads = threads + 0.1 * texture(f, 0, 9, 1)
    picture = over(picture, blend(deep, white, threads.clamp(0, 1)), 0.94 * fall)
    nearness = depth(f, line, 0.3)
    ring = torch.sin(70 * torch.hypot(half, 2.6 * (f.y - line)) - 2 * texture(f, 0, 1, 5))
    sheet = blend(deep, pool, 0.35 + 0.5 * nearness) * (1 + 0.1 * ring * (1 - nearness))
    picture = over(picture, sheet, below(f, line + 0.006 * f.ridge(2)))
    spray = gaussian(f, x, line, 0.2, 0.055) + 0.3 * gaussian(f, x, line - 0.06, 0.16, 0.12)
    picture = over(picture, white, (spray * (0.8 + 0.3 * air.clumps)).clamp(0, 0.92))
    shore = 0.82 + 0.025 * f.ridge(3)
    picture = over(picture, 0.6 * dark, below(f, shore - 0.014))
    return ground(f, air, picture, shore, far, near)


@place(
    "on the ice",
    "on an ice floe",
    "in the Arctic",
    "at the North Pole",
    has_seasons=False,
    is_cold=True,
    foreground=drift(SNOW, SNOW_SHADE),
)
def arctic_ice(f: Fields, air: Air) -> Tensor:
    """Draw icebergs in a dark sea, a floe of snow, and northern lights by night."""
    line = f.horizon
    bright, shade, deep, near, snow, cold = air.seen(
        (plain(236, 247, 253), 0.35),
        (plain(128, 186, 220), 0.35),
        (plain(30, 76, 112), 0.2),
        (plain(62, 128, 156), 0.0),
        (SNOW, 0.0),
        (SNOW_SHADE, 0.0),
    )
    picture = air.sky
    for which, hue in enumerate((0.38, 0.46)):
        foot = 0.26 + 0.1 * which + 0.08 * f.ridge(4, which)
        above = (foot - f.y).clamp(0, 1)
        folds = 0.7 + 0.3 * torch.sin(50 * f.x + 1.5 * f.ridge(2, which))
        curtain = ramp(0.02, -0.02, f.y - foot) * torch.exp(-8 * above) * folds
        colour = hsv(hue + 0.3 * above, saturation=0.7, value=0.9)
        picture = picture + (curtain * (0.8 * air.stars * air.clear)) * colour
    picture = water(f, air, picture, line, deep, near)
    for which, (count, height, low) in enumerate(((5, 0.12, 0.01), (4, 0.2, 0.06))):
        foot = line + low
        knots, slope = peaks(f, count, which)
        crest = foot - height * (knots - 0.15 - 0.2 * which).clamp_min(0)
        light = 0.55 + 0.45 * torch.tanh(1.2 * slope * air.side) + 0.12 * texture(f, 2, 3, 1)
        down = f.y - foot
        berg = below(f, crest) * (1 - below(f, foot))
        picture = over(picture, blend(shade, bright, light.clamp(0, 1)), berg)
        image = ramp(0.0, 0.02, down) * ramp(0.01, -0.01, down - 0.6 * (foot - crest))
        picture = over(picture, torch.lerp(shade, near, 0.45), 0.6 * image)
    picture = hazed(f, air, picture, line, 0.1)
    edge = line + 0.17 + 0.02 * f.ridge(3, 1)
    picture = over(picture, shade * 0.95, below(f, edge))
    floe = blend(snow, cold, depth(f, edge + 0.03, 0.5)) * (1 + 0.035 * air.lumps)
    return over(picture, floe, below(f, edge + 0.028 + 0.006 * f.ridge(1)))


@place(
    "under water",
    "underwater",
    "in the deep sea",
    "at the bottom of the sea",
    outdoors=False,
    grounded=False,
    foreground=weeds,
    lamp=Lamp((0.7, 0.95, 1.0), (0.42, 0.62, 0.7), 0.4, height=1.2),
)
def underwater(f: Fields, air: Air) -> Tensor:
    """Draw rays that fall from the surface, rocks with corals on a rippled floor, and bubbles."""
    picture = blend(f.rgb(112, 222, 236), f.rgb(6, 58, 118), depth(f, -0.05, 0.95).sqrt())
    slant = (f.x - f.sun_x) / (f.y + 0.5)
    rays = torch.sin(26 * slant + 8 * f.u(6)) + torch.sin(43 * slant + 9 * f.u(9))
    rays = rays.clamp(0, 2) * torch.exp(-1.8 * slant.square()) * (1 - f.y) ** 1.5
    picture = over(picture, f.rgb(205, 250, 255), 0.26 * rays)
    back = 0.72 + 0.05 * f.ridge(3, 1)
    picture = hills(f, picture, back, f.rgb(18, 92, 142), f.rgb(10, 70, 120), 0.2)
    knots, _ = peaks(f, 6, 0)
    reef = 0.8 - 0.1 * knots.clamp_min(-0.3)
    light = (0.5 + 0.3 * air.lumps).clamp(0, 1)
    picture = over(picture, blend(f.rgb(24, 62, 92), f.rgb(86, 128, 140), light), below(f, reef))
    coral, kind, rim = scatter(f, 16, size=2, place=0, above=0.2, radius=0.42)
    colour = hsv(0.93 + 0.2 * kind, saturation=0.62, value=0.95 - 0.3 * rim)
    picture = over(picture, colour, 0.9 * coral * below(f, reef + 0.01) * (1 - below(f, 0.88)))
    floor = 0.86 + 0.02 * f.ridge(3)
    ripple = torch.sin(120 * (f.y - floor).sqrt().nan_to_num() + 2 * texture(f, 2, 1, 7))
    caustic = ramp(0.5, 0.0, texture(f, 1, 3, 3).abs())
    sand = blend(f.rgb(176, 196, 160), f.rgb(206, 190, 136), depth(f, floor, 0.12))
    picture = over(picture, sand * (0.86 + 0.05 * ripple + 0.2 * caustic), below(f, floor))
    value = f.columns(8, 1)
    sway = torch.frac(f.x * 8) - 0.5 + 0.14 * torch.sin(8 * math.pi * f.y + value)
    top = 0.86 - 0.17 * (value + 0.3).clamp(0, 2)
    half = 0.13 * (depth(f, top - 0.02, 0.12)).sqrt()
    plant = within(sway.abs(), half, 0.03) * below(f, top) * (1 - below(f, 0.92))
    green = blend(f.rgb(92, 190, 110), f.rgb(16, 96, 82), depth(f, top, 0.3))
    picture = over(picture, green * (1 - 1.5 * sway), plant)
    bubble, _, rim = scatter(f, 8, size=2, place=0, above=0.75, radius=0.18)
    return over(picture, f.rgb(225, 250, 255), bubble * (0.25 + 0.6 * ramp(0.2, 0.7, rim)))


@place(
    "in space",
    "in outer space",
    "among the stars in space",
    "floating in space",
    outdoors=False,
    grounded=False,
    lamp=Lamp((1.0, 0.97, 0.92), (0.3, 0.3, 0.4), 0.75, height=0.35),
)
def space(f: Fields, _air: Air) -> Tensor:
    """Draw a nebula, stars of two sizes, a ringed planet, and a far sun."""
    hue = 0.58 + 0.34 * f.u(6)
    cloud = f.soft(7) * 0.8 + 0.3 * texture(f, 2, 3, 3)
    picture = blend(f.rgb(7, 6, 22), hsv(hue, saturation=0.72, value=0.42), ramp(-0.3, 1.6, cloud))
    core = hsv(hue + 0.14, saturation=0.55, value=0.8)
    picture = over(picture, core, 0.7 * ramp(0.7, 2.2, cloud))
    tent = (1 - 2.4 * (torch.frac(32 * f.x) - 0.5).abs()).clamp(0, 1)
    tent = tent * (1 - 2.4 * (torch.frac(32 * f.y) - 0.5).abs()).clamp(0, 1)
    star = (1.6 * f.cells(32, 2) - 1.9).clamp(0, 1) * tent
    large, warmth, rim = scatter(f, 8, size=0, place=1, above=1.0, radius=0.16)
    star = torch.maximum(star, large * ramp(0.6, 0.0, rim))
    picture = over(picture, blend(f.rgb(255, 255, 255), f.rgb(255, 220, 170), warmth), star)
    sun = gaussian(f, f.sun_x, 0.06, 0.16, 0.16) * 0.8 + gaussian(f, f.sun_x, 0.06, 0.045, 0.045)
    picture = over(picture, f.rgb(255, 246, 220), sun.clamp(0, 1))
    left = (f.sun_x > 0.5).to(f.x.dtype)
    x, y = f.x - 0.84 + 0.68 * left, f.y - f.planet_y - 0.06
    radius, edge = 0.09 + 0.05 * f.u(9), 1.5 / f.size_px
    planet = hsv(f.u(10), saturation=0.55, value=0.95)
    band = 1 + 0.12 * torch.sin(26 * (y + 0.35 * x) / radius * 0.3 + 0.6 * texture(f, 2, 1, 5))
    shade = 0.18 + 0.9 * ramp(-1.1, 0.9, (x * (1 - 2 * (1 - left)) - 0.9 * y) / radius)
    ball = within(torch.hypot(x, y), radius, edge)
    picture = over(picture, planet * shade * band, ball)
    ellipse = (x / (2 * radius)).square() + ((y + 0.35 * x) / (0.5 * radius)).square()
    ring = ramp(0.3, 0.16, (ellipse - 0.8).abs()) * (0.75 + 0.2 * torch.sin(38 * ellipse))
    return over(picture, f.rgb(235, 215, 180), ring * (1 - ball * (y < -0.35 * x)))


@place(
    "above the clouds",
    "in the sky above the clouds",
    "flying over the clouds",
    "floating among the clouds",
    outdoors=False,
    grounded=False,
    lamp=Lamp((1.0, 0.98, 0.92), (0.66, 0.7, 0.78), 0.4, height=0.6),
)
def above_the_clouds(f: Fields, air: Air) -> Tensor:
    """Draw a deep blue sky over rows of towering clouds, lit from the side of the sun."""
    picture = blend(f.rgb(46, 118, 214), f.rgb(206, 230, 250), depth(f, 0, 0.62))
    glow = gaussian(f, f.sun_x, 0.12, 0.24, 0.2)
    picture = over(picture, f.rgb(255, 248, 220), 0.7 * glow)
    picture = over(picture, f.rgb(255, 252, 236), disc(f, f.sun_x, 0.12, 0.052))
    billow = 0.06 * air.clumps
    rows = (
        (0.5, 0.03, 4, 0, 0.75),
        (0.6, 0.05, 3, 1, 0.5),
        (0.74, 0.06, 2, 0, 0.25),
        (0.9, 0.05, 3, 1, 0.0),
    )
    lit = 0.35 * air.lumps + 0.2 * relief(f, air, 2)
    for line, sway, width, which, far in rows:
        crest = line + sway * f.ridge(width, which) + (0.4 + 0.6 * (1 - far)) * billow
        height = (f.y - crest) / 0.16
        light = (0.95 - 0.75 * height + lit * (1 - 0.6 * far)).clamp(0, 1)
        shade = torch.lerp(f.rgb(150, 176, 218), f.rgb(196, 216, 242), far)
        colour = blend(shade, f.rgb(255, 255, 255), light)
        picture = over(picture, colour, ramp(-0.012, 0.03, f.y - crest))
    return picture
