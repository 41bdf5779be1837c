"""Streets of trade: a market and a petrol station."""

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.art.parts import (
    View,
    block,
    dither,
    ellipse,
    front,
    glow,
    level,
    look,
    seam,
    turned,
    upright,
)
from swiftpie_world.features import GRASS, hazed, place, tree, treeline
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, gaussian, ramp, texture, within

_TAR = plain(104, 106, 114, snow=0.5)
_CONCRETE = plain(176, 176, 174, snow=0.6)
_WHITE = plain(246, 246, 242)
_DARK = plain(52, 56, 64)
_PAVING = plain(184, 174, 162, snow=0.7)


@place(
    "at a petrol station",
    "at a gas station",
    "by the petrol pumps",
    "in front of a filling station",
)
def petrol_station(f: Fields, air: Air) -> Tensor:
    """Draw a canopy over pumps, a lit shop and a sign with prices."""
    far, tar, white, grey, dark, slab, paint, trim = air.seen(
        (GRASS, 0.4),
        (_TAR, 0.05),
        (plain(244, 244, 242), 0.1),
        (plain(170, 174, 180), 0.1),
        (_DARK, 0.05),
        (_CONCRETE, 0.05),
        (_WHITE, 0.0),
        (plain(250, 206, 60), 0.1),
    )
    f, air = turned(f, air)
    brand = hsv(f.u(6), saturation=0.78, value=0.82) * air.tone
    line = f.horizon + 0.03
    picture = treeline(f, air, air.sky, line + 0.006, 0.08, 0.7, 8)
    spots = torch.cat([0.1 + 0.06 * f.u(13), 0.88 + 0.06 * f.u(6)], dim=1)
    picture = tree(f, air, picture, spots, line + 0.01, 0.32, far=0.3)
    picture = over(picture, far, below(f, line))
    picture = hazed(f, air, picture, line)
    v = look(f, line - 0.02, 0.46)
    cover, across, away = level(v, (-90.0, 90.0), 1.0, (1.0, 22.0))
    ground_colour = tar * (
        1
        + 0.05 * texture(f, 0, 1, 3)
        + 0.06 * (dither(80 * across, 60 * away) - 0.5) * ramp(6, 2, away)
    )
    picture = over(picture, blend(ground_colour, air.low, 0.4 * air.wet), cover)
    picture = _shop(f, air, picture, (0.2, 0.84), (line - 0.12, line + 0.06), (white, brand, dark))
    light = air.side
    for z in (5.2, 3.4):
        picture = block(
            picture, v, slab, x=(-1.9, 2.5), y=(0.93, 1.0), z=(z - 0.3, z + 0.3), light=light
        )
        for x in (-1.0, 1.6):
            picture = block(
                picture,
                v,
                grey,
                x=(x - 0.09, x + 0.09),
                y=(-1.0, 0.93),
                z=(z, z + 0.18),
                light=light,
            )
        for x in (-0.4, 0.9):
            picture = _pump(f, air, picture, v, (x, z), (white, brand, dark))
    # The canopy is a slab on the pillars; by night its lower side is a row of lamps.
    under, across, away = level(v, (-2.4, 3.0), -1.0, (2.9, 6.0))
    lamps = ramp(0.3, 0.2, (torch.frac(1.1 * across + 20.5) - 0.5).abs()) * ramp(
        0.3, 0.2, (torch.frac(1.1 * away) - 0.5).abs()
    )
    ceiling = blend(white * 0.72, f.rgb(255, 248, 220), (0.25 + 0.75 * air.lamps) * lamps)
    ceiling = blend(ceiling, f.rgb(255, 240, 200), 0.25 * air.lamps)
    picture = over(picture, ceiling, under)
    face = front(v, (-2.4, 3.0), (-1.36, -1.0), 2.9)
    picture = over(picture, blend(white, f.rgb(255, 252, 236), 0.6 * air.lamps), face)
    picture = over(
        picture,
        blend(brand, brand * 1.2 + 0.1, air.lamps),
        front(v, (-2.4, 3.0), (-1.36, -1.15), 2.9),
    )
    picture = over(picture, trim, front(v, (-2.4, 3.0), (-1.15, -1.11), 2.9))
    pool = gaussian(f, 0.48, line + 0.2, 0.4, 0.14) * (0.34 * air.lamps)
    picture = over(picture, f.rgb(255, 240, 190), pool * below(f, line + 0.06))
    picture = _price_sign(f, air, picture, (0.06, line + 0.14), (grey, brand, dark))
    lane, across, _ = level(v, (-90.0, 90.0), 1.0, (1.2, 2.8))
    return over(picture, paint, 0.8 * within((across - 0.1).abs(), 0.035, 0.01) * lane)


def _shop(
    f: Fields,
    air: Air,
    picture: Tensor,
    x: tuple[float, float],
    y: tuple[Tensor, Tensor],
    paints: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    white, brand, dark = paints
    picture = over(picture, white, box(f, x[0], x[1], y[0], y[1]))
    picture = over(picture, brand, box(f, x[0], x[1], y[0], y[0] + 0.03))
    window = box(f, x[0] + 0.02, x[1] - 0.02, y[0] + 0.05, y[1] - 0.006)
    inside = blend(torch.lerp(dark, air.low, 0.35), f.rgb(255, 232, 176), air.lamps)
    shelf = dither(64 * f.x, 36 * f.y)
    goods = hsv(shelf, saturation=0.5, value=0.75) * (0.5 * air.tone + 0.5 * air.lamps)
    row = (torch.frac(18 * (f.y - y[0])) > 0.4).to(f.x.dtype) * (1 - seam(64 * f.x, 0.2))
    inside = blend(inside, goods, 0.55 * row)
    picture = over(picture, inside, window)
    return over(picture, white * 0.85, window * seam(9 * (f.x - x[0]), 0.04))


def _pump(
    f: Fields,
    air: Air,
    picture: Tensor,
    v: View,
    spot: tuple[float, float],
    paints: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    x, z = spot
    white, brand, dark = paints
    picture = block(
        picture,
        v,
        white,
        x=(x - 0.17, x + 0.17),
        y=(0.2, 0.93),
        z=(z - 0.12, z + 0.12),
        light=air.side,
    )
    picture = over(picture, brand, front(v, (x - 0.17, x + 0.17), (0.2, 0.3), z - 0.12))
    picture = over(picture, brand, front(v, (x - 0.17, x + 0.17), (0.62, 0.9), z - 0.12))
    screen = blend(dark, f.rgb(150, 230, 190), 0.3 + 0.5 * air.lamps)
    picture = over(picture, screen, front(v, (x - 0.11, x + 0.11), (0.34, 0.46), z - 0.12))
    picture = over(picture, dark, front(v, (x - 0.13, x - 0.06), (0.5, 0.72), z - 0.12))
    return over(picture, dark, front(v, (x + 0.06, x + 0.13), (0.5, 0.72), z - 0.12))


def _price_sign(
    f: Fields,
    air: Air,
    picture: Tensor,
    foot: tuple[float, Tensor],
    paints: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    x, y = foot
    grey, brand, dark = paints
    picture = over(picture, grey, box(f, x - 0.045, x + 0.045, y - 0.16, y))
    picture = over(picture, brand, box(f, x - 0.05, x + 0.05, y - 0.46, y - 0.15))
    picture = over(picture, grey * 1.4, ellipse(f, x, y - 0.41, 0.03, 0.03))
    for row in range(3):
        top = y - 0.36 + 0.066 * row
        picture = over(picture, 0.4 * dark, box(f, x - 0.042, x + 0.042, top, top + 0.052))
        digit = (dither(90 * f.x, 60 * (f.y - y) + 7 * row) > 0.35) * (
            1 - seam(54 * (f.x - x), 0.3)
        )
        lit = box(f, x - 0.036, x + 0.036, top + 0.01, top + 0.042) * digit
        picture = over(picture, f.rgb(255, 196, 70), lit * (0.6 + 0.4 * air.lamps))
    return picture


@place("at a market", "among market stalls", "at a street market", "between market stalls")
def market(f: Fields, air: Air) -> Tensor:
    """Draw two rows of stalls with striped awnings and crates of fruit before old houses."""
    stone, dark, wood, white, wall_one, wall_two, roof = air.seen(
        (_PAVING, 0.05),
        (_DARK, 0.1),
        (plain(158, 110, 68), 0.0),
        (plain(250, 244, 230, snow=0.2), 0.05),
        (plain(236, 196, 140), 0.3),
        (plain(204, 140, 116), 0.3),
        (plain(150, 84, 66, snow=0.8), 0.3),
    )
    line = f.horizon
    top = line - 0.2 - 0.05 * torch.tanh(f.columns(8, 0))
    across = torch.frac(8 * f.x)
    gable = top - 0.07 * (1 - (2 * across - 1).abs())
    picture = over(air.sky, roof, below(f, gable))
    wall = blend(wall_one, wall_two, torch.sigmoid(2.5 * f.columns(8, 1)))
    picture = over(picture, wall * (0.96 + 0.1 * (across - 0.5) * air.side), below(f, top))
    panes = ramp(0.26, 0.2, (torch.frac(24 * f.x) - 0.5).abs()) * ramp(
        0.34, 0.28, (torch.frac(15 * (f.y - line) + 0.1 + 15) - 0.5).abs()
    )
    panes = panes * below(f, top + 0.02)
    lit = air.lamps * ramp(-0.6, -0.2, f.cells(32, 2))
    picture = over(
        picture, blend(torch.lerp(dark, air.low, 0.3), f.rgb(255, 214, 130), lit), 0.9 * panes
    )
    picture = hazed(f, air, picture, line, 0.1)
    v = look(f, line)
    cover, across, away = level(v, (-30.0, 30.0), 1.0, (1.0, 13.0))
    row = 3.4 * away
    stone_x = 2.6 * across + 0.5 * row.floor()
    cobble = torch.hypot(stone_x - stone_x.floor() - 0.5, row - row.floor() - 0.5)
    tone = 0.9 + 0.2 * dither(stone_x, row)
    cobbles = stone * tone * (1.06 - 0.4 * ramp(0.3, 0.62, cobble) * ramp(9, 3, away))
    picture = over(picture, blend(cobbles, air.low, 0.35 * air.wet), below(f, line + 0.07))
    picture = over(picture, blend(cobbles, air.low, 0.35 * air.wet), cover)
    spots = torch.cat([0.425 + 0.03 * f.u(13), 0.56 + 0.03 * f.u(6)], dim=1)
    picture = tree(f, air, picture, spots, line + 0.085, 0.19, far=0.3)
    for depth_index, z in enumerate((8.6, 6.3, 4.6, 3.3)):
        for side in (-1, 1):
            picture = _stall(
                f, air, picture, v, (side, z), depth_index * 2 + (side > 0), (wood, white)
            )
    flags = line - 0.3 + 0.1 * (2 * f.x - 1).square() + 0.03 * torch.sin(3 * f.x + 6 * f.u(6))
    cell = 17 * f.x
    hang = f.y - flags
    pennant = (
        within((torch.frac(cell) - 0.5).abs(), 0.36 * (1 - hang / 0.05), 0.06)
        * ramp(0.0, 0.004, hang)
        * ramp(0.05, 0.048, hang)
    )
    colour = hsv(dither(cell, torch.ones_like(cell)), saturation=0.75, value=0.95) * air.tone
    picture = over(picture, dark, ramp(0.004, 0.001, hang.abs()))
    return over(picture, colour, pennant)


def _stall(
    f: Fields,
    air: Air,
    picture: Tensor,
    v: View,
    spot: tuple[int, float],
    number: int,
    paints: tuple[Tensor, Tensor],
) -> Tensor:
    """Draw a stall at a side of the lane, with its counter along the lane."""
    side, z = spot
    wood, white = paints
    near, far = side * 1.05, side * 2.3
    span = (min(near, far), max(near, far))
    hue = torch.frac(f.u(6) + 0.37 * number)
    cloth = hsv(hue, saturation=0.75, value=0.86) * air.tone
    lantern = 0.75 * air.lamps
    for x in (near, far):
        post = (x - 0.03, x + 0.03)
        picture = block(picture, v, wood * 0.8, x=post, y=(-0.55, 1.0), z=(z + 0.95, z + 1.0))
    back = front(v, span, (-0.4, 0.6), z + 1.0)
    behind = z + 1.0
    slot_x, slot_y = 5 * v.right * behind + 40, 4 * v.down * behind + 40.6
    bulge = torch.hypot(1.1 * (torch.frac(slot_x) - 0.5), torch.frac(slot_y) - 0.55)
    kind = dither(slot_x, slot_y + number)
    ware = hsv(0.02 + 0.16 * kind, saturation=0.35 + 0.4 * kind, value=0.9) * (1.1 - bulge)
    cloth_wall = blend(white * 0.86, cloth * 0.9, 0.5 * seam(2.5 * v.right * behind, 0.3))
    shelf = over(cloth_wall, ware * air.tone, ramp(0.46, 0.42, bulge))
    shelf = over(shelf, wood * 0.8, ramp(0.9, 0.93, torch.frac(slot_y)))
    picture = over(picture, blend(shelf * 0.82, f.rgb(255, 206, 120), 0.45 * lantern), back)
    picture = block(picture, v, wood, x=span, y=(0.55, 1.0), z=(z, z + 0.95), light=air.side)
    apron, away, height = upright(v, near, (0.55, 1.0), (z, z + 0.95))
    drape = blend(cloth, white, (torch.frac(6.3 * away) > 0.5).to(f.x.dtype))
    skirt = blend(wood * 0.8, drape * 0.85, ramp(0.86, 0.84, height + 0.03 * torch.sin(40 * away)))
    picture = over(picture, skirt, apron)
    front_board = front(v, span, (0.55, 1.0), z)
    boards = wood * (1.05 - 0.3 * seam(7 * v.down * z, 0.1) - 0.15 * seam(1.7 * v.right * z, 0.04))
    picture = over(picture, boards, front_board)
    shelf, across, away = level(v, span, 0.5, (z, z + 0.95))
    crate_x, crate_z = 3.2 * across, 3.2 * away
    kind = dither(crate_x, crate_z.floor() + number * 1.7)
    fruit_x, fruit_z = 16 * across, 12 * away
    reach = torch.hypot(fruit_x - fruit_x.floor() - 0.5, fruit_z - fruit_z.floor() - 0.5)
    goods = hsv(0.34 * kind, saturation=0.8, value=0.95) * (1.1 - 0.9 * reach)
    rim = torch.maximum(seam(crate_x, 0.12), seam(crate_z, 0.12))
    goods = blend(goods * blend(air.tone, torch.ones_like(air.tone), lantern), wood * 0.9, rim)
    picture = over(picture, goods, shelf)
    heap = front(v, span, (0.34, 0.55), z)
    pile_x, pile_y = 8.5 * v.right * z, 8.5 * v.down * z
    offset = 0.5 * (pile_y.floor() % 2)
    reach = torch.hypot(torch.frac(pile_x + offset + 40) - 0.5, torch.frac(pile_y + 40) - 0.5)
    tint = dither((pile_x / 3.4).floor() + 11.0 * number)
    fruit = hsv(0.33 * tint, saturation=0.82, value=0.98) * blend(
        air.tone, torch.ones_like(air.tone), lantern
    )
    bumpy = within(reach, 0.49, 0.05) * heap
    picture = over(picture, fruit * (1.16 - 0.95 * reach), bumpy)
    for x in (near, far):
        picture = block(
            picture, v, wood * 0.9, x=(x - 0.03, x + 0.03), y=(-0.5, 1.0), z=(z, z + 0.05)
        )
    # The awning slopes towards the viewer; its stripes run down it.
    stripe = (torch.frac(3.4 * v.right * z + 40) > 0.5).to(f.x.dtype)
    fabric = blend(cloth, white, stripe)
    edge_y = (v.down * z + 0.95) / 0.5
    slope = front(v, (span[0] - 0.12, span[1] + 0.12), (-0.95, -0.45), z - 0.1)
    picture = over(picture, fabric * (1.08 - 0.22 * edge_y), slope)
    fringe_x = 6.8 * v.right * z + 80
    drop = -0.45 + 0.1 * (1 - (2 * torch.frac(fringe_x) - 1).square())
    hem = front(v, (span[0] - 0.12, span[1] + 0.12), (-0.46, -0.34), z - 0.1)
    hem = hem * ramp(0.02, -0.02, v.down * z - drop)
    picture = over(picture, fabric * 0.82, hem)
    x, y = 0.5 + side * 1.6 / z, f.horizon - 0.05 / z
    return glow(f, picture, x, y, 0.35 / z, 0.6 * air.lamps)
