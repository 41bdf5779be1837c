"""Gardens, groves and terraces."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air, Paint, plain
from swiftpie_world.art.parts import (
    convex,
    dither,
    ellipse,
    glow,
    level,
    look,
    seam,
    stroke,
    turned,
)
from swiftpie_world.features import (
    GRASS,
    GRASS_BLADES,
    GRASS_NEAR,
    LEAF,
    LEAF_DARK,
    ground,
    hazed,
    hills,
    place,
    tree,
    treeline,
)
from swiftpie_world.fields import Fields, over
from swiftpie_world.shapes import below, blend, box, depth, gaussian, ramp, texture, within

_WATER_DEEP = plain(44, 110, 138)


@place(
    "on rice terraces",
    "among rice terraces",
    "in terraced rice fields",
    "above green rice paddies",
    foreground=GRASS_BLADES,
)
def rice_terraces(f: Fields, air: Air) -> Tensor:
    """Draw flooded steps that wind down a hill and mirror the sky, with huts and far mountains."""
    blue, pale, leaf, deep, far, near, mud, straw, wood = air.seen(
        (LEAF_DARK, 1.5),
        (LEAF_DARK, 0.9),
        (LEAF, 0.1),
        (LEAF_DARK, 0.1),
        (GRASS, 0.25),
        (GRASS_NEAR, 0.0),
        (plain(122, 104, 74), 0.0),
        (plain(204, 164, 96, snow=0.7), 0.15),
        (plain(104, 72, 50), 0.15),
    )
    f, air = turned(f, air)
    line = f.horizon
    picture = hills(f, air.sky, line - 0.16 + 0.06 * f.ridge(4), blue, air.haze, 0.22)
    picture = hills(f, picture, line - 0.07 + 0.04 * f.ridge(5, 1), pale, far, 0.14)
    picture = hazed(f, air, picture, line - 0.04, 0.12)
    wave = torch.sin(5.2 * f.x + 6 * f.u(6))
    second = torch.sin(11 * f.x + 6 * f.u(13))
    for step in range(9):
        share = step / 8
        low = -0.02 + 0.33 * share**1.4
        tilt = (0.13 - 0.1 * share) * (f.x - 0.5)
        sway = (0.018 + 0.02 * share) * wave * (-1) ** step + 0.008 * second + 0.006 * f.ridge(3)
        crest = line + low - tilt + sway
        thick = 0.012 + 0.028 * share
        bank = blend(far, near, f.x.new_tensor(share)) * (1 + 0.1 * air.lumps)
        bank = blend(bank, blend(mud, deep, f.x.new_tensor(0.5)), depth(f, crest, thick))
        picture = over(picture, bank, below(f, crest))
        shore = crest + thick
        mirror = blend(air.low, air.zenith, depth(f, shore, 0.1))
        shoots = dither(130 * f.x + 60 * f.y, (170 - 80 * share) * (f.y - shore)) > 0.6
        sheet = torch.lerp(mirror, leaf, 0.15 if step % 3 else 0.75)
        tufts = shoots.to(f.x.dtype) * ramp(0.0, 0.03, f.y - shore) * (0.35 + 0.2 * wave)
        picture = over(picture, over(sheet, leaf * 0.9, tufts.clamp(0, 1)), below(f, shore))
        picture = over(picture, deep, 0.5 * ramp(0.006, 0.0, (f.y - shore).abs()))
        if step == 2:
            picture = _hut(f, air, picture, 0.75, crest, (straw, wood))
    shore = line + 0.37 + 0.012 * f.ridge(3)
    return ground(f, air, picture, shore, far, near)


def _hut(
    f: Fields, air: Air, picture: Tensor, x: float, foot: Tensor, paints: tuple[Tensor, Tensor]
) -> Tensor:
    straw, wood = paints
    foot = foot.mean(dim=-1, keepdim=True) if foot.shape[-1] > 1 else foot
    picture = over(picture, wood, box(f, x - 0.05, x + 0.05, foot - 0.06, foot + 0.02))
    gap = box(f, x - 0.015, x + 0.015, foot - 0.035, foot + 0.02)
    picture = over(picture, blend(0.4 * wood, f.rgb(255, 206, 120), air.lamps), gap)
    roof = convex(
        f, (x - 0.085, foot - 0.045), (x - 0.03, foot - 0.12), (x + 0.03, foot - 0.12),
        (x + 0.085, foot - 0.045),
    )  # fmt: skip
    fibre = 0.85 + 0.2 * dither(110 * f.x + 20 * f.y) + 2.0 * (f.x - x) * air.side
    return over(picture, straw * fibre, roof)


@place(
    "in a bamboo grove",
    "in a bamboo forest",
    "among bamboo",
    "on a path through bamboo",
    has_seasons=False,
)
def bamboo_grove(f: Fields, air: Air) -> Tensor:
    """Draw tall jointed stalks in four depths on both sides of a stone path with low fences."""
    deep, glade, leaf, floor, near, stone, straw = air.seen(
        (plain(30, 78, 42), 0.5),
        (plain(176, 220, 130), 0.7),
        (plain(104, 172, 70), 0.1),
        (plain(96, 104, 58), 0.2),
        (plain(70, 76, 44), 0.0),
        (plain(188, 180, 160), 0.05),
        (plain(186, 156, 94), 0.05),
    )
    line = f.horizon + 0.06
    light = gaussian(f, 0.5, line - 0.16, 0.26, 0.36)
    picture = blend(deep, glade, (0.25 + 0.75 * light + 0.06 * air.lumps).clamp(0, 1))
    picture = torch.lerp(picture, air.low, 0.45 * light)
    picture = ground(f, air, picture, line, floor, near, 0.1)
    for which, (count, far, foot, thin) in enumerate(
        ((40, 0.75, 0.0, 0.2), (22, 0.45, 0.015, 0.2), (12, 0.2, 0.06, 0.22), (7, 0.0, 0.16, 0.2))
    ):
        green, shade, ring = air.seen(
            (plain(134, 184, 82), far), (plain(48, 104, 54), far), (plain(214, 214, 142), far)
        )
        cell = count * f.x + 0.31 * which
        tone = dither(cell, torch.full_like(cell, 2.0 + which))
        lean = 0.1 * (tone - 0.5) * (f.y - line)
        cell = cell + lean * count
        tone = dither(cell.floor(), torch.full_like(cell, 2.0 + which))
        across = (torch.frac(cell) - 0.5 - 0.5 * (tone - 0.5)) / thin
        middle = (cell.floor() + 0.5 - 0.31 * which) / count
        there = ramp(0.03 + 0.55 * foot, 0.05 + 0.75 * foot, (middle - 0.5).abs())
        stalk = within(across.abs(), 0.55 + 0.4 * tone, 1.2 * count / f.size_px / thin)
        stalk = stalk * (1 - below(f, line + foot + 0.03 * tone)) * there
        round_light = (0.55 + 0.45 * across * air.side + 0.3 * (tone - 0.5)).clamp(0, 1)
        joint = (0.14 + 0.3 * foot) * (0.9 + 0.4 * tone)
        knot = seam(f.y / joint + 7 * tone, 0.05)
        colour = blend(shade, green, round_light)
        picture = over(picture, blend(colour, ring, 0.8 * knot), stalk)
    spray = ramp(0.35, 0.9, dither(26 * f.x + 30 * f.y, 20 * f.y - 14 * f.x) + 0.35 * air.clumps)
    spray = spray * ramp(0.34, 0.0, f.y + 0.12 * air.clumps)
    picture = over(picture, blend(deep, leaf, (0.6 + 0.4 * air.lumps).clamp(0, 1)), 0.9 * spray)
    v = look(f, line - 0.01)
    cover, across, away = level(v, (-0.62, 0.62), 1.0, (1.0, 30.0))
    slabs = torch.maximum(
        seam(1.7 * away, 0.1), seam(1.6 * across + 0.5 * (1.7 * away).floor(), 0.05)
    )
    tone = 0.92 + 0.16 * dither(1.6 * across + 0.5 * (1.7 * away).floor(), 1.7 * away)
    path = stone * tone * (1 - 0.3 * slabs * ramp(9, 4, away)) * (1 + 0.1 * light)
    picture = over(picture, path, cover)
    side = (f.x - 0.5).abs()
    for rail in (0.68, 0.84):
        top = line - 0.01 + rail * side / 0.74
        bar = ramp(0.014, 0.006, (f.y - top).abs() / (side + 0.1) * 0.5) * ramp(0.02, 0.05, side)
        picture = over(picture, straw * (0.9 + 0.2 * rail), bar * below(f, line))
    return hazed(f, air, picture, line, 0.12)


@place(
    "in a Japanese garden",
    "by a torii gate",
    "in front of a red torii",
    "at a Japanese temple",
    foreground=GRASS_BLADES,
)
def japanese_garden(f: Fields, air: Air) -> Tensor:
    """Draw a torii, a pagoda, maples and a lantern by a pond, and raked gravel."""
    maple = Paint((92, 150, 64), (220, 76, 40), (170, 160, 162), (250, 188, 208))
    shade = Paint((44, 92, 46), (150, 40, 34), (110, 106, 110), (206, 120, 152))
    blue, pale, far, near, gravel, stone, water = air.seen(
        (LEAF_DARK, 1.4),
        (LEAF_DARK, 0.9),
        (GRASS, 0.25),
        (GRASS_NEAR, 0.0),
        (plain(222, 214, 198, snow=0.7), 0.0),
        (plain(150, 148, 146, snow=0.5), 0.05),
        (_WATER_DEEP, 0.1),
    )
    f, air = turned(f, air)
    line = f.horizon + 0.03
    picture = hills(f, air.sky, line - 0.12 + 0.05 * f.ridge(5), blue, pale, 0.16)
    picture = _pagoda(f, air, picture, 0.2, line + 0.01)
    picture = treeline(f, air, picture, line + 0.01, 0.07, 0.5, 8)
    picture = hazed(f, air, picture, line)
    picture = ground(f, air, picture, line, far, near)
    pond = ellipse(f, 0.16, line + 0.13, 0.3, 0.05)
    bank = ellipse(f, 0.16, line + 0.134, 0.325, 0.062)
    picture = over(picture, stone * (0.8 + 0.3 * dither(34 * f.x, 44 * f.y)), bank)
    ring = 1 + 0.06 * torch.sin(90 * torch.hypot(f.x - 0.2, 4 * (f.y - line - 0.13)))
    picture = over(picture, torch.lerp(water, air.low, 0.4) * ring, pond)
    picture = tree(
        f,
        air,
        picture,
        f.x.new_tensor([0.4, 0.95]).view(1, 2, 1, 1),
        line + 0.05,
        0.28,
        maple,
        shade,
        0.25,
    )
    picture = _torii(f, air, picture, 0.66, line + 0.12, 0.36)
    edge = line + 0.25 + 0.012 * f.ridge(5)
    rake = torch.sin(2 * math.pi * 13 * torch.hypot(f.x - 0.5, 2.6 * (f.y - 1.06)))
    sand = gravel * (1 + 0.05 * rake * depth(f, edge, 0.04) + 0.03 * dither(150 * f.x, 150 * f.y))
    picture = over(picture, 0.62 * stone, below(f, edge - 0.008))
    picture = over(picture, sand, below(f, edge))
    for x, size in ((0.86, 0.07), (0.95, 0.045), (0.06, 0.05)):
        rock = ellipse(f, x, edge + 0.03, size, 0.7 * size) * (1 - below(f, edge + 0.05))
        tone = 0.75 + 0.25 * (f.x - x) / size * air.side - 3 * (f.y - edge) + 0.1 * texture(f, 2)
        picture = over(picture, stone * tone, rock)
    picture = _stone_lantern(f, picture, 0.09, edge + 0.02, stone, air)
    return tree(f, air, picture, f.x.new_ones(1, 1, 1, 1), line + 0.24, 0.58, maple, shade, 0.0)


def _torii(f: Fields, air: Air, picture: Tensor, x: float, foot: Tensor, tall: float) -> Tensor:
    red, dark, black = air.seen(
        (plain(214, 62, 40), 0.05), (plain(140, 34, 30), 0.05), (plain(50, 44, 46, snow=0.6), 0.05)
    )
    half, top = 0.4 * tall, foot - tall
    for side in (-1, 1):
        leg = x + side * half * 0.8
        light = 0.85 + 9 * (f.x - leg) * air.side
        pillar = convex(
            f, (leg - 0.035 * tall - side * 0.01, top), (leg + 0.035 * tall - side * 0.01, top),
            (leg + 0.05 * tall, foot), (leg - 0.05 * tall, foot),
        )  # fmt: skip
        picture = over(picture, red * light, pillar)
        picture = over(
            picture, black, box(f, leg - 0.055 * tall, leg + 0.055 * tall, foot - 0.07 * tall, foot)
        )
    picture = over(picture, dark, box(f, x - half, x + half, top + 0.2 * tall, top + 0.275 * tall))
    picture = over(picture, dark, box(f, x - 0.035, x + 0.035, top, top + 0.22 * tall))
    curve = top - 0.12 * tall * ((f.x - x) / (1.35 * half)).square()
    span = ramp(1.25 * half + 0.004, 1.25 * half - 0.004, (f.x - x).abs())
    beam = below(f, curve) * (1 - below(f, curve + 0.1 * tall))
    picture = over(picture, red, beam * span)
    cap = below(f, curve - 0.055 * tall) * (1 - below(f, curve + 0.005))
    return over(
        picture, black, cap * ramp(1.35 * half + 0.004, 1.35 * half - 0.004, (f.x - x).abs())
    )


def _pagoda(f: Fields, air: Air, picture: Tensor, x: float, foot: Tensor) -> Tensor:
    wall, roof, dark = air.seen(
        (plain(214, 120, 84), 0.5), (plain(84, 88, 104, snow=0.75), 0.5), (plain(110, 60, 50), 0.4)
    )
    for floor in range(5):
        half, low = 0.062 - 0.009 * floor, foot - 0.072 * floor
        picture = over(picture, wall, box(f, x - half, x + half, low - 0.06, low))
        panes = seam(40 * (f.x - x) + 0.5, 0.3) * box(
            f, x - half, x + half, low - 0.035, low - 0.01
        )
        picture = over(picture, blend(dark, f.rgb(255, 214, 130), air.lamps), 0.8 * panes)
        sweep = low - 0.045 - 0.03 * (1 - (f.x - x).abs() / (1.75 * half)).clamp(0, 1).square()
        lip = low - 0.043 - 0.3 * ((f.x - x).abs() - 1.2 * half).clamp_min(0)
        cover = below(f, torch.minimum(sweep, lip) - 0.012) * (1 - below(f, lip))
        span = ramp(1.75 * half, 1.75 * half - 0.006, (f.x - x).abs())
        picture = over(picture, roof * (1 + 2.5 * (f.x - x) * air.side), cover * span)
    return over(picture, dark, stroke(f, (x, foot - 0.36), (x, foot - 0.46), 0.004))


def _stone_lantern(
    f: Fields, picture: Tensor, x: float, foot: Tensor, stone: Tensor, air: Air
) -> Tensor:
    light = 0.85 + 5 * (f.x - x) * air.side
    parts = torch.maximum(
        box(f, x - 0.015, x + 0.015, foot - 0.13, foot),
        box(f, x - 0.04, x + 0.04, foot - 0.02, foot),
    )
    parts = torch.maximum(parts, box(f, x - 0.035, x + 0.035, foot - 0.185, foot - 0.12))
    roof = convex(
        f,
        (x - 0.06, foot - 0.18),
        (x - 0.015, foot - 0.225),
        (x + 0.015, foot - 0.225),
        (x + 0.06, foot - 0.18),
    )
    picture = over(picture, stone * light, parts)
    picture = over(picture, stone * light * 0.85, roof)
    pane = box(f, x - 0.02, x + 0.02, foot - 0.17, foot - 0.135)
    picture = over(picture, blend(0.3 * stone, f.rgb(255, 220, 140), air.lamps), pane)
    return glow(f, picture, x, foot - 0.15, 0.09, air.lamps)
