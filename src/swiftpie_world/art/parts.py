"""What places of scenes are built of: faces and blocks in perspective, polygons, lamps, palms."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie_world.air import Air
from swiftpie_world.fields import Fields, over
from swiftpie_world.shapes import below, blend, box, gaussian, ramp

Length = float | Tensor
Span = tuple[Length, Length]


class View(NamedTuple):
    """A camera that looks straight ahead from 1 above the ground.

    A point `x` to the right, `y` below the camera and `z` away is seen at (x / z, y / z).
    """

    right: Tensor  # (..., 1, R) of each pixel from the vanishing point
    down: Tensor  # (..., R, 1)
    px: int


def look(f: Fields, line: Length, centre: Length = 0.5) -> View:
    """Return the view whose vanishing point lies at (`centre`, `line`)."""
    return View(f.x - centre, f.y - line, f.size_px)


def beside(side: float, near: float, far: float) -> tuple[float, float]:
    """Return the span from `near` to `far` on the left (`side` < 0) or on the right."""
    return (side * far, side * near) if side < 0 else (side * near, side * far)


def front(v: View, x: Span, y: Span, z: Length) -> Tensor:
    """Return the coverage of an upright rectangle that faces the viewer."""
    return _inside(v.right, x[0] / z, x[1] / z, v.px) * _inside(v.down, y[0] / z, y[1] / z, v.px)


def level(v: View, x: Span, y: float, z: Span) -> tuple[Tensor, Tensor, Tensor]:
    """Return coverage, `x` and `z` of a flat rectangle at the height `y`, as of a floor."""
    closeness = v.down / y
    edges = torch.minimum(v.right - x[0] * closeness, x[1] * closeness - v.right)
    ends = torch.minimum(closeness - 1 / z[1], 1 / z[0] - closeness) * abs(y)
    away = 1 / closeness.clamp_min(0.02)
    cover = (edges * v.px + 0.5).clamp(0, 1) * (ends * v.px + 0.5).clamp(0, 1)
    return cover, v.right * away, away


def upright(v: View, x: float, y: Span, z: Span) -> tuple[Tensor, Tensor, Tensor]:
    """Return coverage, `z` and `y` of a wall that runs away from the viewer at `x`."""
    closeness = v.right / x
    edges = torch.minimum(v.down - y[0] * closeness, y[1] * closeness - v.down)
    ends = torch.minimum(closeness - 1 / z[1], 1 / z[0] - closeness) * abs(x)
    away = 1 / closeness.clamp_min(0.02)
    cover = (edges * v.px + 0.5).clamp(0, 1) * (ends * v.px + 0.5).clamp(0, 1)
    return cover, away, v.down * away


def block(
    picture: Tensor,
    v: View,
    colour: Tensor,
    *,
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    light: Length = 0.0,
) -> Tensor:
    """Draw a box; `light` is -1 where light falls from the left and 1 where from the right."""
    for wall, turned in ((x[0], -1), (x[1], 1)):
        if wall * turned < 0:
            picture = over(
                picture, colour * (0.78 + 0.16 * light * turned), upright(v, wall, y, z)[0]
            )
    if y[0] > 0:
        picture = over(picture, colour * 1.14, level(v, x, y[0], z)[0])
    if y[1] < 0:
        picture = over(picture, colour * 0.6, level(v, x, y[1], z)[0])
    return over(picture, colour, front(v, x, y, z[0]))


def shadow(picture: Tensor, v: View, x: Span, z: Span, dark: Length = 0.3) -> Tensor:
    """Darken the ground under and beside a thing."""
    cover, across, away = level(v, (x[0] - 0.3, x[1] + 0.3), 1.0, (z[0] * 0.9, z[1] * 1.1))
    soft = ramp(0.25, -0.05, torch.maximum(x[0] - across, across - x[1]))
    soft = soft * ramp(0.14, 0.0, torch.maximum(z[0] - away, away - z[1]) / z[0])
    return picture * (1 - dark * cover * soft)


def _inside(value: Tensor, low: Length, high: Length, px: int) -> Tensor:
    return (torch.minimum(value - low, high - value) * px + 0.5).clamp(0, 1)


def convex(f: Fields, *corners: tuple[Length, Length]) -> Tensor:
    """Return the coverage of a convex polygon; its corners go round clockwise."""
    least: Tensor | None = None
    for (x, y), (next_x, next_y) in zip(corners, (*corners[1:], corners[0]), strict=True):
        across, down = next_x - x, next_y - y
        inner = (across * (f.y - y) - down * (f.x - x)) / (across**2 + down**2) ** 0.5
        least = inner if least is None else torch.minimum(least, inner)
    assert least is not None
    return (least * f.size_px + 0.5).clamp(0, 1)


def ellipse(f: Fields, x: Length, y: Length, wide: Length, tall: Length) -> Tensor:
    """Return the coverage of an ellipse with half axes `wide` and `tall`."""
    square = ((f.x - x) / wide).square() + ((f.y - y) / tall).square()
    return ((1 - square) * (0.5 * f.size_px) * _smaller(wide, tall) + 0.5).clamp(0, 1)


def _smaller(first: Length, second: Length) -> Length:
    if isinstance(first, float) and isinstance(second, float):
        return min(first, second)
    return torch.minimum(torch.as_tensor(first), torch.as_tensor(second))


def stroke(
    f: Fields, start: tuple[Length, Length], end: tuple[Length, Length], half: Length
) -> Tensor:
    """Return the coverage of a line with round ends, `half` as wide on each side."""
    across, down = end[0] - start[0], end[1] - start[1]
    x, y = f.x - start[0], f.y - start[1]
    share = ((x * across + y * down) / (across**2 + down**2)).clamp(0, 1)
    distance = torch.hypot(x - share * across, y - share * down)
    return ((half - distance) * f.size_px + 0.5).clamp(0, 1)


def dither(*cells: Tensor) -> Tensor:
    """Return a number in [0, 1) for each cell of a lattice, from its whole coordinates."""
    total = sum(
        cell.floor() * factor for cell, factor in zip(cells, (12.9898, 78.233), strict=False)
    )
    return torch.frac(torch.frac(torch.sin(torch.as_tensor(total)) * 437.585) + 1)


def seam(value: Tensor, wide: Length) -> Tensor:
    """Return 1 where `value` is near a whole number and 0 between them."""
    nearest = 0.5 - (value - value.floor() - 0.5).abs()
    return ramp(wide, 0.3 * wide, nearest)


def glow(f: Fields, picture: Tensor, x: Length, y: Length, size: float, strength: Length) -> Tensor:
    """Add the warm halo of a lamp; `strength` is that of the lamps of the air."""
    halo = gaussian(f, x, y, size, size) * (0.8 * strength)
    return over(picture, f.rgb(255, 222, 150), halo.clamp(0, 1))


def turned(f: Fields, air: Air) -> tuple[Fields, Air]:
    """Return both as seen in a mirror in half of the pictures; noise fields stay as they are."""
    flip = f.u(9) > 0.5
    x, sun_x = torch.where(flip, 1 - f.x, f.x), torch.where(flip, 1 - f.sun_x, f.sun_x)
    return replace(f, x=x, sun_x=sun_x), air._replace(side=torch.where(flip, -air.side, air.side))


def palm(
    f: Fields,
    air: Air,
    picture: Tensor,
    foot: tuple[Length, Length],
    tall: float,
    paints: tuple[Tensor, Tensor, Tensor],
    lean: float = 0.15,
) -> Tensor:
    """Draw a palm tree; `paints` are those of its bark, its leaves and their shaded sides."""
    bark, leaf, shade = paints
    x, y = foot
    up = ((y - f.y) / tall).clamp(0, 1)
    stem = x + lean * tall * up.square()
    half = tall * (0.05 - 0.024 * up)
    trunk = ((half - (f.x - stem).abs()) * f.size_px + 0.5).clamp(0, 1)
    trunk = trunk * below(f, y - tall) * (1 - below(f, y))
    light = 1 + 0.3 * ((f.x - stem) / half).clamp(-1, 1) * air.side
    picture = over(picture, bark * light * (1 - 0.22 * ramp(0.6, 0.9, torch.frac(16 * up))), trunk)
    top_x, top_y = x + lean * tall, y - tall
    for side in (1, -1):
        for rise, reach, droop in ((0.2, 0.5, 0.9), (0.55, 0.46, 1.5), (-0.25, 0.4, 0.3)):
            across = (f.x - top_x) * side / (reach * tall)
            spine = top_y - rise * tall * across * 1.2 + droop * tall * across.square() * 0.62
            body = (0.075 * tall) * (across * (1.02 - across) * 4).clamp(0, 1).sqrt()
            offset = f.y - spine
            comb = 0.5 + 0.5 * torch.sin(80 * across + 60 * offset.abs() / tall)
            cover = ((body * (0.55 + 0.5 * comb) - offset.abs()) * f.size_px + 0.5).clamp(0, 1)
            cover = cover * ((across > 0) & (across < 1)).to(cover.dtype)
            tint = (0.55 - 4.5 * offset / tall + 0.15 * side * air.side).clamp(0, 1)
            picture = over(picture, blend(shade, leaf, tint) * (0.86 + 0.14 * comb), cover)
    return picture


class Room(NamedTuple):
    """The size of a room: half its width, how far its ceiling is above the eye, and its length."""

    half: float = 1.35
    up: float = 1.15
    deep: float = 3.6


def chamber(f: Fields, v: View, paints: tuple[Tensor, Tensor, Tensor], room: Room) -> Tensor:
    """Draw the walls, the floor and the ceiling of a room, darker in its corners."""
    wall, floor, ceiling = paints
    half, up, deep = room
    lamp = gaussian(f, f.sun_x, 0.25, 0.5, 0.5)
    span, height, reach = (-half, half), (-up, 1.0), (0.3, deep)
    picture = (wall * 0.8).expand(len(f.noise), 3, v.px, v.px)
    cover, across, away = level(v, span, -up, reach)
    picture = over(picture, ceiling * _nook(half - across.abs(), deep - away), cover)
    cover, across, away = level(v, span, 1.0, reach)
    picture = over(picture, floor * _nook(half - across.abs(), deep - away), cover)
    for side in (-1, 1):
        cover, away, tall = upright(v, side * half, height, reach)
        shade = 0.9 + 0.2 * side * (0.5 - f.sun_x)
        nook = _nook(torch.minimum(1 - tall, tall + up), deep - away)
        picture = over(picture, wall * (shade * nook), cover)
    nook = _nook(
        half - (v.right * deep).abs(), torch.minimum(1 - v.down * deep, v.down * deep + up)
    )
    back = wall * nook * (0.9 + 0.16 * lamp)
    return over(picture, back, front(v, span, height, deep))


def _nook(first: Tensor, second: Tensor) -> Tensor:
    """Return how bright a face is so near two edges."""
    near = torch.exp(-first.clamp_min(0) / 0.14) + torch.exp(-second.clamp_min(0) / 0.14)
    return 1 - 0.2 * near


def planks(
    f: Fields, v: View, picture: Tensor, room: Room, light: Tensor, dark: Tensor, wide: float = 0.2
) -> Tensor:
    """Draw boards on the floor of a room that run away from the viewer."""
    cover, across, away = level(v, (-room.half, room.half), 1.0, (0.3, room.deep))
    board = across / wide + 40.5
    tone = dither(board)
    piece = dither(board, away / 1.3 + 3 * tone)
    end = seam(away / 1.3 + 3 * tone, 0.015 * away)
    fibre = 0.5 + 0.28 * torch.sin(7 * (board - board.floor()) + 14 * tone + 1.4 * away)
    wood = blend(dark, light, (0.3 * fibre + 0.35 * piece + 0.35 * tone + 0.1).clamp(0, 1))
    wood = wood * (1 - 0.4 * torch.maximum(seam(board, 0.06), end) * ramp(6, 2, away))
    wood = wood * _nook(room.half - across.abs(), room.deep - away)
    return over(picture, wood * (0.9 + 0.22 * gaussian(f, f.sun_x, 0.8, 0.34, 0.22)), cover)


def tiles(
    f: Fields, v: View, picture: Tensor, room: Room, paints: tuple[Tensor, Tensor], size: float
) -> Tensor:
    """Draw square tiles of two colours on the floor of a room."""
    cover, across, away = level(v, (-room.half, room.half), 1.0, (0.3, room.deep))
    column, row = across / size + 40.0, away / size
    odd = (column.floor() + row.floor()) % 2
    joint = torch.maximum(seam(column, 0.035), seam(row, 0.05)) * ramp(6, 2, away)
    tile = blend(*paints, odd) * (0.96 + 0.08 * dither(column, row)) * (1 - 0.16 * joint)
    tile = tile * _nook(room.half - across.abs(), room.deep - away)
    shine = gaussian(f, f.sun_x, 0.8, 0.3, 0.2)
    return over(picture, tile * (0.92 + 0.16 * shine), cover)


def pane(f: Fields, v: View, picture: Tensor, x: Span, y: Span, z: float) -> Tensor:
    """Draw a window in a wall that faces the viewer: a frame, a cross, the sky and a hill."""
    frame = f.rgb(250, 248, 242)
    picture = over(
        picture, frame * 0.86, front(v, (x[0] - 0.07, x[1] + 0.07), (y[0] - 0.07, y[1] + 0.09), z)
    )
    share = ((v.down * z - y[0]) / (y[1] - y[0])).clamp(0, 1)
    view = blend(f.rgb(136, 196, 244), f.rgb(232, 244, 250), share)
    cloud = 0.5 + 0.5 * torch.sin(9 * v.right * z + 3 * torch.sin(14 * share + 6 * f.u(6)))
    view = over(view, f.rgb(255, 255, 255), 0.5 * ramp(0.7, 1.0, cloud) * (1 - share))
    hill = 0.74 + 0.06 * torch.sin(4 * v.right * z + 6 * f.u(13))
    view = blend(
        view, f.rgb(120, 176, 104) * (1.1 - 0.2 * share), ramp(hill - 0.01, hill + 0.01, share)
    )
    picture = over(picture, view, front(v, x, y, z))
    middle, bar = (x[0] + x[1]) / 2, y[0] + 0.42 * (y[1] - y[0])
    picture = over(picture, frame, front(v, (middle - 0.022, middle + 0.022), y, z))
    picture = over(picture, frame, front(v, x, (bar - 0.02, bar + 0.02), z))
    sill = (x[0] - 0.1, x[1] + 0.1)
    return over(picture, frame, front(v, sill, (y[1] + 0.05, y[1] + 0.1), z))


def lit_glass(f: Fields, air: Air, dark: Tensor, shine: float = 0.4) -> Tensor:
    """Return the colour of window panes: the sky by day, lamps by night."""
    return blend(torch.lerp(dark, air.low, shine), f.rgb(255, 216, 134), air.lamps)


def gable_house(
    f: Fields,
    air: Air,
    picture: Tensor,
    foot: tuple[float, Tensor],
    half: float,
    paints: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Draw a small house with a gable, `half` as wide on each side; `paints`: wall, roof, pane."""
    x, y = foot
    wall, roof, dark = paints
    top = y - 1.1 * half
    picture = over(
        picture, wall * (1 - 0.08 * seam(70 * f.y, 0.25)), box(f, x - half, x + half, top, y)
    )
    picture = over(
        picture,
        roof,
        convex(
            f, (x - 1.15 * half, top + 0.01), (x, top - 0.85 * half), (x + 1.15 * half, top + 0.01)
        ),
    )
    picture = over(
        picture,
        wall,
        convex(
            f, (x - 0.85 * half, top + 0.005), (x, top - 0.6 * half), (x + 0.85 * half, top + 0.005)
        ),
    )
    for side in (-0.5, 0.5):
        pane = box(
            f,
            x + (side - 0.2) * half,
            x + (side + 0.2) * half,
            top + 0.25 * half,
            top + 0.65 * half,
        )
        picture = over(picture, lit_glass(f, air, dark), pane)
    return picture
