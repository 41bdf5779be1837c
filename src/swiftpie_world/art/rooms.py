"""Places under a roof, and plain backdrops."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from swiftpie_world.air import Air
from swiftpie_world.features import Draw, Lamp, Place, place, relief
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.nouns import article_of
from swiftpie_world.shapes import below, blend, box, depth, disc, gaussian, ramp, texture, within

_ROOM = Lamp((1.0, 0.97, 0.9), (0.64, 0.63, 0.62), 0.42, height=0.5, shadow=0.28)


def _near(f: Fields, edge: float | Tensor) -> Tensor:
    """Return how near a floor is that begins at the height `edge`: 0.35 at the back, 1 in front."""
    return 0.35 + 0.65 * depth(f, edge, 1.0 - edge if isinstance(edge, float) else 0.5)


def _wall(f: Fields, colour: Tensor) -> Tensor:
    """Return a wall (B, 3, R, R) on which the light of a lamp or window falls."""
    glow = gaussian(f, f.sun_x, 0.2, 0.5, 0.5)
    return colour * (0.8 + 0.26 * glow + 0.012 * texture(f, 2, 3, 3))


def _boards(f: Fields, edge: Tensor | float, light: Tensor, dark: Tensor) -> Tensor:
    """Return boards (B, 3, R, R) of a floor that run towards the viewer."""
    near = _near(f, edge)
    across = (f.x - 0.5) / near * 5 + 16.5
    joint = ramp(0.07, 0.02, torch.minimum(torch.frac(across), 1 - torch.frac(across)))
    tone = torch.frac(torch.sin(across.floor() * 12.9) * 43.7).abs()
    fibre = (
        0.5
        + 0.25 * torch.sin(9 * torch.frac(across) + 2.2 * texture(f, 1, 9, 1))
        + 0.1 * texture(f, 0, 7, 1)
    )
    wood = blend(dark, light, (0.55 * fibre + 0.45 * tone).clamp(0, 1)) * (1 - 0.35 * joint)
    shine = gaussian(f, f.sun_x, 0.75, 0.3, 0.2)
    return wood * (0.92 + 0.2 * shine)


def _window(f: Fields, picture: Tensor, top: float, bottom: float, half: float) -> Tensor:
    """Draw a window with a cross and a sill where the light comes from."""
    x = 0.14 + 0.72 * (f.sun_x > 0.5)
    frame = f.rgb(250, 248, 244)
    picture = over(
        picture, frame, box(f, x - half - 0.02, x + half + 0.02, top - 0.02, bottom + 0.02)
    )
    view = blend(f.rgb(150, 204, 246), f.rgb(236, 246, 250), depth(f, top, bottom - top))
    view = over(view, f.rgb(128, 178, 110), below(f, bottom - 0.05 + 0.012 * f.ridge(2)))
    view = over(view, f.rgb(255, 255, 255), 0.6 * ramp(0.2, 1.2, texture(f, 1, 3, 7)))
    glass = box(f, x - half, x + half, top, bottom)
    picture = over(picture, view, glass)
    cross = box(f, x - 0.008, x + 0.008, top, bottom)
    middle = (top + bottom) / 2 - 0.03
    cross = torch.maximum(cross, box(f, x - half, x + half, middle, middle + 0.016))
    picture = over(picture, frame, cross)
    return over(
        picture, 0.9 * frame, box(f, x - half - 0.04, x + half + 0.04, bottom + 0.02, bottom + 0.04)
    )


@place(
    "on a wooden table",
    "on a table made of wood",
    "on a wooden desk",
    "on top of a wooden table",
    outdoors=False,
    floor=(0.78, 0.92),
    lamp=_ROOM,
)
def wooden_table(f: Fields, _air: Air) -> Tensor:
    """Draw the boards of a table before a wall and a blurred window."""
    tint = hsv(f.u(6), saturation=0.26, value=0.9)
    edge = f.horizon + 0.06
    picture = _wall(f, tint)
    soft = gaussian(f, f.sun_x, 0.2, 0.16, 0.3)
    picture = over(picture, f.rgb(255, 250, 236), 0.7 * ramp(0.2, 0.9, soft))
    for x, hue in ((1 - f.sun_x, 0.08), (1.2 - f.sun_x, 0.4)):
        blur = ramp(0.3, 0.9, gaussian(f, x, edge, 0.1, 0.2))
        picture = over(picture, hsv(f.u(9) + hue, saturation=0.4, value=0.75), 0.5 * blur)
    near = 0.3 + 0.7 * ((f.y - edge) / (1 - edge)).clamp(0, 1)
    nearness = 6 * near.log() + 12
    plank = torch.frac(nearness)
    gap = ramp(0.05, 0.015, torch.minimum(plank, 1 - plank))
    number = torch.frac(torch.sin(nearness.floor() * 7.3) * 91.7).abs()
    fibre = 0.5 + 0.3 * torch.sin(26 * plank + 1.6 * texture(f, 1, 1, 15) + 6 * number)
    fibre = fibre + 0.14 * texture(f, 0, 1, 9)
    wood = blend(f.rgb(136, 82, 44), f.rgb(212, 150, 88), (0.7 * fibre + 0.3 * number).clamp(0, 1))
    shine = gaussian(f, f.sun_x, edge + 0.1, 0.24, 0.24)
    wood = over(wood * (1 - 0.4 * gap), f.rgb(255, 244, 222), 0.3 * shine)
    return over(picture, wood, below(f, edge))


@place(
    "in a kitchen",
    "in the kitchen",
    "on a kitchen counter",
    "on the kitchen worktop",
    outdoors=False,
    floor=(0.8, 0.92),
    lamp=_ROOM,
)
def kitchen(f: Fields, air: Air) -> Tensor:
    """Draw tiles, a shelf with jars, cupboards, a window, and a worktop before them."""
    hue = f.u(6)
    tile_x, tile_y = torch.frac(16 * f.x), torch.frac(16 * f.y)
    joint = torch.minimum(torch.minimum(tile_x, 1 - tile_x), torch.minimum(tile_y, 1 - tile_y))
    tone = 1 + 0.02 * f.cells(16, 0)
    tiles = blend(f.rgb(204, 206, 206), f.rgb(246, 246, 240), ramp(0.03, 0.1, joint)) * tone
    picture = _wall(f, tiles * 1.02)
    cupboard = hsv(hue, saturation=0.34, value=0.86)
    door = torch.frac(4 * f.x) - 0.5
    panel = ramp(0.42, 0.4, door.abs()) * box(f, -1, 2, 0.03, 0.17)
    rim = ramp(0.36, 0.33, door.abs()) * box(f, -1, 2, 0.05, 0.15)
    picture = over(picture, cupboard * 0.72, box(f, -1, 2, -1, 0.2))
    picture = over(picture, cupboard, panel)
    picture = over(picture, cupboard * 0.92, rim)
    knob = ramp(0.016, 0.01, torch.hypot((door.abs() - 0.3) / 4, f.y - 0.155))
    picture = over(picture, f.rgb(240, 220, 170), knob)
    picture = picture * (1 - 0.16 * torch.exp(-((f.y - 0.2).clamp_min(0) / 0.04)) * below(f, 0.2))
    picture = _window(f, picture, 0.26, 0.52, 0.1)
    # The shelf hangs on the other side of the room.
    x = 0.72 - 0.44 * (f.sun_x > 0.5)
    shelf = f.rgb(176, 120, 72)
    picture = over(picture, shelf, box(f, x - 0.2, x + 0.2, 0.47, 0.49))
    slot = torch.frac(16 * f.x) - 0.5
    value = f.columns(16, 1)
    top = 0.47 - 0.06 - 0.02 * torch.tanh(value)
    jar = (
        ramp(0.42, 0.36, slot.abs())
        * below(f, top)
        * (1 - below(f, 0.47))
        * ((f.x - x).abs() < 0.18)
    )
    paint = hsv(torch.sigmoid(2 * value), saturation=0.55, value=0.88) * (1 + 0.5 * slot * air.side)
    picture = over(picture, paint, jar)
    lid = (
        ramp(0.34, 0.28, slot.abs())
        * below(f, top - 0.014)
        * (1 - below(f, top + 0.004))
        * ((f.x - x).abs() < 0.18)
    )
    picture = over(picture, f.rgb(120, 84, 60), lid)
    edge = 0.68
    nearness = depth(f, edge, 0.32)
    speck = 1 + 0.03 * texture(f, 0) + 0.02 * texture(f, 2)
    top = blend(f.rgb(196, 190, 184), f.rgb(232, 228, 222), nearness) * speck
    shine = gaussian(f, f.sun_x, edge + 0.06, 0.2, 0.12)
    top = over(top, f.rgb(255, 255, 255), 0.35 * shine)
    picture = picture * (1 - 0.2 * torch.exp(-(edge - f.y).clamp_min(0) / 0.03))
    return over(picture, top, below(f, edge))


@place(
    "in a living room",
    "in the living room",
    "on a carpet at home",
    "in front of a sofa",
    outdoors=False,
    lamp=_ROOM,
)
def living_room(f: Fields, air: Air) -> Tensor:
    """Draw a sofa, a picture, a floor lamp, a window, and a carpet on boards."""
    wall = hsv(f.u(6), saturation=0.18, value=0.95)
    picture = _wall(f, wall)
    picture = _window(f, picture, 0.1, 0.42, 0.11)
    edge = 0.66
    x = 0.62 - 0.24 * (f.sun_x > 0.5)
    picture = over(picture, f.rgb(112, 84, 62), box(f, x - 0.12, x + 0.12, 0.1, 0.28))
    art = blend(
        hsv(f.u(9), saturation=0.5, value=0.9),
        hsv(f.u(9) + 0.3, saturation=0.5, value=0.6),
        depth(f, 0.12, 0.15),
    )
    art = over(art, f.rgb(250, 240, 210), disc(f, x + 0.03, 0.17, 0.036))
    picture = over(picture, art, box(f, x - 0.104, x + 0.104, 0.116, 0.264))
    skirting = box(f, -1, 2, edge - 0.03, edge)
    picture = over(picture, f.rgb(248, 246, 240), skirting)
    picture = over(
        picture, _boards(f, edge, f.rgb(206, 156, 104), f.rgb(150, 100, 62)), below(f, edge)
    )
    rug = 1 - ((f.x - 0.5) / 0.56).square() - ((f.y - 0.88) / 0.15).square()
    carpet = hsv(f.u(9) + 0.5, saturation=0.26, value=0.8)
    ring = 0.86 + 0.14 * ramp(-0.2, 0.2, torch.sin(18 * rug))
    picture = over(picture, carpet * ring * (1 + 0.05 * texture(f, 0)), ramp(-0.01, 0.03, rug))
    sofa = hsv(f.u(9), saturation=0.36, value=0.66)
    light = 1 + 0.14 * relief(f, air, 2) * 0.5 + 0.25 * (f.sun_x - 0.5) * (f.x - 0.5)
    back = _soft_box(f, x - 0.27, x + 0.27, 0.44, 0.68, 0.05)
    picture = picture * (1 - 0.3 * gaussian(f, x, 0.73, 0.36, 0.03))
    picture = over(picture, sofa * 0.9 * light, back)
    folded = replace(f, x=(f.x - x).abs())  # both halves of the sofa at once
    cushion = _soft_box(folded, 0.0, 0.245, 0.57, 0.66, 0.03) * ramp(0.0, 0.012, folded.x)
    picture = over(picture, sofa * (1.14 - 0.8 * depth(f, 0.56, 0.4)) * light, cushion)
    picture = over(picture, sofa * 0.82 * light, _soft_box(f, x - 0.28, x + 0.28, 0.64, 0.73, 0.03))
    arms = _soft_box(folded, 0.245, 0.335, 0.52, 0.74, 0.04)
    picture = over(picture, sofa * 0.98 * light, arms)
    pillow = _soft_box(f, x - 0.2, x - 0.09, 0.5, 0.6, 0.03)
    picture = over(picture, hsv(f.u(9) + 0.4, saturation=0.36, value=0.92), pillow)
    lamp = x + 0.38 * (2 * (f.sun_x > 0.5) - 1) * -1
    picture = over(picture, f.rgb(92, 76, 66), box(f, lamp - 0.007, lamp + 0.007, 0.36, 0.74))
    halo = gaussian(f, lamp, 0.36, 0.2, 0.2)
    picture = over(picture, f.rgb(255, 232, 170), 0.4 * halo)
    shade = ramp(0.006, -0.006, (f.x - lamp).abs() - 0.05 - 0.25 * (f.y - 0.3)) * box(
        f, 0.0, 1.0, 0.3, 0.38
    )
    return over(picture, f.rgb(255, 240, 200), shade)


def _soft_box(
    f: Fields, left: Tensor | float, right: Tensor | float, top: float, bottom: float, corner: float
) -> Tensor:
    """Return a rectangle (B, 1, R, R) with round corners."""
    across = ((f.x - (left + right) / 2).abs() - (right - left) / 2 + corner).clamp_min(0)
    down = ((f.y - (top + bottom) / 2).abs() - (bottom - top) / 2 + corner).clamp_min(0)
    edge = 0.8 / f.size_px
    return ramp((corner + edge) ** 2, (corner - edge) ** 2, across.square() + down.square())


@place(
    "in a library",
    "in front of bookshelves",
    "among old books",
    "between shelves of books",
    outdoors=False,
    lamp=Lamp((1.0, 0.93, 0.8), (0.6, 0.56, 0.52), 0.45, height=0.7),
)
def library(f: Fields, _air: Air) -> Tensor:
    """Draw shelves full of books, lit by a lamp, and a carpet on the floor."""
    edge = 0.72
    shelf = f.rgb(122, 80, 48)
    row = (f.y - 0.0) / 0.144
    level = torch.frac(row)
    count = 32
    height = 0.26 + 0.1 * torch.tanh(f.columns(32, 1))
    spine = torch.frac(count * f.x)
    book = (
        (level > height).to(f.x.dtype)
        * (level < 0.9)
        * ramp(0.0, 0.16, torch.minimum(spine, 1 - spine))
    )
    shelf_row = row.floor()
    hue = torch.sin(
        3.7 * (count * f.x).floor() + 5.1 * shelf_row + 2 * torch.tanh(f.columns(32, 0))
    )
    paint = hsv(
        0.06 + 0.32 * hue.square() * torch.sign(hue),
        saturation=0.4,
        value=0.62 + 0.16 * torch.sin(2.3 * (count * f.x).floor() + shelf_row),
    )
    paint = paint * (0.7 + 0.5 * torch.sin(math.pi * spine))
    gold = ramp(0.05, 0.03, (level - 0.5).abs()) * (hue > 0.2)
    paint = over(paint, f.rgb(232, 196, 110), 0.8 * gold * book)
    inside = blend(f.rgb(46, 28, 20), f.rgb(72, 46, 30), level)
    picture = over(inside, paint, book)
    board = ramp(0.89, 0.91, level)
    picture = over(picture, shelf * (1.15 - 2.5 * (level - 0.9).clamp_min(0)), board)
    upright = (torch.frac(2 * f.x + 0.5) - 0.5).abs()
    picture = over(picture, shelf * 0.95, ramp(0.045, 0.035, upright))
    glow = gaussian(f, f.sun_x, 0.3, 0.36, 0.4)
    picture = picture * (0.62 + 0.55 * glow) + 0.02
    picture = over(
        picture, _boards(f, edge, f.rgb(164, 106, 66), f.rgb(108, 66, 40)), below(f, edge)
    )
    near = _near(f, edge)
    aside = ((f.x - 0.5) / near).abs()
    runner = ramp(0.45, 0.44, aside) * below(f, edge + 0.03)
    pattern = blend(f.rgb(140, 38, 42), f.rgb(206, 158, 88), ramp(0.02, 0.01, (aside - 0.39).abs()))
    picture = over(picture, pattern * (1 + 0.05 * texture(f, 0)), runner)
    return picture * (1 - 0.25 * torch.exp(-((f.y - edge) / 0.025).square()))


@place(
    "in front of a brick wall",
    "by a brick wall",
    "against a brick wall",
    "next to an old brick wall",
    outdoors=False,
    lamp=Lamp(height=0.6, shadow=0.32),
)
def brick_wall(f: Fields, air: Air) -> Tensor:
    """Draw a wall of rough bricks in slanting light above a pavement."""
    course = 16 * f.y
    across = 8 * f.x + 0.5 * (course.floor() % 2)
    side, level = torch.frac(across), torch.frac(course)
    tone = ramp(-1.2, 1.2, f.cells(16, 0))
    rough = 1 + 0.06 * relief(f, air, 2, 1) + 0.05 * texture(f, 1)
    stone = blend(f.rgb(146, 62, 48), f.rgb(206, 116, 84), tone) * rough
    inset = torch.minimum(torch.minimum(side, 1 - side) * 2, torch.minimum(level, 1 - level))
    face = ramp(0.05, 0.14, inset)
    bevel = 1 + 0.14 * (0.5 - level) - 0.1 * (0.5 - side) * air.side
    mortar = f.rgb(196, 184, 172) * (1 + 0.04 * texture(f, 0))
    picture = blend(mortar * 0.92, stone * bevel, face)
    light = 0.74 + 0.4 * gaussian(f, f.sun_x, 0.2, 0.5, 0.6)
    picture = picture * light
    edge = 0.78
    near = _near(f, edge)
    slab_x = torch.frac((f.x - 0.5) / near * 2 + 8)
    joint = ramp(0.03, 0.01, torch.minimum(slab_x, 1 - slab_x))
    joint = torch.maximum(joint, ramp(0.012, 0.004, (f.y - 0.87).abs()))
    floor = (
        f.rgb(168, 166, 168)
        * (1 + 0.05 * relief(f, air, 0, 1))
        * (1 - 0.3 * joint)
        * (0.85 + 0.2 * light)
    )
    picture = picture * (1 - 0.35 * torch.exp(-(edge - f.y).clamp_min(0) / 0.04))
    return over(picture, floor, below(f, edge))


@place(
    "on a checkered floor",
    "on a chess board floor",
    "on a tiled floor",
    "in a hall with a checkered floor",
    outdoors=False,
    lamp=Lamp(height=0.9),
)
def checkered_floor(f: Fields, air: Air) -> Tensor:
    """Draw shining tiles in perspective before a panelled wall with columns of light."""
    edge = f.horizon + 0.04
    wall = _wall(f, hsv(f.u(6), saturation=0.3, value=0.88))
    panel = (torch.frac(4 * f.x) - 0.5).abs()
    frame = ramp(0.02, 0.008, (panel - 0.38).abs()) * box(f, -1, 2, 0.1, edge - 0.08)
    level = ramp(0.005, 0.002, (f.y - 0.1).abs()) + ramp(0.005, 0.002, (f.y - edge + 0.08).abs())
    frame = torch.maximum(frame, level.clamp(0, 1) * (panel < 0.38))
    picture = wall * (1 - 0.18 * frame)
    picture = over(picture, wall * 1.12, box(f, -1, 2, edge - 0.04, edge))
    near = ((f.y - edge) / (1 - edge)).clamp(0.0, 1) + 0.3
    across, along = (f.x - 0.5) / near * 4, 3.2 / near
    square = torch.sin(math.pi * across) * torch.sin(math.pi * along)
    dark = ramp(-0.1, 0.1, square)
    marble = 1 + 0.03 * air.clumps + 0.02 * texture(f, 2)
    tiles = blend(f.rgb(246, 242, 236), hsv(f.u(9), saturation=0.5, value=0.34), dark) * marble
    mirror = gaussian(f, f.sun_x, edge + 0.08, 0.22, 0.2)
    tiles = over(tiles, wall, 0.22 * (1 - depth(f, edge, 0.4)))
    tiles = over(tiles, f.rgb(255, 255, 250), 0.35 * mirror)
    return over(picture, tiles, below(f, edge))


@place(
    "on a stage",
    "on stage",
    "in the spotlight on a stage",
    "in a theatre",
    outdoors=False,
    lamp=Lamp((1.0, 0.95, 0.84), (0.42, 0.36, 0.4), 0.75, height=1.3, shadow=0.42),
)
def stage(f: Fields, _air: Air) -> Tensor:
    """Draw curtains, two cones of light from above, and boards with a bright circle."""
    hue = torch.where(f.u(6) < 0.6, 0.98, 0.62 + 0.2 * f.u(6))
    fold = torch.sin(2 * math.pi * 8 * f.x + 0.7 * f.ridge(2))
    fine = torch.sin(2 * math.pi * 16 * f.x + 1.1 * f.ridge(1, 1))
    shade = 0.5 + 0.26 * fold + 0.14 * fine
    cloth = blend(
        hsv(hue, saturation=0.9, value=0.22),
        hsv(hue, saturation=0.8, value=0.72),
        shade.clamp(0, 1),
    )
    picture = cloth * (0.45 + 0.5 * gaussian(f, 0.5, 0.62, 0.42, 0.5))
    valance = 0.12 + 0.035 * torch.cos(2 * math.pi * 4 * f.x)
    trim = ramp(0.016, 0.008, (f.y - valance).abs())
    picture = over(picture, cloth * 0.85, 1 - below(f, valance))
    picture = over(picture, f.rgb(226, 178, 84), trim)
    side = (f.x - 0.5).abs()
    drape = ramp(-0.01, 0.01, side - 0.36 - 0.1 * (f.y - 0.6).square() * 3 + 0.05)
    picture = over(picture, cloth * (0.75 + 0.3 * fine), drape * (1 - below(f, 0.78)))
    edge = 0.76
    boards = _boards(f, edge, f.rgb(170, 112, 70), f.rgb(104, 64, 42))
    spot = 1 - ((f.x - 0.5) / 0.4).square() - ((f.y - 0.88) / 0.1).square()
    boards = boards * (0.5 + 0.75 * ramp(-0.1, 0.35, spot))
    picture = over(picture, boards, below(f, edge))
    for x in (f.sun_x * 0.5, 0.5 + f.sun_x * 0.5):
        aim = x + (0.5 - x) * (f.y / 0.88)
        half = 0.02 + 0.3 * f.y
        cone = (
            ramp(1.0, 0.2, (f.x - aim).abs() / half)
            * (1 - f.y).clamp_min(0.1)
            * (1 - below(f, 0.9))
        )
        picture = over(picture, f.rgb(255, 244, 214), 0.34 * cone)
    return picture


@place(
    "in a museum",
    "in an art gallery",
    "in a white gallery",
    "in an exhibition",
    outdoors=False,
    lamp=Lamp(height=1.2, shadow=0.24),
)
def museum(f: Fields, _air: Air) -> Tensor:
    """Draw three framed paintings under spot lights, and a polished floor that mirrors them."""
    edge = 0.72
    line = f.x.new_tensor(edge)
    y = torch.where(f.y > line, 2 * line - f.y, f.y)  # the floor mirrors the wall
    wall = f.rgb(240, 238, 232) * (0.9 + 0.1 * (1 - y))
    picture = wall.expand(len(f.noise), -1, -1, f.size_px)
    for index, x in enumerate((0.17, 0.5, 0.83)):
        tint = f.columns(4, index % 2)[..., :1] + 0.7 * index
        cone = torch.exp(-((f.x - x) / 0.13).square()) * torch.exp(-((y - 0.22) / 0.28).square())
        picture = picture * (1 + 0.07 * cone)
        tall = 0.13 if index != 1 else 0.1
        frame = _span(f.x, x, 0.115, f) * _span(y, 0.3, tall + 0.02, f)
        shadow = _span(f.x, x + 0.012, 0.118, f) * _span(y, 0.315, tall + 0.022, f)
        picture = picture * (1 - 0.2 * shadow)
        picture = over(
            picture, blend(f.rgb(86, 60, 40), f.rgb(206, 164, 88), depth(f, 0.1, 0.35)), frame
        )
        hue = 0.15 * torch.tanh(tint) + 0.33 * index + f.u(6)
        art = blend(
            hsv(hue, saturation=0.5, value=0.95),
            hsv(hue + 0.1, saturation=0.55, value=0.55),
            ((y - 0.18) / 0.24).clamp(0, 1),
        )
        blob = ramp(0.3, 0.9, texture(f, index, 3, 3) + 0.3)
        art = blend(art, hsv(hue + 0.45, saturation=0.6, value=0.85), blob)
        picture = over(picture, art, _span(f.x, x, 0.098, f) * _span(y, 0.3, tall, f))
    floor = below(f, edge)
    polished = torch.lerp(picture, f.rgb(176, 146, 116).expand_as(picture), 0.62)
    polished = polished * (1 + 0.02 * texture(f, 0, 1, 7)) * (0.92 + 0.16 * depth(f, edge, 0.3))
    picture = over(picture, polished, floor)
    return picture * (1 - 0.2 * torch.exp(-((f.y - edge) / 0.01).square()))


def _span(value: Tensor, centre: float, half: float, f: Fields) -> Tensor:
    edge = 1 / f.size_px
    return within((value - centre).abs(), half, edge)


@place(
    "in a cave",
    "inside a cave",
    "in a dark cave with crystals",
    "in a crystal cave",
    outdoors=False,
    lamp=Lamp((1.0, 0.9, 0.75), (0.4, 0.4, 0.52), 0.55, height=0.8, shadow=0.4),
)
def cave(f: Fields, air: Air) -> Tensor:
    """Draw rock around a bright opening, stalactites, glowing crystals, and a rough floor."""
    rock, dark = f.rgb(124, 104, 104), f.rgb(34, 28, 46)
    x, y = f.sun_x, f.horizon - 0.12
    lumps = air.lumps + 0.7 * relief(f, air, 2)
    beam = gaussian(f, x, y, 0.36, 0.42)
    face = blend(dark, rock, (0.16 + 0.62 * beam + 0.16 * lumps * (0.4 + beam)).clamp(0, 1))
    opening = (
        1 - ((f.x - x) / 0.15).square() - ((f.y - y) / 0.17).square() + 0.22 * texture(f, 1, 3, 3)
    )
    sky = blend(f.rgb(148, 206, 246), f.rgb(250, 250, 232), depth(f, 0.15, 0.35))
    picture = over(face, sky, ramp(-0.02, 0.1, opening))
    picture = over(picture, f.rgb(255, 248, 220), 0.35 * gaussian(f, x, y, 0.24, 0.26))
    for count, which, reach, tone in ((16, 0, 0.1, 0.55), (8, 1, 0.2, 0.8)):
        length = reach * (0.7 + 0.6 * torch.tanh(f.columns(count, which)))
        across = torch.frac(count * f.x) - 0.5
        half = 0.44 * (1 - f.y / length.clamp_min(0.02)).clamp(0, 1)
        tooth = ramp(0.05, -0.05, across.abs() - half) * (f.y < length)
        colour = blend(dark, rock, (0.3 * tone + 0.35 * beam + 0.7 * across * air.side).clamp(0, 1))
        picture = over(picture, colour, tooth)
    edge = f.horizon + 0.14
    line = edge + 0.02 * f.ridge(2)
    near = blend(f.rgb(120, 100, 94), f.rgb(62, 50, 58), depth(f, line, 0.35))
    picture = over(
        picture,
        near * (0.75 + 0.5 * gaussian(f, x, edge, 0.4, 0.3) + 0.09 * relief(f, air, 0, 1)),
        below(f, line),
    )
    value = f.columns(16, 0)
    across = torch.frac(16 * f.x) - 0.5 - 0.25 * torch.tanh(f.columns(16, 1)) * (line - f.y) * 10
    tall = 0.16 * (value - 0.3).clamp(0, 1.2)
    up = ((line + 0.03 - f.y) / tall.clamp_min(0.01)).clamp(0, 1)
    gem = ramp(0.05, -0.05, across.abs() - 0.34 * (1 - up).clamp(0, 0.5) * 2) * (tall > 0.02)
    gem = gem * (up < 1) * (1 - below(f, line + 0.03)) * ramp(0.22, 0.3, (f.x - 0.5).abs())
    hue = 0.5 + 0.35 * f.u(9)
    crystal = hsv(
        hue, saturation=0.55 - 0.3 * up, value=0.75 + 0.25 * torch.sign(across * air.side)
    )
    return over(picture, crystal, 0.92 * gem)


def _backdrop(red: int, green: int, blue: int) -> Draw:
    def draw(f: Fields, _air: Air) -> Tensor:
        """Draw paper that bends from the wall to the floor, with a soft light on one side."""
        colour = f.rgb(red, green, blue)
        bend = f.horizon + 0.22
        glow = gaussian(f, f.sun_x, 0.3, 0.5, 0.5)
        floor = ramp(bend - 0.1, bend + 0.08, f.y)
        crease = torch.exp(-((f.y - bend) / 0.09).square())
        light = 0.84 + 0.2 * glow + 0.09 * floor - 0.07 * crease
        corners = ((f.x - 0.5).square() + (f.y - 0.5).square()) * 0.22
        return colour * (light - corners) + 0.09 * glow

    return draw


_COLOURS = {
    "white": (248, 248, 248),
    "grey": (158, 160, 166),
    "black": (44, 44, 50),
    "red": (212, 52, 48),
    "orange": (246, 146, 54),
    "yellow": (250, 214, 76),
    "green": (104, 190, 108),
    "turquoise": (72, 196, 190),
    "blue": (78, 136, 230),
    "purple": (146, 92, 204),
    "pink": (250, 152, 190),
    "brown": (146, 102, 72),
}


BACKDROPS = tuple(
    Place(
        f"{name} backdrop",
        (
            f"on {article_of(name)} {name} background",
            f"in front of {article_of(name)} {name} wall",
            f"on a plain {name} background",
            f"with {article_of(name)} {name} background",
        ),
        _backdrop(*colour),
        outdoors=False,
        has_seasons=False,
        lamp=Lamp((1.0, 1.0, 1.0), (0.7, 0.7, 0.7), 0.36, height=0.6, shadow=0.22),
    )
    for name, colour in _COLOURS.items()
)
