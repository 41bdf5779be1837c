"""Solemn halls: a church and a throne room."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air
from swiftpie_world.art.parts import (
    Room,
    beside,
    block,
    chamber,
    convex,
    dither,
    ellipse,
    front,
    glow,
    level,
    look,
    seam,
    stroke,
    tiles,
    upright,
)
from swiftpie_world.features import Lamp, place
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, disc, gaussian, ramp

_WARM = Lamp((1.0, 0.9, 0.74), (0.58, 0.53, 0.5), 0.5, height=0.6, shadow=0.32)


@place(
    "in a church",
    "inside a cathedral",
    "in a cathedral",
    "between church pews",
    outdoors=False,
    lamp=_WARM,
)
def church(f: Fields, air: Air) -> Tensor:
    """Draw a nave with columns and arches, stained glass, pews, a carpet and rays of light."""
    room, line = Room(2.0, 1.9, 6.0), f.horizon - 0.05
    v, z = look(f, line), 6.0
    stone, carpet = f.rgb(222, 208, 184), f.rgb(164, 34, 44)
    picture = chamber(f, v, (stone * 0.9, stone, stone * 0.8), room)
    picture = tiles(f, v, picture, room, (f.rgb(214, 202, 182), f.rgb(176, 160, 142)), 0.45)
    ribs, across, away = level(v, (-2.0, 2.0), -1.9, (0.4, z))
    cross = torch.minimum(
        (torch.frac(0.8 * away + across / 4) - 0.5).abs(),
        (torch.frac(0.8 * away - across / 4 + 10) - 0.5).abs(),
    )
    picture = over(picture, stone * 0.96, ribs * ramp(0.06, 0.03, cross))
    for side in (-2.0, 2.0):
        face, away, tall = upright(v, side, (-1.9, 1.0), (0.5, z))
        bay = torch.frac(0.8 * away) - 0.5
        arch = 0.2 - 0.35 * (1 - (bay / 0.27).square()).clamp_min(0).sqrt()
        lancet = (
            ramp(0.27, 0.25, bay.abs())
            * ramp(-0.01, 0.01, tall + 1.05 - arch)
            * ramp(0.12, 0.1, tall)
        )
        picture = over(picture, _stained(f, 6 * away, 5 * tall, 0.0) * 1.05, face * lancet)
        rim = (
            ramp(0.31, 0.29, bay.abs())
            * ramp(-0.01, 0.01, tall + 1.13 - arch)
            * ramp(0.16, 0.14, tall)
            * (1 - lancet)
        )
        picture = over(picture, stone * 0.7, face * rim)
    apse = front(v, (-2.0, 2.0), (-1.9, 1.0), z)
    cx, cy = 0.5, line - 1.0 / z
    reach, angle = torch.hypot(f.x - cx, f.y - cy), torch.atan2(f.y - cy, f.x - cx)
    rose = _stained(f, 60 * reach, 12 * angle / (2 * math.pi) + 20, 0.3)
    tracery = torch.maximum(
        seam(12 * angle / (2 * math.pi), 0.06), ramp(0.004, 0.002, (reach - 0.04).abs())
    )
    picture = glow(f, picture, cx, cy, 0.16, 0.4)
    picture = over(picture, stone * 0.7, disc(f, cx, cy, 0.09) * apse)
    picture = over(picture, over(rose * 1.1, stone * 0.4, tracery), disc(f, cx, cy, 0.08) * apse)
    for x in (-0.55, 0.0, 0.55):
        top = -0.3 - 0.14 * (1 - abs(x))
        bend = top + 2.2 * (v.right * z - x).square()
        opening = front(v, (x - 0.2, x + 0.2), (-0.6, 0.42), z) * ramp(
            -0.01, 0.01, v.down * z - bend
        )
        picture = over(picture, _stained(f, 10 * v.right * z + 20, 7 * v.down * z, 0.6), opening)
    picture = over(picture, stone, front(v, (-1.0, 1.0), (0.82, 1.0), 5.6))
    picture = over(picture, f.rgb(250, 246, 238), front(v, (-0.5, 0.5), (0.5, 0.82), 5.5))
    picture = over(picture, f.rgb(214, 176, 92), front(v, (-0.5, 0.5), (0.5, 0.56), 5.5))
    ax, ay = 0.5, line + 0.5 / 5.5
    gold = f.rgb(226, 186, 92)
    picture = over(picture, gold, stroke(f, (ax, ay), (ax, ay - 0.07), 0.004))
    picture = over(
        picture, gold, stroke(f, (ax - 0.02, ay - 0.048), (ax + 0.02, ay - 0.048), 0.004)
    )
    for x in (-0.065, 0.065):
        picture = over(
            picture, f.rgb(252, 248, 236), box(f, ax + x - 0.004, ax + x + 0.004, ay - 0.045, ay)
        )
        picture = glow(f, picture, ax + x, ay - 0.053, 0.035, 0.9)
    aisle, across, away = level(v, (-0.38, 0.38), 1.0, (0.4, 5.6))
    border = ramp(0.03, 0.02, (across.abs() - 0.31).abs())
    picture = over(
        picture,
        blend(carpet * (1 + 0.05 * dither(60 * across, 40 * away)), gold, 0.8 * border),
        aisle,
    )
    oak = f.rgb(134, 86, 52)
    for depth_z in (5.0, 4.3, 3.7, 3.2, 2.75, 2.4):
        for side in (-1, 1):
            pew = beside(side, 0.55, 1.55)
            picture = block(
                picture, v, oak, x=pew, y=(0.5, 1.0), z=(depth_z, depth_z + 0.08), light=air.side
            )
            picture = block(
                picture,
                v,
                oak * 1.1,
                x=pew,
                y=(0.46, 0.52),
                z=(depth_z - 0.02, depth_z + 0.1),
                light=air.side,
            )
    for depth_z in (5.2, 3.95, 2.7):
        for side in (-1.72, 1.72):
            px, half = 0.5 + side / depth_z, 0.14 / depth_z
            shaft = ramp(half + 0.002, half - 0.002, (f.x - px).abs()) * (
                1 - below(f, line + 1 / depth_z)
            )
            round_light = (
                0.78
                + 0.24 * ((f.x - px) / half).clamp(-1, 1) * (1 - 2 * (side > 0))
                + 0.05 * torch.cos(9 * (f.x - px) / half)
            )
            picture = over(picture, stone * round_light, shaft * below(f, line - 1.3 / depth_z))
            picture = over(
                picture, stone * 0.95, front(v, (side - 0.2, side + 0.2), (-1.4, -1.24), depth_z)
            )
            picture = over(
                picture, stone * 0.9, front(v, (side - 0.19, side + 0.19), (0.86, 1.0), depth_z)
            )
    for shift, tint in ((-0.1, 0.1), (0.05, 0.55), (0.2, 0.95)):
        start = torch.where(f.sun_x > 0.5, 0.98, 0.02)
        aim = start + (0.5 + shift - start) * (f.y / 0.85)
        ray = ramp(0.05 + 0.05 * f.y, 0.0, (f.x - aim).abs()) * ramp(0.95, 0.5, f.y)
        colour = 0.7 * f.rgb(255, 240, 206) + 0.3 * hsv(
            f.x.new_tensor(tint).view(1, 1, 1, 1), saturation=0.6, value=1.0
        )
        picture = over(picture, colour, 0.2 * ray)
    return picture


def _stained(f: Fields, across: Tensor, down: Tensor, shift: float) -> Tensor:
    """Return coloured glass in leaded cells."""
    tone = dither(across, down)
    glass = hsv(f.u(6) + shift + 0.6 * tone, saturation=0.75, value=0.75 + 0.25 * tone)
    return glass * (1 - 0.6 * torch.maximum(seam(across, 0.1), seam(down, 0.1)))


@place(
    "in a throne room",
    "in front of a throne",
    "in a royal hall",
    "in a castle hall",
    outdoors=False,
    lamp=_WARM,
)
def throne_room(f: Fields, air: Air) -> Tensor:
    """Draw a throne on steps under a canopy, banners, columns, torches and a carpet."""
    room, line = Room(2.0, 1.7, 5.4), f.horizon - 0.06
    v, z = look(f, line), 5.4
    stone, gold = f.rgb(196, 184, 168), f.rgb(232, 188, 88)
    cloth = hsv(torch.where(f.u(6) < 0.5, 0.98, 0.58 + 0.2 * f.u(6)), saturation=0.8, value=0.68)
    picture = chamber(f, v, (stone * 0.85, stone, stone * 0.62), room)
    picture = tiles(f, v, picture, room, (f.rgb(206, 196, 182), f.rgb(120, 108, 106)), 0.5)
    wall_y = 6 * v.down * z
    wall_x = 3 * v.right * z + 0.5 * wall_y.floor() + 40
    joint = torch.maximum(seam(wall_y, 0.07), seam(wall_x, 0.04))
    masonry = stone * (0.82 + 0.16 * dither(wall_x, wall_y)) * (1 - 0.22 * joint)
    picture = over(
        picture,
        masonry * (0.86 + 0.3 * gaussian(f, 0.5, line, 0.3, 0.3)),
        front(v, (-2.0, 2.0), (-1.7, 1.0), z),
    )
    for side in (-2.0, 2.0):
        face, away, tall = upright(v, side, (-1.7, 1.0), (0.5, z))
        row = 6 * tall
        column = 3 * away + 0.5 * row.floor()
        joint = torch.maximum(seam(row, 0.07), seam(column, 0.04)) * ramp(6, 2, away)
        side_wall = stone * (0.74 + 0.14 * dither(column, row)) * (1 - 0.22 * joint)
        bay = torch.frac(0.8 * away) - 0.5
        arch = -0.45 - 0.4 * (1 - (bay / 0.17).square()).clamp_min(0).sqrt()
        window = (
            ramp(0.17, 0.155, bay.abs()) * ramp(-0.01, 0.01, tall - arch) * ramp(0.22, 0.2, tall)
        )
        sky = blend(f.rgb(150, 206, 246), f.rgb(250, 250, 240), ramp(-0.8, 0.2, tall))
        lead = torch.maximum(seam(bay / 0.085, 0.07), seam(5 * tall, 0.07))
        picture = over(picture, over(side_wall, sky * (1 - 0.5 * lead), window), face)
    light, across, away = level(v, (-2.0, 2.0), 1.0, (0.5, z))
    ray = ramp(0.22, 0.1, (torch.frac(0.8 * away - 0.2 * across) - 0.5).abs()) * ramp(
        2.0, 0.6, across.abs() + 0.0
    )
    picture = over(picture, f.rgb(255, 240, 206), 0.16 * ray * light)
    for x in (-0.78, 0.78):
        banner = front(v, (x - 0.24, x + 0.24), (-1.45, 0.45), z - 0.05)
        tip = 0.45 - 0.22 * (1 - ((v.right * z - x).abs() / 0.24))
        banner = banner * ramp(0.01, -0.01, v.down * z - (0.67 - tip))
        fold = 0.9 + 0.14 * torch.sin(24 * v.right * z)
        trim = ramp(0.18, 0.2, (v.right * z - x).abs())
        picture = over(picture, blend(cloth * fold, gold, trim), banner)
        cx, cy = 0.5 + x / z, line - 0.55 / z
        crown = torch.maximum(
            box(f, cx - 0.022, cx + 0.022, cy, cy + 0.012),
            convex(f, (cx - 0.022, cy), (cx - 0.024, cy - 0.024), (cx - 0.008, cy)),
        )
        crown = torch.maximum(crown, convex(f, (cx - 0.011, cy), (cx, cy - 0.03), (cx + 0.011, cy)))
        crown = torch.maximum(
            crown, convex(f, (cx + 0.008, cy), (cx + 0.024, cy - 0.024), (cx + 0.022, cy))
        )
        picture = over(picture, gold, crown)
    drape = front(v, (-0.62, 0.62), (-1.6, 0.6), z - 0.08)
    parted = ramp(0.12, 0.14, (v.right * z).abs() - 0.3 * ramp(-1.3, 0.6, v.down * z))
    fold = 0.74 + 0.24 * torch.sin(34 * v.right * z + 3 * v.down * z)
    picture = over(picture, cloth * 0.45, drape)
    picture = over(picture, cloth * fold, drape * parted)
    picture = over(picture, gold, front(v, (-0.66, 0.66), (-1.64, -1.5), z - 0.1))
    for step in range(3):
        half, top = 1.15 - 0.22 * step, 0.9 - 0.1 * step
        picture = block(
            picture,
            v,
            stone * (0.98 + 0.04 * step),
            x=(-half, half),
            y=(top, top + 0.1),
            z=(4.2 + 0.3 * step, z),
            light=air.side,
        )
        picture = over(picture, cloth, front(v, (-0.4, 0.4), (top, top + 0.1), 4.2 + 0.3 * step))
        picture = over(picture, cloth * 1.15, level(v, (-0.4, 0.4), top, (4.2 + 0.3 * step, z))[0])
    seat_z = 4.95
    picture = over(picture, gold * 0.9, front(v, (-0.34, 0.34), (-0.62, 0.7), seat_z))
    picture = over(
        picture,
        cloth * (1.05 - 0.1 * torch.cos(22 * v.right * seat_z) * torch.cos(22 * v.down * seat_z)),
        front(v, (-0.26, 0.26), (-0.5, 0.45), seat_z),
    )
    tx, ty = 0.5, line - 0.62 / seat_z
    for shift, high in ((-0.055, 0.04), (0.0, 0.065), (0.055, 0.04)):
        picture = over(
            picture,
            gold,
            convex(
                f,
                (tx + shift - 0.018, ty + 0.004),
                (tx + shift, ty - high),
                (tx + shift + 0.018, ty + 0.004),
            ),
        )
        picture = over(
            picture,
            f.rgb(214, 48, 60) if shift == 0 else f.rgb(70, 130, 220),
            disc(f, tx + shift, ty - high, 0.008),
        )
    picture = block(
        picture, v, cloth * 1.1, x=(-0.3, 0.3), y=(0.36, 0.46), z=(4.65, 4.95), light=air.side
    )
    picture = block(
        picture, v, gold * 0.85, x=(-0.34, 0.34), y=(0.46, 0.7), z=(4.62, 4.95), light=air.side
    )
    for side in (-1, 1):
        arm = beside(side, 0.3, 0.4)
        picture = block(picture, v, gold, x=arm, y=(0.16, 0.7), z=(4.6, 4.95), light=air.side)
        picture = over(
            picture, gold * 1.15, disc(f, 0.5 + side * 0.35 / 4.6, line + 0.17 / 4.6, 0.013)
        )
    runner, across, away = level(v, (-0.45, 0.45), 1.0, (0.5, 4.2))
    weave = blend(
        cloth * (1 + 0.05 * dither(60 * across, 40 * away)),
        gold,
        0.9 * ramp(0.03, 0.02, (across.abs() - 0.38).abs()),
    )
    picture = over(picture, weave, runner)
    for depth_z in (4.4, 3.3, 2.5):
        for side in (-1.62, 1.62):
            px, half = 0.5 + side / depth_z, 0.17 / depth_z
            shaft = ramp(half + 0.002, half - 0.002, (f.x - px).abs()) * (
                1 - below(f, line + 1 / depth_z)
            )
            round_light = (
                0.76
                + 0.24 * ((f.x - px) / half).clamp(-1, 1) * (1 - 2 * (side > 0))
                + 0.05 * torch.cos(12 * (f.x - px) / half)
            )
            picture = over(picture, stone * round_light, shaft)
            picture = over(
                picture, stone * 0.95, front(v, (side - 0.24, side + 0.24), (0.84, 1.0), depth_z)
            )
            fx, fy = px - math.copysign(0.2, side) / depth_z, line - 0.35 / depth_z
            picture = over(
                picture,
                f.rgb(70, 56, 48),
                stroke(f, (fx, fy + 0.2 / depth_z), (fx, fy + 0.02 / depth_z), 0.03 / depth_z),
            )
            picture = glow(f, picture, fx, fy, 0.36 / depth_z, 0.8)
            picture = over(
                picture,
                f.rgb(255, 170, 60),
                ellipse(f, fx, fy - 0.03 / depth_z, 0.06 / depth_z, 0.15 / depth_z),
            )
            picture = over(
                picture,
                f.rgb(255, 240, 170),
                ellipse(f, fx, fy + 0.02 / depth_z, 0.03 / depth_z, 0.08 / depth_z),
            )
    return picture
