"""Places of the open country: fields, woods, mountains and deserts."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air, Paint, plain
from swiftpie_world.features import (
    BARK,
    BLOSSOM,
    EARTH,
    FIR_DARK,
    GRASS,
    GRASS_BLADES,
    GRASS_NEAR,
    LEAF,
    LEAF_DARK,
    PATH,
    ROCK,
    ROCK_DARK,
    SNOW,
    SNOW_SHADE,
    drift,
    firs,
    ground,
    hazed,
    hills,
    peaks,
    place,
    relief,
    road,
    tree,
    treeline,
)
from swiftpie_world.fields import Fields, over
from swiftpie_world.shapes import below, blend, box, depth, gaussian, ramp, scatter, texture, within

_FLOWERS = Paint((255, 220, 70), (206, 140, 70), (236, 240, 248), (250, 150, 190))
_OTHER_FLOWERS = Paint((236, 74, 70), (170, 96, 60), (226, 232, 244), (255, 246, 236))
_SAND = plain(236, 184, 112)
_SAND_SHADE = plain(190, 122, 80)


@place(
    "in a meadow",
    "in a flower meadow",
    "on a grassy meadow",
    "among wild flowers",
    foreground=GRASS_BLADES,
)
def meadow(f: Fields, air: Air) -> Tensor:
    """Draw hazy hills, the edge of a wood, and grass with flowers that grow towards the viewer."""
    blue, pale, back, middle, far, near, one, two = air.seen(
        (LEAF_DARK, 1.3),
        (GRASS, 1.1),
        (GRASS, 0.8),
        (LEAF, 0.6),
        (GRASS, 0.3),
        (GRASS_NEAR, 0.0),
        (_FLOWERS, 0.0),
        (_OTHER_FLOWERS, 0.0),
    )
    line = f.horizon
    picture = hills(f, air.sky, line - 0.07 + 0.035 * f.ridge(5), blue, pale, 0.1)
    rise = line - 0.015 + 0.02 * f.ridge(6, 1)
    picture = hills(f, picture, rise, back, middle, 0.1)
    picture = treeline(f, air, picture, rise + 0.012, 0.05, 0.6)
    picture = ground(f, air, picture, line + 0.02, far, near)
    picture = hazed(f, air, picture, line)
    field = f.cells(32, 0)
    bump = (torch.frac(32 * f.x) - 0.5).square() + (torch.frac(32 * f.y) - 0.5).square()
    small = ramp(0.2, 0.05, bump) * (field.abs() > 1.0) * depth(f, line + 0.05, 0.1)
    picture = over(picture, blend(one, two, (field > 0).to(field.dtype)), 0.85 * small)
    flower, kind, rim = scatter(f, 16, size=2, place=1, above=0.0, radius=0.34)
    flower = flower * below(f, line + 0.18, 0.04)
    petals = blend(one, two, ramp(0.45, 0.55, kind)) * (1.05 - 0.25 * rim)
    picture = over(picture, petals, flower)
    return over(picture, 0.8 * one, flower * ramp(0.16, 0.05, rim))


@place(
    "in a forest",
    "in the woods",
    "among the trees",
    "on a forest clearing",
    foreground=GRASS_BLADES,
)
def forest(f: Fields, air: Air) -> Tensor:
    """Draw trunks in three depths under a roof of leaves, and a clearing."""
    deep, roof, bright, floor, near, back = air.seen(
        (LEAF_DARK, 0.9),
        (LEAF_DARK, 0.15),
        (LEAF, 0.1),
        (GRASS, 0.25),
        (GRASS_NEAR, 0.0),
        (LEAF, 1.0),
    )
    line = f.horizon + 0.1
    clumps = texture(f, 2, 3, 3)
    picture = blend(air.sky, blend(back, deep, ramp(-1, 1, clumps)), 0.72 * air.leafage)
    light = gaussian(f, f.sun_x, f.horizon - 0.12, 0.24, 0.26)
    picture = over(picture, torch.lerp(air.low, air.disc, 0.5), (0.5 * light).clamp(0, 1))
    for which, (count, wide, far, foot) in enumerate(
        ((16, 0.1, 0.8, 0.0), (8, 0.11, 0.4, 0.04), (4, 0.12, 0.05, 0.12))
    ):
        bark = air.seen((BARK, far))[0]
        number = f.columns(count, which % 2)
        across = torch.frac(count * f.x + 0.13 * which) - 0.5 - 0.22 * torch.tanh(number)
        half = wide * (1 + 0.35 * torch.tanh(2 * number))
        half = half + 0.5 * wide * ramp(-0.08, 0.0, f.y - line - foot).square()
        edge = 0.8 * count / f.size_px
        trunk = within(across.abs(), half, edge) * (1 - below(f, line + foot))
        shine = 1 + 0.35 * (across / half).clamp(-1, 1) * air.side
        picture = over(picture, bark * shine, trunk)
    height = 0.2 + 0.05 * f.ridge(2)
    leaves = ramp(0.25, -0.25, f.y - height + 0.16 * air.clumps * 0.6)
    leaves = ramp(0.35, 0.65, leaves) * air.leafage
    picture = over(picture, blend(roof, bright, (0.45 + 0.25 * air.lumps).clamp(0, 1)), leaves)
    picture = ground(f, air, picture, line + 0.008 * f.ridge(2), floor, near, 0.08)
    spots = ramp(0.4, 1.6, texture(f, 1, 3, 5)) * air.direct
    return hazed(f, air, picture + 0.22 * spots * below(f, line) * air.rays, line, 0.14)


@place(
    "in the mountains",
    "in front of snowy mountains",
    "with mountains in the background",
    "on an alpine meadow",
    foreground=GRASS_BLADES,
)
def mountains(f: Fields, air: Air) -> Tensor:
    """Draw two ranges of lit peaks with snow, dark firs, and an alpine meadow."""
    ridge, shade, snow, cold, base, meadow_far, meadow_near = air.seen(
        (ROCK, 0.45),
        (ROCK_DARK, 0.45),
        (SNOW, 0.2),
        (SNOW_SHADE, 0.3),
        (FIR_DARK, 0.8),
        (GRASS, 0.3),
        (GRASS_NEAR, 0.0),
    )
    line = f.horizon
    lumps = relief(f, air, 0, 3)
    picture = air.sky
    for which, (count, top, sway, fade) in enumerate(((6, 0.27, 0.06, 0.16), (5, 0.15, 0.08, 0.0))):
        knots, slope = peaks(f, count, which)
        crest = line - top - sway * knots + 0.008 * f.ridge(1, 1 - which)
        # Each crest runs down to the viewer as a spur, so a face is lit or dark as a whole.
        spur = 0.6 * torch.tanh(0.9 * slope * air.side + 0.5 * texture(f, 2 - which, 3, 1))
        light = (0.5 + spur * (0.5 + 0.5 * air.direct) + 0.12 * lumps).clamp(0, 1)
        down = f.y - crest
        cap = ramp(0.02, -0.02, down - 0.085 - 0.02 * texture(f, 0, 3, 1) + 0.03 * which)
        colour = blend(blend(shade, ridge, light), blend(cold, snow, light), cap)
        colour = blend(colour, base, ramp(0.12, 0.26, down))
        picture = over(picture, torch.lerp(colour, air.haze, fade), below(f, crest))
        picture = hazed(f, air, picture, line - 0.01 - 0.07 * (1 - which), 0.06)
    rise = line + 0.03 + 0.015 * f.ridge(4)
    picture = firs(f, air, picture, 16, 0, rise + 0.02, 0.09, 0.35)
    return ground(f, air, picture, rise, meadow_far, meadow_near)


@place(
    "in a desert",
    "in the desert",
    "on a sand dune",
    "among the dunes",
    has_seasons=False,
    foreground=drift(_SAND, _SAND_SHADE),
)
def desert(f: Fields, air: Air) -> Tensor:
    """Draw three rows of dunes with a lit and a dark side each, and wind ripples."""
    picture = air.sky
    rows = ((0.0, 0.03, 6, 0, 0.9), (0.06, 0.045, 5, 1, 0.45), (0.19, 0.05, 4, 0, 0.0))
    for low, sway, width, which, far in rows:
        bright, dark = air.seen((_SAND, far), (_SAND_SHADE, 0.8 * far))
        curve = f.ridge(width, which)
        crest = f.horizon + low + sway * curve * (1 - 2 * (low == 0.19))
        # The crest winds down towards the viewer and parts the lit side from the dark one.
        winding = (
            f.y - crest - 0.05 - 0.07 * curve * air.side - 0.05 * torch.sin(9 * f.x + 6 * f.u(6))
        )
        lit = ramp(-0.03, 0.04, winding + 0.012 * texture(f, 1, 3, 5))
        lit = 1 - (0.35 + 1.15 * air.direct) * (1 - lit)
        ripple = torch.sin(150 * (f.y - 0.6 * crest) * (1.4 - f.y) + 2.0 * texture(f, 2, 3, 7))
        ripple = ripple * (0.035 * depth(f, f.horizon, 0.45))
        picture = over(picture, blend(dark, bright, lit) * (1 + ripple), below(f, crest))
    return hazed(f, air, picture, f.horizon, 0.1)


@place(
    "in a farm field",
    "on a farm",
    "in a field by a barn",
    "between rows of crops",
    foreground=GRASS_BLADES,
)
def farm_field(f: Fields, air: Air) -> Tensor:
    """Draw rows of crops that run to the horizon, a red barn, a tree, and fields on far hills."""
    crop = Paint((226, 188, 84), (158, 116, 76), (236, 241, 249), (122, 178, 74))
    soil = Paint((168, 122, 58), (104, 72, 50), (198, 206, 222), (116, 86, 56))
    one, two, three, far, near, far_soil, near_soil, red, roof, white = air.seen(
        (GRASS, 1.2),
        (crop, 1.0),
        (LEAF, 0.8),
        (crop, 0.4),
        (crop, 0.0),
        (soil, 0.4),
        (soil, 0.0),
        (plain(178, 58, 48), 0.25),
        (plain(112, 84, 84, snow=0.85), 0.25),
        (plain(240, 236, 228), 0.2),
    )
    line = f.horizon + 0.02
    picture = hills(f, air.sky, line - 0.08 + 0.03 * f.ridge(6), one, two, 0.07)
    patch = ramp(-0.2, 0.2, torch.sin(14 * f.x + 40 * (f.y - line) + 5 * f.u(6)))
    rise = line - 0.03 + 0.015 * f.ridge(5, 1)
    picture = over(picture, blend(two, three, 0.6 * patch), below(f, rise))
    picture = treeline(f, air, picture, line + 0.01, 0.035, 0.6)
    _, across, _ = road(f, line, 0.5 + 0.3 * (f.u(6) - 0.5), 0.11)
    wave = 0.5 + 0.5 * torch.cos(math.pi * across)
    nearness = depth(f, line, 1 - f.horizon)
    wave = 0.6 + (wave - 0.6) * ramp(0.03, 0.3, nearness)
    lumps = 1 + (0.04 + 0.06 * nearness) * air.lumps
    field = blend(blend(far_soil, near_soil, nearness), blend(far, near, nearness), wave) * lumps
    picture = over(picture, field, below(f, line))
    picture = hazed(f, air, picture, line)
    x, wide = 0.16 + 0.68 * (f.u(9) > 0.5), 0.11
    top, foot = line - 0.1, line + 0.03
    picture = tree(
        f, air, picture, x + 0.17 * (1 - 2 * (f.u(9) > 0.5)).to(x.dtype), foot, 0.2, far=0.2
    )
    shade = 1 + 0.2 * air.side * torch.sign(f.x - x)
    picture = over(picture, red * shade, box(f, x - wide, x + wide, top, foot))
    slope = top - 0.075 + 0.6 * (f.x - x).abs() * (1 + 0.4 * ((f.x - x).abs() > 0.6 * wide))
    gable = below(f, slope, 0.008) * box(f, x - wide - 0.015, x + wide + 0.015, 0.0, top + 0.012)
    picture = over(picture, roof * (1 - 0.12 * air.side * torch.sign(x - f.x)), gable)
    door = box(f, x - 0.04, x + 0.04, top + 0.04, foot)
    picture = over(picture, white, door)
    inner = box(f, x - 0.032, x + 0.032, top + 0.048, foot)
    lit = blend(0.55 * red, f.rgb(255, 206, 120), air.lamps)
    return over(picture, lit, inner)


@place(
    "in a garden",
    "in a flower garden",
    "in the back garden",
    "among flower beds",
    foreground=GRASS_BLADES,
)
def garden(f: Fields, air: Air) -> Tensor:
    """Draw a hedge, a white fence, beds of flowers on both sides of a path, and fruit trees."""
    hedge, deep, far, near, path, white, soil, one, two, bush = air.seen(
        (LEAF, 0.35),
        (LEAF_DARK, 0.3),
        (GRASS, 0.2),
        (GRASS_NEAR, 0.0),
        (PATH, 0.1),
        (plain(244, 242, 236), 0.15),
        (EARTH, 0.0),
        (_FLOWERS, 0.0),
        (_OTHER_FLOWERS, 0.0),
        (LEAF_DARK, 0.0),
    )
    line = f.horizon + 0.03
    wall = line - 0.12 + 0.008 * f.ridge(1)
    picture = over(air.sky, blend(deep, hedge, (0.5 + 0.3 * air.lumps).clamp(0, 1)), below(f, wall))
    xs = torch.cat([0.1 + 0.1 * f.u(6), 0.82 + 0.1 * f.u(9)], dim=1)
    picture = tree(f, air, picture, xs, line + 0.02, 0.42, BLOSSOM, LEAF_DARK, 0.15)
    post = (torch.frac(16 * f.x) - 0.5).abs()
    pointed = line - 0.065 + 0.05 * post.clamp_min(0.12)
    fence = ramp(0.3, 0.24, post) * below(f, pointed)
    rail = ((f.y - line + 0.02).abs() < 0.007) | ((f.y - line + 0.045).abs() < 0.007)
    picture = over(picture, white * (1 - 0.25 * post), torch.maximum(fence, rail.to(fence.dtype)))
    picture = ground(f, air, picture, line + 0.012, far, near)
    cover, across, _ = road(f, line, 0.5 + 0.2 * (f.u(13) - 0.5), 0.26)
    stone = 1 + 0.05 * relief(f, air, 2)
    picture = over(picture, path * stone, cover * below(f, line + 0.015))
    bed = ramp(1.2, 1.35, across.abs()) * ramp(2.9, 2.7, across.abs())
    bed = bed * below(f, line + 0.03, 0.01)
    picture = over(picture, blend(soil, bush, ramp(-0.8, 0.4, texture(f, 0))), bed)
    flower, kind, rim = scatter(f, 16, size=2, place=1, above=-0.7, radius=0.4)
    petals = blend(one, two, ramp(0.45, 0.55, kind)) * (1.1 - 0.35 * rim)
    return over(picture, petals, flower * ramp(0.3, 0.8, bed))


@place(
    "on a country road",
    "on a road",
    "on an empty road",
    "in the middle of the road",
    foreground=None,
)
def country_road(f: Fields, air: Air) -> Tensor:
    """Draw a road to the horizon with its centre line, trees on both sides, and hills."""
    blue, pale, far, near, tar, line_white = air.seen(
        (LEAF_DARK, 1.3),
        (GRASS, 1.0),
        (GRASS, 0.4),
        (GRASS_NEAR, 0.0),
        (plain(104, 106, 114, snow=0.45), 0.1),
        (plain(240, 236, 220), 0.0),
    )
    line = f.horizon
    centre = 0.5 + 0.24 * (f.u(6) - 0.5)
    picture = hills(f, air.sky, line - 0.05 + 0.03 * f.ridge(5), blue, pale, 0.09)
    picture = treeline(f, air, picture, line + 0.008, 0.03, 0.8)
    picture = ground(f, air, picture, line, far, near)
    cover, across, along = road(f, line, centre, 0.42)
    gloss = 1 + 0.05 * texture(f, 0, 1, 3) + 0.06 * across.square()
    wet = blend(tar * gloss, air.low, 0.5 * air.wet * ramp(-0.5, 1, texture(f, 1, 5, 3)))
    picture = over(picture, wet, cover)
    dash = ramp(0.5, 0.42, (torch.frac(1.4 * along) - 0.5).abs() * 1.7)
    dash = dash * ramp(0.06, 0.04, across.abs())
    rims = ramp(0.05, 0.03, (across.abs() - 0.9).abs())
    picture = over(picture, line_white, torch.maximum(dash, rims) * below(f, line + 0.015) * cover)
    picture = hazed(f, air, picture, line)
    for which, size in enumerate((0.14, 0.26, 0.5)):
        foot = line + 0.018 + 0.2 * size * which
        reach = 0.6 * size + 0.02
        xs = torch.cat([centre - reach - 0.02, centre + reach + 0.02], dim=1)
        picture = tree(f, air, picture, xs, foot, size, far=0.5 - 0.22 * which)
    return picture


@place(
    "on a snowy slope",
    "in the snow",
    "on a snowy hill",
    "on a ski slope",
    has_seasons=False,
    is_cold=True,
    foreground=drift(SNOW, SNOW_SHADE),
)
def snowy_slope(f: Fields, air: Air) -> Tensor:
    """Draw white peaks, snow-laden firs at the sides, and drifts with blue shadows."""
    peak, cold, snow, shade = air.seen(
        (SNOW, 0.9), (SNOW_SHADE, 0.9), (SNOW, 0.0), (SNOW_SHADE, 0.0)
    )
    knots, slope = peaks(f, 5, 0)
    crest = f.horizon - 0.15 - 0.06 * knots
    light = 0.5 + 0.5 * torch.tanh(slope * air.side + 0.4 * texture(f, 2, 3, 1))
    rock = air.seen((ROCK_DARK, 1.0))[0]
    face = blend(blend(cold, peak, light), rock, 0.6 * ramp(0.6, 1.3, texture(f, 0, 3, 1)))
    picture = over(air.sky, face, below(f, crest))
    picture = hazed(f, air, picture, f.horizon, 0.1)
    tilt = 0.16 * (f.u(6) - 0.5)
    line = f.horizon + tilt * (f.x - 0.5) + 0.012 * f.ridge(5)
    picture = firs(f, air, picture, 16, 1, line + 0.01, 0.1, 0.5)
    picture = hills(f, picture, line, torch.lerp(shade, snow, 0.7), snow, 0.15)
    for low, width, which in ((0.1, 5, 1), (0.24, 4, 0)):
        bank = line + low + 0.025 * f.ridge(width, which)
        colour = blend(
            snow, shade, (0.15 + 0.9 * depth(f, bank, 0.16)).clamp(0, 1) * (1 - f.y * 0.3)
        )
        glint = 1 + 0.025 * air.lumps + 0.02 * texture(f, 2)
        picture = over(picture, colour * glint, below(f, bank, 0.02))
        if low == 0.1:
            keep = ramp(0.22, 0.34, (f.x - 0.5).abs())
            grown = firs(f, air, picture, 8, 0, bank + 0.03, 0.36, 0.05)
            picture = blend(picture, grown, keep)
    return picture


@place(
    "on a volcano",
    "by a volcano",
    "near flowing lava",
    "in front of an erupting volcano",
    has_seasons=False,
    foreground=drift(plain(92, 74, 72), plain(46, 36, 40)),
)
def volcano(f: Fields, air: Air) -> Tensor:
    """Draw a cone with glowing streams and smoke, and black ground with cracks of lava."""
    rock, dark, near, black = air.seen(
        (plain(104, 84, 84), 0.6),
        (plain(62, 50, 56), 0.5),
        (plain(86, 72, 72), 0.1),
        (plain(46, 38, 42), 0.0),
    )
    x, line = 0.3 + 0.4 * f.u(6), f.horizon + 0.02
    top = line - 0.3
    half = (f.x - x).abs()
    smoke = gaussian(f, x + 0.25 * (top - f.y) * air.side, top - 0.12, 0.13, 0.17)
    smoke = ramp(0.15, 0.75, smoke + 0.16 * texture(f, 1, 3, 3))
    plume = blend(
        torch.lerp(air.cloud_shade, dark, 0.6), f.rgb(255, 120, 50), gaussian(f, x, top, 0.16, 0.1)
    )
    picture = over(air.sky, plume, 0.85 * smoke)
    slope = torch.maximum(top + 0.006 * f.ridge(1), line - 0.35 * torch.exp(-4.2 * half) + 0.01)
    light = 0.5 + 0.5 * torch.tanh(6 * (f.x - x)) * air.side + 0.15 * air.lumps
    picture = over(picture, blend(dark, rock, light.clamp(0, 1)), below(f, slope))
    run = (half - 0.03 * torch.sin(22 * f.y + 6 * f.u(9)) * depth(f, top, 0.2)).abs()
    stream = ramp(0.04, 0.015, run - 0.03 * (1 - depth(f, top, 0.1)))
    stream = stream * below(f, slope) * (1 - below(f, line))
    glow = gaussian(f, x, top + 0.02, 0.09, 0.06)
    picture = over(picture, f.rgb(255, 130, 40), (0.9 * stream + 0.7 * glow).clamp(0, 1))
    picture = hazed(f, air, picture, line)
    picture = ground(f, air, picture, line + 0.01 * f.ridge(3), near, black, 0.16)
    nearness = depth(f, line, 0.4)
    crack = ramp(0.2, 0.02, (texture(f, 1, 3, 5) + 0.3 * texture(f, 0)).abs())
    crack = crack * below(f, line + 0.05, 0.03) * ramp(-0.6, 0.5, texture(f, 2, 5, 5))
    melt = blend(f.rgb(255, 84, 24), f.rgb(255, 220, 100), ramp(0.4, 1, crack))
    picture = over(picture, melt, (0.4 + 0.6 * nearness) * crack)
    spark, *_ = scatter(f, 16, size=2, place=0, above=0.9, radius=0.14)
    return over(picture, f.rgb(255, 190, 90), spark * (1 - below(f, line)) * ramp(0.35, 0.1, half))


@place(
    "in a vineyard",
    "among the vines",
    "on a vineyard hill",
    "between grape vines",
    foreground=GRASS_BLADES,
)
def vineyard(f: Fields, air: Air) -> Tensor:
    """Draw leafy rows that run up to a house with cypresses on a hill."""
    blue, pale, leaf, deep, far, near, wall, roof, cypress = air.seen(
        (LEAF_DARK, 1.4),
        (GRASS, 1.1),
        (LEAF, 0.2),
        (LEAF_DARK, 0.1),
        (GRASS, 0.4),
        (Paint((160, 140, 84), (150, 118, 70), (214, 222, 236), (140, 150, 78)), 0.0),
        (plain(236, 214, 178), 0.4),
        (plain(190, 92, 62, snow=0.7), 0.35),
        (FIR_DARK, 0.4),
    )
    line = f.horizon - 0.03 + 0.02 * torch.cos(3 * f.x + 3 * f.u(6))
    picture = hills(f, air.sky, line - 0.05 + 0.035 * f.ridge(6), blue, pale, 0.1)
    x = 0.22 + 0.56 * (f.u(9) > 0.5)
    picture = over(
        picture,
        wall * (1 + 0.15 * air.side * torch.sign(f.x - x)),
        box(f, x - 0.06, x + 0.06, f.horizon - 0.1, f.horizon),
    )
    lit = box(f, x - 0.03, x - 0.005, f.horizon - 0.075, f.horizon - 0.045)
    lit = lit + box(f, x + 0.02, x + 0.042, f.horizon - 0.075, f.horizon - 0.045)
    picture = over(picture, blend(0.4 * wall, f.rgb(255, 212, 120), air.lamps), lit)
    eaves = below(f, f.horizon - 0.14 + 0.55 * (f.x - x).abs(), 0.006)
    picture = over(picture, roof, eaves * box(f, x - 0.072, x + 0.072, 0.0, f.horizon - 0.095))
    for shift, tall in ((-0.11, 0.15), (0.1, 0.17), (0.145, 0.13)):
        picture = over(
            picture,
            cypress,
            ramp(
                1.0,
                0.7,
                ((f.x - x - shift) / 0.022).square()
                + ((f.y - f.horizon + tall / 2) / (0.62 * tall)).square(),
            ),
        )
    picture = ground(f, air, picture, line, far, near)
    centre = 0.5 + 0.2 * (f.u(13) - 0.5)
    _, across, _ = road(f, f.horizon - 0.06, centre, 0.3)
    row = (torch.frac(0.5 * across + 64.5) - 0.5).abs() * 2
    nearness = depth(f, line, 0.4)
    ragged = 0.48 + 0.06 * texture(f, 0) * nearness
    cover = ramp(ragged + 0.16, ragged - 0.1, row) * below(f, line + 0.01)
    light = 0.5 + 0.4 * torch.sin(math.pi * across) * air.side + 0.25 * relief(f, air, 0, 1)
    leaves = blend(deep, leaf, light.clamp(0, 1))
    picture = over(picture, leaves, cover * (0.55 + 0.45 * air.leafage) * ramp(0, 0.1, nearness))
    return hazed(f, air, picture, f.horizon)


@place(
    "in a canyon",
    "among red rocks",
    "in the wild west",
    "in front of red cliffs",
    has_seasons=False,
    foreground=drift(plain(222, 132, 84), plain(170, 86, 56)),
)
def canyon(f: Fields, air: Air) -> Tensor:
    """Draw banded table mountains in three depths over red sand with shrubs."""
    picture = air.sky
    for which, (count, top, far) in enumerate(((16, 0.1, 1.0), (8, 0.19, 0.45))):
        bright, dark, band = air.seen(
            (plain(226, 128, 82), far), (plain(136, 66, 56), far), (plain(242, 178, 126), far)
        )
        number = f.columns(count, which)
        height = top * ramp(-0.4, 1.2, number)
        across = torch.frac(count * f.x) - 0.5
        foot = ramp(0.5, 0.36, across.abs())
        crest = f.horizon + 0.03 - height * (0.55 + 0.45 * foot) * (0.8 + 0.2 * foot)
        layer = torch.sin(95 * f.y + 1.2 * texture(f, 1, 1, 7))
        light = 0.5 + 1.1 * across * air.side + 0.2 * air.lumps + 0.12 * texture(f, 2, 5, 1)
        colour = blend(dark, bright, light.clamp(0, 1))
        colour = blend(colour, band, 0.35 * ramp(0.2, 0.9, layer))
        picture = over(picture, colour, below(f, crest))
    near, far_sand, shrub = air.seen(
        (plain(196, 102, 64), 0.0), (plain(230, 148, 98), 0.3), (plain(112, 122, 72), 0.0)
    )
    picture = hazed(f, air, picture, f.horizon)
    line = f.horizon + 0.035 + 0.006 * f.ridge(3)
    picture = ground(f, air, picture, line, far_sand, near, 0.08)
    bush, tint, rim = scatter(f, 16, size=2, place=0, above=0.8, radius=0.4)
    light = 1.1 + 0.3 * tint - 0.5 * rim
    return over(picture, shrub * light, bush * below(f, line + 0.06, 0.01))


@place(
    "in the savanna",
    "on the African plains",
    "under an acacia tree",
    "in dry grassland",
    has_seasons=False,
    foreground=None,
)
def savanna(f: Fields, air: Air) -> Tensor:
    """Draw golden grass, far blue hills, and flat-topped acacias."""
    blue, pale, far, near, leaf, deep, bark = air.seen(
        (plain(96, 110, 128), 1.1),
        (plain(190, 176, 120), 0.9),
        (plain(226, 194, 112), 0.3),
        (plain(186, 136, 66), 0.0),
        (plain(128, 144, 66), 0.1),
        (plain(66, 84, 44), 0.1),
        (plain(84, 62, 48), 0.1),
    )
    line = f.horizon + 0.02
    picture = hills(f, air.sky, line - 0.045 + 0.025 * f.ridge(5), blue, pale, 0.08)
    picture = hazed(f, air, picture, line)
    picture = ground(f, air, picture, line, far, near, 0.09)
    side = (f.u(9) > 0.5).to(f.x.dtype)
    for x, foot, size in (
        (0.16 + 0.68 * side, line + 0.1, 0.44),
        (0.72 - 0.44 * side, line + 0.01, 0.17),
    ):
        bend = 0.06 * size * torch.sin(5 * (f.y - foot) / size)
        half = (f.x - x - bend).abs()
        up = (foot - f.y) / size
        fork = 0.42 * (up - 0.45).clamp_min(0) * size
        trunk = ramp(0.006, -0.006, (half - fork).abs() - 0.026 * size)
        trunk = trunk * (below(f, foot - 0.8 * size) * (1 - below(f, foot)))
        picture = over(picture, bark, trunk)
        flat = (f.y - foot + 0.8 * size) / (0.13 * size)
        body = 1 - ((f.x - x) / (0.52 * size)).square() - flat.square() + 0.25 * texture(f, 0, 1, 3)
        light = (0.5 - 0.35 * flat + 0.2 * air.lumps).clamp(0, 1)
        picture = over(picture, blend(deep, leaf, light), ramp(0.0, 0.3, body))
    return picture


@place(
    "among ancient ruins",
    "in front of a ruined temple",
    "by old stone columns",
    "in the ruins of a temple",
    foreground=GRASS_BLADES,
)
def ruins(f: Fields, air: Air) -> Tensor:
    """Draw broken columns on a stone platform, with hills and cypresses behind."""
    blue, pale, far, near, stone, dark, slab = air.seen(
        (LEAF_DARK, 1.3),
        (GRASS, 1.0),
        (GRASS, 0.3),
        (GRASS_NEAR, 0.0),
        (plain(232, 218, 190, snow=0.2), 0.15),
        (plain(150, 132, 118), 0.15),
        (plain(206, 192, 166, snow=0.6), 0.1),
    )
    line = f.horizon + 0.03
    picture = hills(f, air.sky, line - 0.06 + 0.04 * f.ridge(5), blue, pale, 0.1)
    picture = treeline(f, air, picture, line, 0.05, 0.7)
    picture = ground(f, air, picture, line, far, near)
    picture = hazed(f, air, picture, line)
    foot = line + 0.075
    number = f.columns(8, 0)
    whole = (number > -0.3).to(f.x.dtype)
    top = line - (0.04 + 0.1 * torch.sigmoid(2 * number)).lerp(number.new_tensor(0.3), whole)
    across = torch.frac(8 * f.x) - 0.5
    shaft = ramp(0.29, 0.25, across.abs()) * below(f, top + 0.008 * texture(f, 0) * (1 - whole))
    light = 0.62 + 1.5 * across * air.side + 0.12 * torch.cos(62 * across)
    light = light + 0.1 * air.lumps
    picture = over(picture, blend(dark, stone, light.clamp(0, 1)), shaft * (1 - below(f, foot)))
    # Beams lie on neighbouring whole columns; a capital and a base widen each of them.
    wide = ramp(0.46, 0.43, across.abs())
    capital = wide * whole * below(f, line - 0.3) * (1 - below(f, line - 0.272))
    lower = wide * below(f, foot - 0.022)
    picture = over(picture, stone * 0.96, torch.maximum(capital, lower) * (1 - below(f, foot)))
    beam = below(f, line - 0.36) * (1 - below(f, line - 0.302)) * whole
    grooves = 1 - 0.12 * ramp(0.3, 0.5, (torch.frac(16 * f.x) - 0.5).abs())
    picture = over(picture, stone * grooves * (0.92 + 0.05 * texture(f, 2)), beam)
    step = below(f, foot) * (1 - below(f, foot + 0.07))
    joint = ramp(0.02, 0.0, (torch.frac(6 * f.x + 0.5 * (f.y > foot + 0.035)) - 0.5).abs())
    riser = 0.75 + 0.25 * ramp(0.01, 0.0, torch.frac((f.y - foot + 1e-4) / 0.035) * 0.035 - 0.014)
    return over(picture, slab * riser * (1 - 0.2 * joint) * (1 + 0.05 * texture(f, 2)), step)
