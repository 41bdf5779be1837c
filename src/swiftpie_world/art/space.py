"""Places away from the earth: a spaceship and the moon."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air
from swiftpie_world.art.parts import (
    Room,
    chamber,
    convex,
    dither,
    ellipse,
    front,
    level,
    look,
    seam,
    stroke,
    upright,
)
from swiftpie_world.features import Lamp, place, relief
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, disc, gaussian, ramp, scatter, texture

_COLD = Lamp((0.86, 0.95, 1.0), (0.58, 0.62, 0.68), 0.45, height=0.9, shadow=0.28)


@place(
    "in a spaceship",
    "aboard a spaceship",
    "on a space station",
    "in a futuristic corridor",
    outdoors=False,
    lamp=_COLD,
)
def spaceship(f: Fields, _air: Air) -> Tensor:
    """Draw a corridor with panels and strips of light, and a round window onto a planet."""
    line, z, half, up = f.horizon - 0.02, 5.0, 1.35, 1.0
    v = look(f, line)
    shine = hsv(0.46 + 0.3 * f.u(6), saturation=0.55, value=1.0)
    panel, dark = f.rgb(206, 214, 226), f.rgb(64, 74, 94)
    room = Room(half, up, z)
    picture = chamber(f, v, (panel, panel * 0.6, panel * 0.8), room)
    floor, across, away = level(v, (-half, half), 1.0, (0.4, z))
    plate = torch.maximum(seam(1.5 * across + 0.5, 0.02), seam(1.2 * away, 0.03))
    grip = torch.hypot(torch.frac(14 * across + 40) - 0.5, torch.frac(14 * away) - 0.5)
    deck = (
        f.rgb(116, 126, 146)
        * (1 - 0.4 * plate)
        * (1 + 0.1 * ramp(0.3, 0.2, grip) * ramp(5, 2, away))
    )
    deck = over(deck, panel, 0.28 * gaussian(f, 0.5, 0.78, 0.16, 0.3))
    strip = ramp(0.05, 0.035, (across.abs() - 0.98).abs())
    halo = torch.exp(-((across.abs() - 0.98) / 0.16).square())
    deck = over(deck, shine, 0.45 * halo)
    picture = over(picture, over(deck, 0.4 + 0.6 * shine, strip), floor)
    roof, across, away = level(v, (-half, half), -up, (0.4, z))
    tube = ramp(0.16, 0.14, across.abs()) * ramp(0.44, 0.42, (torch.frac(0.9 * away) - 0.5).abs())
    vents = seam(9 * away, 0.2) * ramp(0.5, 0.48, (across.abs() - 0.75).abs() + 0.2)
    picture = over(
        picture, over(over(panel * 0.75, dark, 0.35 * vents), f.rgb(250, 253, 255), tube), roof
    )
    for side in (-half, half):
        face, away, tall = upright(v, side, (-up, 1.0), (0.4, z))
        bay = torch.frac(0.9 * away)
        rib = ramp(0.1, 0.07, torch.minimum(bay, 1 - bay))
        skin = panel * (0.84 + 0.12 * side / half * (0.5 - f.sun_x))
        inset = (
            ramp(0.18, 0.2, bay)
            * ramp(0.82, 0.8, bay)
            * ramp(-0.72, -0.7, tall)
            * ramp(0.3, 0.28, tall)
        )
        bevel = (
            1
            - 0.2 * ramp(0.03, 0.0, (tall + 0.7).abs())
            + 0.15 * ramp(0.03, 0.0, (tall - 0.28).abs())
        )
        skin = blend(skin, panel * 1.04 * bevel, inset)
        screen = (
            ramp(0.3, 0.32, bay)
            * ramp(0.7, 0.68, bay)
            * ramp(-0.4, -0.38, tall)
            * ramp(0.02, 0.0, tall)
        )
        bars = dither(30 * away, 14 * tall) > 0.55
        display = over(
            f.rgb(18, 32, 52).expand_as(shine), shine, 0.75 * bars * (1 - seam(14 * tall, 0.2))
        )
        skin = over(skin, display, screen)
        knobs = torch.hypot(torch.frac(10 * away) - 0.5, torch.frac(9 * tall) - 0.5)
        lights = (
            ramp(0.3, 0.2, knobs)
            * (tall > 0.09)
            * (tall < 0.24)
            * inset
            * (dither(10 * away, 9 * tall) > 0.3)
        )
        skin = over(skin, hsv(dither(9 * tall, 10 * away), saturation=0.7, value=1.0), lights)
        skin = blend(skin, dark * 1.1, rib)
        line_light = ramp(0.035, 0.025, (tall - 0.55).abs())
        skin = over(skin, shine, 0.5 * torch.exp(-((tall - 0.55) / 0.14).square()))
        skin = over(skin, 0.4 + 0.6 * shine, line_light * (1 - rib))
        skin = blend(skin, dark, ramp(0.78, 0.8, tall))
        picture = over(picture, skin, face)
    x, y, radius = 0.5, line - 0.02, 0.155
    back = front(v, (-half, half), (-up, 1.0), z)
    picture = over(picture, panel * 0.7 * (1 - 0.3 * seam(1.5 * v.right * z + 0.5, 0.03)), back)
    picture = over(picture, dark, disc(f, x, y, radius + 0.022))
    bolts = torch.frac(16 * torch.atan2(f.y - y, f.x - x) / (2 * math.pi) + 16) - 0.5
    ring = (torch.hypot(f.x - x, f.y - y) - radius - 0.011).abs()
    picture = over(picture, panel, ramp(0.006, 0.003, ring) * ramp(0.16, 0.1, bolts.abs()))
    stars = (dither(64 * f.x, 64 * f.y) > 0.94) * ramp(
        0.3, 0.05, torch.hypot(torch.frac(64 * f.x) - 0.5, torch.frac(64 * f.y) - 0.5)
    )
    deep = blend(
        f.rgb(8, 10, 30),
        hsv(0.6 + 0.3 * f.u(13), saturation=0.6, value=0.4),
        ramp(0.0, 1.6, texture(f, 1, 3, 3)),
    )
    deep = over(deep, f.rgb(255, 255, 255), stars)
    px, py = f.x - x - 0.05, f.y - y - 0.05
    globe = torch.hypot(px, py)
    ball = ramp(0.098, 0.095, globe)
    bands = torch.sin(70 * (py + 0.3 * px) + 1.5 * texture(f, 2, 1, 5))
    planet = hsv(f.u(9) + 0.03 * bands, saturation=0.5, value=0.9) * (
        0.25 + 0.85 * ramp(0.09, -0.08, 0.7 * px + 0.7 * py)
    )
    deep = over(
        over(deep, hsv(f.u(9), saturation=0.4, value=1.0), 0.5 * ramp(0.12, 0.09, globe)),
        planet,
        ball,
    )
    picture = over(picture, deep, disc(f, x, y, radius))
    gleam = ramp(0.02, 0.0, (f.x - x + f.y - y + 0.06).abs()) * disc(f, x, y, radius)
    return over(picture, f.rgb(255, 255, 255), 0.14 * gleam)


@place(
    "on the moon",
    "on the surface of the moon",
    "on the lunar surface",
    "in a moon crater",
    outdoors=False,
    lamp=Lamp((1.0, 0.99, 0.95), (0.34, 0.34, 0.38), 0.72, height=0.4, shadow=0.45, length=0.8),
)
def moon_surface(f: Fields, air: Air) -> Tensor:
    """Draw grey dust with lit craters, hills, a lander, a flag, stars and the earth."""
    line = f.horizon + 0.02
    star_x, star_y = 48 * f.x, 48 * f.y
    tone = dither(star_x, star_y)
    spot = torch.hypot(
        torch.frac(star_x) - 0.2 - 0.6 * dither(star_y, star_x), torch.frac(star_y) - 0.5
    )
    stars = (tone > 0.86) * ramp(0.12 + 0.6 * (tone - 0.86), 0.0, spot)
    picture = over(
        blend(f.rgb(5, 6, 14), f.rgb(22, 24, 44), ramp(0.0, 0.6, f.y)).expand(
            len(f.noise), -1, -1, f.size_px
        ),
        f.rgb(255, 252, 240),
        stars,
    )
    left = (f.sun_x > 0.5).to(f.x.dtype)
    x, y, radius = 0.76 - 0.52 * left, 0.2 + 0.05 * f.u(9), 0.105
    right, down = (f.x - x) / radius, (f.y - y) / radius
    land = ramp(
        0.1,
        0.3,
        torch.sin(4.2 * right + 1.4 * torch.sin(3 * down + 5 * f.u(6)))
        * torch.sin(3.6 * down + right + 6 * f.u(13)),
    )
    cloud = ramp(
        0.45,
        0.9,
        torch.sin(6 * down + 2.2 * torch.sin(3.4 * right + 4 * f.u(6))) * 0.7
        + 0.45 * torch.sin(9 * right + 5 * down),
    )
    earth = blend(f.rgb(38, 96, 190), f.rgb(84, 142, 74), land)
    earth = blend(earth, f.rgb(216, 190, 136), land * ramp(0.3, 0.7, torch.sin(6 * down)))
    earth = over(earth, f.rgb(252, 253, 255), 0.85 * cloud)
    earth = over(earth, f.rgb(248, 252, 255), ramp(0.82, 0.92, down.abs()))
    facing = (
        right * (1 - 2 * (left < 0.5)) * 0.75
        - 0.45 * down
        + 0.75 * (1 - right.square() - down.square()).clamp_min(0).sqrt()
    )
    facing = facing.clamp(0.04, 1)
    halo = ramp(1.35, 0.95, torch.hypot(right, down))
    picture = over(picture, f.rgb(110, 170, 255), 0.3 * halo)
    picture = over(picture, earth * (0.1 + facing), disc(f, x, y, radius))
    side = torch.where(f.sun_x > 0.5, 1.0, -1.0)
    dust, shade = f.rgb(176, 174, 172), f.rgb(70, 70, 78)
    for low, sway, which, far in ((-0.05, 0.035, 0, 0.8), (-0.01, 0.02, 1, 0.95)):
        crest = line + low + sway * f.ridge(4, which)
        slope = (
            0.55
            + 0.35 * torch.sin(17 * f.x + 9 * low + 2 * f.ridge(3, which)) * side
            + 0.25 * air.lumps
        )
        picture = over(picture, blend(shade, dust * far, slope.clamp(0, 1)), below(f, crest))
    v = look(f, line - 0.05)
    _, across, away = level(v, (-90.0, 90.0), 1.0, (1.0, 30.0))
    grit = dither(110 * across, 80 * away) * ramp(6, 2, away)
    soil = dust * (
        0.92 + 0.1 * (grit - 0.4) + 0.07 * relief(f, air, 0, 1) + 0.06 * relief(f, air, 2)
    )
    soil = soil * (0.8 + 0.3 * ramp(14, 2, away))
    ground = below(f, line + 0.006 * f.ridge(3))
    picture = over(picture, soil, ground)
    pebble, kind, rim = scatter(f, 16, size=2, place=0, above=0.9, radius=0.2)
    picture = over(picture, dust * (0.6 + 0.5 * kind - 0.35 * rim), pebble * below(f, line + 0.1))
    for cx, cz, size in (
        (-1.5, 5.2, 0.75),
        (1.0, 8.0, 0.9),
        (-3.4, 9.0, 1.2),
        (1.5, 3.1, 0.42),
        (-0.95, 2.65, 0.28),
        (0.3, 4.6, 0.35),
        (3.2, 5.0, 0.5),
    ):
        shift = cx + 0.5 * (f.u(6) - 0.5)
        px, py = 0.5 + shift / cz, line - 0.05 + 1 / cz
        wide, tall = size / cz, 0.9 * size / cz**2 + 0.004
        reach = torch.hypot((f.x - px) / wide, (f.y - py) / tall)
        lean = (f.x - px) / wide * side
        lip = ramp(0.28, 0.0, (reach - 1.0).abs())
        picture = over(
            picture, dust * 1.25, 0.65 * lip * ramp(-0.9, 0.6, -((f.y - py) / tall) + 0.2)
        )
        bowl = ramp(1.02, 0.9, reach)
        inner = blend(
            shade * 0.75, dust * 1.05, (0.45 - 0.75 * lean + 0.3 * (f.y - py) / tall).clamp(0, 1)
        )
        picture = over(picture, inner, bowl)
    lx, ly = 0.2 + 0.6 * left, line + 0.09
    picture = picture * (1 - 0.5 * gaussian(f, lx - 0.09 * side, ly + 0.015, 0.15, 0.014))
    gold, white, dark = f.rgb(224, 176, 74), f.rgb(226, 228, 232), f.rgb(40, 42, 50)
    for leg in (-1, 1):
        picture = over(
            picture,
            f.rgb(150, 150, 156),
            stroke(f, (lx + 0.045 * leg, ly - 0.06), (lx + 0.1 * leg, ly), 0.005),
        )
        picture = over(
            picture,
            f.rgb(150, 150, 156),
            stroke(f, (lx + 0.03 * leg, ly - 0.03), (lx + 0.085 * leg, ly - 0.015), 0.003),
        )
        picture = over(picture, gold * 0.8, ellipse(f, lx + 0.1 * leg, ly + 0.002, 0.022, 0.007))
    foil = 0.75 + 0.5 * dither(60 * f.x + 30 * f.y, 50 * f.y - 20 * f.x) + 4.0 * (f.x - lx) * side
    picture = over(
        picture,
        dark,
        convex(
            f,
            (lx - 0.02, ly - 0.04),
            (lx + 0.02, ly - 0.04),
            (lx + 0.032, ly - 0.008),
            (lx - 0.032, ly - 0.008),
        ),
    )
    picture = over(
        picture,
        gold * foil,
        convex(
            f,
            (lx - 0.062, ly - 0.1),
            (lx + 0.062, ly - 0.1),
            (lx + 0.07, ly - 0.07),
            (lx + 0.055, ly - 0.035),
            (lx - 0.055, ly - 0.035),
            (lx - 0.07, ly - 0.07),
        ),
    )
    cabin = convex(
        f,
        (lx - 0.032, ly - 0.18),
        (lx + 0.032, ly - 0.18),
        (lx + 0.058, ly - 0.145),
        (lx + 0.045, ly - 0.1),
        (lx - 0.045, ly - 0.1),
        (lx - 0.058, ly - 0.145),
    )
    picture = over(picture, white * (0.85 + 4.0 * (f.x - lx) * side), cabin)
    for eye in (-1, 1):
        picture = over(
            picture,
            dark,
            convex(
                f,
                (lx + 0.02 * eye - 0.011, ly - 0.158),
                (lx + 0.02 * eye + 0.011, ly - 0.158),
                (lx + 0.02 * eye, ly - 0.138),
            ),
        )
    picture = over(picture, dark * 1.5, box(f, lx - 0.012, lx + 0.012, ly - 0.13, ly - 0.102))
    picture = over(picture, white, stroke(f, (lx, ly - 0.18), (lx + 0.03, ly - 0.215), 0.003))
    picture = over(picture, white, ellipse(f, lx + 0.03, ly - 0.218, 0.018, 0.008))
    fx = lx + 0.2 - 0.4 * left
    picture = over(picture, white, stroke(f, (fx, ly + 0.05), (fx, ly - 0.13), 0.004))
    ripple = 0.92 + 0.14 * torch.sin(70 * f.x)
    colour = hsv(f.u(13), saturation=0.7, value=0.9)
    picture = over(picture, colour * ripple, box(f, fx, fx + 0.11, ly - 0.13, ly - 0.055))
    return over(picture, white * ripple, disc(f, fx + 0.055, ly - 0.092, 0.02))
