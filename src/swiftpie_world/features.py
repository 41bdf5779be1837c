"""What places are made of: textures that the light falls on, hills, trees, grass, roads, boxes."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie_world.air import Air, Paint, plain
from swiftpie_world.fields import Fields, over
from swiftpie_world.shapes import below, blend, depth, enlarge, pool, ramp, slopes, within

GRASS = Paint((104, 160, 66), (166, 148, 78), (232, 238, 247), (118, 188, 76))
GRASS_NEAR = Paint((66, 122, 48), (134, 112, 56), (206, 216, 232), (78, 152, 58))
LEAF = Paint((96, 156, 62), (226, 142, 48), (150, 142, 142), (168, 206, 96))
LEAF_DARK = Paint((44, 96, 46), (158, 70, 36), (98, 88, 88), (92, 146, 66))
BLOSSOM = Paint((84, 146, 60), (196, 74, 44), (158, 150, 150), (248, 196, 214))
FIR = Paint((48, 104, 72), (50, 98, 68), (150, 172, 178), (56, 116, 76))
FIR_DARK = Paint((22, 62, 48), (26, 60, 46), (58, 88, 88), (26, 68, 50))
BARK = plain(92, 68, 50)
EARTH = plain(150, 114, 76, snow=0.8)
PATH = plain(206, 182, 142, snow=0.75)
ROCK = plain(134, 130, 134, snow=0.25)
ROCK_DARK = plain(78, 78, 92, snow=0.15)
WHITE = plain(240, 238, 232)
SNOW = plain(240, 245, 252)
SNOW_SHADE = plain(182, 200, 228)

Draw = Callable[[Fields, Air], Tensor]
"""Draws backgrounds (B, 3, R, R); what leaves [0, 1] is cut off later."""

Foreground = Callable[[Fields, Air, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Draws (colour, coverage) before the subject, from the heights (B, 1, 1, 1) of edge and base."""


@dataclass(frozen=True)
class Lamp:
    """The light of a place that has no weather; it comes from the side of `Fields.sun_x`."""

    colour: tuple[float, float, float] = (1.0, 0.98, 0.94)
    ambient: tuple[float, float, float] = (0.62, 0.62, 0.64)
    strength: float = 0.42
    height: float = 0.7  # 0 = from the side, 1 = from above
    shadow: float = 0.3
    length: float = 0.4


@dataclass(frozen=True)
class Place:
    """One kind of place a subject can be put in."""

    name: str
    phrases: tuple[str, ...]  # ways to say it that follow the subject in a caption
    draw: Draw
    outdoors: bool = True  # it has times of the day and weathers
    has_seasons: bool = True
    is_cold: bool = False  # snow lies in every season
    grounded: bool = True  # the subject stands and casts a shadow; otherwise it floats
    floor: tuple[float, float] = (0.8, 0.94)  # where it stands, from above
    foreground: Foreground | None = None
    lamp: Lamp = Lamp()


def place(
    *phrases: str,
    outdoors: bool = True,
    has_seasons: bool = True,
    is_cold: bool = False,
    grounded: bool = True,
    floor: tuple[float, float] = (0.8, 0.94),
    foreground: Foreground | None = None,
    lamp: Lamp | None = None,
) -> Callable[[Draw], Place]:
    """Return what makes a place of the function that draws it; the place takes its name."""

    def named(draw: Draw) -> Place:
        return Place(
            draw.__name__.replace("_", " "),
            phrases,
            draw,
            outdoors=outdoors,
            has_seasons=has_seasons and outdoors,
            is_cold=is_cold,
            grounded=grounded,
            floor=floor,
            foreground=foreground,
            lamp=lamp or Lamp(),
        )

    return named


def relief(f: Fields, air: Air, channel: int, smooth: int = 3) -> Tensor:
    """Return how the light falls on lumps (B, 1, R, R): > 0 on their lit sides, < 0 behind."""
    lumps = pool(f.noise[:, channel : channel + 1], smooth, smooth)
    return enlarge(f, slopes(lumps, air.side))


def ground(
    f: Fields,
    air: Air,
    picture: Tensor,
    line: Tensor,
    far: Tensor,
    near: Tensor,
    rough: float = 0.05,
) -> Tensor:
    """Draw a plain from the height `line` on, coarser and richer in colour towards the viewer."""
    nearness = ((f.y - line) / (1 - line)).clamp(0, 1)
    colour = blend(far, near, nearness.sqrt()) * (1 + rough * (0.3 + 1.2 * nearness) * air.turf)
    return over(picture, colour, below(f, line))


def hazed(f: Fields, air: Air, picture: Tensor, line: Tensor, reach: float = 0.16) -> Tensor:
    """Return `picture` with the haze that lies on the ground far away, about the height `line`."""
    share = torch.exp(-((f.y - line) / reach).square()) * (0.06 + 0.5 * air.mist).clamp_max(0.6)
    return over(picture, air.haze, share)


def hills(
    f: Fields, picture: Tensor, line: Tensor, crest: Tensor, foot: Tensor, reach: float = 0.2
) -> Tensor:
    """Draw a range with the outline `line` over x, from the colour of its crest to its foot's."""
    return over(picture, blend(crest, foot, depth(f, line, reach)), below(f, line))


def peaks(f: Fields, count: int, which: int) -> tuple[Tensor, Tensor]:
    """Return a broken line of `count` normals over x, and its slope, both (B, 1, 1, R)."""
    line = f.noise[:, 1 + which : 2 + which].mean(dim=2) * math.sqrt(32)
    knots = F.interpolate(line, size=count, mode="area") * math.sqrt(32 / count)
    line = F.interpolate(knots, size=f.size_px, mode="linear", align_corners=True)
    slope = (F.pad(line, (0, 1), mode="replicate")[..., 1:] - line) * (f.size_px / count)
    return line.unsqueeze(2), slope.unsqueeze(2)


def treeline(
    f: Fields, air: Air, picture: Tensor, line: Tensor, height: float, far: float, count: int = 16
) -> Tensor:
    """Draw a distant edge of a wood that stands on the height `line`."""
    top, foot = air.seen((LEAF, far), (LEAF_DARK, far))
    bump = 1 - (2 * torch.frac(count * f.x + 0.3 * f.u(9)) - 1).square()
    bump = 0.5 * bump + 0.5 * torch.tanh(0.6 * f.ridge(1, 1)) + 0.3
    crest = line - height * bump.clamp(0.15, 1.2)
    return over(
        picture,
        blend(top, foot, depth(f, crest, height)),
        below(f, crest) * (1 - below(f, line + 0.01)),
    )


def crowns(
    f: Fields, air: Air, x: Tensor, y: float | Tensor, wide: float | Tensor, tall: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Return coverage and brightness of leafy crowns (B, 1, R, R) that share a height.

    `x` (B, n, 1, 1) are their centres; `wide` and `tall` are half lengths.
    """
    across = ((f.x - x) / wide).square().amin(dim=1, keepdim=True)
    down = (f.y - y) / tall
    clumps = air.clumps
    body = 1 - across - down.square() + 0.28 * clumps
    light = 0.5 - 0.3 * down + 0.22 * air.lumps
    return ramp(0.0, 0.25, body) * air.leafage, light.clamp(0, 1)


def tree(
    f: Fields,
    air: Air,
    picture: Tensor,
    x: Tensor,
    foot: float | Tensor,
    size: float | Tensor,
    leaf: Paint = LEAF,
    dark: Paint = LEAF_DARK,
    far: float = 0.0,
) -> Tensor:
    """Draw leafy trees at `x` (B, n, 1, 1) that stand at `foot` and are `size` tall."""
    bright, deep, bark = air.seen((leaf, far), (dark, far), (BARK, far))
    half = (f.x - x).abs().amin(dim=1, keepdim=True)
    width = 0.035 * size * (1 + 0.6 * depth(f, foot - 0.12 * size, 0.12 * size))
    trunk = within(half, width, 0.006)
    trunk = trunk * (below(f, foot - 0.6 * size) * (1 - below(f, foot)))
    picture = over(picture, bark * (1 + 0.4 * (f.x - f.sun_x) * air.side), trunk)
    cover, light = crowns(f, air, x, foot - 0.66 * size, 0.34 * size, 0.36 * size)
    return over(picture, blend(deep, bright, light), cover)


def firs(
    f: Fields,
    air: Air,
    picture: Tensor,
    count: int,
    which: int,
    foot: Tensor,
    tall: float,
    far: float,
    shift: float = 0.0,
) -> Tensor:
    """Draw a row of fir trees, one in each of `count` columns, on the height `foot`."""
    bright, deep = air.seen((FIR, far), (FIR_DARK, far))
    across = torch.frac(count * f.x + shift + 1) - 0.5
    height = tall * (0.72 + 0.28 * torch.tanh(f.columns(count, which)))
    down = ((f.y - foot) / height + 1).clamp(0, 1)
    tier = torch.frac(5 * down)
    width = (0.04 + 0.42 * down) * (0.72 + 0.28 * tier)
    edge = 1.2 * count / f.size_px
    shape = within(across.abs(), width, edge)
    shape = shape * ramp(0.0, 0.02, down) * (1 - below(f, foot))
    light = 0.55 - 0.5 * tier + 1.1 * across * air.side
    return over(picture, blend(deep, bright, light.clamp(0, 1)), shape)


def road(
    f: Fields, line: Tensor, centre: float | Tensor, wide: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return coverage of a road that runs to a point on `line`, and its coordinates.

    The coordinates are the place across it, -1..1 from edge to edge, and the way along it, which
    grows towards the horizon; `wide` is half its width at the lower edge of the picture.
    """
    near = ((f.y - line) / (1 - line)).clamp_min(1e-3)
    across = (f.x - centre) / (wide * near)
    edge = 0.012 / near.clamp_min(0.05)
    cover = within(across.abs(), 1, edge) * below(f, line)
    return cover, across, 1 / near.clamp_min(0.03)


def blades(root: Paint, tip: Paint) -> Foreground:
    """Return a row of pointed grass blades."""

    def draw(f: Fields, air: Air, edge: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        low, high = air.seen((root, 0.0), (tip, 0.0))
        count = 32
        height = 0.5 + 0.5 * torch.tanh(f.columns(count, 1))
        top = edge - 0.01 + 0.05 * (1 - height)
        across = (torch.frac(f.x * count) - 0.5).abs()
        width = 0.1 + 0.5 * depth(f, top, 0.09)
        coverage = within(across, width, 0.1) * below(f, top)
        colour = blend(high, low, depth(f, top, 0.1))
        return colour * (0.9 + 0.2 * height), coverage * fade(f, base)

    return draw


def drift(crest: Paint, foot: Paint) -> Foreground:
    """Return a wavy bank of sand, snow or earth, `crest` coloured at its upper edge."""

    def draw(f: Fields, air: Air, edge: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        high, low = air.seen((crest, 0.0), (foot, 0.0))
        line = edge + 0.012 * f.ridge(3)
        colour = blend(high, low, depth(f, line, 0.12)) * (1 + 0.05 * air.lumps)
        return colour, below(f, line) * fade(f, base)

    return draw


def weeds(f: Fields, air: Air, edge: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """Draw swaying seaweed that grows from the bottom of the picture."""
    count = 8
    value = f.columns(count, 0)
    top = torch.minimum(edge, base - 0.02) + 0.06 * torch.tanh(value)
    sway = torch.frac(f.x * count) - 0.5 + 0.15 * torch.sin(8 * math.pi * f.y + value)
    coverage = ramp(0.15, 0.08, sway.abs()) * below(f, top)
    tip, root = air.seen((plain(30, 145, 90), 0.0), (plain(10, 80, 70), 0.0))
    return blend(tip, root, depth(f, top, 0.3)), coverage


def fade(f: Fields, base: Tensor) -> Tensor:
    """Return 1 down to the subject's lowest point and 0 well below it."""
    return 1 - below(f, base + 0.055, 0.025)


GRASS_BLADES = blades(GRASS_NEAR, GRASS)
