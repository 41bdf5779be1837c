"""A room with a fire and a Christmas tree."""

import torch
from torch import Tensor

from swiftpie_world.air import Air
from swiftpie_world.art.parts import (
    Room,
    block,
    chamber,
    convex,
    dither,
    ellipse,
    front,
    glow,
    level,
    look,
    planks,
    seam,
    stroke,
)
from swiftpie_world.features import Lamp, place
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, gaussian, ramp, within

_WARM = Lamp((1.0, 0.9, 0.74), (0.6, 0.55, 0.5), 0.48, height=0.5, shadow=0.32)


@place(
    "by the fireplace",
    "in a Christmas room",
    "next to a Christmas tree",
    "under the Christmas tree",
    outdoors=False,
    lamp=_WARM,
)
def christmas_room(f: Fields, air: Air) -> Tensor:
    """Draw a fire in a brick hearth with stockings, a tree with lights, and gifts."""
    room, line = Room(1.6, 1.1, 3.7), f.horizon - 0.08
    v, z = look(f, line), 3.7
    wall = hsv(0.02 + 0.42 * (f.u(6) > 0.5), saturation=0.32, value=0.62)
    picture = chamber(f, v, (wall, wall, f.rgb(226, 212, 192)), room)
    picture = planks(f, v, picture, room, f.rgb(186, 130, 84), f.rgb(120, 76, 48))
    paper = 0.5 + 0.5 * torch.sin(14 * v.right * z) * torch.sin(14 * v.down * z)
    picture = picture * (1 + 0.06 * paper * front(v, (-1.6, 1.6), (-1.1, 0.9), z))
    brick_y = 11 * v.down * 3.5
    brick_x = 5 * v.right * 3.5 + 0.5 * brick_y.floor() + 40
    joint = torch.maximum(seam(brick_y, 0.12), seam(brick_x, 0.06))
    brick = blend(
        f.rgb(168, 78, 58) * (0.82 + 0.36 * dither(brick_x, brick_y)), f.rgb(206, 192, 176), joint
    )
    picture = over(picture, brick * 0.92, front(v, (-0.72, 0.32), (-1.1, 0.0), 3.5))
    picture = block(
        picture, v, f.rgb(150, 72, 54), x=(-0.95, 0.55), y=(0.0, 1.0), z=(3.35, 3.7), light=air.side
    )
    picture = over(picture, brick, front(v, (-0.95, 0.55), (0.0, 1.0), 3.35))
    hearth = front(v, (-0.6, 0.2), (0.3, 1.0), 3.35)
    arch = ramp(0.02, -0.02, 0.3 + 0.5 * (v.right * 3.35 + 0.2).square() - v.down * 3.35)
    picture = over(picture, f.rgb(44, 28, 26), hearth * arch)
    fx, fy = 0.5 - 0.2 / 3.35, line + 0.95 / 3.35
    heat = gaussian(f, fx, fy - 0.06, 0.1, 0.09) * hearth
    picture = over(picture, f.rgb(255, 130, 40), 0.85 * heat)
    for shift, tall, wide in (
        (-0.045, 0.08, 0.026),
        (0.0, 0.13, 0.036),
        (0.045, 0.09, 0.028),
        (0.02, 0.07, 0.03),
    ):
        up = ((fy - f.y) / tall).clamp(0, 1)
        sway = fx + shift + 0.012 * torch.sin(40 * f.y + 40 * shift + 6 * f.u(13)) * up
        flame = (
            (wide * (1 - up).pow(0.8) * (0.4 + up).clamp_max(1) - (f.x - sway).abs())
            * f.size_px
            * 0.6
            + 0.5
        ).clamp(0, 1)
        flame = flame * (f.y < fy) * (up < 1)
        picture = over(picture, blend(f.rgb(255, 226, 120), f.rgb(255, 110, 30), up), 0.95 * flame)
    for ends in (((-0.07, 0.0), (0.07, -0.012)), ((-0.065, -0.014), (0.065, 0.002))):
        (ax, ay), (bx, by) = ends
        picture = over(
            picture, f.rgb(96, 58, 38), stroke(f, (fx + ax, fy + ay), (fx + bx, fy + by), 0.011)
        )
    picture = glow(f, picture, fx, fy - 0.03, 0.22, 0.5)
    oak = f.rgb(124, 78, 48)
    picture = block(picture, v, oak, x=(-1.08, 0.68), y=(-0.1, 0.0), z=(3.25, 3.7), light=air.side)
    for number, x in enumerate((-0.8, -0.36, 0.1, 0.42)):
        sx, sy = 0.5 + x / 3.25, line + 0.0 / 3.25
        red = f.rgb(196, 38, 42) if number % 2 == 0 else f.rgb(44, 122, 70)
        sock = torch.maximum(
            box(f, sx - 0.018, sx + 0.018, sy + 0.004, sy + 0.075),
            stroke(f, (sx, sy + 0.075), (sx + 0.024, sy + 0.084), 0.017),
        )
        picture = over(picture, red * (1 + 5 * (f.x - sx) * air.side), sock)
        picture = over(picture, f.rgb(250, 248, 244), box(f, sx - 0.022, sx + 0.022, sy, sy + 0.02))
    garland = line - 0.1 / 3.25 + 0.012 * torch.sin(40 * f.x).abs()
    leafy = ramp(
        0.02, 0.008, (f.y - garland + 0.006).abs() + 0.008 * dither(130 * f.x, 130 * f.y)
    ) * ramp(0.27, 0.265, (f.x - 0.5 + 0.06).abs())
    picture = over(picture, f.rgb(36, 96, 56) * (0.8 + 0.5 * dither(150 * f.x, 150 * f.y)), leafy)
    for x, tall in ((-0.95, 0.05), (-0.82, 0.07), (0.55, 0.06)):
        cx, cy = 0.5 + x / 3.3, line - 0.12 / 3.3
        picture = over(picture, f.rgb(250, 244, 226), box(f, cx - 0.008, cx + 0.008, cy - tall, cy))
        picture = glow(f, picture, cx, cy - tall - 0.01, 0.05, 0.8)
        picture = over(
            picture, f.rgb(255, 214, 110), ellipse(f, cx, cy - tall - 0.012, 0.005, 0.012)
        )
    wx, wy = 0.5 - 0.2 / 3.5, line - 0.55 / 3.5
    reach = torch.hypot(f.x - wx, f.y - wy)
    wreath = ramp(0.026, 0.014, (reach - 0.062).abs() + 0.008 * dither(130 * f.x, 130 * f.y))
    picture = over(picture, f.rgb(40, 104, 60) * (0.8 + 0.5 * dither(140 * f.x, 140 * f.y)), wreath)
    for side in (-1, 1):
        bow = convex(
            f, (wx, wy + 0.06), (wx + side * 0.03, wy + 0.042), (wx + side * 0.03, wy + 0.078)
        )
        bow = (
            bow
            if side > 0
            else convex(f, (wx, wy + 0.06), (wx - 0.03, wy + 0.078), (wx - 0.03, wy + 0.042))
        )
        picture = over(picture, f.rgb(206, 40, 44), bow)
    picture = _christmas_tree(f, air, picture, (0.83, line + 0.36))
    rug, across, away = level(v, (-0.95, 0.75), 1.0, (2.0, 2.75))
    border = torch.maximum((across + 0.1).abs() / 0.85, ((away - 2.375) / 0.375).abs())
    knit = 0.92 + 0.1 * dither(40 * across, 40 * away)
    carpet = blend(
        f.rgb(178, 44, 46), f.rgb(238, 220, 190), ramp(0.05, 0.03, (border - 0.86).abs())
    )
    return over(picture, carpet * knit, rug)


def _christmas_tree(f: Fields, air: Air, picture: Tensor, foot: tuple[float, Tensor]) -> Tensor:
    """Draw a fir with baubles, lights, a star, and gifts below."""
    x, y = foot
    picture = picture * (1 - 0.35 * gaussian(f, x, y, 0.17, 0.025))
    picture = over(picture, f.rgb(110, 70, 44), box(f, x - 0.018, x + 0.018, y - 0.09, y - 0.01))
    picture = over(
        picture,
        f.rgb(176, 40, 42),
        convex(f, (x - 0.04, y - 0.045), (x + 0.04, y - 0.045), (x + 0.03, y), (x - 0.03, y)),
    )
    for tier in range(5):
        top, low = y - 0.56 + 0.075 * tier, y - 0.4 + 0.085 * tier
        half = 0.065 + 0.03 * tier
        share = ((f.y - top) / (low - top)).clamp(0, 1)
        fringe = low + 0.012 * torch.sin(90 * (f.x - x) + tier) - 0.02 * ((f.x - x) / half).square()
        cover = (
            ((half * share - (f.x - x).abs()) * f.size_px + 0.5).clamp(0, 1)
            * below(f, top)
            * (1 - below(f, fringe))
        )
        needle = dither(150 * f.x + 60 * f.y, 120 * f.y - 40 * (f.x - x).abs())
        shade = 0.55 + 0.4 * share + 0.25 * (needle - 0.5) + 1.2 * (f.x - x) * air.side
        picture = over(picture, f.rgb(44, 116, 66) * shade, cover)
    cone = ((0.005 + 0.34 * (f.y - y + 0.54)).clamp(0, 0.17) - (f.x - x).abs() > 0.012) * (
        f.y < y - 0.07
    )
    cell_x, cell_y = 22 * (f.x - x) + 20.5 + 0.5 * ((22 * (f.y - y)).floor() % 2), 22 * (f.y - y)
    reach = torch.hypot(torch.frac(cell_x) - 0.5, cell_y - cell_y.floor() - 0.5)
    tone = dither(cell_x, cell_y)
    ball = within(reach, 0.3, 0.07) * (tone > 0.62) * cone
    bauble = hsv(torch.where(tone > 0.82, 0.12, 0.98), saturation=0.75, value=0.95) * (
        1.25 - 1.3 * reach
    )
    picture = over(picture, bauble, ball)
    bulb = within(reach, 0.13, 0.08) * (tone < 0.35) * cone
    picture = over(
        picture, f.rgb(255, 226, 140), ramp(0.5, 0.0, reach) * (tone < 0.35) * cone * 0.6
    )
    picture = over(picture, f.rgb(255, 250, 220), bulb)
    star_x, star_y = f.x - x, f.y - y + 0.575
    angle, reach = torch.atan2(star_x, -star_y), torch.hypot(star_x, star_y)
    spike = 0.022 + 0.014 * torch.cos(5 * angle)
    picture = glow(f, picture, x, y - 0.575, 0.08, 0.7)
    picture = over(picture, f.rgb(255, 214, 80), ((spike - reach) * f.size_px + 0.5).clamp(0, 1))
    for shift, wide, tall, hue in (
        (-0.13, 0.05, 0.075, 0.6),
        (0.09, 0.055, 0.06, 0.0),
        (-0.05, 0.04, 0.05, 0.14),
        (0.15, 0.04, 0.09, 0.35),
    ):
        gx, gy = x + shift, y + 0.03
        paper = hsv(f.u(9) + hue, saturation=0.6, value=0.82)
        picture = over(
            picture,
            paper * (1.05 + 2 * (f.x - gx) * air.side),
            box(f, gx - wide, gx + wide, gy - tall, gy),
        )
        ribbon = torch.maximum(
            box(f, gx - 0.008, gx + 0.008, gy - tall, gy),
            box(f, gx - wide, gx + wide, gy - 0.6 * tall, gy - 0.6 * tall + 0.014),
        )
        picture = over(picture, f.rgb(252, 240, 200), ribbon)
        for side in (-0.016, 0.016):
            picture = over(
                picture,
                f.rgb(252, 240, 200),
                ellipse(f, gx + side, gy - tall - 0.008, 0.015, 0.009),
            )
    return picture
