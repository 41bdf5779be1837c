"""Rooms of a home: a bedroom, a bathroom and an attic."""

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
    pane,
    planks,
    seam,
    shadow,
    stroke,
    tiles,
    upright,
)
from swiftpie_world.features import Lamp, place
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, disc, gaussian, ramp

_INDOORS = Lamp((1.0, 0.97, 0.9), (0.64, 0.63, 0.62), 0.42, height=0.6, shadow=0.28)
_WARM = Lamp((1.0, 0.9, 0.74), (0.6, 0.55, 0.5), 0.48, height=0.5, shadow=0.32)


@place(
    "in a bedroom",
    "in the bedroom",
    "next to a bed",
    "in front of a bed",
    outdoors=False,
    lamp=_INDOORS,
)
def bedroom(f: Fields, air: Air) -> Tensor:
    """Draw a made bed with pillows, a lamp on a night stand, a window with curtains, and a rug."""
    wall, cover = hsv(f.u(6), saturation=0.2, value=0.94), hsv(f.u(9), saturation=0.5, value=0.8)
    room, line = Room(1.5, 1.1, 3.7), f.horizon - 0.08
    v = look(f, line)
    picture = chamber(f, v, (wall, wall, f.rgb(248, 246, 242)), room)
    picture = planks(f, v, picture, room, f.rgb(212, 164, 112), f.rgb(154, 106, 68))
    z = room.deep
    paper = seam(3.2 * v.right * z + 0.5, 0.12) * front(v, (-1.5, 1.5), (-1.1, 1.0), z)
    picture = picture * (1 - 0.05 * paper)
    picture = over(picture, f.rgb(250, 248, 242), front(v, (-1.5, 1.5), (0.9, 1.0), z))
    picture = pane(f, v, picture, (-1.15, -0.45), (-0.75, 0.2), z)
    for edge, reach in ((-1.32, -1.06), (-0.54, -0.28)):
        cloth = front(v, (edge, reach), (-0.92, 0.72), z - 0.02)
        fold = 0.86 + 0.16 * torch.sin(44 * v.right * z + 2 * v.down)
        picture = over(picture, hsv(f.u(9) + 0.06, saturation=0.4, value=0.9) * fold, cloth)
    picture = over(picture, f.rgb(150, 104, 70), front(v, (-1.42, -0.18), (-0.97, -0.92), z - 0.02))
    picture = over(picture, f.rgb(96, 70, 52), front(v, (0.35, 0.95), (-0.72, -0.3), z))
    art = blend(
        hsv(f.u(13), saturation=0.4, value=0.95),
        hsv(f.u(13) + 0.2, saturation=0.5, value=0.7),
        ramp(-0.7, -0.3, v.down * z),
    )
    picture = over(picture, art, front(v, (0.4, 0.9), (-0.67, -0.35), z))
    picture = shadow(picture, v, (0.0, 1.3), (2.65, 3.6), 0.35)
    wood = f.rgb(150, 100, 64)
    picture = block(picture, v, wood, x=(0.0, 1.34), y=(0.18, 1.0), z=(3.5, 3.6), light=air.side)
    picture = over(picture, wood * 1.16, front(v, (0.07, 1.27), (0.25, 0.6), 3.5))
    picture = block(
        picture,
        v,
        f.rgb(240, 236, 228),
        x=(0.05, 1.29),
        y=(0.62, 0.9),
        z=(2.75, 3.5),
        light=air.side,
    )
    quilt, across, away = level(v, (0.03, 1.31), 0.6, (2.72, 3.25))
    pattern = ((5 * across).floor() + (5 * away).floor()) % 2
    picture = over(picture, blend(cover, cover * 1.18, pattern), quilt)
    hang = front(v, (0.03, 1.31), (0.6, 0.88), 2.72)
    fold = 0.82 + 0.07 * torch.sin(26 * v.right * 2.72)
    picture = over(picture, cover * fold, hang)
    side, _, _ = upright(v, 0.03, (0.6, 0.88), (2.72, 3.25))
    picture = over(picture, cover * 0.7, side)
    for x in (0.36, 0.98):
        px, py = 0.5 + x / 3.38, line + 0.5 / 3.38
        plump = ellipse(f, px, py + 0.008, 0.078, 0.034)
        picture = over(picture, f.rgb(252, 250, 244) * (1.0 - 3 * (f.y - py)), plump)
    picture = block(
        picture, v, wood * 0.9, x=(-0.42, -0.06), y=(0.58, 1.0), z=(3.3, 3.6), light=air.side
    )
    picture = over(picture, wood * 1.15, front(v, (-0.38, -0.1), (0.64, 0.8), 3.3))
    lx, ly = 0.5 - 0.24 / 3.4, line + 0.58 / 3.4
    picture = over(picture, f.rgb(236, 226, 206), stroke(f, (lx, ly), (lx, ly - 0.05), 0.008))
    picture = glow(f, picture, lx, ly - 0.075, 0.16, 0.7)
    shade = convex(
        f,
        (lx - 0.028, ly - 0.1),
        (lx + 0.028, ly - 0.1),
        (lx + 0.045, ly - 0.045),
        (lx - 0.045, ly - 0.045),
    )
    picture = over(picture, f.rgb(255, 240, 206), shade)
    rug = 1 - ((f.x - 0.44) / 0.4).square() - ((f.y - line - 0.44) / 0.09).square()
    ring = 0.9 + 0.1 * torch.sin(16 * rug)
    wool = (
        hsv(f.u(9) + 0.45, saturation=0.25, value=0.9)
        * ring
        * (0.97 + 0.06 * dither(170 * f.x, 170 * f.y))
    )
    return over(picture, wool, ramp(0.0, 0.03, rug))


@place(
    "in a bathroom",
    "in the bathroom",
    "in front of a bathtub",
    "next to a bathtub",
    outdoors=False,
    lamp=_INDOORS,
)
def bathroom(f: Fields, air: Air) -> Tensor:
    """Draw a tub with foam, tiled walls, a basin under a mirror, towels and a mat."""
    tile = hsv(f.u(6), saturation=0.22, value=0.92)
    room, line = Room(1.45, 1.1, 3.5), f.horizon - 0.08
    v, z = look(f, line), 3.5
    white, steel = f.rgb(250, 250, 250), f.rgb(196, 204, 212)
    picture = chamber(f, v, (f.rgb(244, 246, 244), white, white), room)
    picture = tiles(
        f, v, picture, room, (f.rgb(238, 240, 242), hsv(f.u(6), saturation=0.3, value=0.6)), 0.36
    )
    glaze = tile * (0.95 + 0.1 * dither(6 * v.right * z + 40, 6 * v.down * z))
    grid = torch.maximum(seam(6 * v.right * z, 0.05), seam(6 * v.down * z, 0.05))
    glaze = blend(glaze, white, 0.8 * grid) + 0.1 * gaussian(f, f.sun_x, 0.4, 0.2, 0.2)
    picture = over(picture, glaze, front(v, (-1.45, 1.45), (-0.1, 1.0), z))
    for side in (-1.45, 1.45):
        face, away, tall = upright(v, side, (-0.1, 1.0), (0.4, z))
        grid = torch.maximum(seam(6 * away, 0.05), seam(6 * tall, 0.05))
        picture = over(
            picture, blend(tile * 0.9, white * 0.94, 0.8 * grid * ramp(6, 2, away)), face
        )
    trim = front(v, (-1.45, 1.45), (-0.16, -0.1), z)
    picture = over(picture, hsv(f.u(6), saturation=0.4, value=0.62), trim)
    picture = pane(f, v, picture, (-1.0, -0.3), (-0.85, -0.25), z)
    picture = over(picture, steel, front(v, (0.42, 1.06), (-0.8, -0.02), z))
    mirror = blend(
        f.rgb(196, 220, 232), f.rgb(236, 244, 248), ramp(0.35, 0.65, torch.frac(1.6 * f.x + f.y))
    )
    picture = over(picture, mirror, front(v, (0.46, 1.02), (-0.76, -0.06), z))
    picture = glow(f, picture, 0.5 + 0.74 / z, line - 0.9 / z, 0.1, 0.5)
    picture = over(picture, white, front(v, (0.5, 0.98), (-0.95, -0.86), z))
    picture = shadow(picture, v, (0.42, 1.08), (3.1, 3.4), 0.3)
    wood = f.rgb(176, 128, 84)
    picture = block(picture, v, wood, x=(0.4, 1.08), y=(0.42, 1.0), z=(3.1, 3.5), light=air.side)
    for x in (0.44, 0.76):
        picture = over(picture, wood * 1.14, front(v, (x, x + 0.28), (0.48, 0.94), 3.1))
        picture = over(picture, steel, front(v, (x + 0.12, x + 0.16), (0.54, 0.58), 3.1))
    picture = block(
        picture, v, white, x=(0.34, 1.14), y=(0.32, 0.42), z=(3.05, 3.5), light=air.side
    )
    picture = over(
        picture,
        steel,
        stroke(f, (0.5 + 0.74 / z, line + 0.3 / z), (0.5 + 0.74 / z, line + 0.12 / z), 0.006),
    )
    # The tub stands on feet; foam rises above its rim.
    left, right, top, foot = 0.5 - 1.2 / 2.9, 0.5 + 0.2 / 2.9, line + 0.4 / 2.9, line + 1.0 / 2.9
    picture = shadow(picture, v, (-1.2, 0.2), (2.8, 3.2), 0.35)
    picture = over(picture, steel, stroke(f, (left + 0.03, top - 0.09), (left + 0.03, top), 0.008))
    picture = over(
        picture, steel, stroke(f, (left + 0.03, top - 0.09), (left + 0.075, top - 0.08), 0.008)
    )
    middle, half = (left + right) / 2, (right - left) / 2
    for x, size in (
        (-0.6, 0.5),
        (-0.2, 0.7),
        (0.2, 0.6),
        (0.55, 0.45),
        (0.0, 0.5),
        (-0.42, 0.5),
        (0.4, 0.5),
    ):
        bubble = disc(f, middle + x * half, top - 0.01, 0.06 * size + 0.01)
        shade = 1.0 - 2.2 * (f.y - top + 0.03).clamp_min(0) + 0.02 * dither(90 * f.x, 90 * f.y)
        picture = over(picture, f.rgb(246, 250, 254) * shade, bubble)
    for x in (-0.7, 0.7):
        picture = over(
            picture, steel * 0.9, ellipse(f, middle + x * half, foot - 0.005, 0.022, 0.022)
        )
    share = ((f.y - top) / (foot - top)).clamp(0, 1)
    bowl = ((half * (1 - 0.32 * share.pow(2.5)) - (f.x - middle).abs()) * f.size_px + 0.5).clamp(
        0, 1
    )
    bowl = bowl * below(f, top) * (1 - below(f, foot - 0.015))
    light = 1.0 - 0.26 * share + 0.5 * (f.x - middle) * air.side
    picture = over(picture, f.rgb(248, 249, 250) * light.clamp(0.6, 1.05), bowl)
    rim = ellipse(f, middle, top + 0.006, half + 0.022, 0.017)
    picture = over(picture, white, rim)
    towel = front(v, (-1.44, -1.16), (0.0, 0.5), z - 0.1)
    picture = over(
        picture,
        hsv(f.u(9), saturation=0.4, value=0.88) * (0.9 + 0.1 * torch.sin(50 * v.right * z)),
        towel,
    )
    mat, across, away = level(v, (-0.55, 0.65), 1.0, (2.05, 2.6))
    fluff = 0.92 + 0.12 * dither(34 * across, 34 * away)
    return over(picture, hsv(f.u(9), saturation=0.35, value=0.9) * fluff, mat)


@place(
    "in an attic",
    "in the attic",
    "under the roof beams",
    "in a dusty loft",
    outdoors=False,
    lamp=_WARM,
)
def attic(f: Fields, air: Air) -> Tensor:
    """Draw rafters, a round window whose light falls on boards, and trunks, boxes and a lamp."""
    line, z = f.horizon - 0.05, 4.2
    v = look(f, line)
    room = Room(1.7, 1.2, z)
    light, dark = f.rgb(190, 140, 92), f.rgb(86, 58, 40)
    gable = (
        f.rgb(172, 124, 82)
        * (0.86 + 0.12 * dither(5 * v.right * z + 40))
        * (1 - 0.3 * seam(5 * v.right * z, 0.05))
    )
    picture = (gable * 0.92).expand(len(f.noise), 3, v.px, v.px)
    picture = planks(f, v, picture, room, f.rgb(196, 148, 98), f.rgb(126, 84, 54), 0.26)
    # A roof slopes from low walls at 1.5 aside up to a ridge.
    aside = v.right.abs()
    closeness = (aside - 0.95 * v.down) / 1.12
    away = 1 / closeness.clamp_min(0.1)
    slope = ramp(1 / z - 0.002, 1 / z + 0.002, closeness)
    board = (aside * away) * 3.2
    wood = blend(dark, light, 0.4 + 0.3 * dither(board, away / 1.6)) * (1 - 0.3 * seam(board, 0.06))
    wood = wood * (0.95 - 0.14 * torch.sign(v.right) * torch.sign(f.sun_x - 0.5))
    rafter = ramp(0.2, 0.16, (torch.frac(1.3 * away) - 0.5).abs())
    wood = blend(
        wood * (0.8 + 0.2 * ramp(0.4, 0.2, (torch.frac(1.3 * away + 0.15) - 0.5).abs())),
        light * 0.82,
        rafter,
    )
    picture = over(picture, wood, slope)
    for side in (-1.5, 1.5):
        low, away, _ = upright(v, side, (0.42, 1.0), (0.4, z))
        picture = over(picture, dark * (1.3 - 0.3 * seam(3 * away, 0.06)), low)
    ridge, _, _ = level(v, (-0.09, 0.09), -1.1, (0.4, z))
    picture = over(picture, dark * 0.9, ridge)
    for depth_z in (3.9, 2.9, 2.1):
        tie = front(v, (-1.2, 1.2), (-0.62, -0.5), depth_z) * ramp(
            0.0, 0.01, 1.12 / depth_z - (aside - 0.95 * v.down) + 0.02
        )
        picture = over(picture, light * (0.74 + 0.1 * torch.sin(30 * v.right)), tie)
    x, y, radius = 0.5, line - 0.2 / z, 0.085
    picture = glow(f, picture, x, y, 0.24, 0.55)
    picture = over(picture, dark, disc(f, x, y, radius + 0.014))
    sky = blend(f.rgb(150, 206, 246), f.rgb(250, 248, 232), ramp(-radius, radius, f.y - y))
    picture = over(picture, sky, disc(f, x, y, radius))
    cross = torch.maximum(
        ramp(0.006, 0.004, (f.x - x).abs()), ramp(0.006, 0.004, (f.y - y).abs())
    ) * disc(f, x, y, radius)
    picture = over(picture, dark, cross)
    aim = x + 0.34 * (0.5 - f.sun_x) * ((f.y - y) / 0.4).clamp(0, 1.3)
    ray = (
        ramp(1.0, 0.5, (f.x - aim).abs() / (radius + 0.22 * (f.y - y).clamp_min(0)))
        * below(f, y)
        * ramp(0.62, 0.0, f.y - y)
    )
    dust = 0.8 + 0.5 * (dither(110 * f.x, 110 * f.y) > 0.985)
    picture = over(picture, f.rgb(255, 240, 200), (0.34 * ray * dust).clamp(0, 1))
    for x0, x1, top, near, far, colour in (
        (-1.4, -0.75, 0.52, 2.9, 3.4, (132, 84, 50)),
        (-1.35, -0.95, 0.66, 2.2, 2.55, (196, 156, 106)),
        (0.75, 1.4, 0.6, 3.0, 3.5, (196, 156, 106)), (0.85, 1.3, 0.26, 3.1, 3.45, (210, 172, 122)),
        (1.0, 1.45, 0.62, 2.2, 2.55, (104, 66, 44)),
    ):  # fmt: skip
        bottom = 0.6 if top == 0.26 else 1.0
        if bottom == 1.0:
            picture = shadow(picture, v, (x0, x1), (near, far), 0.38)
        paint = f.rgb(*colour)
        picture = block(
            picture, v, paint, x=(x0, x1), y=(top, bottom), z=(near, far), light=air.side
        )
        middle = (x0 + x1) / 2
        if colour[0] < 150:
            brass = f.rgb(226, 184, 96)
            for strap in (x0 + 0.08, x1 - 0.14):
                picture = over(
                    picture, paint * 0.6, front(v, (strap, strap + 0.06), (top, 1.0), near)
                )
            picture = over(picture, paint * 0.7, front(v, (x0, x1), (top + 0.13, top + 0.16), near))
            picture = over(
                picture,
                brass,
                front(v, (middle - 0.04, middle + 0.04), (top + 0.1, top + 0.2), near),
            )
        else:
            picture = over(
                picture, paint * 1.2, front(v, (middle - 0.03, middle + 0.03), (top, bottom), near)
            )
            picture = over(
                picture,
                paint * 0.7,
                front(v, (x0 + 0.05, x0 + 0.16), (bottom - 0.12, bottom - 0.06), near),
            )
    lx = 0.5 + 0.35 / 3.6
    picture = over(picture, f.rgb(60, 48, 42), stroke(f, (lx, 0.0), (lx, line - 0.28), 0.002))
    picture = glow(f, picture, lx, line - 0.26, 0.12, 0.7)
    return over(picture, f.rgb(255, 244, 206), disc(f, lx, line - 0.26, 0.016))
