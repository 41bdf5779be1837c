"""Sights of hot countries: pyramids, an oasis, a temple in the jungle."""

import math

import torch
from torch import Tensor

from swiftpie_world.air import Air, plain
from swiftpie_world.art.parts import convex, dither, ellipse, glow, palm, seam, turned
from swiftpie_world.features import GRASS_BLADES, drift, ground, hazed, hills, place, road, treeline
from swiftpie_world.fields import Fields, over
from swiftpie_world.shapes import below, blend, depth, ramp, texture, within

_SAND = plain(238, 196, 128)
_SAND_SHADE = plain(196, 138, 88)


@place(
    "in front of the pyramids",
    "by the pyramids",
    "at the pyramids of Egypt",
    "in front of Egyptian pyramids",
    has_seasons=False,
    foreground=drift(_SAND, _SAND_SHADE),
)
def pyramids(f: Fields, air: Air) -> Tensor:
    """Draw three pyramids of stone courses, lit from one side, over rippled sand and palms."""
    line = f.horizon + 0.035
    f, air = turned(f, air)
    far, dune, shade = air.seen((_SAND, 0.8), (_SAND, 0.15), (_SAND_SHADE, 0.2))
    picture = hills(f, air.sky, line - 0.035 + 0.015 * f.ridge(6), far, far, 0.1)
    for x, tall, half, fade in (
        (0.86, 0.17, 0.2, 0.55),
        (0.6, 0.27, 0.31, 0.35),
        (0.24, 0.4, 0.42, 0.15),
    ):
        bright, dark = air.seen((plain(240, 204, 140), fade), (plain(168, 116, 78), fade))
        foot, top = line + 0.03 * (1 - fade), line - tall
        knee = x + 0.32 * half
        left = convex(f, (x - half, foot), (x, top), (knee, foot + 0.02))
        right = convex(f, (knee, foot + 0.02), (x, top), (x + 0.8 * half, foot - 0.01))
        course = seam((60 - 60 * fade) * (f.y - top), 0.3)
        row = (60 - 60 * fade) * (f.y - top)
        bricks = 1 - 0.1 * course + 0.09 * (dither(34 * f.x + 0.5 * row.floor(), row) - 0.5)
        sunny = 0.5 * air.side.sign() * (0.25 + 1.4 * air.direct).clamp_max(1)
        one = blend(dark, bright, (0.55 - 0.9 * sunny).clamp(0, 1))
        two = blend(dark, bright, (0.45 + 0.9 * sunny).clamp(0, 1))
        picture = over(picture, one * bricks, left)
        picture = over(picture, two * bricks, right)
        picture = hazed(f, air, picture, line, 0.05)
    for low, sway, which in ((0.0, 0.012, 0), (0.11, 0.03, 1), (0.24, 0.035, 0)):
        crest = line + low + sway * f.ridge(5, which)
        slope = f.y - crest - 0.05 * torch.sin(7 * f.x + 6 * f.u(6) + which)
        lit = ramp(-0.06, 0.1, slope + 0.01 * texture(f, 1, 3, 5))
        ripple = torch.sin(170 * (f.y - 0.5 * crest) * (1.5 - f.y) + 2.5 * texture(f, 2, 3, 7))
        sand = blend(shade, dune, lit) * (1 + 0.035 * ripple * depth(f, line, 0.4))
        picture = over(picture, sand, below(f, crest))
    bark, leaf, dark = air.seen(
        (plain(140, 104, 72), 0.1), (plain(108, 150, 68), 0.1), (plain(50, 92, 50), 0.1)
    )
    for x, low, tall in ((0.87, 0.09, 0.24), (0.95, 0.12, 0.3)):
        picture = palm(f, air, picture, (x, line + low), tall, (bark, leaf, dark), lean=-0.12)
    return picture


@place(
    "at an oasis",
    "in an oasis",
    "under the palms of an oasis",
    "by a pool in the desert",
    has_seasons=False,
    foreground=drift(_SAND, _SAND_SHADE),
)
def oasis(f: Fields, air: Air) -> Tensor:
    """Draw dunes around a pool that mirrors the sky, palms, reed and a striped tent."""
    pale, far, sand, shade, deep, near, leaf, dark, bark = air.seen(
        (_SAND, 0.9),
        (_SAND_SHADE, 0.7),
        (_SAND, 0.0),
        (_SAND_SHADE, 0.0),
        (plain(30, 120, 142), 0.05),
        (plain(98, 200, 196), 0.0),
        (plain(102, 164, 68), 0.05),
        (plain(40, 96, 52), 0.05),
        (plain(146, 108, 74), 0.05),
    )
    f, air = turned(f, air)
    line = f.horizon
    picture = air.sky
    for low, sway, which in ((-0.09, 0.04, 0), (-0.02, 0.03, 1)):
        crest = line + low + sway * f.ridge(6, which)
        winding = f.y - crest - 0.05 * torch.sin(7 * f.x + 5 * which + 6 * f.u(6))
        picture = over(picture, blend(far, pale, ramp(-0.05, 0.03, winding)), below(f, crest))
    picture = hazed(f, air, picture, line, 0.1)
    bank = blend(sand, shade, depth(f, line, 0.6)) * (1 + 0.05 * air.turf)
    picture = over(picture, bank, below(f, line + 0.03 + 0.01 * f.ridge(4)))
    reed = ellipse(f, 0.5, line + 0.13, 0.5, 0.085)
    tuft = dither(64 * f.x, 30 * f.y)
    picture = over(
        picture, blend(dark, leaf, tuft * 0.8 + 0.1), reed * ramp(0.05, 0.3, tuft + reed - 0.6)
    )
    pool_y = line + 0.14
    pool = ellipse(f, 0.5, pool_y, 0.46, 0.07)
    depth_in = depth(f, pool_y - 0.07, 0.14)
    water = blend(torch.lerp(deep, air.low, 0.45), near, depth_in)
    ripple = torch.sin(90 * depth_in + 2 * texture(f, 2, 1, 7)) * 0.05
    picture = over(picture, water * (1 + ripple), pool)
    for x, tall in ((0.16, 0.3), (0.3, 0.24)):
        image = (
            within((f.x - x).abs(), 0.012, 0.008)
            * pool
            * ramp(tall * 0.4, 0.0, f.y - pool_y + 0.07)
        )
        picture = over(picture, dark, 0.5 * image)
    picture = _desert_tent(f, air, picture, 0.76, line + 0.075)
    paints = (bark, leaf, dark)
    for x, low, tall, lean in (
        (0.3, 0.06, 0.33, 0.18),
        (0.56, 0.05, 0.22, 0.12),
        (0.2, 0.09, 0.42, -0.16),
        (0.94, 0.2, 0.62, -0.2),
        (0.07, 0.2, 0.6, 0.16),
    ):
        grass = ellipse(f, x, line + low, 0.14 * tall + 0.02, 0.03) * (tuft > 0.4)
        picture = over(picture, blend(dark, leaf, tuft), grass)
        picture = palm(f, air, picture, (x, line + low), tall, paints, lean)
    return picture


def _desert_tent(f: Fields, air: Air, picture: Tensor, x: float, foot: Tensor) -> Tensor:
    red, white, dark = air.seen(
        (plain(176, 62, 52), 0.1), (plain(246, 232, 204), 0.1), (plain(70, 44, 40), 0.1)
    )
    far = (1 + 3 * (f.y - foot)).clamp_min(0.5)  # the clamp keeps it from 0 above the tent
    stripe = (torch.frac(26 * (f.x - x) / far) > 0.5).to(f.x.dtype)
    cloth = blend(red, white, stripe) * (1 + 1.2 * (f.x - x) * air.side)
    body = convex(
        f, (x - 0.13, foot), (x - 0.1, foot - 0.07), (x + 0.1, foot - 0.07), (x + 0.13, foot)
    )
    roof = convex(f, (x - 0.125, foot - 0.06), (x, foot - 0.15), (x + 0.125, foot - 0.06))
    picture = over(picture, cloth * 0.9, body)
    picture = over(
        picture, blend(red, white, (torch.frac(26 * (f.x - x)) > 0.5).to(f.x.dtype)), roof
    )
    gap = convex(f, (x - 0.035, foot), (x, foot - 0.07), (x + 0.035, foot))
    picture = over(picture, blend(dark, f.rgb(255, 204, 110), air.lamps), gap)
    return glow(f, picture, x, foot - 0.02, 0.12, air.lamps)


@place(
    "by a jungle temple",
    "at a temple in the jungle",
    "in front of a step pyramid",
    "in the jungle",
    has_seasons=False,
    foreground=GRASS_BLADES,
)
def jungle_temple(f: Fields, air: Air) -> Tensor:
    """Draw a step pyramid with stairs and a shrine in the jungle, and large leaves in front."""
    blue, stone, dark, moss, far, near, paving, leaf, deep = air.seen(
        (plain(70, 120, 96), 1.0),
        (plain(196, 182, 148), 0.15),
        (plain(104, 96, 78), 0.15),
        (plain(92, 132, 62), 0.15),
        (plain(96, 150, 62), 0.2),
        (plain(58, 108, 42), 0.0),
        (plain(172, 162, 136), 0.05),
        (plain(86, 164, 66), 0.0),
        (plain(26, 78, 40), 0.0),
    )
    line, x = f.horizon + 0.08, 0.5 + 0.06 * (f.u(6) - 0.5)
    picture = hills(f, air.sky, line - 0.2 + 0.05 * f.ridge(5), blue, air.haze, 0.25)
    picture = treeline(f, air, picture, line + 0.01, 0.16, 0.6, 8)
    picture = hazed(f, air, picture, line, 0.14)
    side = (f.x - x).abs()
    sunny = 1 + 0.16 * air.side * torch.sign(f.x - x)
    brick = (
        1
        - 0.14 * seam(52 * f.y, 0.18)
        + 0.16 * (dither(30 * f.x + 0.5 * (52 * f.y).floor(), 52 * f.y) - 0.5)
    )
    face = blend(stone, moss, 0.7 * ramp(0.5, 1.4, texture(f, 1, 3, 3))) * brick * sunny
    for step in range(6):
        low, half = line + 0.02 - 0.062 * step, 0.44 - 0.062 * step
        wall = ramp(
            half + 0.012 * ((f.y - low) / 0.062) + 0.004,
            half + 0.012 * ((f.y - low) / 0.062) - 0.004,
            side,
        )
        wall = wall * below(f, low - 0.062) * (1 - below(f, low))
        shade = 0.72 + 0.3 * depth(f, low - 0.062, 0.062)
        ledge = ramp(0.012, 0.004, f.y - low + 0.062)
        picture = over(picture, over(face * shade, stone * 1.2, 0.8 * ledge), wall)
        vines = ramp(
            0.55,
            0.8,
            dither(64 * f.x, torch.full_like(f.x, 3.0 + step)) - 0.5 * depth(f, low - 0.062, 0.06),
        )
        picture = over(picture, 0.8 * moss, 0.75 * vines * wall)
    top = line + 0.02 - 0.372
    shrine = ramp(0.075, 0.071, side) * below(f, top - 0.09) * (1 - below(f, top))
    picture = over(picture, face * 0.95, shrine)
    picture = over(
        picture,
        stone * sunny * 1.08,
        ramp(0.09, 0.086, side) * below(f, top - 0.105) * (1 - below(f, top - 0.085)),
    )
    comb = (
        ramp(0.055, 0.051, side)
        * below(f, top - 0.14)
        * (1 - below(f, top - 0.1))
        * (1 - 0.5 * seam(70 * (f.x - x), 0.2))
    )
    picture = over(picture, face * 0.9, comb)
    gate = ramp(0.022, 0.018, side) * below(f, top - 0.06) * (1 - below(f, top))
    picture = over(picture, blend(0.3 * dark, f.rgb(255, 180, 80), air.lamps), gate)
    stair = ramp(
        0.05 + 0.07 * depth(f, top, 0.372) + 0.003, 0.05 + 0.07 * depth(f, top, 0.372) - 0.003, side
    )
    stair = stair * below(f, top) * (1 - below(f, line + 0.03))
    steps = 0.84 + 0.26 * ramp(0.5, 0.2, torch.frac(70 * (f.y - top)))
    picture = over(picture, stone * steps, stair)
    rails = ramp(0.012, 0.008, (side - 0.055 - 0.07 * depth(f, top, 0.372)).abs())
    picture = over(
        picture, stone * 1.1 * sunny, rails * below(f, top) * (1 - below(f, line + 0.035))
    )
    for torch_x in (x - 0.18, x + 0.18):
        picture = glow(f, picture, torch_x, line - 0.02, 0.08, air.lamps)
    picture = ground(f, air, picture, line + 0.015, far, near, 0.08)
    cover, across, along = road(f, line - 0.1, x, 0.5)
    slab = torch.maximum(
        seam(2.2 * across, 0.06), seam(3 * along + 0.5 * (2.2 * across).floor(), 0.1)
    )
    tone = 0.9 + 0.2 * dither(2.2 * across, 3 * along + 0.5 * (2.2 * across).floor())
    gaps = blend(paving * tone, moss * 0.9, 0.8 * slab)
    picture = over(picture, gaps, cover * below(f, line + 0.02))
    for leaf_x, leaf_y, reach, turn in (
        (-0.02, 0.86, 0.34, -1.0), (-0.02, 0.95, 0.3, -0.45), (-0.02, 0.74, 0.26, -1.35),
        (1.02, 0.84, 0.34, -2.1), (1.02, 0.96, 0.3, -2.65), (1.02, 0.72, 0.26, -1.85),
    ):  # fmt: skip
        across = ((f.x - leaf_x) * math.cos(turn) + (f.y - leaf_y) * math.sin(turn)) / reach
        away = ((f.y - leaf_y) * math.cos(turn) - (f.x - leaf_x) * math.sin(turn)) / reach
        bent = away - 0.25 * across.square() * math.copysign(1, math.cos(turn))
        wide = (
            0.22
            * (across * (1 - across) * 4).clamp(0, 1).sqrt()
            * (0.86 + 0.14 * torch.sin(50 * across + 40 * bent.abs()))
        )
        blade = ((wide - bent.abs()) * (reach * f.size_px) + 0.5).clamp(0, 1) * (
            (across > 0) & (across < 1)
        )
        tint = (0.55 - 1.6 * bent - 0.3 * seam(8 * across + 6 * bent.abs(), 0.14)).clamp(0, 1)
        picture = over(picture, blend(deep, leaf, tint), blade)
        picture = over(picture, leaf * 1.15, ramp(0.03, 0.01, bent.abs()) * blade)
    return picture
