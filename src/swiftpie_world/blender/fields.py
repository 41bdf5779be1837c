"""Renders snow, wheat and wild places: `python -m swiftpie_world.blender.fields FOLDER [NAME ...]`.

Cycles draws them into FOLDER/renderings, as for `shores`. Ground, plants, hills and sky are
formulas of this file. A place takes one or two minutes of one core.
"""
# ruff: noqa: ANN401 - Blender has no types.

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from swiftpie_world.blender import studio
from swiftpie_world.blender.shores import daylight, hills, net, waves
from swiftpie_world.blender.studio import (
    GREENS,
    Colour,
    Material,
    hang,
    leafy,
    mesh,
    shoot,
    sides,
    tuft,
)

Heights = Callable[[Any, Any], Any]
NEARBY = (0.3, 2.6)  # metres: where the ground that small things stand on begins and ends
NEEDLES: tuple[Colour, ...] = ((0.012, 0.028, 0.016), (0.018, 0.036, 0.018), (0.022, 0.034, 0.02))
WHITE: Colour = (0.82, 0.85, 0.9)
SNOWY_ROCK: tuple[Colour, Colour] = ((0.62, 0.68, 0.78), (0.2, 0.25, 0.33))
STRAW: tuple[Colour, ...] = ((0.5, 0.33, 0.11), (0.58, 0.4, 0.15), (0.42, 0.29, 0.1))
WOODS: tuple[Colour, Colour] = ((0.075, 0.13, 0.055), (0.03, 0.06, 0.025))
FAR_FIELDS: tuple[Colour, Colour] = ((0.3, 0.3, 0.16), (0.13, 0.2, 0.11))
LEAVES: tuple[Colour, ...] = ((0.05, 0.1, 0.018), (0.075, 0.135, 0.025), (0.035, 0.075, 0.016))
ACACIA: tuple[Colour, ...] = ((0.065, 0.085, 0.02), (0.09, 0.11, 0.03), (0.05, 0.07, 0.018))
BARK: Colour = (0.09, 0.065, 0.045)
FROND: tuple[Colour, ...] = ((0.035, 0.1, 0.015), (0.055, 0.13, 0.02), (0.025, 0.075, 0.016))
WOODED: tuple[Colour, Colour] = ((0.34, 0.4, 0.46), (0.1, 0.14, 0.17))


def snow() -> Any:
    """Return snow that wind has packed."""
    made = Material(rough=0.6)
    packed = made.noise(made.at, 2.2, (1, 0.45, 1), Detail=8.0, Roughness=0.55)[0]
    lumps = made.noise(made.at, 14.0, (1, 0.5, 1), Detail=6.0, Roughness=0.6)[0]
    grains = made.noise(made.at, 420, Detail=2.0, Roughness=0.8)[0]
    relief = made("Math", lumps, 0.22, packed, operation="MULTIPLY_ADD").outputs[0]
    relief = made("Math", grains, 0.03, relief, operation="MULTIPLY_ADD").outputs[0]
    made.set(made.base, Subsurface_Weight=0.25, Subsurface_Scale=0.03)
    made.set(made.base, Subsurface_Radius=(0.6, 0.8, 1.0))
    return made.done(WHITE, relief, deep=0.09, bump=0.55)


def fir(seed: int, green: Colour) -> Any:
    """Return the mesh of a fir of a height of 1, of drooping twigs that carry snow."""
    draw = np.random.default_rng(seed)
    whorls = np.sort(draw.uniform(0.04, 1, 90) ** 0.8)
    ends: list[Any] = []
    which: list[Any] = []
    for low in whorls:
        reach = 0.2 * (1 - low) ** 0.9 * draw.uniform(0.8, 1.15) + 0.004
        for even in draw.uniform(0, 2 * math.pi) + np.arange(7) * 2 * math.pi / 7:
            turn, long = even + draw.normal(0, 0.15), reach * draw.uniform(0.7, 1.15)
            steps = max(2, int(long / 0.011))
            along = np.linspace(0.08, 1, steps)[:, None]
            out = np.array([math.cos(turn), math.sin(turn), 0])
            droop = np.array([0, 0, 0.9 * low - 0.35 - 0.3 * draw.uniform()])
            foot = np.array([0, 0, low]) + long * along * out + long * along**1.4 * droop
            for side in (-1, 1):
                wide = 0.34 * long * (1.1 - along) + 0.006
                lean = side * draw.uniform(0.7, 1.2, (steps, 1))
                tip_out = np.concatenate(
                    [np.cos(turn + lean), np.sin(turn + lean), -0.5 + 0 * lean], 1
                )
                tip = foot + wide * tip_out + draw.normal(0, 0.003, (steps, 3))
                half = 0.0075 * out
                ends.append(np.stack([foot - half, foot + half, tip], 1))
                which.append(np.zeros(steps, dtype=int))
                laden = draw.uniform(size=steps) < 0.75
                lift = np.array([0, 0, 0.0035])
                heap = np.stack(
                    [foot - 0.9 * half, foot + 0.9 * half, foot + 0.75 * (tip - foot)], 1
                )
                ends.append(heap[laden] + lift)
                which.append(np.ones(int(laden.sum()), dtype=int))
    corners = np.concatenate(ends).reshape(-1, 3)
    faces = np.arange(len(corners)).reshape(-1, 3)
    needles, heaps = Material(rough=0.8).done(green), Material(rough=0.7).done(WHITE)
    return mesh("fir", corners, faces, needles, heaps, which=np.concatenate(which))


def put(
    deal: random.Random, made: Any, at: tuple[float, float], tall: tuple[float, float], on: Heights
) -> None:
    """Put one of some meshes at a place, of a height in metres between two."""
    kind, high = deal.choice(made), deal.uniform(*tall)
    foot = (*at, float(on(*np.array(at, dtype=float))) - 0.02 * high)
    scale = (high * deal.uniform(0.85, 1.2),) * 2 + (high,)
    turn = deal.gauss(0, 0.02), deal.gauss(0, 0.02), deal.uniform(0, 6.3)
    hang("grown", kind, foot, turn, scale)


def clearing(
    name: str,
    seed: int,
    near: Any,
    *,
    sun: tuple[float, float],
    clouds: float,
    exposure: float,
    is_near: bool = False,
) -> None:
    """Draw a field of snow before a wood, with firs at `near` places."""
    draw, deal = np.random.default_rng(seed), random.Random(seed)
    drifts, swell = waves(draw, 40, 2.4, 0.045, 1.2), waves(draw, 14, 14, 0.22, 2.0)

    def ground(x: Any, y: Any) -> Any:
        far = np.minimum(1, np.maximum(y - 4, 0) / 10)
        return drifts(x, y) + far * swell(x, y) + 0.00025 * y**2

    rows = np.concatenate([np.arange(0.6, 14, 0.025), np.geomspace(14, 60, 120)])
    net(np.arange(-22, 22, 0.05), rows, ground, snow())
    net(np.linspace(-200, 200, 300), np.geomspace(59.5, 220, 80), ground, snow())
    firs = [fir(each, NEEDLES[each % 3]) for each in range(6)]
    edge = [(deal.uniform(-110, 110), deal.uniform(88, 150)) for _ in range(760)]
    aside = [(deal.choice((-1, 1)) * deal.gauss(28, 6), deal.uniform(38, 80)) for _ in range(40)]
    for spots, tall in ((edge, (6, 13)), (aside, (4, 10)), (near, (3.5, 7))):
        for at in spots:
            put(deal, firs, at, tall, ground)
    hills(draw, 2600, (-3400, 3200), 330, WOODED, rough=0.06)
    hills(draw, 6500, (-6800, 6200), 1150, SNOWY_ROCK, rough=0.09)
    daylight(sun, clouds, seed, energy=3.6, is_near=is_near, is_low=True)
    first, last = NEARBY if is_near else (1.2, 9)
    shoot(name, sides(9, first, last), exposure=exposure)


def snow_0() -> None:
    near = (
        (-10, 7),
        (-14, 10),
        (-12.5, 13),
        (-13, 21),
        (-17, 27),
        (-11, 31),
        (15, 25),
        (19, 33),
        (-20, 35),
    )
    clearing("snowy slope-0", 4, near, sun=(24, -62), clouds=0.6, exposure=0.35)


def snow_1() -> None:
    near = (
        (9.5, 7),
        (13, 9),
        (8.5, 15),
        (11, 19),
        (14, 22),
        (10, 26),
        (-19, 30),
        (-16, 38),
        (17, 30),
    )
    clearing("snowy slope-1", 7, near, sun=(19, 48), clouds=0.9, exposure=0.45)


def snow_2() -> None:
    near = ((-7, 13), (-9, 17), (6.5, 16), (9, 21), (3, 26), (-13, 23), (12, 29))
    sun = (26, 55)
    clearing("snowy slope-2", 9, near, sun=sun, clouds=0.5, exposure=0.35, is_near=True)


def wheat(seed: int, colour: Colour, *, stalks: int, wide: float, tall: float, ears: bool) -> Any:
    """Return the mesh of stalks of a patch, with ears or mown."""
    draw = np.random.default_rng(seed)
    foot = draw.uniform(-wide / 2, wide / 2, (stalks, 2))
    turn, fall = draw.uniform(0, 6.3, stalks), draw.normal(0.4, 0.8, stalks)
    high, lean = tall * draw.uniform(0.8, 1.1, stalks), tall * draw.uniform(0.0, 0.28, stalks)
    half = 0.002 + 0 * high
    heights = ((0, half, 0), (0.84, half, 0.6), (0.9, 0.0065 * ears + half, 0.75), (1, half, 1.1))
    ends = []
    for up, broad, bent in heights:
        for side in (-1, 1):
            x = foot[:, 0] + side * broad * np.cos(turn) + bent * lean * np.cos(fall)
            y = foot[:, 1] + side * broad * np.sin(turn) + bent * lean * np.sin(fall)
            ends.append(np.stack([x, y, high * up], 1))
    first = 8 * np.arange(stalks)[:, None]
    faces = np.concatenate([first + np.array([k, k + 1, k + 3, k + 2]) for k in (0, 2, 4)])
    return mesh("wheat", np.stack(ends, 1).reshape(-1, 3), faces, leafy(colour, 1.3))


def sown(
    deal: random.Random, patches: Any, x: tuple[float, float], y: tuple[float, float], apart: float
) -> None:
    """Lay patches over an area that `x` and `y` span."""
    for away in np.arange(y[0], y[1], apart):
        for across in np.arange(x[0], x[1], apart):
            kind = deal.choice(patches)
            shift = deal.uniform(-0.2, 0.2) * apart, deal.uniform(-0.2, 0.2) * apart
            at = float(across) + shift[0], float(away) + shift[1], 0
            turn = 0, 0, deal.choice((0, 1, 2, 3)) * math.pi / 2
            hang("wheat", kind, at, turn, (1, 1, deal.uniform(0.9, 1.08)))


def soil() -> Any:
    made = Material(rough=0.95)
    clods = made.noise(made.at, 18, Detail=10.0, Roughness=0.72)[0]
    patches = made.noise(made.at, 1.6, Detail=6.0)[0]
    fine = made.noise(made.at, 260, Detail=4.0, Roughness=0.8)[0]
    dark, light = (0.15, 0.085, 0.04), (0.44, 0.29, 0.15)
    colour = made.ramp(clods, (0.36, dark), (0.62, light))
    dim = made.ramp(patches, (0.35, (0.78, 0.76, 0.72)), (0.65, (1, 1, 1)))
    relief = made("Math", fine, 0.2, clods, operation="MULTIPLY_ADD").outputs[0]
    return made.done(made.mixed(1.0, colour, dim, "MULTIPLY"), relief, deep=0.05, bump=0.8)


def field(
    name: str,
    seed: int,
    *,
    edge: float,
    sun: tuple[float, float],
    clouds: float,
    is_near: bool = False,
) -> None:
    """Draw a mown strip before standing wheat, which begins `edge` metres away."""
    draw, deal = np.random.default_rng(seed), random.Random(seed)
    lumps = waves(draw, 60, 0.5, 0.012, 1.5)
    rows = np.concatenate([np.arange(0.6, edge + 2, 0.025), np.geomspace(edge + 2, 200, 60)])
    net(np.arange(-14, 14, 0.04), rows, lumps, soil())
    mown = [wheat(k, STRAW[k % 3], stalks=46, wide=0.4, tall=0.06, ears=False) for k in range(5)]
    ripe = [wheat(k, STRAW[k % 3], stalks=170, wide=0.5, tall=0.85, ears=True) for k in range(6)]
    wide = [wheat(k, STRAW[k % 3], stalks=420, wide=1.2, tall=0.85, ears=True) for k in range(6)]
    sown(deal, mown, (-8, 8), (0.8, edge), 0.4)
    sown(deal, ripe, (-14, 14), (edge + 0.3, edge + 9), 0.4)
    sown(deal, ripe, (-14, 14), (edge, edge + 0.3), 0.63)
    sown(deal, wide, (-60, 60), (edge + 9, edge + 62), 1.0)
    far = Material(rough=1.0)
    streaks = far.noise(far.at, 0.02, (1, 4, 1), Detail=9.0, Roughness=0.7)[0]
    far.done(far.ramp(streaks, (0.4, (0.36, 0.25, 0.1)), (0.6, (0.5, 0.36, 0.15))))
    x, y = np.linspace(-900, 900, 90), np.geomspace(edge + 60, 900, 60)
    net(x, y, lambda x, _: 0 * x + 0.8, far.made)
    hills(draw, 800, (-1100, 300), 34, WOODS, rough=0.09)
    hills(draw, 1500, (-500, 2200), 75, FAR_FIELDS, rough=0.05)
    hills(draw, 4200, (-4400, 4200), 210, ((0.24, 0.3, 0.33), (0.16, 0.22, 0.25)), rough=0.07)
    daylight(sun, clouds, seed, is_near=is_near, is_low=True)
    shoot(name, sides(9, NEARBY[0] if is_near else 1.2, edge - 0.6), exposure=0.3)


def wheat_0() -> None:
    field("wheat field-0", 2, edge=6.5, sun=(36, -58), clouds=0.7)


def wheat_1() -> None:
    field("wheat field-1", 5, edge=3.2, sun=(38, 58), clouds=0.6, is_near=True)


def around(first: int, count: int) -> list[list[int]]:
    """Return the faces between a ring of so many points and the next one."""
    ends = [(first + k, first + (k + 1) % count) for k in range(count)]
    return [[one, two, two + count, one + count] for one, two in ends]


def tree(seed: int, leaf: Colour, *, low: float, flat: float, leaves: int = 12000) -> Any:
    """Return the mesh of a tree of a height of 1 with a crown above `low`; `flat` ones are wide."""
    draw = np.random.default_rng(seed)
    count, size = (16, 0.13) if flat > 1 else (22, 0.17)
    middle, reach = (1 + low) / 2, (1 - low) / 2
    high = (0.3 if flat > 1.8 else 0.75) * reach
    heart = draw.normal(0, 0.45, (count, 3)).clip(-0.9, 0.9) * (0.34 * flat, 0.34 * flat, high)
    heart += (0, 0, middle - 0.1 * reach)
    at = heart[draw.integers(0, count, leaves)]
    away = draw.normal(0, 1, (leaves, 3))
    away *= size * draw.uniform(0.35, 1, (leaves, 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    away[:, 2] *= min(1.0, 1.6 * reach / size / flat)
    at = at + away
    sides = draw.normal(0, 0.008, (2, leaves, 3))
    crown = np.stack([at, at + sides[0], at + sides[0] + sides[1], at + sides[1]], 1).reshape(-1, 3)
    faces = np.arange(len(crown)).reshape(-1, 4).tolist()
    ends, turns = [], np.linspace(0, 2 * math.pi, 7)[:-1]
    for tip in heart:
        for share in (0.0, 0.35, 1.0):
            thick = 0.024 * (1 - 0.85 * share)
            centre = tip * (share**2.4, share**2.4, share)
            ring = np.stack([np.cos(turns), np.sin(turns), 0 * turns], 1)
            ends.append(centre + thick * ring)
    first, wood = len(crown), np.concatenate(ends)
    for start in range(first, first + len(wood), 18):
        faces += around(start, 6) + around(start + 6, 6)
    surfaces, which = (leafy(leaf, 1.6), Material(rough=0.9).done(BARK)), np.arange(len(faces))
    points = np.concatenate([crown, wood])
    return mesh("tree", points, faces, *surfaces, which=(which >= leaves).astype(int))


def earth(worn: Any, green: tuple[Colour, Colour], dusty: tuple[Colour, Colour]) -> Any:
    """Return ground of grass that is bare where `worn` of a material says."""
    made = Material(rough=0.95)
    clods = made.noise(made.at, 14, Detail=10.0, Roughness=0.7)[0]
    patches = made.noise(made.at, 0.35, Detail=9.0, Roughness=0.65)[0]
    bare = made.ramp(clods, (0.36, dusty[1]), (0.62, dusty[0]))
    grown = made.ramp(patches, (0.36, green[1]), (0.64, green[0]))
    fine = made.noise(made.at, 260, Detail=4.0, Roughness=0.8)[0]
    relief = made("Math", fine, 0.2, clods, operation="MULTIPLY_ADD").outputs[0]
    return made.done(made.mixed(worn(made), grown, bare), relief, deep=0.04, bump=0.7)


def savanna_0() -> None:
    draw, deal = np.random.default_rng(6), random.Random(6)
    lumps, swell = waves(draw, 60, 0.6, 0.012, 1.5), waves(draw, 14, 18, 0.2, 2.0)

    def ground(x: Any, y: Any) -> Any:
        return lumps(x, y) + swell(x, y) * np.minimum(1, np.maximum(y - 6, 0) / 12)

    def worn(made: Material) -> Any:
        bare = made.noise(made.at, 0.5, Detail=7.0, Roughness=0.6)[0]
        return made("MapRange", bare, 0.4, 0.52).outputs[0]

    dusty = (0.46, 0.27, 0.13), (0.25, 0.13, 0.06)
    surface = earth(worn, ((0.4, 0.28, 0.1), (0.24, 0.16, 0.06)), dusty)
    rows = np.concatenate([np.arange(0.6, 14, 0.03), np.geomspace(14, 60, 100)])
    net(np.arange(-25, 25, 0.06), rows, ground, surface)
    net(np.linspace(-1500, 1500, 200), np.geomspace(59, 3000, 90), ground, surface)
    net(np.linspace(-400, 400, 80), np.linspace(20, 59.5, 40), lambda x, _: 0 * x - 0.4, surface)
    dry = [wheat(k, STRAW[k % 3], stalks=90, wide=0.34, tall=0.42, ears=False) for k in range(6)]
    for _ in range(6000):
        y = 6 + 54 * deal.random() ** 1.4
        x = deal.uniform(-0.6, 0.6) * (y + 6)
        thick = math.sin(0.9 * x + 0.3 * y) + math.sin(0.53 * y + 1.7 * x) + deal.gauss(0, 0.7)
        if thick > 1.5 - 0.045 * y:
            put(deal, dry, (x, y), (0.45, 1.2), ground)
    acacias = [tree(k, ACACIA[k % 3], low=0.66, flat=2.1) for k in range(4)]
    bushes = [tree(k, ACACIA[k % 3], low=0.1, flat=1.6) for k in range(4, 7)]
    for x, y in ((-13, 34), (17, 46), (-30, 75), (34, 95), (7, 120)):
        put(deal, acacias, (x, y), (6, 7.5), ground)
    for plants, nearest, tall in ((acacias, 110, (4, 7)), (bushes, 50, (0.7, 2))):
        for _ in range(200):
            y = deal.uniform(nearest, 700)
            put(deal, plants, (deal.uniform(-0.6, 0.6) * y, y), tall, ground)
    hills(draw, 3800, (-4200, -300), 170, ((0.25, 0.27, 0.29), (0.19, 0.22, 0.24)), rough=0.05)
    hills(draw, 5200, (600, 5200), 260, ((0.3, 0.32, 0.35), (0.25, 0.28, 0.31)), rough=0.05)
    daylight((33, -60), 0.75, 12, is_low=True)
    shoot("savanna-0", [(-9, 1.2), (9, 1.2), (9, 5.2), (-9, 5.2)], exposure=0.3)


def road_0() -> None:
    draw, deal = np.random.default_rng(9), random.Random(9)
    lumps, swell = waves(draw, 60, 0.6, 0.012, 1.5), waves(draw, 14, 30, 0.3, 2.0)

    def bend(y: Any) -> Any:
        return 0.5 + 0.0022 * y**2 * np.exp(-y / 60)

    def ground(x: Any, y: Any) -> Any:
        off = np.abs(x - bend(y))
        ruts = -0.05 * np.exp(-(((off - 0.8) / 0.28) ** 2))
        return ruts + lumps(x, y) + swell(x, y) * np.minimum(1, np.maximum(y - 6, 0) / 15)

    def worn(made: Material) -> Any:
        x, y, _ = made("SeparateXYZ", made.at).outputs
        square = made("Math", y, 2.0, operation="POWER").outputs[0]
        fade = made("Math", y, -1 / 60, operation="MULTIPLY").outputs[0]
        fade = made("Math", fade, operation="EXPONENT").outputs[0]
        turn = made("Math", square, fade, operation="MULTIPLY").outputs[0]
        turn = made("Math", turn, 0.0022, 0.5, operation="MULTIPLY_ADD").outputs[0]
        off = made("Math", x, turn, operation="SUBTRACT").outputs[0]
        off = made("Math", off, operation="ABSOLUTE").outputs[0]
        ragged = made.noise(made.at, 1.4, Detail=9.0, Roughness=0.7)[0]
        off = made("Math", ragged, 1.1, off, operation="MULTIPLY_ADD").outputs[0]
        return made("MapRange", off, 2.15, 1.9).outputs[0]

    grown = (0.11, 0.15, 0.035), (0.05, 0.085, 0.018)
    surface = earth(worn, grown, ((0.47, 0.36, 0.23), (0.27, 0.19, 0.11)))
    rows = np.concatenate([np.arange(0.6, 16, 0.03), np.geomspace(16, 90, 160)])
    net(np.arange(-25, 25, 0.06), rows, ground, surface)
    net(np.linspace(-1500, 1500, 300), np.geomspace(89, 3000, 90), ground, surface)
    net(np.linspace(-400, 400, 80), np.linspace(20, 89.5, 40), lambda x, _: 0 * x - 0.5, surface)
    tufts = [tuft(each, blades=700, tall=0.16, wide=0.4) for each in range(6)]
    for each, blades in enumerate(tufts):
        leaf = Material(rough=0.5)
        blades.materials.append(leaf.done(GREENS[(0, 1, 2, 0, 1, 3)[each]]))
    for _ in range(9000):
        y = 1 + 44 * deal.random() ** 1.5
        x = deal.uniform(-0.62, 0.62) * (y + 5)
        off = abs(x - float(bend(y)))
        if off > 1.55 + deal.gauss(0, 0.2):
            put(deal, tufts, (x, y), (0.6, 1.5), ground)
        elif off < 0.28 and deal.random() < 0.5:
            put(deal, tufts, (x, y), (0.3, 0.75), ground)
    oaks = [tree(k, LEAVES[k % 3], low=0.22, flat=1.0) for k in range(5)]
    for x, y in ((-11, 30), (15, 38), (-17, 52), (26, 60), (-30, 70)):
        put(deal, oaks, (x, y), (8, 11), ground)
    for _ in range(420):
        y = deal.uniform(120, 260)
        put(deal, oaks, (deal.uniform(-0.6, 0.6) * y, y), (7, 13), ground)
    hills(draw, 1500, (-2500, 900), 85, WOODS, rough=0.07)
    hills(draw, 4200, (-4400, 4200), 260, ((0.24, 0.3, 0.33), (0.16, 0.22, 0.25)), rough=0.07)
    daylight((40, 62), 0.9, 15, is_low=True)
    shoot("country road-0", [(-0.9, 1.2), (1.9, 1.2), (1.9, 6), (-0.9, 6)], exposure=0.35)


def rosette(seed: int, colour: Colour, *, fronds: int, wide: float, stem: float = 0.0) -> Any:
    """Return the mesh of long leaves around a middle, of a reach of 1, on a stem of a height."""
    draw = np.random.default_rng(seed)
    steps = np.linspace(0, 1, 8)[:, None]
    points: list[Any] = []
    faces: list[list[int]] = []
    for turn in draw.uniform(0, 2 * math.pi) + np.arange(fronds) * 2.4:
        rise, long = draw.uniform(0.35, 1.25), draw.uniform(0.7, 1.1)
        out = np.array([math.cos(turn), math.sin(turn), 0.0])
        across = np.array([-math.sin(turn), math.cos(turn), 0.0])
        flat = math.cos(rise) + 0.25 * steps
        line = long * steps * (flat * out + (math.sin(rise) - 0.75 * steps**1.5) * (0, 0, 1))
        half = wide * long * np.sin(math.pi * (0.06 + 0.94 * steps)) ** 0.7
        keel = 0.35 * half * (0, 0, 1)
        start = len(points) * 24
        points.append(
            np.concatenate([line - half * across + keel, line, line + half * across + keel])
        )
        for k in range(7):
            faces += [
                [start + k + side, start + k + 1 + side, start + k + 9 + side, start + k + 8 + side]
                for side in (0, 8)
            ]
    leaves = np.concatenate(points) + np.array([0, 0, stem])
    turns = np.linspace(0, 2 * math.pi, 9)[:-1]
    ring = 0.045 * np.stack([np.cos(turns), np.sin(turns), 0 * turns], 1)
    trunk = np.concatenate([1.3 * ring, ring + np.array([0, 0, stem])])
    bark = around(len(leaves), 8)
    surfaces = leafy(colour, 1.6), Material(rough=0.9).done(BARK)
    which = [0] * len(faces) + [1] * 8 * (stem > 0)
    corners, faces = np.concatenate([leaves, trunk]), faces + bark * (stem > 0)
    return mesh("rosette", corners, faces, *surfaces, which=which, is_smooth=True)


def jungle(name: str, *, is_near: bool = False) -> None:
    draw, deal = np.random.default_rng(11), random.Random(11)
    ground = waves(draw, 60, 0.6, 0.014, 1.5)

    def worn(made: Material) -> Any:
        x, _, _ = made("SeparateXYZ", made.at).outputs
        off = made("Math", x, operation="ABSOLUTE").outputs[0]
        ragged = made.noise(made.at, 1.1, Detail=9.0, Roughness=0.7)[0]
        off = made("Math", ragged, 2.4, off, operation="MULTIPLY_ADD").outputs[0]
        return made("MapRange", off, 3.1, 2.5).outputs[0]

    surface = earth(
        worn,
        ((0.06, 0.075, 0.018), (0.03, 0.035, 0.012)),
        ((0.26, 0.16, 0.085), (0.11, 0.065, 0.035)),
    )
    rows = np.concatenate([np.arange(0.6, 16, 0.03), np.geomspace(16, 120, 80)])
    net(np.arange(-60, 60, 0.08), rows, ground, surface)
    low = [rosette(k, FROND[k % 3], fronds=13, wide=0.085) for k in range(5)]
    broad = [rosette(k, FROND[k % 3], fronds=9, wide=0.17, stem=0.3) for k in range(5, 9)]
    palms = [rosette(k, FROND[k % 3], fronds=17, wide=0.07, stem=2.6) for k in range(9, 13)]
    trees = [tree(k, FROND[k % 3], low=0.4, flat=0.9) for k in range(4)]
    bushes = [tree(k, FROND[k % 3], low=0.0, flat=0.9) for k in range(4, 8)]
    for _ in range(900):
        y = 2.5 + 34 * deal.random() ** 1.3
        side = deal.choice((-1, 1)) * (
            1.9 + 0.25 * deal.random() + abs(deal.gauss(0, 0.22)) * (y + 6)
        )
        put(deal, low, (side, y), (0.35, 0.9), ground)
        if abs(side) > 2.9 and deal.random() < 0.45:
            put(deal, broad, (side * 1.05, y + 0.4), (0.9, 2.2), ground)
    for plants, count, span, off, spread, tall in (
        (palms, 60, (9, 40), 3.4, 0.3, (1.8, 3.2)),
        (trees, 44, (19, 45), 4.0, 0.4, (6.0, 13.0)),
    ):
        for _ in range(count):
            y = deal.uniform(*span)
            x = deal.choice((-1, 1)) * (off + abs(deal.gauss(0, spread)) * y)
            put(deal, plants, (x, y), tall, ground)
    for _ in range(90):
        put(deal, bushes, (deal.uniform(-40, 40), deal.uniform(42, 75)), (5, 14), ground)
    daylight((60, -75), 1.0, 3, energy=5.5, is_near=is_near)
    shoot(name, sides(1.3, *(NEARBY if is_near else (1.2, 6.5))), exposure=0.9 if is_near else 1.25)


def jungle_0() -> None:
    jungle("jungle-0")


def jungle_1() -> None:
    jungle("jungle-1", is_near=True)


PLACES = (snow_0, snow_1, snow_2, wheat_0, wheat_1, savanna_0, road_0, jungle_0, jungle_1)


def main() -> None:
    """Render the places."""
    studio.render(PLACES, __doc__)


if __name__ == "__main__":
    main()
