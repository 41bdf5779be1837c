"""Places that people have built, under the open sky."""

from dataclasses import replace

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.features import (
    BARK,
    BLOSSOM,
    GRASS,
    GRASS_BLADES,
    GRASS_NEAR,
    LEAF,
    LEAF_DARK,
    PATH,
    firs,
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
from swiftpie_world.shapes import below, blend, box, depth, disc, gaussian, ramp, texture, within

_TAR = plain(98, 100, 108, snow=0.5)
_PAVING = plain(176, 172, 168, snow=0.7)
_STONE = plain(204, 192, 172, snow=0.2)
_STONE_DARK = plain(128, 116, 112, snow=0.1)


def _panes(across: Tensor, down: Tensor, edge: float) -> Tensor:
    """Return one upright pane in each cell of a lattice, from coordinates in cells."""
    wide = within((torch.frac(across) - 0.5).abs(), 0.3, edge)
    return wide * within((torch.frac(down) - 0.5).abs(), 0.34, edge)


@place("on a city street", "in the city", "between tall buildings", "in a street downtown")
def city_street(f: Fields, air: Air) -> Tensor:
    """Draw a street that runs between two rows of buildings to a hazy skyline."""
    one, two, dark, tar, paving, white, far = air.seen(
        (plain(196, 150, 118), 0.1),
        (plain(132, 152, 178), 0.1),
        (plain(64, 74, 92), 0.1),
        (_TAR, 0.05),
        (_PAVING, 0.05),
        (plain(240, 238, 226), 0.0),
        (plain(126, 146, 172), 0.9),
    )
    line = f.horizon
    number, tint = f.columns(8, 0), f.columns(8, 1)
    skyline = line - 0.08 - 0.05 * torch.tanh(f.columns(32, 1)).clamp_min(-0.6)
    picture = over(air.sky, far, below(f, skyline))
    # A wall at the side of the street: its height shrinks with the distance from the middle.
    aside = (f.x - 0.5).abs()
    beyond = ramp(0.03, 0.05, aside)
    height = 1.15 + 0.5 * torch.tanh(number)
    roof = line - height * aside
    foot = line + 0.46 * aside
    wall = below(f, roof) * (1 - below(f, foot)) * beyond
    away = ramp(0.5, 0.02, aside)
    sunny = 0.84 + 0.22 * air.side * torch.sign(0.5 - f.x)
    colour = blend(one, two, torch.sigmoid(2.2 * tint)) * sunny
    colour = blend(colour, air.haze, (0.25 + 0.9 * air.mist).clamp_max(0.9) * away)
    along, up = 1.1 / aside.clamp_min(0.03), (f.y - line) / aside.clamp_min(0.03)
    pane = _panes(1.4 * along, 5.5 * up + 32.2, 0.06) * ramp(0.05, 0.16, aside)
    pane = pane * ramp(0.02, 0.05, f.y - roof) * (up < 0.1)
    lit = air.lamps * ramp(0.1, 0.4, f.cells(16, 2) + 0.3)
    glass = blend(torch.lerp(dark, air.low, 0.3), f.rgb(255, 214, 130), lit)
    shop = box(f, -1, 2, line + 0.16 * aside, line + 0.42 * aside)
    shop = shop * ramp(0.35, 0.25, (torch.frac(2.0 * along) - 0.5).abs())
    glow = blend(torch.lerp(dark, air.low, 0.15), f.rgb(255, 226, 160), air.lamps)
    edge = 1 - 0.3 * ramp(0.06, 0.0, torch.frac(8 * f.x))
    picture = over(picture, colour * edge, wall)
    picture = over(picture, glass, 0.88 * pane * wall)
    picture = over(picture, glow, 0.8 * shop * wall * ramp(0.06, 0.14, aside))
    street = torch.maximum(below(f, foot) * beyond, below(f, line + 0.02) * (1 - beyond))
    nearness = depth(f, line, 0.5)
    picture = over(picture, paving * (1 + 0.05 * texture(f, 2)), street)
    cover, across, into = road(f, line, 0.5, 0.72)
    gloss = tar * (1 + 0.06 * texture(f, 0, 1, 3))
    mirror = blend(air.low, f.rgb(255, 214, 130), 0.5 * air.lamps)
    shine = air.wet * (0.35 + 0.4 * ramp(0, 1.2, texture(f, 1, 7, 1)))
    picture = over(picture, blend(gloss, mirror, shine), cover)
    dash = ramp(0.05, 0.03, across.abs()) * ramp(
        0.5, 0.42, 1.7 * (torch.frac(1.3 * into) - 0.5).abs()
    )
    kerb = ramp(0.05, 0.02, (across.abs() - 0.98).abs())
    picture = over(picture, white, (dash + 0.5 * kerb) * cover * nearness)
    picture = hazed(f, air, picture, line, 0.1)
    for size in (0.18, 0.42):
        xs = f.x.new_tensor([0.5 - 0.88 * size, 0.5 + 0.88 * size]).view(1, 2, 1, 1)
        picture = tree(f, air, picture, xs, line + 0.43 * size, size, far=0.45 - size)
    for size in (0.5, 0.22):  # street lamps, the same on both sides
        x, top = 0.66 * size, line - 0.57 * size
        lamp = replace(f, x=aside)
        post = box(lamp, x - 0.012 * size, x + 0.012 * size, top, line + 0.42 * size)
        arm = box(lamp, x - 0.14 * size, x, top, top + 0.03 * size)
        picture = over(picture, 0.6 * dark, torch.maximum(post, arm))
        halo = gaussian(lamp, x - 0.13 * size, top + 0.03 * size, 0.16 * size, 0.16 * size)
        picture = over(picture, f.rgb(255, 226, 150), halo * (0.85 * air.lamps))
    return picture


@place("in a park", "in the park", "on a park lawn", "by a park bench", foreground=GRASS_BLADES)
def park(f: Fields, air: Air) -> Tensor:
    """Draw a lawn with a winding path, a bench, a lamp, and trees in two depths."""
    far, near, path, wood, iron = air.seen(
        (GRASS, 0.3),
        (GRASS_NEAR, 0.0),
        (PATH, 0.05),
        (plain(160, 104, 62), 0.05),
        (plain(56, 60, 64), 0.05),
    )
    line = f.horizon
    picture = treeline(f, air, air.sky, line + 0.015, 0.1, 0.8, 8)
    picture = ground(f, air, picture, line, far, near)
    nearness = depth(f, line, 0.55)
    bend = (
        0.5
        + 0.3 * (f.u(13) - 0.5)
        + 0.17 * torch.sin(5.2 * nearness.sqrt() + 6 * f.u(6)) * (1 - nearness)
    )
    wide = 0.015 + 0.3 * nearness.square()
    way = within((f.x - bend).abs(), wide, 0.012) * below(f, line + 0.01)
    picture = over(picture, path * (1 + 0.045 * relief(f, air, 2)), way)
    picture = hazed(f, air, picture, line)
    side = (f.u(9) > 0.5).to(f.x.dtype)
    back = torch.cat([0.3 - 0.1 * f.u(13), 0.62 + 0.1 * f.u(6)], 1)
    picture = tree(f, air, picture, back, line + 0.05, 0.26, LEAF, LEAF_DARK, 0.4)
    x = 0.8 - 0.6 * side
    seat = box(f, x - 0.13, x + 0.13, line + 0.085, line + 0.1)
    rest = box(f, x - 0.13, x + 0.13, line + 0.02, line + 0.04) + box(
        f, x - 0.13, x + 0.13, line + 0.05, line + 0.068
    )
    legs = box(f, x - 0.11, x - 0.095, line + 0.02, line + 0.15) + box(
        f, x + 0.095, x + 0.11, line + 0.02, line + 0.15
    )
    picture = over(picture, iron, legs)
    picture = over(picture, wood, (seat + rest).clamp(0, 1))
    lamp = x + 0.2 * (2 * side - 1)
    post = box(f, lamp - 0.008, lamp + 0.008, line - 0.2, line + 0.13)
    picture = over(picture, iron, post)
    globe = disc(f, lamp, line - 0.215, 0.027)
    halo = gaussian(f, lamp, line - 0.215, 0.12, 0.12) * (0.6 * air.lamps)
    picture = over(picture, f.rgb(255, 232, 170), halo)
    white = blend(air.seen((plain(236, 236, 228), 0.0))[0], f.rgb(255, 246, 214), air.lamps)
    picture = over(picture, white, globe)
    return tree(f, air, picture, 0.08 + 0.84 * side, line + 0.2, 0.66, BLOSSOM, LEAF_DARK, 0.0)


@place(
    "in a village",
    "in a small village",
    "in front of village houses",
    "on a village green",
    foreground=GRASS_BLADES,
)
def village(f: Fields, air: Air) -> Tensor:
    """Draw gabled houses and a church before a hill, a lane, and lit windows by night."""
    hill, pale, far, near, path, church, spire, dark = air.seen(
        (LEAF_DARK, 1.1),
        (GRASS, 0.9),
        (GRASS, 0.25),
        (GRASS_NEAR, 0.0),
        (PATH, 0.1),
        (plain(232, 224, 208), 0.4),
        (plain(104, 92, 104, snow=0.5), 0.4),
        (plain(96, 76, 66), 0.2),
    )
    line = f.horizon + 0.03
    picture = hills(f, air.sky, line - 0.12 + 0.04 * f.ridge(6), hill, pale, 0.13)
    x = 0.3 + 0.4 * f.u(6)
    tower = box(f, x - 0.035, x + 0.035, line - 0.23, line)
    picture = over(picture, church * (1 + 0.2 * air.side * torch.sign(f.x - x)), tower)
    top = line - 0.36 + 3.2 * (f.x - x).abs()
    picture = over(picture, spire, below(f, top) * (1 - below(f, line - 0.23)))
    clock = disc(f, x, line - 0.19, 0.016)
    picture = over(picture, blend(dark, f.rgb(255, 232, 160), air.lamps), clock)
    picture = treeline(f, air, picture, line, 0.07, 0.6, 8)
    picture = hazed(f, air, picture, line, 0.12)
    for count, which, tall, low, away in ((8, 0, 0.075, 0.0, 0.35), (4, 1, 0.14, 0.055, 0.12)):
        picture = _houses(f, air, picture, count, which, tall, line + low, away)
        if count == 8:
            picture = ground(f, air, picture, line - 0.002, far, near)
    cover, _, _ = road(f, line, 0.5 + 0.2 * (f.u(13) - 0.5), 0.28)
    lane = cover * below(f, line + 0.055)
    return over(picture, path * (1 + 0.05 * relief(f, air, 2)), lane)


def _houses(
    f: Fields,
    air: Air,
    picture: Tensor,
    count: int,
    which: int,
    tall: float,
    foot: Tensor,
    far: float,
) -> Tensor:
    """Draw a gabled house in most of `count` columns; larger ones leave the middle free."""
    one, two, roof_one, roof_two, wood = air.seen(
        (plain(244, 234, 214), far),
        (plain(226, 186, 128), far),
        (plain(186, 84, 62, snow=0.85), far),
        (plain(116, 92, 96, snow=0.85), far),
        (plain(112, 76, 56), far),
    )
    number, tint = f.columns(count, which), f.columns(count, 1 - which)
    across = torch.frac(count * f.x) - 0.5
    there = (number > -0.9).to(f.x.dtype)
    if count == 4:
        there = there * ramp(0.26, 0.27, (f.x - 0.5).abs())
    top = foot - tall * (0.9 + 0.25 * torch.tanh(number))
    edge = 1.0 * count / f.size_px
    body = within(across.abs(), 0.36, edge) * (1 - below(f, foot)) * there
    gable = top - (0.4 / count) * (1 - across.abs() / 0.36)
    light = 1 + 0.12 * air.side * torch.sign(across)
    picture = over(
        picture, blend(one, two, torch.sigmoid(2 * tint)) * light, body * below(f, gable)
    )
    panes = _panes(across * 4 + 8.5, (f.y - top) * 2.9 * count + 0.05, 0.1)
    panes = panes * (across.abs() < 0.27) * below(f, top) * (1 - below(f, top + 0.345 / count))
    lit = air.lamps * ramp(-0.5, -0.1, number + 0.6 * torch.sign(across))
    glass = blend(wood * 0.6, f.rgb(255, 212, 124), lit)
    picture = over(picture, glass, 0.95 * panes * body)
    door = ramp(0.09, 0.07, (across - 0.12).abs()) * below(f, foot - 0.4 * tall) * body
    picture = over(picture, wood, door * (count == 4))
    eaves = within(across.abs(), 0.44, edge) * there
    upper = gable - 0.06 / count - 0.01
    slab = ramp(0.0, 0.01, f.y - upper) * ramp(0.012, 0.0, f.y - gable - 0.035 / count)
    roof = blend(roof_one, roof_two, (number > 0.4).to(f.x.dtype))
    return over(picture, roof * (1 - 0.15 * air.side * torch.sign(-across)), slab * eaves)


@place(
    "on a bridge",
    "on a suspension bridge",
    "in the middle of a bridge",
    "crossing a bridge",
    has_seasons=False,
)
def bridge(f: Fields, air: Air) -> Tensor:
    """Draw the deck of a suspension bridge with its towers, cables and rails, over water."""
    red, shade, tar, hill, sea, near, white, walk = air.seen(
        (plain(206, 74, 50), 0.1),
        (plain(122, 44, 44), 0.1),
        (_TAR, 0.05),
        (plain(86, 116, 118), 1.0),
        (plain(52, 112, 152), 0.4),
        (plain(40, 92, 132), 0.0),
        (plain(240, 236, 220), 0.0),
        (plain(168, 162, 156), 0.05),
    )
    line = f.horizon
    picture = hills(f, air.sky, line - 0.07 + 0.035 * f.ridge(4), hill, hill, 0.1)
    nearness = depth(f, line, 0.5)
    wave = 1 + 0.07 * torch.sin(8.0 / (nearness + 0.07) + 2 * texture(f, 2, 1, 7)) * nearness
    sea = blend(blend(sea, near, nearness), air.low, 0.35 - 0.2 * nearness) * wave
    picture = over(picture, sea, below(f, line))
    picture = hazed(f, air, picture, line, 0.12)
    side = (f.x - 0.5).abs()
    # Towers far and near; between them cables sag, and hangers hold the deck.
    for size, far in ((0.3, 0.55), (0.8, 0.0)):
        paint, dark = air.seen((plain(206, 74, 50), far), (plain(122, 44, 44), far))
        x, top, foot = 0.36 * size, line - 0.52 * size, line + 0.26 * size
        leg = ramp(0.045 * size + 0.006, 0.045 * size - 0.006, (side - x).abs())
        leg = leg * below(f, top) * (1 - below(f, foot))
        beams = box(f, 0.5 - x, 0.5 + x, top + 0.03 * size, top + 0.09 * size)
        beams = beams + box(f, 0.5 - x, 0.5 + x, top + 0.2 * size, top + 0.245 * size)
        light = 0.9 + 0.25 * air.side * torch.sign(f.x - 0.5) * torch.sign(side - x)
        picture = over(picture, dark, beams.clamp(0, 1))
        picture = over(picture, paint * light, leg)
    # The cable rises from the far end of the bridge to the tops of the near towers, then beyond.
    reach = (side / 0.288).clamp_min(0)
    cable = line - 0.05 - 0.366 * reach.square()
    thick = 0.004 + 0.008 * reach
    rope = ramp(thick + 0.006, thick - 0.002, (f.y - cable).abs()) * ramp(0.03, 0.06, side)
    beside = line + 0.28 * side
    hanger = ramp(0.5, 0.44, (torch.frac(1.15 / side.clamp_min(0.04)) - 0.5).abs() + 0.36 * 1)
    hanger = hanger * ramp(0.06, 0.12, side) * below(f, cable) * (1 - below(f, beside))
    picture = over(picture, shade, torch.maximum(rope, 0.8 * hanger))
    deck = below(f, torch.maximum(beside + 0.1 * side, line + 0 * side))
    cover, across, along = road(f, line, 0.5, 1.5)
    deck = cover * below(f, line + 0.004)
    picture = over(picture, walk * (1 + 0.05 * texture(f, 2)), deck)
    cover, across, along = road(f, line, 0.5, 0.95)
    gloss = tar * (1 + 0.06 * texture(f, 0, 1, 3))
    shine = air.wet * (0.3 + 0.3 * ramp(0, 1.2, texture(f, 1, 7, 1)))
    picture = over(picture, blend(gloss, air.low, shine), cover)
    dash = ramp(0.03, 0.018, across.abs()) * ramp(
        0.5, 0.42, 1.7 * (torch.frac(1.3 * along) - 0.5).abs()
    )
    rim = ramp(0.03, 0.018, (across.abs() - 0.94).abs())
    picture = over(picture, white, (dash + rim).clamp(0, 1) * cover * below(f, line + 0.01))
    rail_top, rail_foot = line + 0.2 * side, line + 0.335 * side
    rail = ramp(0.012, 0.004, (f.y - rail_top).abs() - 0.012 * side)
    bars = ramp(0.3, 0.2, (torch.frac(3.2 / side.clamp_min(0.04)) - 0.5).abs())
    bars = bars * below(f, rail_top) * (1 - below(f, rail_foot)) * ramp(0.08, 0.2, side)
    return over(picture, red, torch.maximum(rail, bars) * ramp(0.02, 0.05, side))


@place("on a playground", "at the playground", "by the swings", "next to a slide")
def playground(f: Fields, air: Air) -> Tensor:
    """Draw a slide, swings and a sandpit before trees and a fence."""
    far, near, sand, red, yellow, blue, grey, wood = air.seen(
        (GRASS, 0.25),
        (GRASS_NEAR, 0.0),
        (plain(232, 206, 150, snow=0.8), 0.0),
        (plain(222, 66, 58), 0.05),
        (plain(250, 200, 56), 0.05),
        (plain(58, 120, 208), 0.05),
        (plain(150, 154, 162), 0.05),
        (BARK, 0.3),
    )
    line = f.horizon + 0.02
    xs = torch.cat([0.3 + 0.1 * f.u(6), 0.56 + 0.1 * f.u(13)], dim=1)
    picture = treeline(f, air, air.sky, line, 0.12, 0.6, 8)
    picture = tree(f, air, picture, xs, line + 0.01, 0.36, LEAF, LEAF_DARK, 0.4)
    fence = ramp(0.28, 0.2, (torch.frac(32 * f.x) - 0.5).abs()) * box(
        f, -1, 2, line - 0.06, line + 0.012
    )
    rail = box(f, -1, 2, line - 0.052, line - 0.042) + box(f, -1, 2, line - 0.018, line - 0.008)
    picture = over(picture, wood, torch.maximum(fence, rail))
    picture = ground(f, air, picture, line + 0.01, far, near)
    picture = hazed(f, air, picture, line)
    pit = 1 - ((f.x - 0.5) / 0.5).square() - ((f.y - 0.9) / 0.13).square() + 0.04 * f.ridge(2)
    rim = ramp(-0.03, 0.0, pit)
    picture = over(picture, torch.lerp(wood, sand, 0.35), rim)
    lumps = 1 + 0.05 * air.lumps + 0.04 * relief(f, air, 2)
    picture = over(picture, sand * lumps, ramp(0.03, 0.07, pit))
    side = 1 - 2 * (f.u(9) > 0.5).to(f.x.dtype)  # the slide stands on the left where it is 1
    x = (f.x - 0.5) * side + 0.5
    top, foot = line - 0.22, line + 0.2
    tower = (x - 0.15).abs()
    legs = _pole(f, tower - 0.04, 0.011, top - 0.06, foot)
    rungs = ramp(0.25, 0.17, (torch.frac(18 * (f.y - top) + 18) - 0.5).abs())
    rungs = rungs * _pole(f, tower, 0.04, top, foot)
    picture = over(picture, blue, torch.maximum(legs, rungs))
    chute = x - 0.2 - 0.17 / 0.36 * (f.y - top - 0.03)
    picture = over(picture, red, _pole(f, chute, 0.034, top, foot - 0.02))
    picture = over(picture, torch.lerp(red, yellow, 0.55), _pole(f, chute, 0.017, top, foot - 0.03))
    roof = _pole(f, tower, (f.y - top + 0.15) / 1.3, top - 0.15, top - 0.05)
    picture = over(picture, yellow, roof)
    # The swings stand on four legs; two fold onto the other two, and so do ropes and seats.
    beam = line - 0.17
    swing = (x - 0.8).abs()
    splay = (swing - 0.13).abs() - 0.3 * (f.y - beam).clamp_min(0) * 0.42
    frame = _pole(f, splay, 0.01, beam, foot - 0.02)
    frame = torch.maximum(frame, _pole(f, swing, 0.14, beam - 0.012, beam + 0.012))
    picture = over(picture, yellow, frame)
    hanging = (swing - 0.054).abs()
    picture = over(picture, grey, _pole(f, hanging - 0.022, 0.004, beam, line + 0.1))
    return over(picture, red, _pole(f, hanging, 0.03, line + 0.092, line + 0.11))


def _pole(f: Fields, across: Tensor, half: float | Tensor, top: Tensor, foot: Tensor) -> Tensor:
    """Return what is at most `half` away from the line where `across` is 0, between two heights."""
    wide = ((half - across.abs()) * (f.size_px / 2) + 0.5).clamp_(0, 1)
    return wide * (below(f, top) * (1 - below(f, foot)))


@place(
    "in front of a castle",
    "by a castle",
    "at the castle",
    "before an old castle",
    foreground=GRASS_BLADES,
)
def castle(f: Fields, air: Air) -> Tensor:
    """Draw a castle with towers, battlements, a gate and flags on a hill with a path."""
    hill, pale, far, near, path, stone, dark, roof, gate = air.seen(
        (LEAF_DARK, 1.2),
        (GRASS, 0.9),
        (GRASS, 0.25),
        (GRASS_NEAR, 0.0),
        (PATH, 0.1),
        (_STONE, 0.2),
        (_STONE_DARK, 0.2),
        (plain(88, 92, 132, snow=0.5), 0.2),
        (plain(80, 56, 46), 0.15),
    )
    line, x = f.horizon + 0.06, 0.5 + 0.24 * (f.u(6) - 0.5)
    picture = hills(f, air.sky, line - 0.12 + 0.04 * f.ridge(5), hill, pale, 0.13)
    picture = treeline(f, air, picture, line, 0.08, 0.6, 8)
    picture = hazed(f, air, picture, line, 0.14)
    side = (f.x - x).abs()
    light = 1 + 0.15 * air.side * torch.sign(f.x - x)
    course = torch.frac(32 * f.y)
    brick = 1 - 0.12 * ramp(0.12, 0.0, torch.minimum(course, 1 - course))
    brick = brick + 0.05 * f.cells(32, 0).clamp(-1.5, 1.5)
    notch = 0.022 * (torch.frac(24 * (f.x - x) + 12.25) < 0.5)
    keep = ramp(0.145, 0.138, side) * below(f, line - 0.27 + notch)
    picture = over(
        picture, torch.lerp(stone, dark, 0.35) * brick * light, keep * (1 - below(f, line))
    )
    for place_x, tall, half in ((0.0, 0.44, 0.045), (0.16, 0.34, 0.042), (0.31, 0.24, 0.04)):
        offset = side - place_x
        shaft = within(offset.abs(), half, 0.006)
        round_light = 1 + 0.3 * (offset / half).clamp(-1, 1) * air.side * torch.sign(f.x - x)
        body = shaft * below(f, line - tall) * (1 - below(f, line + 0.01))
        picture = over(picture, blend(dark, stone, (round_light - 0.35).clamp(0, 1)) * brick, body)
        cone = ramp(0.0, 0.012, f.y - line + tall + 0.14 - 2.3 * offset.abs())
        cone = cone * (1 - below(f, line - tall + 0.008))
        picture = over(picture, roof * round_light, cone)
        slit = ramp(0.012, 0.006, offset.abs()) * (
            below(f, line - tall + 0.05) * (1 - below(f, line - tall + 0.09))
        )
        picture = over(picture, blend(0.4 * dark, f.rgb(255, 214, 120), air.lamps), slit)
    wall = ramp(0.31, 0.303, side) * below(f, line - 0.12 + notch) * (1 - below(f, line + 0.015))
    picture = over(picture, stone * brick * light, wall)
    arch = 1 - (side / 0.05).square() - ((line - 0.045 - f.y).clamp_min(0) / 0.05).square()
    door = ramp(0.0, 0.12, arch) * (1 - below(f, line + 0.015))
    picture = over(picture, blend(gate, f.rgb(255, 196, 110), 0.6 * air.lamps), door)
    picture = ground(f, air, picture, line + 0.012 + 0.006 * f.ridge(4), far, near)
    cover, _, _ = road(f, line - 0.06, x, 0.34)
    lane = cover * below(f, line + 0.012)
    return over(picture, path * (1 + 0.05 * relief(f, air, 2)), lane)


@place(
    "at a campsite", "in front of a tent", "by a campfire", "while camping", foreground=GRASS_BLADES
)
def campsite(f: Fields, air: Air) -> Tensor:
    """Draw a tent that glows by night, a camp fire, and firs."""
    far, near, cloth, shade, log, stone = air.seen(
        (GRASS, 0.2),
        (GRASS_NEAR, 0.0),
        (plain(240, 150, 60, snow=0.3), 0.05),
        (plain(186, 92, 40, snow=0.2), 0.05),
        (BARK, 0.0),
        (plain(150, 146, 144), 0.0),
    )
    line = f.horizon + 0.03
    picture = firs(f, air, air.sky, 16, 0, line + 0.02, 0.16, 0.8)
    picture = hazed(f, air, picture, line, 0.14)
    picture = firs(f, air, picture, 8, 1, line + 0.03, 0.34, 0.3, 0.35)
    picture = ground(f, air, picture, line + 0.012 + 0.008 * f.ridge(3), far, near)
    side = 1 - 2 * (f.u(9) > 0.5).to(f.x.dtype)
    x, foot, top = 0.5 - 0.26 * side, line + 0.16, line - 0.12
    across = (f.x - x) * side
    up = ((foot - f.y) / (foot - top)).clamp(0, 1)
    front = (
        ramp(0.006, -0.006, across.abs() - 0.17 * (1 - up) ** 0.9)
        * (1 - below(f, foot))
        * below(f, top)
    )
    flank = ramp(0.006, -0.006, (across - 0.12 * (1 - 0.35 * up)).abs() - 0.17 * (1 - up) ** 0.9)
    flank = flank * (1 - below(f, foot - 0.03)) * below(f, top + 0.02)
    warm = f.rgb(255, 206, 120)
    picture = over(picture, blend(shade, warm * 0.8, 0.6 * air.lamps), flank)
    picture = over(picture, blend(cloth, warm, 0.75 * air.lamps) * (0.9 + 0.2 * up), front)
    slit = (
        ramp(0.006, -0.006, across.abs() - 0.075 * (1 - up / 0.75))
        * (up < 0.75)
        * (1 - below(f, foot))
    )
    picture = over(picture, blend(0.35 * shade, f.rgb(255, 232, 170), air.lamps), slit)
    fire = 0.5 + 0.3 * side
    logs = gaussian(f, fire, foot + 0.1, 0.075, 0.02)
    picture = over(picture, stone, ramp(0.3, 0.5, gaussian(f, fire, foot + 0.105, 0.11, 0.035)))
    picture = over(picture, log, ramp(0.35, 0.55, logs))
    lick = (f.x - fire + 0.012 * torch.sin(60 * f.y + 6 * f.u(6))) / 0.05
    rise = ((foot + 0.1 - f.y) / 0.13).clamp(0, 1)
    flame = ramp(
        0.0, 0.3, (1 - rise) ** 1.4 * (rise > 0) + 0.12 * rise * (rise < 1) - lick.square()
    )
    heat = gaussian(f, fire, foot + 0.05, 0.2, 0.18) * (0.15 + 0.5 * air.lamps)
    picture = over(picture, f.rgb(255, 160, 60), heat)
    picture = over(picture, f.rgb(255, 140, 40), 0.9 * flame)
    core = ramp(0.1, 0.5, (1 - 1.5 * rise) * (rise > 0) - 3 * lick.square())
    return over(picture, f.rgb(255, 236, 150), core)
