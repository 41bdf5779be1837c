"""Rooms to learn and to work in: a classroom, a garage and a greenhouse."""

import torch
from torch import Tensor

from swiftpie_world.air import Air
from swiftpie_world.art.parts import (
    Room,
    View,
    block,
    chamber,
    convex,
    dither,
    ellipse,
    front,
    level,
    look,
    planks,
    seam,
    shadow,
    stroke,
    upright,
)
from swiftpie_world.features import Lamp, place
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, disc, gaussian, ramp, texture, within

_INDOORS = Lamp((1.0, 0.97, 0.9), (0.64, 0.63, 0.62), 0.42, height=0.6, shadow=0.28)


@place(
    "in a classroom",
    "in front of a blackboard",
    "at school",
    "in a school room",
    outdoors=False,
    lamp=_INDOORS,
)
def classroom(f: Fields, air: Air) -> Tensor:
    """Draw a blackboard with chalk, a map, a clock, windows, a teacher's desk and pupils' desks."""
    room, line = Room(1.9, 1.1, 4.4), f.horizon - 0.07
    v, z = look(f, line), 4.4
    wall, wood = hsv(0.1 + 0.5 * f.u(6), saturation=0.14, value=0.95), f.rgb(196, 146, 92)
    picture = chamber(f, v, (wall, wall, f.rgb(246, 246, 242)), room)
    picture = planks(f, v, picture, room, f.rgb(206, 158, 108), f.rgb(150, 104, 66))
    face, away, tall = upright(v, -1.9, (-0.75, 0.25), (0.9, z - 0.2))
    bright = blend(f.rgb(150, 206, 246), f.rgb(240, 248, 252), ramp(-0.75, 0.25, tall))
    bright = blend(bright, f.rgb(128, 184, 112), ramp(0.08, 0.1, tall + 0.05 * torch.sin(5 * away)))
    frame = torch.maximum(seam(1.15 * away, 0.07), ramp(0.05, 0.02, (tall + 0.3).abs()))
    picture = over(picture, over(bright, f.rgb(250, 250, 246), frame), face)
    beam, across, away = level(v, (-1.9, 0.6), 1.0, (0.8, z))
    patch = (
        (1 - seam(1.15 * (away - 0.25 * across), 0.2))
        * ramp(0.7, -0.2, across)
        * ramp(-1.9, -1.3, across)
    )
    picture = over(picture, f.rgb(255, 246, 214), 0.22 * patch * beam)
    picture = over(picture, wood * 0.8, front(v, (-1.15, 0.85), (-0.72, 0.32), z))
    slate = f.rgb(42, 84, 66) * (1 + 0.05 * texture(f, 1, 3, 5))
    board_x, board_y = v.right * z, v.down * z
    picture = over(picture, slate, front(v, (-1.1, 0.8), (-0.67, 0.27), z))
    row = (board_y + 0.55) / 0.15
    letter = dither(26 * board_x, row)
    written = (row > 0) & (row < 3.6) & (board_x > -0.98) & (board_x < 0.0 + 0.25 * dither(row))
    stem = ramp(
        0.03,
        0.015,
        ((row - row.floor() - 0.5) * 0.15 - 0.025 * torch.sin(60 * board_x + 9 * letter)).abs(),
    )
    picture = over(picture, f.rgb(240, 244, 236), 0.85 * stem * (letter > 0.22) * written)
    cx, cy = 0.5 + 0.5 / z, line - 0.2 / z
    ring = (torch.hypot(f.x - cx, f.y - cy) - 0.044).abs()
    picture = over(picture, f.rgb(250, 222, 130), ramp(0.004, 0.002, ring))
    for ends in (
        ((-0.044, 0.0), (0.044, 0.0)),
        ((0.0, -0.044), (0.0, 0.044)),
        ((-0.03, 0.03), (0.03, -0.03)),
    ):
        (ax, ay), (bx, by) = ends
        picture = over(
            picture, f.rgb(250, 180, 190), stroke(f, (cx + ax, cy + ay), (cx + bx, cy + by), 0.002)
        )
    picture = over(picture, wood, front(v, (-1.15, 0.85), (0.3, 0.36), z - 0.05))
    chart = front(v, (1.05, 1.75), (-0.62, 0.2), z)
    land = ramp(
        0.35,
        0.45,
        texture(f, 2, 3, 3) * 0.4 + 0.4 * torch.sin(9 * board_x + 2) * torch.sin(7 * board_y),
    )
    map_colour = blend(
        f.rgb(140, 196, 228),
        hsv(0.12 + 0.2 * dither(5 * board_x, 5 * board_y), saturation=0.45, value=0.85),
        land,
    )
    picture = over(picture, map_colour, chart)
    for height in (-0.64, 0.2):
        picture = over(picture, wood * 0.7, front(v, (1.02, 1.78), (height, height + 0.04), z))
    kx, ky = 0.5 - 0.15 / z, line - 0.92 / z
    picture = over(picture, f.rgb(70, 74, 84), disc(f, kx, ky, 0.036))
    picture = over(picture, f.rgb(250, 250, 246), disc(f, kx, ky, 0.03))
    for angle, reach in ((6.3 * f.u(13), 0.022), (6.3 * f.u(13) * 12, 0.015)):
        tip = (kx + reach * torch.sin(angle), ky - reach * torch.cos(angle))
        picture = over(picture, f.rgb(40, 42, 48), stroke(f, (kx, ky), tip, 0.0025))
    picture = shadow(picture, v, (-0.55, 0.6), (3.6, 4.0), 0.3)
    picture = block(
        picture, v, wood * 0.95, x=(-0.5, 0.55), y=(0.48, 1.0), z=(3.6, 4.0), light=air.side
    )
    picture = block(
        picture, v, wood * 1.1, x=(-0.56, 0.61), y=(0.42, 0.48), z=(3.55, 4.05), light=air.side
    )
    apple = (0.5 + 0.35 / 3.7, line + 0.37 / 3.7)
    picture = over(
        picture,
        f.rgb(216, 48, 44) * (1.2 - 8 * (f.y - apple[1] + 0.012).clamp_min(0)),
        disc(f, *apple, 0.016),
    )
    for book in range(3):
        top = 0.36 - 0.045 * book
        colour = hsv(f.u(9) + 0.3 * book, saturation=0.6, value=0.8)
        picture = block(
            picture,
            v,
            colour,
            x=(-0.42, -0.14),
            y=(top, top + 0.042),
            z=(3.65, 3.85),
            light=air.side,
        )
    for z in (3.1, 2.2):
        for x in (-1.35, 1.35):
            spot = (x - 0.4, x + 0.4)
            picture = shadow(picture, v, spot, (z, z + 0.4), 0.28)
            for leg in (x - 0.36, x + 0.32):
                picture = block(
                    picture,
                    v,
                    f.rgb(120, 128, 138),
                    x=(leg, leg + 0.04),
                    y=(0.62, 1.0),
                    z=(z, z + 0.04),
                )
                picture = block(
                    picture,
                    v,
                    f.rgb(104, 112, 122),
                    x=(leg, leg + 0.04),
                    y=(0.62, 1.0),
                    z=(z + 0.36, z + 0.4),
                )
            picture = block(
                picture, v, wood * 1.04, x=spot, y=(0.54, 0.62), z=(z, z + 0.42), light=air.side
            )
            paper = level(v, (x - 0.2, x + 0.12), 0.54, (z + 0.08, z + 0.34))[0]
            picture = over(picture, f.rgb(250, 250, 246), paper)
    return picture


@place(
    "in a greenhouse",
    "in a glasshouse",
    "among potted plants",
    "in a botanical garden",
    outdoors=False,
    lamp=_INDOORS,
)
def greenhouse(f: Fields, air: Air) -> Tensor:
    """Draw a glass roof in perspective, benches of plants and flowers, and a tiled path."""
    line, z = f.horizon - 0.04, 5.5
    v = look(f, line)
    sky = blend(f.rgb(110, 178, 236), f.rgb(226, 242, 248), ramp(0.0, 0.5, f.y))
    picture = over(sky, f.rgb(255, 255, 255), 0.7 * ramp(0.2, 1.2, texture(f, 1, 3, 7)))
    picture = over(picture, f.rgb(255, 250, 226), 0.7 * gaussian(f, f.sun_x, 0.14, 0.2, 0.2))
    woods = line - 0.05 + 0.012 * torch.sin(60 * f.x + 5 * torch.sin(17 * f.x))
    picture = over(picture, f.rgb(118, 168, 112), below(f, woods))
    frame = f.rgb(246, 248, 246)
    aside = v.right.abs()
    roof = (aside - 0.9 * v.down) / 1.75
    wall = aside / 1.7
    closeness = torch.maximum(roof * (v.down < 0), wall)
    away = 1 / closeness.clamp_min(0.1)
    is_roof = (roof > wall).to(f.x.dtype) * (v.down < 0)
    bars = torch.maximum(
        seam(1.25 * away, 0.05 + 0.01 * away),
        is_roof * seam(2.4 * aside * away, 0.04 + 0.008 * away),
    )
    bars = torch.maximum(bars, ramp(0.02, 0.012, (roof - wall).abs() * away) * (v.down < 0))
    bars = torch.maximum(bars, (1 - is_roof) * seam(1.6 * v.down * away, 0.05))
    inside = ramp(1 / z - 0.002, 1 / z + 0.002, closeness)
    picture = over(picture, f.rgb(226, 244, 240), 0.2 * inside)
    picture = over(picture, frame * (0.86 + 0.1 * is_roof), bars * inside)
    back = (1 - inside) * (1 - below(f, line + 1 / z))
    lattice = torch.maximum(seam(2.4 * v.right * z, 0.06), seam(2.4 * v.down * z, 0.06)) * back
    picture = over(picture, frame * 0.92, lattice)
    door = front(v, (-0.42, 0.42), (-0.5, 1.0), z)
    picture = over(
        picture,
        over(
            f.rgb(196, 226, 224),
            frame,
            torch.maximum(seam(v.right * z / 0.42, 0.09), seam(2.6 * v.down * z, 0.1)),
        ),
        door,
    )
    floor, across, away = level(v, (-1.7, 1.7), 1.0, (0.4, z))
    brick = torch.maximum(
        seam(2.6 * across, 0.05), seam(2.6 * away + 0.5 * (2.6 * across).floor(), 0.06)
    ) * ramp(6, 2, away)
    tone = 0.9 + 0.16 * dither(2.6 * across, 2.6 * away + 0.5 * (2.6 * across).floor())
    picture = over(picture, f.rgb(206, 164, 132) * tone * (1 - 0.22 * brick), floor)
    picture = over(
        picture, f.rgb(255, 250, 226), 0.25 * gaussian(f, f.sun_x, 0.8, 0.3, 0.2) * floor
    )
    for step, depth_z in enumerate((5.2, 4.1, 3.3, 2.7, 2.25)):
        for side in (-1, 1):
            picture = _plants(f, air, picture, v, side, depth_z, 2 * step + (side > 0))
    return picture


def _plants(
    f: Fields, air: Air, picture: Tensor, v: View, side: int, z: float, number: int
) -> Tensor:
    """Draw a bench at a side of the path with a heap of leaves and flowers on it."""
    near, far = side * 0.72, side * 1.7
    span = (min(near, far), max(near, far))
    wood, clay = f.rgb(160, 116, 78), f.rgb(196, 108, 70)
    picture = shadow(picture, v, span, (z, z + 0.5), 0.3)
    picture = block(picture, v, wood * 0.8, x=span, y=(0.62, 1.0), z=(z, z + 0.5), light=air.side)
    picture = over(
        picture, wood * (1 - 0.3 * seam(9 * v.down * z, 0.1)), front(v, span, (0.62, 1.0), z)
    )
    pot_x = 3.4 * v.right * z + 20 + 0.3 * number
    pot = ramp(0.4, 0.36, (torch.frac(pot_x) - 0.5).abs() + 0.35 * (v.down * z - 0.45)) * front(
        v, span, (0.45, 0.64), z
    )
    shade = 1.05 - 0.9 * (torch.frac(pot_x) - 0.5) * -air.side
    picture = over(picture, clay * shade, pot)
    middle = (near + far) / 2
    right, down = (v.right * z - middle) / 0.62, (v.down * z - 0.12) / 0.5
    swirl = torch.sin(7 * right + 3 * torch.sin(5 * down + number)) * torch.sin(6 * down + number)
    body = 1 - right.square() - down.square() + 0.3 * swirl + 0.2 * air.clumps
    tall = (
        1
        - ((v.right * z - middle - 0.2) / 0.2).square()
        - ((v.down * z + 0.35) / 0.5).square()
        + 0.5 * swirl
    )
    body = torch.maximum(body, tall * (number % 3 == 0))
    leaf = dither(26 * v.right * z + 8 * v.down * z, 20 * v.down * z - 6 * v.right * z)
    hue = 0.27 + 0.1 * ((number * 0.37) % 1)
    green = hsv(
        f.x.new_tensor(hue).view(1, 1, 1, 1),
        saturation=0.62,
        value=0.62 + 0.3 * leaf - 0.2 * down + 0.12 * swirl,
    )
    picture = over(picture, green.clamp(0, 1), ramp(0.0, 0.12, body) * (v.down * z < 0.5))
    cell_x, cell_y = 7 * v.right * z + 20, 7 * v.down * z + 20
    reach = torch.hypot(torch.frac(cell_x) - 0.5, torch.frac(cell_y) - 0.5)
    bloom = (
        within(reach, 0.36, 0.08)
        * (dither(cell_x, cell_y) > 0.6)
        * (body > 0.2)
        * (v.down * z < 0.45)
    )
    petal = hsv(f.u(6) + 0.23 * number, saturation=0.6, value=0.98) * (1.15 - 0.8 * reach)
    petal = over(petal, f.rgb(252, 220, 90), ramp(0.14, 0.1, reach))
    return over(picture, petal, bloom * (number % 3 != 1))


@place(
    "in a garage",
    "in a workshop",
    "in a car workshop",
    "by a workbench",
    outdoors=False,
    lamp=_INDOORS,
)
def garage(f: Fields, air: Air) -> Tensor:
    """Draw tools on a wall over a bench, a red cabinet, tyres, barrels and a marked floor."""
    room, line = Room(1.75, 1.15, 4.0), f.horizon - 0.07
    v, z = look(f, line), 4.0
    steel, dark = f.rgb(170, 178, 188), f.rgb(52, 56, 64)
    paint = hsv(f.u(6), saturation=0.4, value=0.72)
    picture = chamber(
        f, v, (f.rgb(214, 216, 214), f.rgb(172, 174, 176), f.rgb(196, 198, 200)), room
    )
    brick_y = 9 * v.down * z
    brick_x = 4.5 * v.right * z + 0.5 * brick_y.floor() + 40
    joint = torch.maximum(seam(brick_y, 0.08), seam(brick_x, 0.045))
    bricks = f.rgb(226, 226, 220) * (0.94 + 0.08 * dither(brick_x, brick_y)) * (1 - 0.12 * joint)
    bricks = blend(bricks, paint * (1 - 0.12 * joint), (v.down * z > 0.3).to(f.x.dtype))
    picture = over(picture, bricks, front(v, (-1.75, 1.75), (-1.15, 1.0), z))
    floor, across, away = level(v, (-1.75, 1.75), 1.0, (0.4, z))
    slab = (
        1
        - 0.14 * torch.maximum(seam(0.9 * across + 0.5, 0.02), seam(0.9 * away, 0.03))
        + 0.03 * texture(f, 0)
    )
    stain = ramp(0.9, 1.6, texture(f, 1, 3, 5)) * ramp(0.3, 0.8, away)
    mark = within((across.abs() - 1.2).abs(), 0.05, 0.01)
    concrete = blend(
        f.rgb(178, 180, 182) * slab * (1 - 0.25 * stain), f.rgb(244, 200, 60), 0.85 * mark
    )
    picture = over(picture, concrete * (0.9 + 0.2 * gaussian(f, f.sun_x, 0.8, 0.3, 0.2)), floor)
    face, away, tall = upright(v, -1.75, (-0.7, 1.0), (1.6, 3.7))
    roller = f.rgb(206, 212, 216) * (0.92 + 0.1 * torch.sin(44 * tall))
    picture = over(picture, roller, face)
    pegboard = front(v, (-0.95, 0.85), (-0.75, 0.22), z)
    hole = torch.hypot(
        torch.frac(22 * v.right * z + 40) - 0.5, torch.frac(22 * v.down * z + 40) - 0.5
    )
    picture = over(picture, f.rgb(206, 164, 112) * (1 - 0.2 * ramp(0.26, 0.16, hole)), pegboard)
    picture = _tools(f, picture, z, steel, line)
    picture = shadow(picture, v, (-1.0, 0.9), (3.3, 3.9), 0.35)
    wood = f.rgb(186, 134, 84)
    for x in (-0.98, 0.78):
        picture = block(
            picture, v, wood * 0.75, x=(x, x + 0.12), y=(0.5, 1.0), z=(3.35, 3.5), light=air.side
        )
    picture = over(picture, dark * 0.8, front(v, (-0.86, 0.78), (0.5, 0.97), 3.85) * 0.6)
    for number, x in enumerate((-0.7, -0.25, 0.25)):
        colour = hsv(f.u(9) + 0.3 * number, saturation=0.5, value=0.7)
        picture = block(
            picture, v, colour, x=(x, x + 0.34), y=(0.72, 1.0), z=(3.5, 3.8), light=air.side
        )
    picture = block(picture, v, wood, x=(-1.05, 0.95), y=(0.42, 0.5), z=(3.25, 3.9), light=air.side)
    picture = block(
        picture, v, f.rgb(60, 110, 170), x=(0.5, 0.74), y=(0.22, 0.42), z=(3.3, 3.5), light=air.side
    )
    picture = block(
        picture, v, steel, x=(0.46, 0.78), y=(0.27, 0.33), z=(3.28, 3.34), light=air.side
    )
    red = f.rgb(206, 46, 42)
    picture = shadow(picture, v, (1.05, 1.65), (3.0, 3.4), 0.35)
    picture = block(picture, v, red, x=(1.05, 1.65), y=(-0.02, 0.95), z=(3.0, 3.4), light=air.side)
    drawer = (v.down * 3.0 + 0.02) / 0.16
    face = front(v, (1.09, 1.61), (0.02, 0.9), 3.0)
    picture = over(picture, red * (1.12 - 0.35 * seam(drawer, 0.1)), face)
    handle = ramp(0.1, 0.07, (torch.frac(drawer) - 0.4).abs()) * front(
        v, (1.2, 1.5), (0.02, 0.9), 3.0
    )
    picture = over(picture, steel * 1.15, handle)
    for stack in range(4):
        cx, cy = 0.5 - 1.4 / 2.9, line + (0.9 - 0.2 * stack) / 2.9
        picture = over(picture, dark * 0.8, ellipse(f, cx, cy + 0.014, 0.125, 0.046))
        tread = 1 + 0.35 * seam(46 * f.x, 0.2)
        picture = over(picture, dark * tread, ellipse(f, cx, cy + 0.006, 0.125, 0.044))
        picture = over(picture, dark * 1.35, ellipse(f, cx, cy - 0.018, 0.122, 0.036))
        picture = over(picture, dark * 0.5, ellipse(f, cx, cy - 0.018, 0.07, 0.02))
    for x in (-0.75, 0.55):
        lamp, _, _ = level(v, (x, x + 0.22), -1.12, (1.6, 3.6))
        picture = over(picture, f.rgb(255, 255, 250), lamp)
        picture = over(
            picture,
            f.rgb(255, 255, 246),
            0.3 * gaussian(f, 0.5 + (x + 0.1) / 2.4, line - 1.1 / 2.4, 0.16, 0.1),
        )
    return picture


def _tools(f: Fields, picture: Tensor, z: float, steel: Tensor, line: Tensor) -> Tensor:
    """Draw spanners, hammers and screwdrivers that hang on the wall."""
    for number in range(8):
        x, top = -0.8 + 0.21 * number, -0.6
        sx, sy = 0.5 + x / z, line + top / z
        long = 0.13 - 0.012 * (number % 4)
        grip = hsv(f.u(13) + 0.35 * (number % 3), saturation=0.8, value=0.85)
        if number < 4:
            picture = over(picture, steel * 0.9, stroke(f, (sx, sy), (sx, sy + long), 0.006))
            for end in (sy, sy + long):
                picture = over(picture, steel, disc(f, sx, end, 0.013))
                picture = over(
                    picture,
                    f.rgb(206, 164, 112),
                    disc(f, sx, end + (0.006 if end is not sy else -0.006), 0.006),
                )
        elif number < 6:
            picture = over(picture, f.rgb(150, 98, 56), stroke(f, (sx, sy), (sx, sy + 0.12), 0.007))
            picture = over(
                picture, steel * 0.8, box(f, sx - 0.026, sx + 0.022, sy - 0.012, sy + 0.014)
            )
        else:
            picture = over(picture, grip, stroke(f, (sx, sy), (sx, sy + 0.045), 0.011))
            picture = over(picture, steel, stroke(f, (sx, sy + 0.045), (sx, sy + 0.11), 0.004))
    sx, sy = 0.5 + 0.45 / z, line - 0.02 / z
    saw = convex(
        f, (sx - 0.11, sy), (sx + 0.03, sy - 0.02), (sx + 0.03, sy + 0.022), (sx - 0.11, sy + 0.012)
    )
    picture = over(picture, steel * 1.1, saw)
    return over(picture, f.rgb(160, 84, 44), box(f, sx + 0.025, sx + 0.065, sy - 0.024, sy + 0.026))
