"""Houses that stand alone: a lighthouse, a cabin of logs, a family house."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.art.parts import (
    convex,
    dither,
    ellipse,
    gable_house,
    glow,
    lit_glass,
    seam,
    turned,
)
from swiftpie_world.art.water import water
from swiftpie_world.features import (
    GRASS,
    GRASS_BLADES,
    GRASS_NEAR,
    LEAF,
    LEAF_DARK,
    PATH,
    ROCK,
    ROCK_DARK,
    crowns,
    firs,
    ground,
    hazed,
    hills,
    place,
    relief,
    tree,
    treeline,
)
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, depth, disc, gaussian, ramp, texture, within

_WOOD = plain(150, 98, 60, snow=0.1)
_STONE = plain(178, 172, 164, snow=0.25)
_DARK = plain(52, 56, 64)


@place(
    "by a lighthouse",
    "in front of a lighthouse",
    "on a cliff by the lighthouse",
    "on the lighthouse cliff",
    foreground=GRASS_BLADES,
)
def lighthouse(f: Fields, air: Air) -> Tensor:
    """Draw a red and white lighthouse on a cliff above the sea; by night its beam turns."""
    deep, shallow, land, rock, dark, far, near, path, white, red, roof, fence = air.seen(
        (plain(34, 104, 160), 0.3),
        (plain(56, 150, 176), 0.05),
        (plain(96, 128, 128), 1.1),
        (ROCK, 0.15),
        (ROCK_DARK, 0.1),
        (GRASS, 0.2),
        (GRASS_NEAR, 0.0),
        (PATH, 0.05),
        (plain(248, 244, 236), 0.1),
        (plain(212, 54, 46), 0.1),
        (plain(92, 60, 56, snow=0.7), 0.15),
        (plain(236, 230, 218), 0.0),
    )
    f, air = turned(f, air)
    line = f.horizon
    picture = over(
        air.sky, land, below(f, line - 0.04 * ramp(0.35, 0.0, f.x) * (1.4 + 0.3 * f.ridge(3)))
    )
    picture = water(f, air, picture, line, deep, shallow)
    picture = hazed(f, air, picture, line, 0.08)
    # The cliff falls from the lawn into the sea on the left.
    lawn = line + 0.05 + 0.19 * ramp(0.62, 0.1, f.x) ** 1.5 + 0.008 * f.ridge(3)
    strata = (
        0.45 + 0.25 * air.lumps + 0.22 * texture(f, 2, 5, 1) + 0.3 * torch.sin(70 * f.y + 8 * f.x)
    )
    cliff = below(f, lawn) * (f.x > 0.0)
    picture = over(picture, blend(dark, rock, strata.clamp(0, 1)), cliff)
    surf = ramp(0.03, 0.0, (f.y - line - 0.22 - 0.02 * f.ridge(2)).abs()) * ramp(0.3, 0.2, f.x)
    picture = over(picture, white, 0.5 * surf * ramp(-0.5, 0.6, texture(f, 0, 1, 3)) * (1 - cliff))
    x, foot, top = 0.72, line + 0.06, line - 0.33
    aim = torch.where(f.u(6) > 0.5, 1.0, -1.0)
    lamp_y = top - 0.035
    beam = ramp(0.16, 0.02, (f.y - lamp_y).abs() / ((f.x - x).abs() + 0.03)) * ramp(
        0.02, 0.06, (f.x - x) * -aim
    )
    beam = torch.maximum(
        beam,
        0.8
        * ramp(0.13, 0.02, (f.y - lamp_y).abs() / ((f.x - x).abs() + 0.03))
        * ramp(0.02, 0.06, (f.x - x) * aim),
    )
    picture = over(
        picture, f.rgb(255, 238, 180), 0.5 * beam * air.stars * ramp(0.75, 0.1, (f.x - x).abs())
    )
    house = box(f, x + 0.06, x + 0.22, foot - 0.07, foot + 0.01)
    picture = over(picture, white * 0.96, house)
    picture = over(
        picture,
        roof,
        convex(
            f,
            (x + 0.045, foot - 0.065),
            (x + 0.075, foot - 0.125),
            (x + 0.205, foot - 0.125),
            (x + 0.235, foot - 0.065),
        ),
    )
    for pane_x in (x + 0.1, x + 0.15, x + 0.19):
        pane = box(f, pane_x - 0.01, pane_x + 0.01, foot - 0.045, foot - 0.018)
        picture = over(picture, blend(0.4 * roof, f.rgb(255, 214, 130), air.lamps), pane)
    up = ((foot - f.y) / (foot - top)).clamp(0, 1)
    half = 0.052 - 0.02 * up
    tower = (
        ((half - (f.x - x).abs()) * f.size_px + 0.5).clamp(0, 1)
        * below(f, top)
        * (1 - below(f, foot + 0.006))
    )
    stripes = ramp(-0.04, 0.04, torch.sin(2 * math.pi * (3.5 * (f.y - foot) / (foot - top))))
    light = (
        0.86 + 0.3 * ((f.x - x) / half).clamp(-1, 1) * air.side - 0.12 * ((f.x - x) / half).square()
    )
    picture = over(picture, blend(white, red, stripes) * light, tower)
    for share in (0.25, 0.62):
        pane_y = foot + (top - foot) * share
        picture = over(
            picture,
            blend(dark, f.rgb(255, 214, 130), air.lamps),
            box(f, x - 0.008, x + 0.008, pane_y - 0.014, pane_y + 0.014),
        )
    picture = over(picture, 0.5 * dark, box(f, x - 0.05, x + 0.05, top - 0.008, top + 0.006))
    rail = seam(90 * (f.x - x), 0.25) * box(f, x - 0.048, x + 0.048, top - 0.03, top)
    room = box(f, x - 0.025, x + 0.025, top - 0.06, top - 0.006)
    picture = over(
        picture,
        blend(
            f.rgb(150, 190, 214) * air.tone,
            f.rgb(255, 244, 190),
            (air.lamps + air.stars).clamp(0, 1),
        ),
        room,
    )
    picture = over(
        picture, 0.5 * dark, torch.maximum(rail, seam(40 * (f.x - x) + 0.5, 0.12) * room)
    )
    picture = over(
        picture,
        red * light,
        convex(f, (x - 0.034, top - 0.058), (x, top - 0.1), (x + 0.034, top - 0.058)),
    )
    picture = glow(f, picture, x, lamp_y, 0.12, air.lamps)
    lawn = lawn + 0.012
    picture = ground(f, air, picture, lawn, far, near)
    bend = 0.5 + 0.22 * torch.cos(3.0 * depth(f, line + 0.06, 0.5)) * depth(f, line + 0.6, -0.54)
    way = within((f.x - bend).abs(), 0.012 + 0.28 * depth(f, line + 0.05, 0.6).square(), 0.012)
    picture = over(picture, path * (1 + 0.05 * relief(f, air, 2)), way * below(f, lawn + 0.004))
    posts = seam(14 * f.x + 0.5, 0.12) * below(f, lawn - 0.028) * (1 - below(f, lawn + 0.015))
    rails = ramp(0.007, 0.003, (f.y - lawn + 0.02).abs()) + ramp(
        0.007, 0.003, (f.y - lawn + 0.004).abs()
    )
    return over(picture, fence, (posts + rails).clamp(0, 1) * ramp(0.58, 0.56, f.x))


@place(
    "at a log cabin",
    "in front of a log cabin",
    "by a cabin in the woods",
    "at a mountain hut",
    foreground=GRASS_BLADES,
)
def log_cabin(f: Fields, air: Air) -> Tensor:
    """Draw a cabin of logs with a porch and a smoking chimney, firs, and a stack of wood."""
    blue, far, near, log, dark, roof, stone, path = air.seen(
        (ROCK, 1.1),
        (GRASS, 0.25),
        (GRASS_NEAR, 0.0),
        (_WOOD, 0.05),
        (plain(84, 52, 34), 0.05),
        (plain(112, 74, 62, snow=0.95), 0.1),
        (_STONE, 0.1),
        (PATH, 0.05),
    )
    f, air = turned(f, air)
    line = f.horizon + 0.04
    picture = hills(f, air.sky, line - 0.18 + 0.06 * f.ridge(4), blue, air.haze, 0.2)
    picture = firs(f, air, picture, 16, 0, line + 0.02, 0.2, 0.7)
    picture = hazed(f, air, picture, line, 0.12)
    picture = firs(f, air, picture, 8, 1, line + 0.03, 0.36, 0.35, 0.35)
    picture = ground(f, air, picture, line + 0.01, far, near)
    left, right, foot, eaves = 0.4, 0.84, line + 0.14, line - 0.075
    smoke = gaussian(f, 0.5 + 0.22 * (eaves - 0.2 - f.y) * -air.side, eaves - 0.3, 0.035, 0.12)
    picture = over(picture, air.cloud, 0.6 * ramp(0.2, 0.9, smoke + 0.12 * air.clumps))
    picture = over(
        picture,
        stone * (0.8 + 0.3 * dither(60 * f.x, 50 * f.y)),
        box(f, 0.475, 0.525, eaves - 0.19, eaves),
    )
    wall = box(f, left, right, eaves, foot)
    course = torch.frac((f.y - eaves) * 26)
    timber = blend(dark, log, (1.15 - 4.2 * (course - 0.42).square()).clamp(0, 1))
    grain = 0.94 + 0.1 * torch.sin(40 * f.x + 60 * f.y + 3 * (26 * (f.y - eaves)).floor())
    picture = over(picture, timber * grain, wall)
    ends = box(f, left - 0.014, left + 0.012, eaves, foot) + box(
        f, right - 0.012, right + 0.014, eaves, foot
    )
    picture = over(
        picture, log * (0.6 + 0.55 * (1 - 4 * (course - 0.5).square())), ends.clamp(0, 1)
    )
    picture = picture * (1 - 0.35 * wall * ramp(0.06, 0.0, f.y - eaves))
    for x in (0.49, 0.75):
        frame = box(f, x - 0.048, x + 0.048, line - 0.028, line + 0.062)
        pane = box(f, x - 0.04, x + 0.04, line - 0.02, line + 0.054)
        cross = torch.maximum(
            seam((f.x - x) * 12.5 + 10, 0.06), seam((f.y - line - 0.017) * 13 + 10, 0.06)
        )
        glass = blend(torch.lerp(0.45 * dark, air.low, 0.35), f.rgb(255, 208, 116), air.lamps)
        picture = over(picture, dark, frame)
        picture = over(picture, over(glass, dark, cross), pane)
        picture = glow(f, picture, x, line + 0.02, 0.1, 0.7 * air.lamps)
        shutters = box(f, x - 0.075, x - 0.05, line - 0.028, line + 0.062) + box(
            f, x + 0.05, x + 0.075, line - 0.028, line + 0.062
        )
        green = air.seen((plain(70, 112, 74), 0.05))[0]
        picture = over(picture, green * (1 - 0.2 * seam(60 * f.y, 0.25)), shutters)
    door = box(f, 0.585, 0.655, line - 0.02, foot)
    planks = 1 - 0.25 * seam(80 * f.x, 0.2)
    picture = over(picture, dark * 1.35 * planks, door)
    picture = over(picture, f.rgb(232, 196, 110) * air.tone, disc(f, 0.645, line + 0.06, 0.006))
    slope = convex(
        f,
        (left - 0.05, eaves + 0.012),
        (left + 0.04, eaves - 0.15),
        (right - 0.04, eaves - 0.15),
        (right + 0.05, eaves + 0.012),
    )
    shingle = (
        1
        - 0.16 * seam((f.y - eaves) * 36, 0.22)
        + 0.12 * (dither(48 * f.x + 0.5 * ((f.y - eaves) * 36).floor(), (f.y - eaves) * 36) - 0.5)
    )
    picture = over(picture, roof * shingle * (1.06 + 0.6 * (f.y - eaves)), slope)
    picture = over(picture, dark, box(f, left - 0.05, right + 0.05, eaves + 0.006, eaves + 0.018))
    porch = box(f, left - 0.02, right + 0.02, foot - 0.01, foot + 0.012)
    picture = over(picture, log * (0.9 - 0.2 * seam(30 * f.x, 0.1)), porch)
    stack = box(f, 0.2, 0.36, foot - 0.075, foot + 0.01)
    cell_x, cell_y = 30 * f.x + 0.5 * (34 * f.y).floor(), 34 * f.y
    ring = torch.hypot(torch.frac(cell_x) - 0.5, torch.frac(cell_y) - 0.5)
    cut = blend(air.seen((plain(222, 174, 116), 0.05))[0], 0.7 * dark, ramp(0.32, 0.5, ring))
    cut = (
        cut
        * (1 - 0.15 * ramp(0.05, 0.0, (ring - 0.2).abs()))
        * (0.85 + 0.3 * dither(cell_x, cell_y))
    )
    picture = over(picture, cut, stack)
    picture = over(picture, roof, box(f, 0.185, 0.375, foot - 0.09, foot - 0.072))
    way = within(
        (f.x - 0.62 + 0.12 * depth(f, foot, 0.3)).abs(), 0.035 + 0.25 * depth(f, foot, 0.4), 0.012
    )
    picture = over(picture, path * (1 + 0.05 * relief(f, air, 2)), way * below(f, foot + 0.01))
    keep = ramp(0.2, 0.1, f.x)
    near_firs = firs(f, air, picture, 8, 0, line + 0.2, 0.62, 0.05)
    return blend(picture, near_firs, keep)


@place(
    "in a suburban street",
    "in the suburbs",
    "in front of a family house",
    "in front of a house with a lawn",
    foreground=GRASS_BLADES,
)
def suburban_street(f: Fields, air: Air) -> Tensor:
    """Draw a house with a porch and a garage, neighbours, a white fence, a letter box, a lawn."""
    far, near, wood, roof, white, dark, path, hedge, red = air.seen(
        (GRASS, 0.25),
        (GRASS_NEAR, 0.0),
        (plain(196, 204, 214), 0.05),
        (plain(98, 92, 104, snow=0.92), 0.05),
        (plain(248, 246, 240), 0.05),
        (_DARK, 0.05),
        (plain(204, 198, 190, snow=0.7), 0.05),
        (LEAF_DARK, 0.05),
        (plain(206, 66, 56), 0.0),
    )
    f, air = turned(f, air)
    line = f.horizon + 0.06
    picture = treeline(f, air, air.sky, line, 0.14, 0.6, 8)
    picture = tree(
        f,
        air,
        picture,
        torch.cat([0.08 + 0.1 * f.u(6), 0.86 + 0.08 * f.u(13)], 1),
        line + 0.02,
        0.4,
        LEAF,
        LEAF_DARK,
        0.3,
    )
    for x, hue in ((0.05, 0.08), (0.97, 0.55)):
        away = hsv(f.u(6) + hue, saturation=0.25, value=0.88) * air.tone
        picture = gable_house(
            f, air, picture, (x, line + 0.01), 0.13, (torch.lerp(away, air.haze, 0.2), roof, dark)
        )
    picture = ground(f, air, picture, line, far, near)
    picture = hazed(f, air, picture, line)
    wall = hsv(f.u(6), saturation=0.3, value=0.93) * air.tone
    siding = wall * (1 - 0.1 * seam(60 * f.y, 0.25))
    foot = line + 0.06
    picture = over(picture, siding, box(f, 0.26, 0.6, line - 0.13, foot))
    picture = over(
        picture,
        roof * (1 - 0.12 * seam(50 * f.y, 0.25)),
        convex(
            f,
            (0.235, line - 0.125),
            (0.3, line - 0.235),
            (0.58, line - 0.235),
            (0.63, line - 0.125),
        ),
    )
    picture = over(picture, siding * 0.94, box(f, 0.6, 0.83, line - 0.06, foot))
    picture = over(
        picture,
        roof * 0.94 * (1 - 0.12 * seam(50 * f.y, 0.25)),
        convex(
            f,
            (0.585, line - 0.055),
            (0.6, line - 0.125),
            (0.81, line - 0.125),
            (0.85, line - 0.055),
        ),
    )
    picture = over(
        picture,
        roof * 0.9,
        convex(f, (0.265, line - 0.12), (0.35, line - 0.26), (0.435, line - 0.12)),
    )
    picture = over(
        picture, siding, convex(f, (0.285, line - 0.12), (0.35, line - 0.228), (0.415, line - 0.12))
    )
    picture = over(picture, siding, box(f, 0.285, 0.415, line - 0.122, foot))
    picture = over(
        picture,
        white,
        convex(
            f,
            (0.265, line - 0.12),
            (0.35, line - 0.262),
            (0.35, line - 0.246),
            (0.278, line - 0.12),
        ),
    )
    picture = over(
        picture,
        white,
        convex(
            f,
            (0.35, line - 0.262),
            (0.435, line - 0.12),
            (0.422, line - 0.12),
            (0.35, line - 0.246),
        ),
    )
    glass = lit_glass(f, air, dark)
    for x, y, half, tall in (
        (0.35, -0.15, 0.022, 0.05),
        (0.32, -0.06, 0.026, 0.075),
        (0.38, -0.06, 0.026, 0.075),
        (0.55, -0.09, 0.028, 0.07),
    ):
        picture = over(
            picture,
            white,
            box(f, x - half - 0.007, x + half + 0.007, line + y - 0.007, line + y + tall + 0.007),
        )
        pane = box(f, x - half, x + half, line + y, line + y + tall)
        bars = torch.maximum(
            seam((f.x - x) / (2 * half) * 2, 0.1), seam((f.y - line - y) / tall * 2, 0.08)
        )
        picture = over(picture, over(glass, white, bars), pane)
    door = box(f, 0.452, 0.506, line - 0.065, foot)
    picture = over(picture, white, box(f, 0.444, 0.514, line - 0.073, foot))
    picture = over(picture, hsv(f.u(6) + 0.45, saturation=0.6, value=0.6) * air.tone, door)
    picture = over(picture, glass, box(f, 0.466, 0.492, line - 0.055, line - 0.02))
    porch = box(f, 0.425, 0.535, line - 0.098, line - 0.082)
    posts = box(f, 0.43, 0.438, line - 0.09, foot) + box(f, 0.522, 0.53, line - 0.09, foot)
    picture = over(picture, white, torch.maximum(porch, posts.clamp(0, 1)))
    garage = box(f, 0.635, 0.795, line - 0.03, foot)
    picture = over(
        picture,
        white * (1 - 0.14 * seam(44 * (f.y - foot), 0.16) - 0.08 * seam(25 * (f.x - 0.635), 0.08)),
        garage,
    )
    picture = over(picture, white, box(f, 0.26, 0.83, foot - 0.006, foot + 0.004))
    bush, light = crowns(
        f,
        air,
        f.x.new_tensor([0.27, 0.31, 0.36, 0.405, 0.565, 0.6]).view(1, 6, 1, 1),
        foot + 0.004,
        0.034,
        0.032,
    )
    picture = over(picture, blend(hedge, hedge * 1.9, light), bush)
    picture = glow(f, picture, 0.48, line - 0.07, 0.1, air.lamps)
    drive = convex(f, (0.635, foot + 0.003), (0.795, foot + 0.003), (1.15, 1.01), (0.72, 1.01))
    picture = over(
        picture,
        path
        * (0.95 + 0.05 * texture(f, 2))
        * (1 - 0.1 * seam(14 / (0.02 + f.y - line) * 0.14, 0.04)),
        drive,
    )
    walk = convex(f, (0.455, foot + 0.003), (0.505, foot + 0.003), (0.52, 1.01), (0.3, 1.01))
    picture = over(
        picture,
        path * (0.98 + 0.05 * texture(f, 1)) * (1 - 0.14 * seam(1.4 / (0.02 + f.y - line), 0.08)),
        walk,
    )
    rails = line + 0.13
    pale = ramp(0.3, 0.22, (torch.frac(26 * f.x) - 0.5).abs())
    pointed = rails - 0.075 + 0.04 * (torch.frac(26 * f.x) - 0.5).abs()
    fence = pale * below(f, pointed) * (1 - below(f, rails + 0.005))
    bars = ramp(0.007, 0.004, (f.y - rails + 0.05).abs()) + ramp(
        0.007, 0.004, (f.y - rails + 0.018).abs()
    )
    picture = over(picture, white, torch.maximum(fence, bars.clamp(0, 1)) * ramp(0.28, 0.275, f.x))
    picture = over(picture, wood * 0.6, box(f, 0.94, 0.955, line + 0.14, line + 0.33))
    box_cover = torch.maximum(
        box(f, 0.905, 0.985, line + 0.105, line + 0.15),
        ellipse(f, 0.945, line + 0.108, 0.04, 0.028),
    )
    picture = over(picture, wood * (1 + 2 * (f.x - 0.945) * air.side), box_cover)
    return over(
        picture,
        red,
        box(f, 0.975, 0.982, line + 0.07, line + 0.12)
        + box(f, 0.975, 0.998, line + 0.07, line + 0.085),
    )
