"""Places that neither training nor the library shows, to measure what a network makes of them."""

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.art.parts import (
    Room,
    block,
    chamber,
    dither,
    front,
    gable_house,
    level,
    look,
    pane,
    seam,
    turned,
    upright,
)
from swiftpie_world.features import (
    BLOSSOM,
    GRASS,
    GRASS_BLADES,
    GRASS_NEAR,
    LEAF,
    LEAF_DARK,
    Lamp,
    ground,
    hazed,
    hills,
    place,
    tree,
    treeline,
)
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, depth, disc, ramp, texture, within

_TAR = plain(104, 106, 114, snow=0.5)
_PAVING = plain(184, 174, 162, snow=0.7)
_WHITE = plain(246, 246, 242)
_DARK = plain(52, 56, 64)
_WARM = Lamp((1.0, 0.9, 0.74), (0.58, 0.53, 0.5), 0.5, height=0.6, shadow=0.32)


@place(
    "in an orchard",
    "under apple trees",
    "among fruit trees",
    "in an apple orchard",
    foreground=GRASS_BLADES,
)
def orchard(f: Fields, air: Air) -> Tensor:
    """Draw two rows of apple trees that run to the hills, with apples in the grass."""
    blue, pale, far, near, apple = air.seen(
        (LEAF_DARK, 1.4), (GRASS, 1.0), (GRASS, 0.3), (GRASS_NEAR, 0.0), (plain(214, 50, 44), 0.0)
    )
    line = f.horizon
    picture = hills(f, air.sky, line - 0.06 + 0.03 * f.ridge(5), blue, pale, 0.1)
    picture = treeline(f, air, picture, line + 0.006, 0.03, 0.8)
    picture = ground(f, air, picture, line, far, near)
    picture = hazed(f, air, picture, line)
    for size in (0.12, 0.2, 0.36, 0.7):
        xs = f.x.new_tensor([0.5 - 0.62 * size - 0.05, 0.5 + 0.62 * size + 0.05]).view(1, 2, 1, 1)
        foot = line + 0.42 * size
        picture = tree(f, air, picture, xs, foot, size, LEAF, LEAF_DARK, 0.4 - 0.4 * size)
        crown = ((f.x - xs) / (0.32 * size)).square().amin(dim=1, keepdim=True)
        crown = crown + ((f.y - foot + 0.66 * size) / (0.32 * size)).square()
        cell_x, cell_y = 7 * f.x / size, 7 * f.y / size
        reach = torch.hypot(torch.frac(cell_x) - 0.5, torch.frac(cell_y) - 0.5)
        fruit = (
            within(reach, 0.24, 7 / (size * f.size_px))
            * (dither(cell_x, cell_y) > 0.72)
            * (crown < 0.8)
        )
        season = ((air.season == 0) | (air.season == 1)).view(-1, 1, 1, 1)
        picture = over(picture, apple * (1.1 - 0.6 * reach), fruit * season)
    return picture


@place("at a bus stop", "in a bus shelter", "waiting at the bus stop", "by the bus stop")
def bus_stop(f: Fields, air: Air) -> Tensor:
    """Draw a glass shelter with a bench, a sign and a street before a hedge and houses."""
    leaf, deep, paving, tar, steel, dark, yellow, white, wood = air.seen(
        (LEAF, 0.2),
        (LEAF_DARK, 0.2),
        (_PAVING, 0.05),
        (_TAR, 0.0),
        (plain(150, 158, 168), 0.05),
        (_DARK, 0.05),
        (plain(250, 206, 60), 0.0),
        (_WHITE, 0.0),
        (plain(176, 122, 76), 0.0),
    )
    f, air = turned(f, air)
    line = f.horizon + 0.1
    roof = air.seen((plain(150, 92, 76, snow=0.85), 0.4))[0]
    picture = air.sky
    for x, hue in ((0.14, 0.08), (0.52, 0.55), (0.88, 0.02)):
        wall = torch.lerp(hsv(f.u(6) + hue, saturation=0.25, value=0.9) * air.tone, air.haze, 0.15)
        picture = gable_house(f, air, picture, (x, line - 0.03), 0.15, (wall, roof, dark))
    picture = tree(
        f,
        air,
        picture,
        torch.cat([0.3 + 0.1 * f.u(6), 0.72 + 0.06 * f.u(13)], 1),
        line,
        0.34,
        BLOSSOM,
        LEAF_DARK,
        0.3,
    )
    hedge = line - 0.1 + 0.008 * f.ridge(1)
    picture = over(
        picture,
        blend(
            deep,
            leaf,
            (0.4 + 0.3 * air.lumps + 0.4 * (dither(80 * f.x, 80 * f.y) - 0.5)).clamp(0, 1),
        ),
        below(f, hedge),
    )
    v = look(f, line - 0.14)
    _, across, away = level(v, (-40.0, 40.0), 1.0, (1.0, 40.0))
    joint = torch.maximum(seam(2.4 * across, 0.04), seam(3.0 * away, 0.06))
    slabs = paving * (0.94 + 0.12 * dither(2.4 * across, 3.0 * away)) * (1 - 0.2 * joint)
    picture = over(picture, slabs, below(f, line))
    left, right, top = 0.24, 0.78, line - 0.36
    glass = box(f, left, right, top + 0.04, line - 0.03)
    picture = over(picture, torch.lerp(air.low, steel, 0.3), 0.3 * glass)
    streak = ramp(0.08, 0.0, (torch.frac(2.1 * f.x + 1.3 * f.y) - 0.4).abs()) * glass
    picture = over(picture, white, 0.22 * streak)
    frame = torch.maximum(
        seam(5.555 * (f.x - left), 0.03) * box(f, left - 0.005, right + 0.005, top, line + 0.02),
        box(f, left, right, line - 0.05, line - 0.04),
    )
    picture = over(picture, dark, frame)
    picture = over(
        picture,
        wood * (1 - 0.3 * seam(60 * f.y, 0.2)),
        box(f, left + 0.06, right - 0.06, line - 0.08, line - 0.05),
    )
    picture = over(
        picture,
        dark,
        box(f, left + 0.1, left + 0.115, line - 0.05, line + 0.015)
        + box(f, right - 0.115, right - 0.1, line - 0.05, line + 0.015),
    )
    poster = box(f, right - 0.14, right - 0.03, top + 0.07, line - 0.1)
    art = hsv(f.u(13) + 0.4 * depth(f, top + 0.1, 0.3), saturation=0.6, value=0.95)
    art = over(art, f.rgb(255, 250, 230), disc(f, right - 0.085, top + 0.13, 0.03))
    picture = over(picture, art * blend(air.tone, torch.ones_like(air.tone), air.lamps), poster)
    picture = over(picture, dark, box(f, left - 0.04, right + 0.04, top - 0.012, top + 0.024))
    lamp = box(f, left, right, top + 0.024, top + 0.034)
    picture = over(picture, f.rgb(255, 244, 210), lamp * (0.3 + 0.7 * air.lamps))
    picture = over(picture, f.rgb(255, 236, 180), 0.25 * air.lamps * glass)
    x = 0.1
    picture = over(picture, steel, box(f, x - 0.008, x + 0.008, line - 0.4, line + 0.05))
    picture = over(picture, yellow, disc(f, x, line - 0.42, 0.055))
    picture = over(picture, air.seen((plain(40, 120, 80), 0.0))[0], disc(f, x, line - 0.42, 0.042))
    picture = over(picture, yellow, box(f, x - 0.02, x + 0.02, line - 0.445, line - 0.4))
    kerb = 0.9
    picture = over(picture, paving * 1.15, below(f, kerb))
    return over(
        picture,
        blend(tar * (1 + 0.05 * texture(f, 0, 1, 3)), air.low, 0.4 * air.wet),
        below(f, kerb + 0.022),
    )


@place(
    "on a tennis court",
    "at the tennis court",
    "by a tennis net",
    "on a clay court",
    has_seasons=False,
)
def tennis_court(f: Fields, air: Air) -> Tensor:
    """Draw a clay court with white lines and a net before a wire fence and trees."""
    clay, outer, white, dark, leaf = air.seen(
        (plain(206, 112, 74), 0.0),
        (plain(70, 128, 90), 0.1),
        (_WHITE, 0.0),
        (_DARK, 0.1),
        (LEAF, 0.3),
    )
    line = f.horizon
    picture = treeline(f, air, air.sky, line + 0.02, 0.13, 0.5, 8)
    picture = tree(
        f,
        air,
        picture,
        torch.cat([0.2 + 0.1 * f.u(6), 0.7 + 0.1 * f.u(13)], 1),
        line + 0.02,
        0.34,
        LEAF,
        LEAF_DARK,
        0.3,
    )
    picture = over(picture, leaf, below(f, line + 0.02))
    picture = hazed(f, air, picture, line)
    v = look(f, line - 0.04)
    cover, across, away = level(v, (-90.0, 90.0), 1.0, (1.0, 12.0))
    grain = (
        1
        + 0.08 * (dither(120 * across, 70 * away) - 0.5) * ramp(6, 2, away)
        + 0.04 * texture(f, 0, 1, 3)
    )
    picture = over(picture, outer * grain, cover)
    court, _, _ = level(v, (-2.6, 2.6), 1.0, (1.0, 11.0))
    picture = over(picture, blend(clay * grain, air.low, 0.35 * air.wet), court)
    chalk = within((across.abs() - 2.0).abs(), 0.035, 0.01) + within(
        (across.abs() - 1.5).abs(), 0.035, 0.01
    )
    chalk = (
        chalk
        + within((away - 2.9).abs(), 0.03, 0.015)
        + within(across.abs(), 0.035, 0.01) * (away > 2.9)
    )
    picture = over(picture, white, chalk.clamp(0, 1) * court * (across.abs() < 2.05))
    mesh = torch.maximum(seam(22 * f.x + 22 * f.y, 0.09), seam(22 * f.x - 22 * f.y, 0.09)) * box(
        f, -1, 2, line - 0.18, line + 0.045
    )
    posts = torch.maximum(
        seam(4 * f.x + 0.5, 0.02) * box(f, -1, 2, line - 0.19, line + 0.045),
        box(f, -1, 2, line - 0.19, line - 0.18),
    )
    picture = over(picture, dark, (0.45 * mesh + posts).clamp(0, 1))
    z = 4.6
    net = torch.maximum(seam(14 * v.right * z, 0.14), seam(14 * v.down * z, 0.14)) * front(
        v, (-2.4, 2.4), (0.5, 1.0), z
    )
    picture = over(picture, dark, 0.6 * net)
    picture = over(picture, white, front(v, (-2.4, 2.4), (0.46, 0.54), z))
    for x in (-2.4, 2.4):
        picture = block(picture, v, dark, x=(x - 0.05, x + 0.05), y=(0.42, 1.0), z=(z, z + 0.1))
    return picture


@place(
    "in a hotel corridor",
    "in a long hallway",
    "between hotel doors",
    "in a corridor with many doors",
    outdoors=False,
    lamp=_WARM,
)
def hotel_corridor(f: Fields, _air: Air) -> Tensor:
    """Draw a carpet between rows of doors and wall lamps, with a window at the end."""
    room, line = Room(1.1, 1.0, 6.0), f.horizon - 0.03
    v, z = look(f, line), 6.0
    wall = hsv(f.u(6), saturation=0.18, value=0.92)
    picture = chamber(f, v, (wall, wall, f.rgb(248, 244, 236)), room)
    floor, across, away = level(v, (-1.1, 1.1), 1.0, (0.4, z))
    carpet = hsv(f.u(9), saturation=0.55, value=0.55)
    diamond = (torch.sin(9 * across) * torch.sin(6 * away)).abs()
    pattern = blend(carpet, f.rgb(232, 196, 120), 0.7 * ramp(0.08, 0.02, (diamond - 0.4).abs()))
    pattern = blend(pattern, carpet * 0.6, ramp(0.9, 0.92, across.abs()))
    picture = over(picture, pattern, floor)
    for side in (-1.1, 1.1):
        face, away, tall = upright(v, side, (-1.0, 1.0), (0.4, z))
        bay = torch.frac(0.62 * away)
        door = ramp(0.22, 0.21, (bay - 0.5).abs()) * ramp(-0.62, -0.6, tall)
        panel = ramp(0.15, 0.14, (bay - 0.5).abs()) * ramp(
            0.3, 0.28, (torch.frac(tall / 0.75 + 0.25) - 0.5).abs()
        )
        wood = f.rgb(132, 84, 52) * (1 + 0.14 * panel)
        picture = over(
            picture,
            f.rgb(246, 242, 232),
            face * ramp(0.26, 0.25, (bay - 0.5).abs()) * ramp(-0.7, -0.68, tall),
        )
        picture = over(picture, wood, face * door)
        picture = over(
            picture,
            f.rgb(232, 196, 110),
            face * ramp(0.05, 0.03, torch.hypot((bay - 0.33) * 2, tall - 0.25)),
        )
        sconce = torch.exp(-(((bay * 2 - 1).abs() - 1) / 0.22).square()) * torch.exp(
            -((tall + 0.3) / 0.35).square()
        )
        picture = over(picture, f.rgb(255, 226, 160), 0.7 * sconce * face)
        picture = over(picture, f.rgb(250, 246, 238), face * ramp(0.92, 0.94, tall))
    ceiling, across, away = level(v, (-1.1, 1.1), -1.0, (0.4, z))
    lamp = torch.hypot(across, (torch.frac(0.62 * away) - 0.5) / 0.62)
    picture = over(picture, f.rgb(255, 250, 226), ceiling * ramp(0.16, 0.13, lamp))
    return pane(f, v, picture, (-0.45, 0.45), (-0.6, 0.4), z)
