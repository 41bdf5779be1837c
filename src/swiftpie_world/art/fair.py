"""A funfair with a Ferris wheel, and a disco."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.art.parts import (
    Room,
    beside,
    block,
    chamber,
    convex,
    dither,
    ellipse,
    front,
    level,
    look,
    seam,
    stroke,
    turned,
    upright,
)
from swiftpie_world.features import Lamp, hazed, place, treeline
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, disc, gaussian, ramp, texture, within

_DARK = plain(52, 56, 64)


@place(
    "at a funfair",
    "at an amusement park",
    "in front of a Ferris wheel",
    "at the carnival",
    has_seasons=False,
)
def funfair(f: Fields, air: Air) -> Tensor:
    """Draw a Ferris wheel, a roller coaster, striped tents and booths with strings of lamps."""
    paving, dark, white, steel, wood = air.seen(
        (plain(206, 190, 166), 0.0),
        (_DARK, 0.1),
        (plain(252, 246, 234), 0.05),
        (plain(232, 236, 240), 0.1),
        (plain(170, 112, 70), 0.05),
    )
    f, air = turned(f, air)
    line = f.horizon + 0.06
    picture = treeline(f, air, air.sky, line, 0.07, 0.8, 8)
    picture = _coaster(f, air, picture, line)
    picture = hazed(f, air, picture, line)
    picture = _ferris_wheel(f, air, picture, (0.7, line - 0.27), 0.26, (steel, dark, white))
    v = look(f, line - 0.06)
    _, across, away = level(v, (-60.0, 60.0), 1.0, (1.0, 60.0))
    joint = torch.maximum(seam(1.6 * across, 0.03), seam(1.6 * away, 0.04)) * ramp(9, 3, away)
    tone = 0.95 + 0.1 * dither(1.6 * across, 1.6 * away) + 0.02 * texture(f, 0)
    confetti = (dither(40 * across, 40 * away) > 0.985) * ramp(6, 3, away)
    ground = over(
        paving * tone * (1 - 0.15 * joint),
        hsv(dither(40 * away, 40 * across), saturation=0.7, value=0.9) * air.tone,
        confetti,
    )
    picture = over(picture, blend(ground, air.low, 0.4 * air.wet), below(f, line + 0.01))
    for x, half, tall, hue in (
        (0.3, 0.1, 0.16, 0.0),
        (0.1, 0.17, 0.3, 0.55),
        (0.95, 0.12, 0.22, 0.12),
    ):
        picture = _tent(f, air, picture, (x, line + 0.6 * half), half, tall, hue, white)
    for x, hue in ((0.52, 0.78), (0.86, 0.34)):
        foot = line + 0.08
        paint = hsv(f.u(6) + hue, saturation=0.6, value=0.9) * air.tone
        picture = picture * (1 - 0.3 * gaussian(f, x, foot, 0.08, 0.012))
        picture = over(picture, paint, box(f, x - 0.06, x + 0.06, foot - 0.05, foot))
        inside = blend(0.6 * wood, f.rgb(255, 214, 130), 0.8 * air.lamps)
        picture = over(picture, inside, box(f, x - 0.055, x + 0.055, foot - 0.11, foot - 0.05))
        prizes = hsv(dither(50 * f.x, 40 * f.y), saturation=0.6, value=0.95) * blend(
            air.tone, torch.ones_like(air.tone), air.lamps
        )
        spot = torch.hypot(torch.frac(50 * f.x) - 0.5, torch.frac(40 * f.y) - 0.5)
        picture = over(
            picture,
            prizes,
            within(spot, 0.36, 0.1) * box(f, x - 0.05, x + 0.05, foot - 0.1, foot - 0.06),
        )
        stripe = (torch.frac(56 * (f.x - x) + 28) > 0.5).to(f.x.dtype)
        picture = over(
            picture,
            blend(paint, white, stripe),
            convex(
                f,
                (x - 0.07, foot - 0.1),
                (x - 0.055, foot - 0.15),
                (x + 0.055, foot - 0.15),
                (x + 0.07, foot - 0.1),
            ),
        )
    for sag, start in ((0.06, 0.04), (0.08, 0.11)):
        rope = start + sag * (1 - (4 * torch.frac(1.5 * f.x + start * 3) - 2).square() / 4)
        picture = over(picture, dark, ramp(0.003, 0.001, (f.y - rope).abs()))
        cell = 24 * f.x
        bulb = torch.hypot((torch.frac(cell) - 0.5) / 24, f.y - rope - 0.008)
        colour = hsv(0.25 * (cell.floor() % 4), saturation=0.5, value=1.0)
        picture = over(picture, colour, torch.exp(-(bulb / 0.022).square()) * 0.8 * air.lamps)
        picture = over(picture, colour, ramp(0.009, 0.005, bulb))
    return picture


def _coaster(f: Fields, air: Air, picture: Tensor, line: Tensor) -> Tensor:
    rail, frame = air.seen((plain(214, 70, 90), 0.3), (plain(236, 232, 226), 0.45))
    track = line - 0.17 - 0.1 * torch.sin(9 * f.x + 2.2) - 0.05 * torch.sin(17 * f.x + 6 * f.u(13))
    posts = torch.maximum(seam(20 * f.x, 0.05), 0.8 * seam(20 * f.x + 10 * (f.y - line), 0.05))
    posts = torch.maximum(posts, 0.8 * seam(20 * f.x - 10 * (f.y - line), 0.05))
    keep = ramp(0.6, 0.58, f.x)
    picture = over(picture, frame, posts * below(f, track) * keep * (1 - below(f, line)))
    picture = over(picture, rail, ramp(0.011, 0.007, (f.y - track).abs()) * keep)
    cars = (
        (torch.frac(26 * f.x) > 0.2)
        * ramp(0.012, 0.01, (f.y - track + 0.016).abs())
        * ramp(0.09, 0.085, (f.x - 0.3).abs())
    )
    return over(picture, f.rgb(250, 206, 60) * air.tone, cars)


def _ferris_wheel(
    f: Fields,
    air: Air,
    picture: Tensor,
    hub: tuple[float, Tensor],
    radius: float,
    paints: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Draw a wheel of 14 cabins on two legs."""
    steel, dark, white = paints
    x, y = hub
    for side in (-1, 1):
        picture = over(picture, steel * 0.8, stroke(f, hub, (x + side * 0.12, y + 0.31), 0.008))
    right, down = f.x - x, f.y - y
    reach = torch.hypot(right, down)
    turn = 14 * (torch.atan2(down, right) / (2 * math.pi) + f.u(6))
    away = (turn - turn.floor() - 0.5).abs() * (2 * math.pi / 14) * reach
    spokes = ramp(0.0035, 0.0015, away) * ramp(radius, radius - 0.005, reach)
    rims = sum(ramp(0.0055, 0.003, (reach - size * radius).abs()) for size in (1.0, 0.9, 0.45))
    assert isinstance(rims, Tensor)
    picture = over(picture, steel, torch.maximum(spokes, rims.clamp(0, 1)))
    bulbs = ramp(0.5, 0.2, (torch.frac(5 * turn) - 0.5).abs() * 2) * ramp(
        0.012, 0.004, (reach - radius).abs()
    )
    bulbs = torch.maximum(
        bulbs, ramp(0.006, 0.002, away) * seam(26 * reach, 0.3) * ramp(radius, 0.97 * radius, reach)
    )
    hue = hsv(turn.floor() / 7 + f.u(13), saturation=0.45, value=1.0)
    picture = over(picture, hue, (bulbs * air.lamps).clamp(0, 1))
    halo = torch.exp(-((reach - radius) / 0.03).square())
    picture = over(picture, hue, 0.4 * halo * air.stars)
    for cabin in range(14):
        angle = 2 * math.pi * ((cabin + 0.5) / 14 - f.u(6))
        cx, cy = x + radius * torch.cos(angle), y + radius * torch.sin(angle) + 0.026
        paint = hsv(f.u(13) + 0.29 * cabin, saturation=0.72, value=0.9) * air.tone
        body = ellipse(f, cx, cy, f.x.new_tensor(0.026), f.x.new_tensor(0.024))
        picture = over(picture, paint * (1 - 6 * (f.y - cy)), body)
        pane = blend(torch.lerp(dark, air.low, 0.5), f.rgb(255, 226, 150), air.lamps)
        picture = over(picture, pane, box(f, cx - 0.017, cx + 0.017, cy - 0.012, cy - 0.001))
    return over(picture, white, disc(f, x, y, 0.026))


def _tent(
    f: Fields,
    air: Air,
    picture: Tensor,
    foot: tuple[float, Tensor],
    half: float,
    tall: float,
    hue: float,
    white: Tensor,
) -> Tensor:
    """Draw a round tent with vertical stripes and a flag."""
    x, y = foot
    paint = hsv(f.u(6) + hue, saturation=0.75, value=0.86) * air.tone
    eaves, top = y - 0.45 * tall, y - tall
    picture = picture * (1 - 0.3 * gaussian(f, x, y, half, 0.014))
    across = ((f.x - x) / half).clamp(-0.99, 0.99)
    stripe = (torch.frac(7 * torch.asin(across) / math.pi + 7.25) > 0.5).to(f.x.dtype)
    light = 0.9 + 0.24 * across * air.side - 0.12 * across.square()
    lit = blend(light, 1.05 - 0.2 * across.abs(), 0.6 * air.lamps)
    picture = over(
        picture, blend(paint, white, stripe) * lit * 0.94, box(f, x - half, x + half, eaves, y)
    )
    gap = convex(f, (x - 0.26 * half, y), (x, eaves), (x + 0.26 * half, y))
    picture = over(picture, blend(0.25 * paint, f.rgb(255, 206, 116), air.lamps), gap)
    up = ((eaves - f.y) / (eaves - top)).clamp(0, 1)
    slim = 1.12 * (1 - up).pow(1.25) + 0.01
    reach = (f.x - x).abs() / half
    roof = (
        ((slim - reach) * half * f.size_px + 0.5).clamp(0, 1)
        * below(f, top)
        * (1 - below(f, eaves + 0.004))
    )
    leaning = ((f.x - x) / (half * slim)).clamp(-0.99, 0.99)
    stripe = (torch.frac(7 * torch.asin(leaning) / math.pi + 7.25) > 0.5).to(f.x.dtype)
    picture = over(picture, blend(paint, white, stripe) * (lit + 0.05), roof)
    scallop = eaves + 0.016 * (1 - (2 * torch.frac(9 * (f.x - x) / half + 18) - 1).square())
    hem = (
        below(f, eaves - 0.002)
        * (1 - below(f, scallop))
        * ramp(1.1 * half, 1.1 * half - 0.004, (f.x - x).abs())
    )
    picture = over(picture, paint * 0.82, hem)
    picture = over(picture, 0.5 * paint, stroke(f, (x, top), (x, top - 0.04), 0.003))
    return over(
        picture,
        f.rgb(250, 206, 60) * air.tone,
        convex(f, (x, top - 0.042), (x + 0.035, top - 0.03), (x, top - 0.018)),
    )


@place(
    "at a disco",
    "on a dance floor",
    "under a disco ball",
    "in a dance club",
    outdoors=False,
    lamp=Lamp((1.0, 0.88, 1.0), (0.5, 0.42, 0.58), 0.6, height=1.0, shadow=0.32),
)
def disco(f: Fields, air: Air) -> Tensor:
    """Draw a floor of lit tiles, a mirror ball with its spots, beams, speakers and a light wall."""
    room, line = Room(1.9, 1.4, 4.6), f.horizon - 0.06
    v, z = look(f, line), 4.6
    picture = chamber(f, v, (f.rgb(84, 52, 128), f.rgb(66, 44, 100), f.rgb(48, 34, 84)), room)
    wall_x, wall_y = 3.2 * v.right * z + 20, 3.2 * v.down * z + 20
    tone = dither(wall_x, wall_y)
    reach = torch.hypot(torch.frac(wall_x) - 0.5, torch.frac(wall_y) - 0.5)
    bar = ramp(0.0, 0.1, (0.35 + 0.55 * dither(wall_x)) - (0.72 - v.down * z) / 1.6)
    neon = hsv(f.u(6) + 0.03 * wall_x.floor() + 0.3, saturation=0.65, value=1.0)
    lamps = ramp(0.4, 0.3, reach) * front(v, (-1.25, 1.25), (-1.0, 0.75), z)
    picture = over(picture, neon, lamps * (0.16 + 0.8 * bar * (v.down * z < 0.72)))
    picture = over(
        picture,
        neon,
        0.4 * torch.exp(-(reach / 0.5).square()) * front(v, (-1.25, 1.25), (-1.0, 0.75), z) * bar,
    )
    for side in (-1.9, 1.9):
        face, away, _ = upright(v, side, (-1.4, 1.0), (0.5, z))
        tubes = ramp(0.07, 0.03, (torch.frac(0.9 * away) - 0.5).abs())
        halo = torch.exp(-((torch.frac(0.9 * away) - 0.5) / 0.2).square())
        colour = hsv(f.u(9) + 0.17 * (0.9 * away).floor(), saturation=0.6, value=1.0)
        picture = over(picture, colour, (0.35 * halo + 0.6 * tubes) * face)
    floor, across, away = level(v, (-1.9, 1.9), 1.0, (0.5, z))
    tile_x, tile_z = across / 0.5 + 40.5, away / 0.5
    tone = dither(tile_x, tile_z + 7)
    colour = hsv(f.u(6) + (5 * tone).floor() / 5, saturation=0.62, value=1.0)
    inset = torch.maximum((torch.frac(tile_x) - 0.5).abs(), (torch.frac(tile_z) - 0.5).abs())
    lit = 0.45 + 0.55 * dither(tile_z, tile_x)
    tiles_lit = colour * lit * (1.12 - 0.8 * inset.square())
    tiles_lit = over(tiles_lit, f.rgb(255, 255, 255), 0.25 * ramp(0.3, 0.0, inset))
    picture = over(picture, blend(tiles_lit, f.rgb(34, 28, 52), ramp(0.43, 0.47, inset)), floor)
    for side in (-1, 1):
        case = beside(side, 1.2, 1.75)
        picture = block(
            picture, v, f.rgb(46, 44, 56), x=case, y=(-0.35, 1.0), z=(3.7, 4.2), light=air.side
        )
        cx = 0.5 + side * 1.475 / 3.7
        for y, size in ((-0.1, 0.04), (0.28, 0.058), (0.72, 0.062)):
            cy = line + y / 3.7
            picture = over(picture, f.rgb(120, 118, 132), disc(f, cx, cy, size))
            picture = over(picture, f.rgb(30, 28, 36), disc(f, cx, cy, 0.86 * size))
            picture = over(picture, f.rgb(86, 84, 98), disc(f, cx, cy, 0.4 * size))
    bx, by, radius = 0.5, f.x.new_tensor(0.17).view(1, 1, 1, 1), 0.088
    spots_x, spots_y = 9 * f.x + 2 * (f.y - 0.3) * (f.x - 0.5), 9 * f.y
    tone = dither(spots_x, spots_y)
    spot = torch.hypot(
        torch.frac(spots_x) - 0.5 + 0.3 * (tone - 0.5), (torch.frac(spots_y) - 0.5) * 1.5
    )
    spark = ramp(0.16, 0.06, spot) * (tone > 0.35)
    picture = over(picture, hsv(f.u(13) + tone, saturation=0.25, value=1.0), 0.55 * spark)
    for start, end, tint in (
        (0.1, 0.36, 0.0),
        (0.9, 0.62, 0.33),
        (0.28, 0.75, 0.66),
        (0.74, 0.24, 0.5),
    ):
        aim = start + (end - start) * (f.y / 0.82)
        beam = ramp(0.012 + 0.07 * f.y, 0.0, (f.x - aim).abs()) * ramp(0.95, 0.2, f.y)
        picture = over(picture, hsv(f.u(9) + tint, saturation=0.55, value=1.0), 0.34 * beam)
        picture = over(picture, f.rgb(255, 255, 255), gaussian(f, start, 0.01, 0.03, 0.03))
    picture = over(picture, f.rgb(60, 56, 70), stroke(f, (bx, 0.0), (bx, 0.09), 0.003))
    right, down = (f.x - bx) / radius, (f.y - by) / radius
    lat = torch.asin(down.clamp(-0.99, 0.99)) / math.pi
    lon = (
        torch.asin((right / (1 - down.square()).clamp_min(0.02).sqrt()).clamp(-0.99, 0.99))
        / math.pi
    )
    facet_x, facet_y = 11 * lon + 20, 11 * lat + 20
    tone = dither(facet_x, facet_y)
    glass = blend(
        f.rgb(120, 126, 150), f.rgb(252, 252, 255), ramp(0.25, 0.95, tone + 0.3 * (-down) * 0.6)
    )
    glass = over(glass, hsv(tone * 3, saturation=0.4, value=1.0), 0.4 * (tone > 0.6))
    glass = (
        glass
        * (1 - 0.55 * torch.maximum(seam(facet_x, 0.1), seam(facet_y, 0.1)))
        * (1.05 - 0.35 * right.square())
    )
    picture = over(picture, f.rgb(255, 250, 255), 0.4 * gaussian(f, bx, by, 0.16, 0.16))
    return over(picture, glass, disc(f, bx, by, radius))
