"""Rows of seats: a cinema and a train carriage."""

import torch
from torch import Tensor

from swiftpie_world.air import Air
from swiftpie_world.art.parts import (
    Room,
    beside,
    block,
    chamber,
    dither,
    front,
    level,
    look,
    seam,
    upright,
)
from swiftpie_world.features import Lamp, place
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import blend, gaussian, ramp

_INDOORS = Lamp((1.0, 0.97, 0.9), (0.64, 0.63, 0.62), 0.42, height=0.7, shadow=0.28)


@place(
    "in a cinema",
    "in a movie theatre",
    "in front of a cinema screen",
    "between cinema seats",
    outdoors=False,
    lamp=Lamp((0.95, 0.95, 1.0), (0.46, 0.44, 0.5), 0.6, height=0.8, shadow=0.36),
)
def cinema(f: Fields, _air: Air) -> Tensor:
    """Draw a bright screen between curtains, rows of red seats and an aisle with small lamps."""
    room, line = Room(2.2, 1.5, 6.0), f.horizon - 0.06
    v, z = look(f, line), 6.0
    hue = torch.where(f.u(6) < 0.6, 0.98, 0.6 + 0.15 * f.u(6))
    cloth = hsv(hue, saturation=0.75, value=0.6)
    picture = chamber(f, v, (f.rgb(92, 70, 76), f.rgb(84, 64, 68), f.rgb(58, 48, 54)), room)
    for side in (-2.2, 2.2):
        face, away, tall = upright(v, side, (-1.5, 1.0), (0.5, z))
        pad = torch.maximum(seam(1.1 * away, 0.03), seam(1.2 * tall, 0.03))
        picture = over(picture, f.rgb(104, 62, 68) * (0.95 - 0.35 * pad), face)
        bay = (torch.frac(0.55 * away) - 0.5).abs()
        sconce = torch.exp(-(bay / 0.14).square()) * torch.exp(-(((tall + 0.5) / 0.42).square()))
        picture = over(picture, f.rgb(255, 206, 140), 0.75 * sconce * face)
    fold = 0.6 + 0.3 * torch.sin(30 * v.right * z) + 0.1 * torch.sin(71 * v.right * z)
    picture = over(picture, cloth * fold, front(v, (-2.2, 2.2), (-1.5, 0.75), z - 0.05))
    sx, sy = v.right * z, v.down * z
    screen = front(v, (-1.5, 1.5), (-1.2, 0.4), z - 0.1)
    share = (sy + 1.2) / 1.6
    film = blend(
        hsv(0.58 + 0.06 * f.u(13), saturation=0.5, value=0.98),
        f.rgb(255, 222, 170),
        ramp(0.0, 0.65, share),
    )
    film = over(film, f.rgb(255, 246, 206), ramp(0.26, 0.24, torch.hypot(sx - 0.5, sy + 0.35)))
    for low, sway, tint in (
        (0.46, 0.1, (120, 110, 168)),
        (0.62, 0.09, (84, 96, 140)),
        (0.78, 0.06, (44, 78, 88)),
    ):
        crest = (
            low
            + sway * torch.sin(2.6 * sx + 9 * low + 6 * f.u(9))
            + 0.3 * sway * torch.sin(7 * sx + 3 * low)
        )
        film = blend(film, f.rgb(*tint), ramp(-0.008, 0.008, share - crest))
    picture = over(picture, f.rgb(30, 26, 30), front(v, (-1.58, 1.58), (-1.28, 0.48), z - 0.08))
    picture = over(picture, film, screen)
    picture = over(
        picture,
        f.rgb(255, 240, 214),
        0.22 * gaussian(f, 0.5, line - 0.08, 0.4, 0.26) * (1 - screen),
    )
    valance = -1.42 + 0.1 * torch.cos(5 * sx).abs()
    picture = over(
        picture,
        cloth * (0.9 + 0.3 * torch.sin(20 * sx)),
        front(v, (-2.2, 2.2), (-1.6, -1.2), z - 0.2) * ramp(0.01, -0.01, sy - valance - 0.12),
    )
    floor, across, away = level(v, (-2.2, 2.2), 1.0, (0.5, z))
    steps = 1 - 0.25 * seam(1.3 * away, 0.05)
    carpet = (
        hsv(hue, saturation=0.5, value=0.42) * steps * (0.94 + 0.1 * dither(50 * across, 40 * away))
    )
    bulbs = torch.hypot(across.abs() - 0.5, torch.frac(1.3 * away) / 1.3 - 0.38)
    carpet = over(carpet, f.rgb(255, 206, 130), 0.8 * torch.exp(-(bulbs / 0.1).square()))
    carpet = over(carpet, f.rgb(255, 240, 214), 0.2 * ramp(0.45, 0.0, across.abs()))
    picture = over(picture, carpet, floor)
    seat = hsv(hue, saturation=0.8, value=0.72)
    for depth_z in (5.0, 4.35, 3.8, 3.3, 2.85, 2.45):
        for side in (-1, 1):
            span = beside(side, 0.58, 2.1)
            lit = 0.62 + 0.09 * (5.2 - depth_z)
            cell = (v.right * depth_z * side - 0.58) / 0.38
            across = torch.frac(cell) - 0.5
            top = 0.34 + 0.9 * across.abs().pow(3) * 1.6
            back = front(v, (span[0], span[1]), (0.3, 0.86), depth_z) * ramp(
                -0.01, 0.01, v.down * depth_z - top
            )
            shape = lit * (1.12 - 0.9 * across.square() - 0.5 * (v.down * depth_z - 0.34))
            button = 1 - 0.25 * ramp(0.1, 0.05, torch.hypot(across, (v.down * depth_z - 0.55) * 2))
            picture = over(picture, seat * shape * button, back * ramp(0.48, 0.44, across.abs()))
            picture = block(
                picture,
                v,
                f.rgb(58, 44, 46),
                x=(span[0], span[1]),
                y=(0.84, 1.0),
                z=(depth_z, depth_z + 0.05),
            )
            rests = ramp(0.42, 0.46, across.abs()) * front(
                v, (span[0], span[1]), (0.58, 0.66), depth_z - 0.02
            )
            picture = over(picture, f.rgb(120, 78, 52), rests)
    for number in range(3):
        beam_x = 0.5 + 0.06 * (number - 1)
        cone = ramp(0.03 + 0.05 * (0.4 - f.y).clamp_min(0), 0.0, (f.x - beam_x).abs()) * ramp(
            0.3, 0.0, f.y
        )
        picture = over(picture, f.rgb(255, 250, 236), 0.05 * cone)
    return picture


@place(
    "in a train carriage",
    "aboard a train",
    "in a train compartment",
    "between train seats",
    outdoors=False,
    lamp=_INDOORS,
)
def train_carriage(f: Fields, air: Air) -> Tensor:
    """Draw rows of seats along an aisle, windows onto a green country, racks and lamps."""
    room, line = Room(1.45, 1.0, 6.0), f.horizon - 0.03
    v, z, half = look(f, line), 6.0, 1.45
    cream, steel = f.rgb(238, 234, 222), f.rgb(196, 204, 210)
    fabric = hsv(f.u(6), saturation=0.6, value=0.66)
    picture = chamber(f, v, (cream, f.rgb(150, 152, 160), f.rgb(246, 246, 242)), room)
    for side in (-half, half):
        face, away, tall = upright(v, side, (-0.5, 0.38), (0.5, z - 0.1))
        bay = torch.frac(0.72 * away)
        share = (tall + 0.5) / 0.88
        view = blend(f.rgb(132, 194, 244), f.rgb(232, 244, 250), ramp(0.0, 0.6, share))
        hill = 0.56 + 0.06 * torch.sin(3.1 * away + 6 * f.u(9)) + 0.03 * torch.sin(7 * away)
        view = blend(view, f.rgb(128, 176, 130), ramp(-0.01, 0.01, share - hill))
        field = 0.7 + 0.03 * torch.sin(2 * away + 2)
        stripe = torch.frac(3 * away + 2 * share) > 0.5
        view = blend(
            view,
            blend(f.rgb(150, 192, 92), f.rgb(206, 196, 104), stripe.to(f.x.dtype)),
            ramp(-0.01, 0.01, share - field),
        )
        bush = 0.86 + 0.05 * torch.sin(17 * away) * torch.sin(5 * away)
        view = blend(view, f.rgb(70, 128, 66), ramp(-0.01, 0.01, share - bush))
        window = ramp(0.07, 0.08, bay) * ramp(0.93, 0.92, bay)
        wall = cream * (0.86 + 0.1 * side / half * (0.5 - f.sun_x))
        frame = ramp(0.045, 0.055, bay) * ramp(0.955, 0.945, bay)
        colour = over(
            over(wall, steel * 0.8, frame),
            view,
            window * ramp(0.0, 0.03, share) * ramp(1.0, 0.97, share),
        )
        picture = over(picture, colour, face)
        rack, away, tall = upright(v, side * 0.98, (-0.66, -0.58), (0.5, z))
        picture = over(picture, steel * 0.8, rack)
        shelf, across, away = level(v, beside(side / half, 0.66 * half, half), -0.62, (0.5, z))
        picture = over(picture, steel * (0.72 + 0.3 * seam(4 * away, 0.2)), shelf)
        edge, away, tall = upright(v, side * 0.66, (-0.65, -0.6), (0.5, z))
        picture = over(picture, steel, edge)
    ceiling, across, away = level(v, (-half, half), -1.0, (0.5, z))
    lamp = ramp(0.14, 0.12, across.abs()) * ramp(0.46, 0.44, (torch.frac(0.7 * away) - 0.5).abs())
    picture = over(picture, f.rgb(255, 253, 244), lamp * ceiling)
    picture = over(picture, cream * 0.92, front(v, (-half, half), (-1.0, 1.0), z))
    picture = over(picture, steel * 0.9, front(v, (-0.42, 0.42), (-0.72, 1.0), z))
    picture = over(picture, f.rgb(186, 220, 238), front(v, (-0.3, 0.3), (-0.55, 0.1), z))
    picture = over(picture, f.rgb(30, 34, 44), front(v, (-0.45, 0.45), (-0.92, -0.76), z))
    text = (dither(18 * v.right * z + 40, 9 * v.down * z) > 0.45) * front(
        v, (-0.4, 0.4), (-0.88, -0.8), z
    )
    picture = over(picture, f.rgb(255, 190, 70), text * (1 - seam(18 * v.right * z, 0.25)))
    aisle, across, away = level(v, (-0.52, 0.52), 1.0, (0.5, z))
    runner = f.rgb(112, 116, 130) * (0.95 + 0.1 * dither(50 * across, 30 * away))
    runner = over(runner, fabric, ramp(0.03, 0.02, (across.abs() - 0.42).abs()))
    picture = over(
        picture, over(runner, f.rgb(250, 250, 246), 0.2 * ramp(0.35, 0.0, across.abs())), aisle
    )
    for depth_z in (5.3, 4.5, 3.8, 3.2, 2.65, 2.2):
        for side in (-1, 1):
            span = beside(side, 0.56, 1.42)
            x0, x1 = span
            picture = block(
                picture,
                v,
                fabric * 0.9,
                x=(x0, x1),
                y=(0.62, 0.76),
                z=(depth_z - 0.3, depth_z),
                light=air.side,
            )
            picture = block(
                picture,
                v,
                f.rgb(90, 94, 104),
                x=(x0 + 0.1, x1 - 0.1),
                y=(0.76, 1.0),
                z=(depth_z - 0.2, depth_z),
            )
            picture = block(
                picture,
                v,
                fabric,
                x=(x0, x1),
                y=(0.2, 0.66),
                z=(depth_z, depth_z + 0.12),
                light=air.side,
            )
            cushion = front(v, (x0, x1), (0.2, 0.66), depth_z)
            across = (v.right * depth_z - (x0 + x1) / 2).abs()
            check = dither(13 * v.right * depth_z + 40, 13 * v.down * depth_z)
            padded = fabric * (
                1.08
                - 0.35 * ramp(0.05, 0.0, (across - 0.215).abs() - 0.16) * 0.6
                - 0.3 * ramp(0.03, 0.0, across)
            )
            padded = padded * (0.94 + 0.14 * (check > 0.7)) * (1.05 - 0.2 * v.down * depth_z)
            picture = over(picture, padded, cushion)
            for seat in (-0.215, 0.215):
                middle = (x0 + x1) / 2 + seat
                picture = over(
                    picture,
                    f.rgb(246, 244, 238),
                    front(v, (middle - 0.15, middle + 0.15), (0.2, 0.33), depth_z - 0.01),
                )
            near = x0 if side > 0 else x1
            picture = block(
                picture,
                v,
                steel,
                x=(near - 0.03, near + 0.03),
                y=(0.44, 0.5),
                z=(depth_z - 0.3, depth_z),
                light=air.side,
            )
    return picture
