"""Fields of flowers that run to the horizon."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air, Paint, plain
from swiftpie_world.art.parts import convex, dither, ellipse, level, look, seam, stroke, turned
from swiftpie_world.features import (
    EARTH,
    GRASS,
    GRASS_BLADES,
    GRASS_NEAR,
    LEAF,
    LEAF_DARK,
    PATH,
    ground,
    hazed,
    hills,
    place,
    relief,
    road,
    tree,
    treeline,
)
from swiftpie_world.fields import Fields, over
from swiftpie_world.shapes import below, blend, box, ramp, texture, within

_WATER_DEEP = plain(44, 110, 138)


@place(
    "in a lavender field",
    "among lavender",
    "between rows of lavender",
    "in a purple lavender field",
    foreground=GRASS_BLADES,
)
def lavender_field(f: Fields, air: Air) -> Tensor:
    """Draw rows of lavender that run to a stone house, a round tree, and blue hills."""
    bloom = Paint((160, 112, 208), (150, 132, 140), (226, 230, 242), (150, 142, 170))
    deep = Paint((84, 56, 140), (96, 88, 84), (150, 150, 170), (84, 100, 84))
    blue, pale, far, near, soil, wall, roof, dark = air.seen(
        (LEAF_DARK, 1.5),
        (GRASS, 1.1),
        (bloom, 0.3),
        (bloom, 0.0),
        (EARTH, 0.1),
        (plain(226, 206, 172), 0.3),
        (plain(178, 98, 70, snow=0.8), 0.3),
        (deep, 0.05),
    )
    f, air = turned(f, air)
    line = f.horizon
    picture = hills(f, air.sky, line - 0.08 + 0.035 * f.ridge(6), blue, pale, 0.12)
    picture = hills(f, picture, line - 0.025 + 0.015 * f.ridge(5, 1), pale, far, 0.05)
    picture = treeline(f, air, picture, line + 0.006, 0.035, 0.7)
    picture = hazed(f, air, picture, line)
    picture = _stone_house(f, air, picture, line, (wall, roof))
    v = look(f, line - 0.01, 0.5 + 0.2 * (f.u(13) - 0.5))
    cover, across, away = level(v, (-80.0, 80.0), 1.0, (1.0, 60.0))
    row = torch.frac(1.15 * across + 40.5) - 0.5
    bumps = dither(1.15 * across + 40.5, 5 * away)
    wide = 0.36 + 0.03 * torch.sin(9 * away + 6 * bumps)
    hedge = within(row.abs(), wide, (0.03 + 0.012 * away).clamp_max(0.3))
    flower = dither(26 * across, 13 * away) * ramp(7, 2.5, away)
    light = 0.62 - 1.2 * row * (-air.side) + 0.14 * relief(f, air, 0, 1) + 0.5 * (flower - 0.4)
    light = light - 1.3 * (row.abs() - 0.2).clamp_min(0)
    bushes = blend(dark, blend(near, far, ramp(2, 14, away)), light.clamp(0, 1.1))
    picture = over(picture, soil * (1 + 0.06 * air.turf), below(f, line + 0.004))
    return over(picture, bushes, hedge * cover)


def _stone_house(
    f: Fields, air: Air, picture: Tensor, line: Tensor, paints: tuple[Tensor, Tensor]
) -> Tensor:
    """Draw a low house with a tree on the right of the horizon."""
    wall, roof = paints
    left, right, top = 0.66, 0.84, line - 0.055
    bright = wall * (1 + 0.05 * texture(f, 1)) * (1 - 0.1 * air.side)
    picture = over(picture, bright, box(f, left, right, top, line + 0.008))
    picture = over(picture, wall * 0.8, box(f, right, right + 0.035, top, line + 0.008))
    tiles = roof * (0.94 + 0.08 * torch.sin(2 * math.pi * 60 * f.x))
    slope = convex(
        f, (left - 0.008, top + 0.004), (left + 0.02, top - 0.045), (right - 0.005, top - 0.045),
        (right + 0.043, top + 0.004),
    )  # fmt: skip
    picture = over(picture, tiles, slope)
    for x in (0.69, 0.735, 0.8):
        pane = box(f, x - 0.009, x + 0.009, top + 0.016, top + 0.04)
        picture = over(picture, blend(0.4 * wall, f.rgb(255, 214, 130), air.lamps), pane)
    spots = f.x.new_tensor([0.9, 0.62]).view(1, 2, 1, 1)
    return tree(f, air, picture, spots, line + 0.012, 0.15, far=0.35)


@place(
    "in a sunflower field",
    "among sunflowers",
    "between tall sunflowers",
    "in a field of sunflowers",
    foreground=GRASS_BLADES,
)
def sunflower_field(f: Fields, air: Air) -> Tensor:
    """Draw sunflowers in rows that grow towards the viewer, with a free lane in the middle."""
    petal = Paint((252, 204, 44), (196, 144, 52), (214, 200, 170), (180, 204, 80))
    blue, pale, far, leaf, deep, soil, gold, brown = air.seen(
        (LEAF_DARK, 1.4),
        (GRASS, 1.0),
        (petal, 0.5),
        (LEAF, 0.05),
        (LEAF_DARK, 0.0),
        (PATH, 0.0),
        (petal, 0.0),
        (plain(98, 60, 34, snow=0.3), 0.0),
    )
    line = f.horizon
    picture = hills(f, air.sky, line - 0.06 + 0.03 * f.ridge(5), blue, pale, 0.1)
    picture = treeline(f, air, picture, line + 0.008, 0.045, 0.7)
    spots = dither(90 * f.x, 140 * (f.y - line)) * ramp(0.3, 0.0, f.y - line)
    field = blend(deep, leaf, (0.35 + 0.25 * air.lumps).clamp(0, 1))
    field = blend(field, far, (0.35 + 0.5 * spots) * ramp(0.12, 0.0, f.y - line))
    picture = over(picture, field, below(f, line))
    picture = hazed(f, air, picture, line)
    cover, _, _ = road(f, line - 0.01, 0.5, 0.34)
    picture = over(picture, soil * (1 + 0.05 * relief(f, air, 2)), cover * below(f, line + 0.02))
    shades = (gold, brown, leaf, deep)
    for count, low, gap, which in (
        (30, 0.0, 0.02, 0), (20, 0.035, 0.05, 1), (13, 0.085, 0.1, 0), (9, 0.16, 0.17, 1),
        (6, 0.28, 0.24, 0),
    ):  # fmt: skip
        picture = _sunflowers(f, air, picture, line + low, count, gap, which, shades)
    return picture


def _sunflowers(
    f: Fields,
    air: Air,
    picture: Tensor,
    height: Tensor,
    count: int,
    gap: float,
    which: int,
    paints: tuple[Tensor, Tensor, Tensor, Tensor],
) -> Tensor:
    """Draw a row of flowers whose heads are at `height`, none within `gap` of the middle."""
    gold, brown, leaf, deep = paints
    cell = count * f.x + 0.37 * count
    tone = dither(cell, torch.full_like(cell, 3.0 + count))
    centre = (cell.floor() + 0.5 - 0.37 * count) / count
    there = ramp(gap - 0.01, gap, (centre - 0.5).abs())
    across = torch.frac(cell) - 0.5 - 0.16 * (tone - 0.5)
    down = (f.y - height) * count - 0.5 * (tone - 0.5) - 0.12 * torch.tanh(f.columns(4, which))
    edge = count / f.size_px
    foliage = within((across + 0.08 * torch.sin(9 * down)).abs(), 0.36 - 0.1 * tone, 2 * edge)
    foliage = foliage * ramp(0.35, 0.55, down) * ramp(3.2, 2.6, down)
    serrate = 0.5 + 0.5 * torch.sin(7 * down + 12 * across + 9 * tone)
    shade = (0.25 + 0.45 * serrate - 0.25 * down.clamp(0, 2)).clamp(0, 1)
    picture = over(picture, blend(deep, leaf, shade), foliage * there)
    stem = within(across.abs(), 0.045, edge) * ramp(0.0, 0.1, down) * ramp(3.2, 2.6, down)
    picture = over(picture, leaf * 0.9, stem * there)
    reach = torch.hypot(across, down)
    angle = torch.atan2(down, across)
    fringe = 0.3 + 0.09 * torch.cos(15 * angle + 20 * tone).abs()
    head = within(reach, fringe, edge)
    rays = 0.82 + 0.2 * torch.cos(15 * angle + 20 * tone).abs() - 0.25 * (across * -air.side)
    picture = over(picture, gold * rays, head * there)
    seeds = within(reach, 0.155, edge)
    disk = brown * (0.75 + 2.4 * reach + 0.2 * torch.sin(90 * reach) * torch.cos(9 * angle))
    return over(picture, disk, seeds * there)


@place(
    "in a tulip field",
    "in front of a windmill",
    "by a Dutch windmill",
    "among rows of tulips",
    foreground=GRASS_BLADES,
)
def tulip_field(f: Fields, air: Air) -> Tensor:
    """Draw stripes of tulips in many colours, a ditch, and a windmill."""
    off, cold = (132, 146, 82), (232, 238, 246)
    tulips = [
        Paint(colour, off, cold, colour)
        for colour in (
            (226, 52, 60),
            (252, 206, 60),
            (240, 120, 170),
            (150, 70, 170),
            (250, 140, 60),
        )
    ]
    far, near, leaf, deep, water, *colours = air.seen(
        (GRASS, 0.4),
        (GRASS_NEAR, 0.0),
        (LEAF, 0.0),
        (LEAF_DARK, 0.0),
        (_WATER_DEEP, 0.2),
        *((paint, 0.05) for paint in tulips),
    )
    f, air = turned(f, air)
    line = f.horizon + 0.02
    picture = treeline(f, air, air.sky, line + 0.004, 0.03, 0.9)
    picture = ground(f, air, picture, line, far, near)
    picture = over(
        picture, torch.lerp(water, air.low, 0.6), box(f, -1, 2, line + 0.022, line + 0.04)
    )
    picture = hazed(f, air, picture, line)
    picture = _windmill(f, air, picture, 0.72, line + 0.03)
    v = look(f, line - 0.01, 0.42 + 0.1 * f.u(13))
    cover, across, away = level(v, (-80.0, 80.0), 1.0, (1.0, 17.0))
    row = 1.3 * across + 200.5
    kind = (dither(row) * 5).floor().clamp(0, 4)
    petals = sum(colour * (kind == index).to(f.x.dtype) for index, colour in enumerate(colours))
    assert isinstance(petals, Tensor)
    side = torch.frac(row) - 0.5
    bed = within(side.abs(), 0.4, (0.02 + 0.012 * away).clamp_max(0.2))
    buds = dither(34 * across, 15 * away) * ramp(9, 2.5, away)
    light = 0.86 + 0.5 * (buds - 0.35) * ramp(9, 3, away) + 0.3 * side * air.side
    beds = blend(petals * light, blend(deep, leaf, buds), 0.75 * ramp(0.62, 0.66, buds))
    picture = over(picture, blend(deep, near, 0.4 + 0.2 * air.lumps), cover)
    return over(picture, beds, bed * cover)


def _windmill(f: Fields, air: Air, picture: Tensor, x: float, foot: Tensor) -> Tensor:
    """Draw a mill with a brick base, a thatched tower, a cap and four sails."""
    brick, thatch, white, dark, cloth = air.seen(
        (plain(156, 84, 62), 0.15),
        (plain(124, 94, 66, snow=0.2), 0.15),
        (plain(240, 236, 226, snow=0.3), 0.1),
        (plain(66, 52, 46), 0.1),
        (plain(244, 238, 222), 0.1),
    )
    light = 1 + 4.5 * (f.x - x) * air.side
    base = box(f, x - 0.085, x + 0.085, foot - 0.08, foot)
    course = 1 - 0.12 * seam(70 * (foot - f.y), 0.2)
    picture = over(picture, brick * light * course, base)
    door = box(f, x - 0.02, x + 0.02, foot - 0.055, foot)
    picture = over(picture, blend(dark, f.rgb(255, 204, 120), 0.8 * air.lamps), door)
    top = foot - 0.3
    tower = convex(
        f, (x - 0.045, top), (x + 0.045, top), (x + 0.08, foot - 0.08), (x - 0.08, foot - 0.08)
    )
    picture = over(picture, thatch * light * (1 + 0.08 * dither(90 * f.x, 60 * f.y)), tower)
    picture = over(picture, white, box(f, x - 0.1, x + 0.1, foot - 0.09, foot - 0.078))
    for down in (-0.24, -0.16):
        pane = box(f, x - 0.011, x + 0.011, foot + down, foot + down + 0.03)
        picture = over(picture, blend(dark, f.rgb(255, 214, 130), air.lamps), pane)
    cap = ellipse(f, x, top, 0.055, 0.05) * (1 - below(f, top + 0.01))
    picture = over(picture, dark * light, cap)
    hub = (x, top - 0.005)
    angle = 0.35 + 0.9 * f.u(6)
    for quarter in range(4):
        turn = angle + quarter * math.pi / 2
        right, sink = torch.cos(turn), torch.sin(turn)
        tip = (hub[0] + 0.21 * right, hub[1] + 0.21 * sink)
        near = (hub[0] + 0.03 * right, hub[1] + 0.03 * sink)
        a = (near[0] - 0.034 * sink, near[1] + 0.034 * right)
        b = (tip[0] - 0.034 * sink, tip[1] + 0.034 * right)
        along = (f.x - hub[0]) * right + (f.y - hub[1]) * sink
        lattice = 1 - 0.25 * seam(42 * along, 0.25)
        picture = over(picture, cloth * lattice, convex(f, near, tip, b, a))
        picture = over(picture, dark, stroke(f, hub, tip, 0.005))
    return over(picture, dark, ellipse(f, *hub, 0.014, 0.014))
