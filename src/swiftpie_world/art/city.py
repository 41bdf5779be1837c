"""A canal between old houses, and a terrace above the city."""

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.art.parts import (
    View,
    beside,
    convex,
    dither,
    level,
    lit_glass,
    look,
    seam,
    turned,
    upright,
)
from swiftpie_world.features import LEAF, LEAF_DARK, hazed, place, tree
from swiftpie_world.fields import Fields, hsv, over
from swiftpie_world.shapes import below, blend, box, depth, gaussian, ramp, texture, within

_PAVING = plain(184, 174, 162, snow=0.7)
_DARK = plain(52, 56, 64)


@place(
    "by a canal",
    "in a canal town",
    "on a canal quay",
    "in front of canal houses",
    floor=(0.85, 0.95),
)
def canal(f: Fields, air: Air) -> Tensor:
    """Draw gabled houses on both sides of a canal that mirrors them, an arched bridge and boats."""
    dark, white, deep, stone, brick, hull, far = air.seen(
        (_DARK, 0.1),
        (plain(250, 244, 232), 0.05),
        (plain(44, 84, 92), 0.1),
        (_PAVING, 0.0),
        (plain(150, 88, 68, snow=0.3), 0.3),
        (plain(120, 70, 48), 0.0),
        (plain(150, 160, 172), 1.0),
    )
    line = f.horizon
    picture = over(air.sky, far, below(f, line - 0.09 - 0.03 * torch.tanh(f.columns(16, 0))))
    v = look(f, line)
    picture = over(picture, torch.lerp(deep, air.low, 0.5), below(f, line))
    for mirrored in (True, False):
        for side in (-1, 1):
            picture = _facades(f, air, picture, v, side, (dark, white), mirrored=mirrored)
    picture = hazed(f, air, picture, line, 0.1)
    # Ripples cut the mirror image into strips of sky.
    sheet, across, away = level(v, (-1.7, 1.7), 1.0, (1.0, 40.0))
    ripple = torch.sin(16 * away.sqrt() * 3 + 1.6 * texture(f, 2, 1, 9) + 2 * across)
    veil = 0.3 + 0.22 * ramp(0.1, 0.9, ripple) + 0.12 * texture(f, 0, 1, 7).clamp(-1, 1)
    water = blend(torch.lerp(deep, air.low, 0.35), air.zenith, 0.3 * depth(f, line, 0.5))
    picture = over(picture, water, veil.clamp(0, 0.8) * sheet)
    for bank in (-1, 1):
        wall, away, height = upright(v, 1.7 * bank, (0.72, 1.0), (1.0, 40.0))
        course = torch.maximum(
            seam(7 * height, 0.1), seam(1.5 * away + 0.5 * (7 * height).floor(), 0.06)
        )
        picture = over(picture, stone * (0.62 - 0.1 * course), wall)
        quay, _, away = level(v, beside(bank, 1.7, 2.6), 0.72, (1.0, 40.0))
        picture = over(picture, stone * (0.95 - 0.12 * seam(1.5 * away, 0.08)), quay)
    for away_z in (7.0, 4.6, 3.2):
        spots = f.x.new_tensor([0.5 - 2.2 / away_z, 0.5 + 2.2 / away_z]).view(1, 2, 1, 1)
        foot, size = line + 0.74 / away_z, 1.15 / away_z
        picture = tree(f, air, picture, spots, foot, size, far=0.06 * away_z - 0.15)
    arch = 1 - ((f.x - 0.5) / 0.105).square() - ((f.y - line - 0.06) / 0.062).square()
    body = line - 0.03 + 0.35 * (f.x - 0.5).square() / 0.17
    span = (
        below(f, body)
        * (1 - below(f, line + 0.058))
        * ramp(0.2, 0.196, (f.x - 0.5).abs())
        * ramp(0.02, -0.02, arch)
    )
    picture = over(picture, brick * (1 - 0.1 * seam(90 * f.y, 0.25)), span)
    picture = over(
        picture,
        white * 0.9,
        ramp(0.006, 0.003, (f.y - body).abs()) * ramp(0.2, 0.196, (f.x - 0.5).abs()),
    )
    rails = ramp(0.004, 0.002, (f.y - body + 0.022).abs()) + seam(34 * f.x, 0.1) * below(
        f, body - 0.022
    ) * (1 - below(f, body))
    picture = over(picture, dark, rails.clamp(0, 1) * ramp(0.2, 0.196, (f.x - 0.5).abs()))
    for side, z, hue in ((-1, 5.0, 0.55), (1, 3.3, 0.02), (-1, 2.6, 0.3)):
        colour = hsv(f.u(6) + hue, saturation=0.6, value=0.75) * air.tone
        x = 0.5 + side * 1.3 / z
        y, size = line + 0.93 / z, 0.5 / z
        picture = picture * (1 - 0.3 * gaussian(f, x, y + 0.02, size, 0.04))
        shell = convex(
            f,
            (x - size, y - 0.22 * size),
            (x + size, y - 0.22 * size),
            (x + 0.72 * size, y + 0.16 * size),
            (x - 0.72 * size, y + 0.16 * size),
        )
        picture = over(picture, colour, shell)
        picture = over(picture, white, box(f, x - size, x + size, y - 0.24 * size, y - 0.16 * size))
        picture = over(
            picture, hull, box(f, x - 0.3 * size, x + 0.3 * size, y - 0.5 * size, y - 0.22 * size)
        )
        picture = over(
            picture,
            lit_glass(f, air, dark),
            box(f, x - 0.22 * size, x + 0.22 * size, y - 0.44 * size, y - 0.32 * size),
        )
    edge = 0.83
    near = ((f.y - 0.66) / 0.34).clamp_min(0.1)
    row, column = 2.4 / near, (f.x - 0.5) / near * 4
    column = column + 0.5 * row.floor()
    joint = torch.maximum(seam(row, 0.1), seam(column, 0.06))
    paving = stone * (0.92 + 0.16 * dither(column, row)) * (1 - 0.25 * joint)
    picture = over(picture, stone * 0.55, below(f, edge))
    return over(picture, blend(paving, air.low, 0.3 * air.wet), below(f, edge + 0.02))


def _facades(
    f: Fields,
    air: Air,
    picture: Tensor,
    v: View,
    side: int,
    paints: tuple[Tensor, Tensor],
    *,
    mirrored: bool,
) -> Tensor:
    """Draw narrow houses with stepped gables along the water, or their mirror image in it."""
    dark, white = paints
    x = 2.6 * side
    closeness = (v.right / x).clamp_min(1 / 40)
    away = 1 / closeness
    height = v.down * away
    # The image of a wall in the water hangs below the surface at the height 1.
    height = torch.where(v.down > 0, 2 - height, height) if mirrored else height
    there = (v.right * side > 2.6 / 40).to(f.x.dtype) * (v.down > 0 if mirrored else height < 0.75)
    cell = 0.85 * away
    tone, second = (
        dither(cell + 50, torch.full_like(cell, 3.0 + side)),
        dither(cell + 90, torch.full_like(cell, 8.0 + side)),
    )
    wide = torch.frac(cell)
    eaves = -0.75 - 0.35 * tone
    aside = (2 * wide - 1).abs()
    gable = eaves - 0.75 * (1 - (aside * 4).ceil() / 4) - 0.1
    top = torch.where(second > 0.4, gable, eaves - 0.6 * (1 - aside))
    edge = 1.5 * away / f.size_px
    cover = ramp(-edge, edge, height - top) * there
    paint = (
        hsv(0.02 + 0.12 * second, saturation=0.35 + 0.4 * tone, value=0.5 + 0.45 * tone) * air.tone
    )
    sunny = 0.92 - 0.16 * side * air.side
    shade = (
        torch.lerp(paint, air.haze, 0.0)
        * sunny
        * (1 - 0.35 * ramp(0.06, 0.0, torch.minimum(wide, 1 - wide)))
    )
    shade = blend(shade, air.haze, (1 - torch.exp(-0.03 * away * (1 + 6 * air.mist))).clamp(0, 0.8))
    picture = over(picture, shade, cover)
    lattice_x, lattice_y = 3 * wide, (height - eaves) * 2.1
    pane = ramp(0.34, 0.28, (torch.frac(lattice_x) - 0.5).abs()) * ramp(
        0.36, 0.3, (torch.frac(lattice_y + 20) - 0.5).abs()
    )
    pane = pane * (height > eaves + 0.05) * (height < 0.66) * ramp(9.0, 4.0, away)
    frame = ramp(0.42, 0.36, (torch.frac(lattice_x) - 0.5).abs()) * ramp(
        0.44, 0.38, (torch.frac(lattice_y + 20) - 0.5).abs()
    )
    frame = frame * (height > eaves + 0.05) * (height < 0.66) * ramp(9.0, 4.0, away)
    picture = over(picture, white, 0.7 * frame * cover)
    lit = air.lamps * (dither(lattice_x + 31 * cell.floor(), lattice_y + 20) > 0.35)
    glass = blend(torch.lerp(dark, air.low, 0.12), f.rgb(255, 212, 124), lit)
    picture = over(picture, glass, pane * cover)
    trim = ramp(0.06, 0.03, (height - top - 0.03).abs())
    return over(picture, white, 0.8 * trim * cover * ramp(20.0, 9.0, away))


@place(
    "on a rooftop terrace",
    "on a roof terrace",
    "on a rooftop above the city",
    "in front of a skyline",
    has_seasons=False,
)
def rooftop(f: Fields, air: Air) -> Tensor:
    """Draw towers with lit windows beyond a glass rail, planters, a deck and strings of lamps."""
    wood, gap, dark, pot, leaf, deep, rail, cloth = air.seen(
        (plain(190, 140, 96), 0.0),
        (plain(96, 64, 44), 0.0),
        (_DARK, 0.1),
        (plain(96, 98, 104), 0.0),
        (LEAF, 0.0),
        (LEAF_DARK, 0.0),
        (plain(206, 212, 218), 0.0),
        (plain(238, 228, 208), 0.0),
    )
    f, air = turned(f, air)
    line = f.horizon
    picture = air.sky
    for count, tall, away, which in ((22, 0.2, 1.0, 0), (13, 0.3, 0.55, 1), (8, 0.36, 0.2, 0)):
        one, two = air.seen((plain(136, 150, 172), away), (plain(196, 178, 164), away))
        cell = count * f.x + 0.37 * count
        tone, second = (
            dither(cell, torch.full_like(cell, 2.0 + count)),
            dither(cell, torch.full_like(cell, 7.0 + count)),
        )
        shift = torch.tanh(f.columns(4, which)) * 0.12
        across = torch.frac(cell) - 0.5
        top = line - tall * (0.35 + 0.65 * tone + shift)
        top = (
            top
            - 0.05 * (across.abs() < 0.24) * (second > 0.5)
            - 0.1 * (across.abs() < 0.025) * (second > 0.72)
        )
        cover = below(f, top) * within(across.abs(), 0.46, count / f.size_px)
        colour = blend(one, two, second) * (0.9 + 0.36 * across * air.side)
        picture = over(picture, colour, cover)
        pane_x, pane_y = 5 * across + 20.5, (f.y - line) * count * 4.2 + 60
        pane = ramp(0.36, 0.26, (torch.frac(pane_x) - 0.5).abs()) * ramp(
            0.36, 0.26, (torch.frac(pane_y) - 0.5).abs()
        )
        pane = pane * (across.abs() < 0.4) * below(f, top + 0.015)
        lit = air.lamps * (dither(pane_x + 17 * cell.floor(), pane_y) > 0.45)
        glass = blend(torch.lerp(colour * 0.55, air.low, 0.25), f.rgb(255, 216, 134), lit)
        picture = over(picture, glass, 0.8 * pane * cover)
    picture = hazed(f, air, picture, line, 0.12)
    v = look(f, line - 0.06)
    edge = line + 0.16
    panel = box(f, -1, 2, line - 0.005, edge)
    picture = over(picture, torch.lerp(air.low, rail, 0.4), 0.22 * panel)
    streak = ramp(0.06, 0.0, (torch.frac(1.7 * f.x + 1.1 * f.y) - 0.4).abs())
    picture = over(picture, rail, 0.18 * streak * panel)
    posts = torch.maximum(
        seam(5 * f.x + 0.5, 0.035) * panel, box(f, -1, 2, line - 0.014, line + 0.004)
    )
    picture = over(picture, rail * 0.9, posts)
    _, across, _ = level(v, (-40.0, 40.0), 1.0, (1.0, 40.0))
    board = 4.5 * across
    tone = dither(board)
    fibre = 0.5 + 0.3 * torch.sin(
        5 * (board - board.floor()) + 2.0 * texture(f, 1, 9, 1) + 9 * tone
    )
    deck = blend(gap, wood, (0.35 + 0.35 * fibre + 0.35 * tone).clamp(0, 1)) * (
        1 - 0.45 * seam(board, 0.07)
    )
    deck = blend(deck, air.low, 0.35 * air.wet)
    picture = over(picture, deck, below(f, edge))
    picture = picture * (1 - 0.25 * ramp(0.03, 0.0, f.y - edge) * below(f, edge))
    for x, size in ((0.1, 0.15), (0.25, 0.1), (0.92, 0.13)):
        picture = picture * (1 - 0.35 * gaussian(f, x, edge + 0.3 * size + 0.02, 0.8 * size, 0.02))
        tub = convex(
            f,
            (x - 0.55 * size, edge - 0.2 * size),
            (x + 0.55 * size, edge - 0.2 * size),
            (x + 0.42 * size, edge + 0.4 * size),
            (x - 0.42 * size, edge + 0.4 * size),
        )
        picture = over(picture, pot * (1 + 3 * (f.x - x) * air.side), tub)
        bush = (
            1
            - ((f.x - x) / (0.75 * size)).square()
            - ((f.y - edge + 0.75 * size) / (0.75 * size)).square()
            + 0.2 * air.clumps
        )
        blades = dither(70 * f.x, 70 * f.y)
        light = (
            0.5 + 0.25 * air.lumps + 0.3 * (blades - 0.5) - 2.0 * (f.y - edge + 0.75 * size)
        ).clamp(0, 1)
        picture = over(picture, blend(deep, leaf, light), ramp(0.0, 0.2, bush))
    seat = box(f, 0.6, 0.84, edge - 0.02, edge + 0.05)
    back = box(f, 0.6, 0.84, edge - 0.1, edge - 0.02)
    picture = over(picture, wood * 0.7, box(f, 0.6, 0.84, edge + 0.04, edge + 0.075))
    picture = over(picture, cloth * 0.88 * (1 - 0.12 * seam(8.3 * (f.x - 0.6), 0.06)), back)
    picture = over(picture, cloth * (1 - 0.12 * seam(8.3 * (f.x - 0.6), 0.06)), seat)
    for sag, start in ((0.12, 0.06), (0.09, 0.15)):
        rope = start + sag * (1 - (2 * f.x - 1).square()) + 0.03 * (f.u(13) - 0.5) * (2 * f.x - 1)
        picture = over(picture, dark, ramp(0.004, 0.0015, (f.y - rope).abs()))
        cell = torch.frac(13 * f.x + start * 20) - 0.5
        bulb = torch.hypot(cell / 13, f.y - rope - 0.012)
        picture = over(
            picture,
            f.rgb(255, 214, 130),
            torch.exp(-(bulb / 0.03).square()) * (0.15 + 0.7 * air.lamps),
        )
        picture = over(picture, f.rgb(255, 246, 214), ramp(0.011, 0.006, bulb))
    return picture
