"""Shops: a cafe, a bakery and a supermarket."""

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
    shadow,
    stroke,
    tiles,
    upright,
)
from swiftpie_world.features import Lamp, place
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import blend, disc, ramp, within

_WARM = Lamp((1.0, 0.9, 0.74), (0.6, 0.55, 0.5), 0.48, height=0.5, shadow=0.32)
_COLD = Lamp((0.86, 0.95, 1.0), (0.58, 0.62, 0.68), 0.45, height=0.9, shadow=0.28)


@place(
    "in a cafe",
    "in a coffee shop",
    "at a cafe counter",
    "in a cosy cafe",
    outdoors=False,
    lamp=_WARM,
)
def cafe(f: Fields, air: Air) -> Tensor:
    """Draw a counter with cakes and a coffee machine, shelves of cups, a menu, and lamps."""
    room, line = Room(1.8, 1.1, 4.2), f.horizon - 0.07
    v, z = look(f, line), 4.2
    accent = hsv(0.35 + 0.3 * f.u(6), saturation=0.4, value=0.5)
    wood, cream, steel = f.rgb(170, 118, 74), f.rgb(246, 234, 212), f.rgb(196, 200, 206)
    picture = chamber(f, v, (cream * 0.95, cream, f.rgb(236, 226, 210)), room)
    picture = tiles(f, v, picture, room, (f.rgb(238, 230, 216), f.rgb(96, 88, 86)), 0.4)
    row = seam(9 * v.down * z, 0.07)
    column = seam(4.5 * v.right * z + 0.5 * (9 * v.down * z).floor(), 0.05)
    tile = (
        accent
        * (
            0.92
            + 0.2 * dither(4.5 * v.right * z + 0.5 * (9 * v.down * z).floor() + 40, 9 * v.down * z)
        )
        * (1 - 0.3 * torch.maximum(row, column))
    )
    picture = over(picture, tile, front(v, (-1.8, 1.8), (-0.35, 1.0), z))
    picture = over(picture, f.rgb(104, 72, 48), front(v, (-1.72, -0.22), (-0.98, -0.22), z))
    board = f.rgb(46, 48, 52)
    picture = over(picture, board, front(v, (-1.66, -0.28), (-0.93, -0.27), z))
    text_x, text_y = v.right * z, (v.down * z + 0.8) / 0.11
    stroke_y = ramp(
        0.28, 0.18, (text_y - text_y.floor() - 0.5 + 0.2 * torch.sin(70 * text_x)).abs()
    )
    wide = 0.28 + 0.22 * dither(text_y, (text_x > -0.95).to(f.x.dtype) * 3)
    written = (
        stroke_y
        * (dither(30 * text_x, text_y) > 0.25)
        * (text_y > 0)
        * (text_y < 4.6)
        * (torch.frac((text_x + 1.66) / 0.7) < wide * 1.6)
    )
    ink = hsv(0.1 + 0.4 * dither(text_y), saturation=0.25, value=0.98)
    picture = over(picture, ink, 0.85 * written * front(v, (-1.6, -0.32), (-0.9, -0.3), z))
    for height in (-0.5, -0.08):
        picture = block(
            picture,
            v,
            wood,
            x=(0.1, 1.7),
            y=(height, height + 0.05),
            z=(z - 0.25, z),
            light=air.side,
        )
        slot = 9 * v.right * (z - 0.2) + 20
        tone, kind = dither(slot), dither(slot, torch.full_like(slot, 4.0))
        tall = 0.12 + 0.14 * tone
        inside = ramp(0.4, 0.34, (torch.frac(slot) - 0.5).abs()) * front(
            v, (0.15, 1.65), (height - 0.3, height), z - 0.2
        )
        inside = inside * (v.down * (z - 0.2) > height - tall)
        ware = hsv(
            f.u(9) + 0.5 * kind,
            saturation=0.25 + 0.4 * (tone > 0.6),
            value=0.95 - 0.3 * (kind > 0.7),
        )
        picture = over(picture, ware * (1.05 - 0.6 * (torch.frac(slot) - 0.5).abs()), inside)
    picture = shadow(picture, v, (-1.8, 1.25), (3.1, 3.6), 0.35)
    picture = block(picture, v, wood, x=(-1.8, 1.2), y=(0.42, 1.0), z=(3.1, 3.6), light=air.side)
    panel = front(v, (-1.8, 1.2), (0.42, 1.0), 3.1)
    slats = (
        wood
        * (1.02 - 0.3 * seam(4.2 * v.right * 3.1, 0.05))
        * (1.08 - 0.25 * ramp(0.42, 1.0, v.down * 3.1))
    )
    picture = over(picture, slats, panel)
    picture = block(
        picture,
        v,
        f.rgb(96, 66, 46),
        x=(-1.8, 1.28),
        y=(0.36, 0.42),
        z=(3.02, 3.62),
        light=air.side,
    )
    case = front(v, (-1.0, 0.2), (-0.04, 0.36), 3.2)
    picture = over(picture, f.rgb(255, 244, 214), 0.9 * case)
    shelf = (v.down * 3.2 + 0.04) / 0.2
    cake = 6.5 * v.right * 3.2 + 20
    reach = torch.hypot(torch.frac(cake) - 0.5, (torch.frac(shelf) - 0.72) * 1.3)
    sweet = hsv(
        0.02 + 0.14 * dither(cake, shelf),
        saturation=0.55,
        value=0.6 + 0.38 * dither(shelf + 5, cake),
    )
    picture = over(picture, sweet * (1.2 - 1.2 * reach), within(reach, 0.36, 0.06) * case)
    picture = over(
        picture,
        f.rgb(255, 255, 255),
        0.8 * ramp(0.07, 0.03, (torch.frac(shelf) - 0.96).abs()) * case,
    )
    gleam = ramp(0.06, 0.0, (torch.frac(2.2 * f.x + 1.6 * f.y) - 0.3).abs()) * case
    picture = over(picture, f.rgb(255, 255, 255), 0.35 * gleam)
    picture = over(picture, steel, front(v, (-1.02, 0.22), (-0.07, -0.03), 3.2))
    picture = block(
        picture, v, steel, x=(0.45, 1.05), y=(-0.02, 0.36), z=(3.2, 3.5), light=air.side
    )
    picture = over(picture, f.rgb(70, 74, 82), front(v, (0.5, 1.0), (0.12, 0.3), 3.2))
    picture = over(picture, f.rgb(200, 60, 52), front(v, (0.5, 1.0), (0.0, 0.07), 3.2))
    for x in (0.62, 0.86):
        picture = over(picture, steel * 1.1, front(v, (x, x + 0.05), (0.12, 0.22), 3.2))
    for x, tz in ((-1.45, 2.35), (1.5, 2.5)):
        tx, ty = 0.5 + x / tz, line + 0.45 / tz
        picture = shadow(picture, v, (x - 0.3, x + 0.3), (tz - 0.1, tz + 0.2), 0.3)
        picture = over(
            picture, f.rgb(60, 58, 60), stroke(f, (tx, ty), (tx, line + 0.98 / tz), 0.012)
        )
        picture = over(picture, f.rgb(60, 58, 60), ellipse(f, tx, line + 0.98 / tz, 0.075, 0.014))
        picture = over(picture, wood * 0.7, ellipse(f, tx, ty + 0.008, 0.165, 0.036))
        picture = over(picture, wood * 1.12, ellipse(f, tx, ty, 0.165, 0.034))
        picture = over(picture, f.rgb(252, 252, 250), ellipse(f, tx, ty - 0.006, 0.045, 0.011))
        cup = convex(
            f,
            (tx - 0.025, ty - 0.045),
            (tx + 0.025, ty - 0.045),
            (tx + 0.018, ty - 0.004),
            (tx - 0.018, ty - 0.004),
        )
        picture = over(picture, f.rgb(252, 252, 250), cup)
        picture = over(picture, f.rgb(110, 66, 40), ellipse(f, tx, ty - 0.044, 0.023, 0.006))
    for x in (-0.95, -0.1, 0.75):
        lx, ly = 0.5 + x / 2.9, line - 0.55 / 2.9
        picture = over(picture, f.rgb(40, 38, 38), stroke(f, (lx, 0.0), (lx, ly), 0.002))
        picture = glow(f, picture, lx, ly + 0.03, 0.13, 0.75)
        shade = convex(
            f,
            (lx - 0.014, ly - 0.02),
            (lx + 0.014, ly - 0.02),
            (lx + 0.05, ly + 0.024),
            (lx - 0.05, ly + 0.024),
        )
        picture = over(picture, accent * 1.1, shade)
        picture = over(picture, f.rgb(255, 246, 210), ellipse(f, lx, ly + 0.028, 0.03, 0.012))
    return picture


@place(
    "in a bakery",
    "in a baker's shop",
    "among fresh bread",
    "in front of shelves of bread",
    outdoors=False,
    lamp=_WARM,
)
def bakery(f: Fields, air: Air) -> Tensor:
    """Draw shelves and baskets of loaves, a glass counter of cakes and a striped awning."""
    room, line = Room(1.75, 1.15, 4.0), f.horizon - 0.07
    v, z = look(f, line), 4.0
    cream, wood, dark = f.rgb(250, 236, 210), f.rgb(184, 128, 78), f.rgb(112, 72, 44)
    accent = hsv(f.u(6), saturation=0.55, value=0.72)
    picture = chamber(f, v, (cream, cream, f.rgb(248, 240, 226)), room)
    picture = tiles(f, v, picture, room, (f.rgb(240, 226, 200), f.rgb(206, 160, 118)), 0.42)
    picture = over(picture, dark, front(v, (-1.5, 1.5), (-0.72, 0.72), z))
    for shelf in range(4):
        low = -0.4 + 0.34 * shelf
        inside = front(v, (-1.44, 1.44), (low - 0.29, low), z - 0.05)
        picture = over(
            picture,
            blend(dark * 0.9, f.rgb(255, 214, 140), 0.35 * (1 - ramp(low - 0.29, low, v.down * z))),
            inside,
        )
        wide = (3.2, 4.6, 2.5, 3.8)[shelf]
        cell = wide * v.right * (z - 0.1) + 20 + 0.3 * shelf
        tone, kind = (
            dither(cell, torch.full_like(cell, 2.0 + shelf)),
            dither(cell, torch.full_like(cell, 9.0 + shelf)),
        )
        across, up = torch.frac(cell) - 0.5, (low - v.down * (z - 0.1)) / 0.26
        hump = (0.5 + 0.4 * kind) * (1 - (across / 0.46).square()).clamp_min(0).sqrt()
        loaf = ramp(-0.03, 0.03, hump - up) * (up > 0) * (across.abs() < 0.46) * inside
        crust = hsv(0.055 + 0.045 * tone, saturation=0.7 - 0.1 * kind, value=0.62 + 0.28 * tone) * (
            0.78 + 0.5 * up - 0.25 * across.abs()
        )
        cuts = seam(3.2 * across / (0.7 + tone) + 0.55 * up, 0.14) * ramp(0.15, 0.4, up)
        crust = over(crust, f.rgb(250, 218, 160), 0.65 * cuts)
        picture = over(picture, crust, loaf)
        picture = block(
            picture, v, wood, x=(-1.5, 1.5), y=(low, low + 0.05), z=(z - 0.15, z), light=air.side
        )
    for x in (-1.5, 0.0, 1.44):
        picture = over(picture, wood * 0.9, front(v, (x, x + 0.06), (-0.74, 0.9), z - 0.1))
    stripe = (torch.frac(2.6 * v.right * 3.7 + 40.0) > 0.5).to(f.x.dtype)
    fabric = blend(accent, f.rgb(252, 248, 240), stripe)
    picture = over(
        picture,
        fabric * (1.1 + 0.4 * (v.down * 3.7 + 0.8)),
        front(v, (-1.6, 1.6), (-1.02, -0.72), 3.7),
    )
    drop = -0.72 + 0.07 * (1 - (2 * torch.frac(5.2 * v.right * 3.7 + 80) - 1).square())
    picture = over(
        picture,
        fabric * 0.84,
        front(v, (-1.6, 1.6), (-0.73, -0.6), 3.7) * ramp(0.01, -0.01, v.down * 3.7 - drop),
    )
    picture = shadow(picture, v, (-1.7, 1.7), (3.05, 3.5), 0.35)
    for side, span in ((-1, (-1.75, -0.35)), (1, (0.35, 1.75))):
        picture = block(
            picture, v, wood * 0.95, x=span, y=(0.74, 1.0), z=(3.05, 3.5), light=air.side
        )
        glass = front(v, span, (0.3, 0.76), 3.05)
        picture = over(picture, f.rgb(255, 246, 222), 0.92 * glass)
        row = (v.down * 3.05 - 0.3) / 0.23
        cell = 4.2 * v.right * 3.05 + 20 + 0.5 * row.floor()
        across, up = torch.frac(cell) - 0.5, 0.92 - torch.frac(row)
        tone, kind = dither(cell, row), dither(row + 9, cell)
        body = (
            ramp(0.0, 0.05, 0.5 + 0.14 * kind - up)
            * ramp(0.36, 0.32, across.abs() + 0.06 * up)
            * (up > 0)
        )
        icing = hsv(
            torch.where(kind > 0.5, 0.93 + 0.1 * tone, 0.06 + 0.06 * tone),
            saturation=0.35 + 0.35 * (tone > 0.5),
            value=0.98 - 0.4 * (kind < 0.25),
        )
        base = f.rgb(200, 138, 84) * (1.05 - 0.4 * across.abs())
        cake = blend(base, icing, ramp(0.24, 0.28, up + 0.04 * torch.sin(30 * across)))
        picture = over(picture, cake, body * glass)
        cherry = within(torch.hypot(across, up - 0.58 - 0.14 * kind), 0.08, 0.04) * (tone > 0.4)
        picture = over(picture, f.rgb(214, 44, 52), cherry * glass)
        picture = over(
            picture, f.rgb(222, 226, 228), ramp(0.05, 0.03, (torch.frac(row) - 0.96).abs()) * glass
        )
        gleam = ramp(0.05, 0.0, (torch.frac(2.2 * f.x + 1.6 * f.y) - 0.3).abs())
        picture = over(picture, f.rgb(255, 255, 255), 0.35 * gleam * glass)
        picture = block(picture, v, dark, x=span, y=(0.24, 0.3), z=(3.0, 3.52), light=air.side)
        bx, by = 0.5 + side * 1.1 / 3.1, line + 0.24 / 3.1
        for turn in (-0.9, -0.45, 0.0, 0.45, 0.9):
            tip = (bx + 0.05 * turn, by - 0.14 + 0.02 * abs(turn))
            picture = over(
                picture, f.rgb(214, 150, 84), stroke(f, (bx + 0.03 * turn, by - 0.03), tip, 0.012)
            )
            picture = over(
                picture,
                f.rgb(244, 204, 142),
                stroke(
                    f,
                    (bx + 0.04 * turn - 0.003, by - 0.09),
                    (bx + 0.047 * turn + 0.004, by - 0.115),
                    0.003,
                ),
            )
        basket = convex(
            f, (bx - 0.058, by - 0.06), (bx + 0.058, by - 0.06), (bx + 0.044, by), (bx - 0.044, by)
        )
        weave = 0.84 + 0.3 * (((70 * f.x).floor() + (90 * f.y).floor()) % 2)
        picture = over(picture, f.rgb(168, 116, 66) * weave, basket)
    for x in (-0.9, 0.0, 0.9):
        lx, ly = 0.5 + x / 3.0, line - 0.86 / 3.0
        picture = glow(f, picture, lx, ly, 0.13, 0.7)
        picture = over(picture, f.rgb(60, 52, 48), stroke(f, (lx, 0.0), (lx, ly), 0.002))
        picture = over(picture, f.rgb(255, 244, 208), disc(f, lx, ly, 0.022))
    return picture


@place(
    "in a supermarket",
    "in a supermarket aisle",
    "between supermarket shelves",
    "in a grocery store",
    outdoors=False,
    lamp=_COLD,
)
def supermarket(f: Fields, _air: Air) -> Tensor:
    """Draw an aisle between shelves of colourful goods, price rails, signs and rows of lamps."""
    line, z, half = f.horizon - 0.05, 7.0, 1.3
    v = look(f, line)
    room = Room(2.4, 1.5, z)
    picture = chamber(
        f, v, (f.rgb(240, 242, 240), f.rgb(236, 236, 232), f.rgb(240, 242, 244)), room
    )
    picture = tiles(f, v, picture, room, (f.rgb(244, 244, 240), f.rgb(226, 228, 226)), 0.5)
    ceiling, across, away = level(v, (-2.4, 2.4), -1.5, (0.5, z))
    grid = torch.maximum(seam(1.6 * across, 0.03), seam(1.6 * away, 0.03))
    picture = picture * (1 - 0.08 * grid * ceiling)
    lamp = ramp(0.12, 0.1, (across.abs() - 0.8).abs()) * ramp(
        0.42, 0.4, (torch.frac(0.8 * away) - 0.5).abs()
    )
    picture = over(picture, f.rgb(255, 255, 255), lamp * ceiling)
    back = front(v, (-2.4, 2.4), (-0.9, 1.0), z)
    fridge = blend(f.rgb(196, 226, 240), f.rgb(250, 252, 254), seam(2.4 * v.right * z, 0.1))
    bottles = hsv(
        0.3 + 0.5 * dither(10 * v.right * z + 40, 4 * v.down * z), saturation=0.45, value=0.85
    )
    fridge = blend(
        fridge,
        bottles,
        0.75
        * (1 - seam(4 * v.down * z, 0.2))
        * (1 - seam(10 * v.right * z, 0.2))
        * (v.down * z > -0.55),
    )
    picture = over(picture, fridge, back)
    accent = hsv(f.u(6), saturation=0.7, value=0.75)
    picture = over(picture, accent, front(v, (-2.4, 2.4), (-1.0, -0.72), z))
    for side in (-1, 1):
        face, away, tall = upright(v, side * half, (-0.95, 1.0), (0.6, 6.4))
        row = (tall + 0.95) / 0.39
        wide = 2.2 + 2.0 * dither(row, away / 1.3)
        cell = wide * away
        tone, kind = dither(cell, row), dither(row, away / 0.65 + 7)
        second = dither(row + 3, away / 0.65)
        hue = f.u(9) + kind + 0.06 * tone + 0.13 * side
        goods = hsv(hue, saturation=0.35 + 0.5 * second, value=0.98 - 0.35 * tone * second)
        across, up = torch.frac(cell), torch.frac(row)
        tall_share = 0.12 + 0.2 * kind
        label = ramp(0.3, 0.26, (across - 0.5).abs()) * ramp(0.13, 0.1, (up - 0.62).abs())
        goods = over(goods, hsv(hue + 0.5, saturation=0.4, value=0.98), 0.85 * label)
        item = (up > tall_share) * (up < 0.88) * ramp(0.03, 0.09, torch.minimum(across, 1 - across))
        inside = f.rgb(150, 152, 158) * (0.6 + 0.5 * up)
        shelf = over(inside, goods * (0.86 + 0.28 * across), item.to(f.x.dtype))
        rail = ramp(0.87, 0.89, up)
        tags = ramp(0.3, 0.25, (torch.frac(2.2 * away) - 0.5).abs()) * ramp(
            0.05, 0.03, (up - 0.945).abs()
        )
        shelf = over(shelf, f.rgb(244, 244, 242), rail)
        shelf = over(shelf, accent, 0.9 * tags)
        fade = (0.04 * (away - 2)).clamp(0, 0.25)
        shade = 1 - 0.12 * torch.exp(-(1 - tall).clamp_min(0) / 0.2)
        picture = over(picture, over(shelf * shade, f.rgb(240, 242, 244), fade), face)
        top, _, _ = level(v, beside(side, half, 2.4), -0.95, (0.6, 6.4))
        picture = over(picture, f.rgb(210, 212, 214), top)
    floor, across, away = level(v, (-half, half), 1.0, (0.5, 6.8))
    mirror = ramp(0.12, 0.1, (across.abs() - 0.5).abs()) * ramp(
        0.42, 0.3, (torch.frac(0.8 * away) - 0.5).abs()
    )
    picture = over(picture, f.rgb(255, 255, 255), 0.3 * mirror * floor)
    for depth_z, number in ((4.4, 1), (2.6, 2)):
        sign = front(v, (-0.42, 0.42), (-1.2, -0.85), depth_z)
        picture = over(picture, accent * (1 - 0.12 * number + 0.2), sign)
        for bar in range(3):
            low = -1.12 + 0.09 * bar
            picture = over(
                picture,
                f.rgb(252, 252, 250),
                front(
                    v, (-0.3, 0.1 + 0.08 * ((bar * 2 + number) % 3)), (low, low + 0.035), depth_z
                ),
            )
        for x in (-0.35, 0.35):
            wire = 0.5 + x / depth_z
            picture = over(
                picture,
                f.rgb(150, 154, 160),
                stroke(f, (wire, line - 1.5 / depth_z), (wire, line - 1.2 / depth_z), 0.0018),
            )
    return picture
