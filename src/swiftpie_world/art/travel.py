"""Where journeys begin: an airport and a railway station."""

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.art.parts import (
    block,
    convex,
    dither,
    ellipse,
    front,
    level,
    lit_glass,
    look,
    seam,
    shadow,
    stroke,
    turned,
    upright,
)
from swiftpie_world.features import GRASS, hazed, hills, place, treeline
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, disc, gaussian, ramp, texture, within

_CONCRETE = plain(176, 176, 174, snow=0.6)
_WHITE = plain(246, 246, 242)
_DARK = plain(52, 56, 64)


@place(
    "at an airport",
    "on an airport apron",
    "in front of an airplane",
    "on a runway",
    has_seasons=False,
)
def airport(f: Fields, air: Air) -> Tensor:
    """Draw a jet before a terminal with a control tower, on slabs with yellow lines."""
    hill, wall, pale, dark, slab, yellow, grass = air.seen(
        (plain(110, 140, 150), 1.1),
        (plain(206, 210, 214), 0.35),
        (plain(236, 238, 240), 0.3),
        (_DARK, 0.25),
        (_CONCRETE, 0.05),
        (plain(244, 200, 60), 0.0),
        (GRASS, 0.5),
    )
    f, air = turned(f, air)
    line = f.horizon + 0.03
    picture = hills(f, air.sky, line - 0.04 + 0.02 * f.ridge(6), hill, hill, 0.1)
    x, top = 0.85, line - 0.3
    shaft = convex(f, (x - 0.016, top), (x + 0.016, top), (x + 0.028, line), (x - 0.028, line))
    picture = over(picture, pale * (1 + 6 * (f.x - x) * air.side), shaft)
    cab = convex(
        f,
        (x - 0.052, top - 0.045),
        (x + 0.052, top - 0.045),
        (x + 0.034, top + 0.008),
        (x - 0.034, top + 0.008),
    )
    picture = over(
        picture, lit_glass(f, air, dark, 0.55) * (1 - 0.3 * seam(60 * (f.x - x), 0.2)), cab
    )
    picture = over(picture, pale, box(f, x - 0.058, x + 0.058, top - 0.056, top - 0.043))
    picture = over(picture, dark, stroke(f, (x, top - 0.05), (x, top - 0.11), 0.003))
    hall = box(f, -1.0, 0.74, line - 0.1, line + 0.005)
    picture = over(picture, wall, hall)
    panes = (1 - seam(26 * f.x, 0.12)) * box(f, -1.0, 0.73, line - 0.075, line - 0.012)
    tone = 0.85 + 0.3 * dither(26 * f.x, torch.ones_like(f.x))
    picture = over(picture, lit_glass(f, air, dark, 0.5) * tone, panes)
    sweep = line - 0.105 - 0.025 * torch.sin(14 * f.x).abs()
    roof = below(f, sweep) * (1 - below(f, line - 0.085)) * ramp(0.755, 0.75, f.x)
    picture = over(picture, pale, roof)
    picture = hazed(f, air, picture, line, 0.1)
    picture = over(picture, grass, below(f, line))
    v = look(f, line - 0.015, 0.42)
    cover, across, away = level(v, (-90.0, 90.0), 1.0, (1.0, 26.0))
    joint = torch.maximum(seam(0.9 * across, 0.03), seam(0.8 * away, 0.04 + 0.006 * away)) * ramp(
        12, 3, away
    )
    tone = 1 + 0.08 * (dither(0.9 * across, 0.8 * away) - 0.5) + 0.03 * texture(f, 0)
    paving = blend(slab * tone * (1 - 0.16 * joint), air.low, 0.45 * air.wet)
    picture = over(picture, paving, cover)
    lane = within(across.abs(), 0.07, 0.02 + 0.006 * away) + within(
        (across - 2.4 + 0.16 * (away - 3)).abs(), 0.05, 0.02 + 0.006 * away
    )
    picture = over(picture, yellow, (0.9 * lane).clamp(0, 1) * cover)
    return _jet(f, air, picture, line + 0.03)


def _jet(f: Fields, air: Air, picture: Tensor, y: Tensor) -> Tensor:
    """Draw an airliner from the side, its nose on the left."""
    white, belly, dark, steel = air.seen(
        (plain(250, 250, 250), 0.05),
        (plain(166, 174, 186), 0.05),
        (_DARK, 0.05),
        (plain(150, 156, 166), 0.05),
    )
    paint = hsv(0.52 + 0.5 * f.u(6), saturation=0.75, value=0.78) * air.tone
    picture = picture * (1 - 0.45 * gaussian(f, 0.44, y + 0.085, 0.36, 0.018))
    picture = over(
        picture,
        belly * 0.85,
        convex(f, (0.46, y - 0.03), (0.52, y - 0.03), (0.66, y - 0.1), (0.63, y - 0.1)),
    )
    fin = convex(f, (0.72, y - 0.04), (0.79, y - 0.2), (0.85, y - 0.2), (0.83, y - 0.035))
    picture = over(picture, paint, fin)
    picture = over(picture, white * 0.9, ellipse(f, 0.79, y - 0.115, 0.022, 0.022) * fin)
    body_y = y - 0.035 * ramp(0.55, 0.9, f.x)
    half = 0.052 * (1 - ramp(0.26, 0.07, f.x).square()).clamp_min(0).sqrt()
    half = half * (1 - 0.86 * ramp(0.56, 0.88, f.x).square())
    fuselage = (
        ((half - (f.y - body_y).abs()) * f.size_px + 0.5).clamp(0, 1)
        * ramp(0.068, 0.074, f.x)
        * ramp(0.89, 0.885, f.x)
    )
    down = (f.y - body_y) / 0.052
    skin = blend(white, belly, ramp(-0.2, 1.0, down)) * (1.02 - 0.1 * down.abs())
    picture = over(picture, skin, fuselage)
    stripe = ramp(0.16, 0.1, (down - 0.42).abs())
    picture = over(picture, paint, stripe * fuselage)
    panes = 1 - ramp(0.22, 0.32, (torch.frac(44 * f.x) - 0.5).abs())
    panes = (
        panes
        * ramp(0.16, 0.1, (down + 0.18).abs())
        * ramp(0.17, 0.172, f.x)
        * ramp(0.72, 0.718, f.x)
    )
    picture = over(picture, blend(dark, f.rgb(255, 224, 150), air.lamps), panes * fuselage)
    cockpit = convex(f, (0.094, y - 0.022), (0.106, y - 0.04), (0.136, y - 0.04), (0.13, y - 0.02))
    picture = over(picture, dark, cockpit)
    for door in (0.155, 0.53):
        frame = box(f, door - 0.011, door + 0.011, y - 0.032, y + 0.02) - box(
            f, door - 0.008, door + 0.008, y - 0.028, y + 0.018
        )
        picture = over(picture, belly * 0.7, frame.clamp(0, 1))
    for wheel_x, size in ((0.2, 0.014), (0.475, 0.018), (0.515, 0.018)):
        picture = over(
            picture, steel, box(f, wheel_x - 0.004, wheel_x + 0.004, y + 0.03, y + 0.085)
        )
        picture = over(picture, 0.5 * dark, ellipse(f, wheel_x, y + 0.082, size, size))
        picture = over(picture, steel, ellipse(f, wheel_x, y + 0.082, 0.4 * size, 0.4 * size))
    wing = convex(f, (0.4, y + 0.02), (0.53, y + 0.015), (0.72, y + 0.105), (0.66, y + 0.112))
    picture = over(picture, steel * (1.15 - 2.0 * (f.y - y)), wing)
    picture = over(
        picture,
        paint,
        convex(f, (0.66, y + 0.112), (0.7, y + 0.06), (0.72, y + 0.06), (0.72, y + 0.105)),
    )
    engine = ellipse(f, 0.455, y + 0.058, 0.055, 0.03)
    picture = over(picture, paint * (1.1 - 7 * (f.y - y - 0.058)), engine)
    picture = over(picture, dark, ellipse(f, 0.408, y + 0.058, 0.01, 0.025))
    tail = convex(f, (0.76, y - 0.045), (0.83, y - 0.045), (0.93, y - 0.012), (0.89, y - 0.008))
    return over(picture, steel * 1.1, tail)


@place(
    "at a railway station",
    "on a station platform",
    "beside a train",
    "at the train station",
    has_seasons=False,
)
def railway_station(f: Fields, air: Air) -> Tensor:
    """Draw a train along a platform under a canopy, with a clock, lamps and a yellow line."""
    slab, edge_white, dark, steel, gravel, post, wall, sign = air.seen(
        (_CONCRETE, 0.05),
        (plain(246, 212, 70), 0.0),
        (_DARK, 0.05),
        (plain(160, 166, 176), 0.1),
        (plain(122, 112, 104), 0.1),
        (plain(70, 104, 92), 0.05),
        (plain(190, 120, 92), 0.15),
        (plain(44, 84, 160), 0.0),
    )
    f, air = turned(f, air)
    line = f.horizon - 0.01
    picture = treeline(f, air, air.sky, line + 0.004, 0.05, 0.8)
    picture = over(
        picture, gravel * (1 + 0.1 * (dither(120 * f.x, 120 * f.y) - 0.5)), below(f, line)
    )
    picture = hazed(f, air, picture, line)
    v = look(f, line, 0.42)
    paint = hsv(0.55 + 0.5 * f.u(6), saturation=0.7, value=0.72) * air.tone
    side, away, height = upright(v, -0.75, (-0.62, 0.85), (1.15, 16.0))
    coach = paint * (0.95 + 0.1 * torch.sin(3 * height)) * (1 - 0.3 * seam(away / 4.2, 0.012))
    coach = blend(coach, steel * 1.15, ramp(0.02, 0.0, (height - 0.42).abs() - 0.06))
    coach = blend(coach, dark, ramp(0.7, 0.74, height))
    shine = 0.1 * torch.exp(-((height + 0.5) / 0.1).square())
    window = ramp(0.4, 0.36, (torch.frac(away / 0.7) - 0.5).abs()) * ramp(
        0.24, 0.21, (height + 0.08).abs()
    )
    door = (torch.frac(away / 4.2 + 0.4) - 0.5).abs()
    window = window * ramp(0.085, 0.09, door)
    glass = blend(torch.lerp(dark, air.low, 0.45), f.rgb(255, 226, 160), air.lamps)
    coach = over(coach + shine, glass, window)
    frame = ramp(0.08, 0.075, door) * (height > -0.45)
    coach = over(coach, steel * 0.9, frame * ramp(0.008, 0.006, (door - 0.04).abs() - 0.03))
    coach = over(
        coach,
        glass,
        frame * ramp(0.03, 0.026, (door - 0.037).abs()) * ramp(0.3, 0.27, (height + 0.02).abs()),
    )
    picture = over(picture, coach, side)
    picture = over(picture, steel * 0.8, front(v, (-2.2, -0.75), (-0.62, 0.85), 16.0))
    roof, _, away = level(v, (-2.2, -0.75), -0.62, (1.15, 16.0))
    picture = over(picture, steel * 0.7, roof)
    floor, across, away = level(v, (-0.66, 60.0), 1.0, (1.0, 30.0))
    tile = torch.maximum(seam(2.2 * across, 0.035), seam(2.2 * away, 0.05 + 0.01 * away)) * ramp(
        9, 3, away
    )
    tone = 0.94 + 0.1 * dither(2.2 * across, 2.2 * away) + 0.03 * texture(f, 0)
    paving = blend(slab * tone * (1 - 0.18 * tile), air.low, 0.35 * air.wet)
    picture = over(picture, paving, floor)
    strip = (
        within((across + 0.32).abs(), 0.06, 0.012 + 0.004 * away)
        + within((across + 0.6).abs(), 0.06, 0.012 + 0.004 * away) * 0.6
    )
    studs = 0.9 + 0.15 * seam(9 * away, 0.3)
    picture = over(picture, edge_white * studs, strip.clamp(0, 1) * floor)
    back, away, height = upright(v, 2.1, (-1.1, 1.0), (1.0, 14.0))
    brick_x, brick_y = 5 * away + 0.5 * (9 * height).floor(), 9 * height
    bricks = (
        wall
        * (0.92 + 0.16 * dither(brick_x, brick_y))
        * (1 - 0.2 * torch.maximum(seam(brick_x, 0.05), seam(brick_y, 0.1)) * ramp(7, 2, away))
    )
    window = ramp(0.27, 0.25, (torch.frac(away / 1.5) - 0.5).abs()) * ramp(0.42, 0.4, height.abs())
    picture = over(
        picture,
        over(
            over(
                bricks,
                f.rgb(240, 232, 214) * air.tone,
                ramp(0.32, 0.3, (torch.frac(away / 1.5) - 0.5).abs())
                * ramp(0.48, 0.46, height.abs()),
            ),
            glass,
            window,
        ),
        back,
    )
    canopy, across, away = level(v, (-0.3, 2.5), -1.15, (1.0, 12.0))
    beams = 0.9 - 0.3 * seam(away / 0.8, 0.06) - 0.15 * seam(2.2 * across, 0.08)
    lamp_row = within((across - 0.9).abs(), 0.07, 0.03) * ramp(
        0.3, 0.26, (torch.frac(away / 1.6) - 0.5).abs()
    )
    ceiling = blend(
        f.rgb(214, 220, 214) * air.tone * beams,
        f.rgb(255, 246, 214),
        lamp_row * (0.5 + 0.5 * air.lamps),
    )
    picture = over(picture, ceiling, canopy)
    for z in (9.0, 6.0, 4.2, 3.0):
        picture = block(
            picture, v, post, x=(1.25, 1.37), y=(-1.1, 1.0), z=(z, z + 0.12), light=air.side
        )
        picture = block(picture, v, post * 0.9, x=(0.1, 2.1), y=(-1.12, -1.05), z=(z, z + 0.08))
    picture = over(picture, dark, stroke(f, (0.66, line - 0.36), (0.66, line - 0.24), 0.004))
    picture = over(picture, dark, disc(f, 0.66, line - 0.19, 0.058))
    face = blend(f.rgb(250, 250, 246) * air.tone, f.rgb(255, 250, 226), 0.8 * air.lamps)
    picture = over(picture, face, disc(f, 0.66, line - 0.19, 0.05))
    for turn, length, half in ((-0.6, 0.036, 0.0035), (1.9, 0.026, 0.005)):
        angle = turn + 6.28 * f.u(13)
        tip = (0.66 + length * torch.sin(angle), line - 0.19 - length * torch.cos(angle))
        picture = over(picture, dark, stroke(f, (0.66, line - 0.19), tip, half))
    picture = over(picture, sign, front(v, (1.5, 2.05), (-0.75, -0.5), 4.0))
    picture = over(
        picture, f.rgb(250, 250, 250) * air.tone, front(v, (1.58, 1.97), (-0.66, -0.6), 4.0)
    )
    picture = shadow(picture, v, (1.3, 1.9), (4.6, 4.9), 0.25)
    picture = block(
        picture,
        v,
        f.rgb(150, 96, 60) * air.tone,
        x=(1.42, 1.95),
        y=(0.62, 0.68),
        z=(4.3, 5.8),
        light=air.side,
    )
    return block(picture, v, dark, x=(1.46, 1.54), y=(0.68, 1.0), z=(4.4, 5.7), light=air.side)
