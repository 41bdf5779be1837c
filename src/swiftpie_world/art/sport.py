"""A stadium, a race track and a sports hall."""

import torch
from torch import Tensor

from swiftpie_world.air import Air, Paint, plain
from swiftpie_world.art.parts import (
    Room,
    beside,
    block,
    chamber,
    dither,
    ellipse,
    front,
    level,
    look,
    planks,
    seam,
    shadow,
    stroke,
    turned,
    upright,
)
from swiftpie_world.features import GRASS, GRASS_BLADES, Lamp, hazed, hills, place, treeline
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, depth, disc, gaussian, ramp, texture, within

_WHITE = plain(246, 246, 242)
_DARK = plain(52, 56, 64)
_TURF = Paint((92, 158, 68), (138, 152, 72), (202, 222, 204), (110, 186, 78))
_TURF_DARK = Paint((66, 130, 54), (106, 124, 56), (186, 209, 192), (82, 156, 60))
_INDOORS = Lamp((1.0, 0.97, 0.9), (0.64, 0.63, 0.62), 0.42, height=0.7, shadow=0.28)


@place(
    "in a stadium",
    "on a football pitch",
    "on a soccer field",
    "in front of a football goal",
    foreground=GRASS_BLADES,
)
def stadium(f: Fields, air: Air) -> Tensor:
    """Draw a striped pitch with a goal before full stands, a roof, and floodlights."""
    light_turf, dark_turf, white, concrete, roof, steel, dark = air.seen(
        (_TURF, 0.1),
        (_TURF_DARK, 0.1),
        (_WHITE, 0.0),
        (plain(164, 168, 176), 0.3),
        (plain(214, 220, 228, snow=0.6), 0.3),
        (plain(190, 196, 204), 0.2),
        (_DARK, 0.3),
    )
    line = f.horizon + 0.05
    bend = 0.1 * (2 * f.x - 1).square()
    top, foot = line - 0.25 - bend, line - 0.015 + 0.25 * bend
    picture = over(air.sky, concrete * 0.75, below(f, top))
    share = (f.y - top) / (foot - top)
    row, seat = 22 * share, 64 * (f.x - 0.5) * (1 - 0.2 * share)
    tone, hue = dither(seat, row), dither(row, seat)
    crowd = hsv(
        torch.where(tone > 0.45, f.u(6), hue),
        saturation=0.25 + 0.6 * (tone > 0.45) * hue,
        value=0.5 + 0.5 * tone,
    )
    head = torch.hypot(torch.frac(seat + 64) - 0.5, torch.frac(row) - 0.5)
    people = blend(concrete * 0.6, crowd * air.tone, ramp(0.6, 0.3, head))
    lit = 1 + 0.6 * air.lamps * air.stars
    tiers = people * (0.72 + 0.3 * share) * lit * (1 - 0.35 * seam(2.0 * share, 0.03))
    aisles = seam(9 * (f.x - 0.5) * (1 - 0.2 * share) + 0.5, 0.03)
    tiers = over(tiers, concrete * 1.1 * lit, aisles)
    picture = over(picture, tiers, below(f, top + 0.03) * (1 - below(f, foot)))
    canopy = below(f, top - 0.035) * (1 - below(f, top + 0.035))
    picture = over(
        picture,
        roof * (1 - 0.2 * seam(24 * f.x, 0.1)) * (1.05 - 3 * (f.y - top).clamp_min(0)),
        canopy,
    )
    picture = picture * (1 - 0.3 * ramp(0.06, 0.0, f.y - top - 0.035) * below(f, top + 0.035))
    board = below(f, foot - 0.005) * (1 - below(f, foot + 0.035))
    adverts = hsv(f.u(6) + 0.31 * (6 * f.x).floor(), saturation=0.7, value=0.85) * blend(
        air.tone, torch.ones_like(air.tone), air.lamps
    )
    letters = (
        (dither(110 * f.x, torch.zeros_like(f.x)) > 0.5)
        * ramp(0.009, 0.006, (f.y - foot - 0.015).abs())
        * ramp(0.34, 0.3, (torch.frac(6 * f.x) - 0.5).abs())
    )
    picture = over(
        picture,
        over(
            adverts,
            f.rgb(250, 250, 250) * blend(air.tone, torch.ones_like(air.tone), air.lamps),
            letters,
        ),
        board,
    )
    for x in (0.07, 0.93):
        mast_top = 0.08
        picture = over(picture, steel, stroke(f, (x, line - 0.2), (x, mast_top), 0.006))
        panel = box(f, x - 0.06, x + 0.06, mast_top - 0.05, mast_top + 0.025)
        lamps = torch.hypot(
            torch.frac(42 * (f.x - x) + 20.5) - 0.5, torch.frac(40 * (f.y - mast_top) + 20) - 0.5
        )
        picture = over(picture, dark, panel)
        picture = over(
            picture,
            f.rgb(255, 252, 236),
            panel * ramp(0.45, 0.3, lamps) * (0.55 + 0.45 * air.lamps),
        )
        halo = gaussian(f, x, mast_top - 0.01, 0.2, 0.2) * air.lamps
        picture = over(picture, f.rgb(255, 252, 236), 0.7 * halo)
    v = look(f, line - 0.1)
    _, across, away = level(v, (-60.0, 60.0), 1.0, (1.0, 60.0))
    band = torch.frac(0.8 * across + 40) > 0.5
    blades = 0.1 * (dither(110 * across, 40 * away) - 0.5) * ramp(7, 2, away) + 0.04 * texture(f, 0)
    turf = blend(dark_turf, light_turf, band.to(f.x.dtype)) * (1 + blades)
    turf = turf * (1 + 0.6 * air.stars * air.lamps)
    picture = over(picture, turf, below(f, line))
    ground = below(f, line)
    chalk = within((away - 5.3).abs(), 0.06, 0.05) + within((away - 4.1).abs(), 0.05, 0.03) * (
        across.abs() < 2.05
    )
    chalk = chalk + within((across.abs() - 2.0).abs(), 0.04, 0.02) * (away > 4.1) * (away < 5.3)
    arc = torch.hypot(across, away - 4.1)
    chalk = chalk + within((arc - 0.75).abs(), 0.035, 0.015) * (away < 4.1)
    picture = over(picture, white * lit.clamp_max(1.6), chalk.clamp(0, 1) * ground)
    goal, z = 1.15, 5.3
    net_x, net_y = 9 * v.right * z, 9 * v.down * z
    mesh = torch.maximum(seam(net_x, 0.12), seam(net_y, 0.12)) * front(
        v, (-goal, goal), (0.1, 1.0), z
    )
    picture = over(picture, white * lit, 0.5 * mesh)
    for span, height in (
        ((-goal - 0.03, -goal + 0.03), (0.07, 1.0)),
        ((goal - 0.03, goal + 0.03), (0.07, 1.0)),
        ((-goal - 0.03, goal + 0.03), (0.07, 0.14)),
    ):
        picture = over(picture, white * lit, front(v, span, height, z))
    return picture


@place(
    "on a race track", "on the racing circuit", "at the start of a car race", "on the starting grid"
)
def race_track(f: Fields, air: Air) -> Tensor:
    """Draw a start line under a gantry with lights, kerbs, tyre walls and a grandstand."""
    grass, near, tar, white, red, steel, dark, roof, blue = air.seen(
        (GRASS, 0.35),
        (_TURF_DARK, 0.0),
        (plain(92, 94, 102, snow=0.4), 0.0),
        (_WHITE, 0.0),
        (plain(212, 50, 48), 0.0),
        (plain(190, 196, 206), 0.1),
        (_DARK, 0.05),
        (plain(228, 232, 238, snow=0.6), 0.25),
        (plain(110, 136, 150), 1.1),
    )
    f, air = turned(f, air)
    line = f.horizon + 0.01
    picture = hills(f, air.sky, line - 0.05 + 0.03 * f.ridge(5), blue, grass, 0.12)
    picture = treeline(f, air, picture, line + 0.006, 0.05, 0.7, 8)
    picture = hazed(f, air, picture, line)
    v = look(f, line - 0.005, 0.46)
    _, across, away = level(v, (-90.0, 90.0), 1.0, (1.0, 60.0))
    turf = blend(grass, near, depth(f, line, 0.4)) * (1 + 0.05 * air.turf)
    picture = over(picture, turf, below(f, line))
    lane, across, away = level(v, (-1.9, 1.9), 1.0, (1.0, 60.0))
    speck = (
        1
        + 0.07 * (dither(90 * across, 60 * away) - 0.5) * ramp(6, 2, away)
        + 0.04 * texture(f, 0, 1, 3)
    )
    marks = torch.exp(-((across - 0.55 - 0.1 * torch.sin(away)) / 0.12).square()) + torch.exp(
        -((across + 0.5 + 0.1 * torch.sin(away)) / 0.14).square()
    )
    road = tar * speck * (1 - 0.22 * marks)
    picture = over(picture, blend(road, air.low, 0.45 * air.wet), lane)
    for side in (-1, 1):
        span = beside(side, 1.9, 2.2)
        kerb, _, far = level(v, span, 1.0, (1.0, 40.0))
        stripe = (torch.frac(0.9 * far) > 0.5).to(f.x.dtype)
        picture = over(
            picture,
            blend(white, red, blend(stripe, torch.full_like(stripe, 0.5), ramp(8, 20, far))),
            kerb,
        )
    check = (((across * 3.2).floor() + (away * 3.2).floor()) % 2).to(f.x.dtype)
    start, _, _ = level(v, (-1.8, 1.8), 1.0, (5.0, 5.65))
    picture = over(picture, blend(white, dark, check), start)
    for z in (3.4, 4.4):
        for x in (-1.0, 0.9):
            slot = level(v, (x - 0.5, x + 0.5), 1.0, (z, z + 0.05))[0]
            slot = torch.maximum(slot, level(v, (x - 0.5, x - 0.45), 1.0, (z - 0.3, z + 0.05))[0])
            slot = torch.maximum(slot, level(v, (x + 0.45, x + 0.5), 1.0, (z - 0.3, z + 0.05))[0])
            picture = over(picture, white, 0.9 * slot)
    # The grandstand rises in steps on one side.
    for step in range(5):
        x0, up = 3.1 + 0.5 * step, 0.75 - 0.38 * step
        picture = block(
            picture, v, steel * 0.75, x=(x0, x0 + 3.0), y=(up, 1.0), z=(4.2, 11.0), light=air.side
        )
        closeness = v.right / x0
        far = 1 / closeness.clamp_min(0.02)
        tone = dither(9 * far, torch.full_like(far, 1.0 + step))
        people = (
            hsv(
                dither(9 * far + 31, torch.full_like(far, 5.0 + step)),
                saturation=0.55,
                value=0.5 + 0.5 * tone,
            )
            * air.tone
        )
        height = v.down * far
        inside = (
            ramp(0.16, 0.14, (height - up + 0.1).abs())
            * (far > 4.2)
            * (far < 11.0)
            * ramp(0.45, 0.3, (torch.frac(9 * far) - 0.5).abs())
        )
        picture = over(picture, people, inside * (v.right > 0))
    picture = block(picture, v, roof, x=(3.2, 6.2), y=(-1.75, -1.6), z=(4.0, 11.0), light=air.side)
    tyre = block(picture, v, dark, x=(-3.3, -2.7), y=(0.6, 1.0), z=(3.6, 30.0), light=air.side)
    wall_x = -2.7
    far = 1 / (v.right / wall_x).clamp_min(0.02)
    rings = (torch.frac(2.2 * far) > 0.5).to(f.x.dtype)
    height = v.down * far
    band = ((height > 0.6) & (height < 1.0) & (far > 3.6) & (far < 30) & (v.right < 0)).to(
        f.x.dtype
    )
    ribs = 1 - 0.25 * seam(7.5 * height, 0.25)
    picture = over(tyre, blend(white, red, rings) * ribs * 0.9, band)
    z = 5.3
    for x in (-2.45, 2.45):
        picture = block(
            picture, v, steel, x=(x - 0.1, x + 0.1), y=(-1.5, 1.0), z=(z, z + 0.2), light=air.side
        )
    picture = block(
        picture, v, dark * 1.2, x=(-2.55, 2.55), y=(-1.62, -1.12), z=(z, z + 0.25), light=air.side
    )
    grid_x, grid_y = v.right * z * 5, v.down * z * 5
    flag = ((grid_x.floor() + grid_y.floor()) % 2).to(f.x.dtype)
    for side in (-1, 1):
        cloth = front(v, beside(side, 1.3, 2.5), (-1.6, -1.2), z)
        picture = over(picture, blend(white, dark, flag), cloth)
    for lamp in range(5):
        x, y = 0.46 + (-0.8 + 0.4 * lamp) / z, line - 0.005 - 1.38 / z
        picture = over(picture, 0.3 * dark, disc(f, x, y, 0.028))
        picture = over(picture, f.rgb(255, 60, 40), gaussian(f, x, y, 0.04, 0.04) * 0.5 * air.lamps)
        picture = over(picture, f.rgb(236, 40, 36), disc(f, x, y, 0.021))
    return picture


@place(
    "in a sports hall",
    "in a gym",
    "on a basketball court",
    "under a basketball hoop",
    outdoors=False,
    lamp=_INDOORS,
)
def sports_hall(f: Fields, air: Air) -> Tensor:
    """Draw a shining floor with coloured lines, a basket, wall bars, high windows and mats."""
    room, line = Room(2.3, 1.7, 5.2), f.horizon - 0.06
    v, z = look(f, line), 5.2
    wall, steel = f.rgb(238, 232, 220), f.rgb(196, 202, 210)
    lower = hsv(f.u(6), saturation=0.45, value=0.72)
    picture = chamber(f, v, (wall, wall, f.rgb(214, 216, 216)), room)
    picture = planks(f, v, picture, room, f.rgb(226, 176, 112), f.rgb(196, 142, 84), 0.12)
    floor, across, away = level(v, (-2.3, 2.3), 1.0, (0.4, z))
    white, blue = f.rgb(252, 252, 250), f.rgb(52, 96, 190)
    key = (across.abs() < 0.7) * (away > 3.3)
    picture = over(picture, lower, 0.65 * key.to(f.x.dtype) * floor)
    chalk = within((across.abs() - 0.7).abs(), 0.03, 0.012) * (away > 3.3) + within(
        (away - 3.3).abs(), 0.04, 0.02
    ) * (across.abs() < 0.73)
    ring = torch.hypot(across, away - 3.3)
    chalk = chalk + within((ring - 0.68).abs(), 0.03, 0.02)
    chalk = chalk + within((across.abs() - 2.0).abs(), 0.03, 0.012)
    picture = over(picture, white, chalk.clamp(0, 1) * floor)
    arc = within((torch.hypot(across, 0.8 * (away - 5.0)) - 1.85).abs(), 0.025, 0.012)
    picture = over(picture, blue, arc * floor)
    shine = torch.exp(-((across - 0.9) / 0.25).square()) + torch.exp(
        -((across + 0.9) / 0.25).square()
    )
    picture = over(
        picture, f.rgb(255, 252, 240), 0.16 * shine * floor * (0.6 + 0.4 * torch.sin(3 * away))
    )
    picture = over(picture, lower, front(v, (-2.3, 2.3), (0.15, 1.0), z))
    picture = over(picture, lower * 0.7, front(v, (-2.3, 2.3), (0.1, 0.15), z))
    for side in (-2.3, 2.3):
        face, away, tall = upright(v, side, (0.15, 1.0), (0.5, z))
        picture = over(picture, lower * 0.86, face)
        high, away, tall = upright(v, side, (-1.35, -0.55), (0.6, z - 0.2))
        sky = blend(f.rgb(146, 204, 246), f.rgb(240, 248, 252), ramp(-1.35, -0.5, tall))
        frame = torch.maximum(seam(1.4 * away, 0.05), seam((tall + 1.35) / 0.4, 0.05))
        picture = over(picture, over(sky, f.rgb(250, 250, 248), frame), high)
        rack, away, tall = upright(v, side * 0.985, (-0.35, 1.0), (2.9, 4.7))
        bars = torch.maximum(seam((tall + 0.35) / 0.12, 0.16), seam((away - 2.9) / 0.6, 0.05))
        picture = over(
            picture, f.rgb(206, 152, 92) * (0.9 + 0.1 * torch.sin(9 * tall)), bars * rack
        )
    beam, across, away = level(v, (-2.3, 2.3), -1.7, (0.5, z))
    trusses = torch.maximum(seam(0.9 * away, 0.05), 0.6 * seam(1.2 * across + 0.5, 0.04))
    picture = over(picture, f.rgb(120, 128, 138), trusses * beam)
    lights = ramp(0.2, 0.17, (torch.frac(0.9 * away + 0.5) - 0.5).abs()) * ramp(
        0.12, 0.1, (across.abs() - 1.1).abs()
    )
    picture = over(picture, f.rgb(255, 255, 248), lights * beam)
    x, hoop_z = 0.5, 4.6
    for side in (-0.2, 0.2):
        picture = over(
            picture,
            steel * 0.7,
            stroke(
                f, (x + side / 5, line - 1.2 / z), (x + side / hoop_z, line - 0.8 / hoop_z), 0.005
            ),
        )
    picture = over(picture, f.rgb(250, 250, 250), front(v, (-0.62, 0.62), (-1.2, -0.42), hoop_z))
    picture = over(
        picture,
        f.rgb(206, 48, 44),
        front(v, (-0.62, 0.62), (-1.2, -0.42), hoop_z)
        * (1 - front(v, (-0.58, 0.58), (-1.16, -0.46), hoop_z)),
    )
    picture = over(
        picture,
        f.rgb(206, 48, 44),
        front(v, (-0.24, 0.24), (-0.88, -0.52), hoop_z)
        * (1 - front(v, (-0.2, 0.2), (-0.84, -0.56), hoop_z)),
    )
    hx, hy = x, line - 0.5 / 4.3
    net_half = 0.044 - 0.016 * ((f.y - hy) / 0.07).clamp(0, 1)
    mesh = torch.maximum(
        seam(60 * (f.x - hx) + 34 * (f.y - hy), 0.16), seam(60 * (f.x - hx) - 34 * (f.y - hy), 0.16)
    )
    net = (
        ramp(net_half + 0.002, net_half - 0.002, (f.x - hx).abs())
        * below(f, hy)
        * (1 - below(f, hy + 0.07))
    )
    picture = over(picture, f.rgb(252, 252, 252), mesh * net)
    rim = ellipse(f, hx, hy, 0.048, 0.012) * (1 - ellipse(f, hx, hy, 0.04, 0.007))
    picture = over(picture, f.rgb(240, 96, 36), rim)
    for x0, x1, tone in ((-2.0, -1.2, (44, 110, 190)), (1.15, 1.95, (216, 66, 54))):
        picture = shadow(picture, v, (x0, x1), (4.4, 4.9), 0.3)
        for pile in range(3):
            top = 0.88 - 0.13 * pile
            picture = block(
                picture,
                v,
                f.rgb(*tone) * (1 - 0.08 * pile),
                x=(x0, x1),
                y=(top, top + 0.12),
                z=(4.4, 4.9),
                light=air.side,
            )
    bx, by = 0.5 - 1.35 / 3.2, line + 0.88 / 3.2
    picture = picture * (1 - 0.3 * gaussian(f, bx, by + 0.04, 0.05, 0.014))
    ball = disc(f, bx, by, 0.042)
    shade = 1.05 - 9 * ((f.x - bx + 0.012).square() + (f.y - by + 0.014).square()).sqrt() * 1.1
    seams = torch.minimum(
        (f.x - bx).abs(),
        torch.minimum((f.y - by).abs(), (torch.hypot(f.x - bx - 0.045, f.y - by) - 0.032).abs()),
    )
    picture = over(picture, f.rgb(232, 120, 48) * shade, ball)
    return over(picture, f.rgb(70, 36, 24), ball * ramp(0.003, 0.001, seams))
