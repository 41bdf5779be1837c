"""Renders the beach and the lake: `python -m swiftpie_world.blender.shores FOLDER [NAME ...]`.

Cycles draws them into FOLDER/renderings, as for `near_places`, and needs nothing else. Sand, water,
hills and sky are formulas of this file. A place takes a minute and a half of one core.
"""
# ruff: noqa: ANN401 - Blender has no types.

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from swiftpie_world.blender import studio
from swiftpie_world.blender.studio import (
    Colour,
    Material,
    bpy,
    camera,
    hang,
    lamp,
    mesh,
    quads,
    shoot,
)

SHORE_M = 8.7  # how far away the water begins in the middle
LOW, LENS = (0.7, 2.0), {"angle": 27.0, "sharp": 4.0, "focus": 3.0}  # as one photographs a dog
NEAR_SAND_M = 0.4  # how far the sand lies above the water where small things lie
CURVES = ((0.16, 0.6, 1.1), (0.41, 2.0, 0.5), (1.07, 0.0, 0.2))  # of a shore: pace, start, width
GOLDEN: tuple[Colour, Colour] = ((0.76, 0.58, 0.36), (0.36, 0.23, 0.115))
NOON: Colour = (1, 0.93, 0.83)  # of the sun
BROWN: tuple[Colour, Colour] = ((0.56, 0.44, 0.29), (0.2, 0.15, 0.09))
FAR_BLUE: tuple[Colour, Colour] = ((0.2, 0.25, 0.27), (0.16, 0.2, 0.216))


def shore_at(x: Any, tilt: float) -> Any:
    """Return how far away the water begins."""
    return SHORE_M + tilt * x + sum(wide * np.sin(pace * x + start) for pace, start, wide in CURVES)


def beyond_shore(made: Material, tilt: float) -> Any:
    """Return how far a point of a surface lies beyond where the water begins."""
    x, y, _ = made("SeparateXYZ", made.at).outputs
    line = made("Math", x, tilt, SHORE_M, operation="MULTIPLY_ADD").outputs[0]
    for pace, start, wide in CURVES:
        turn = made("Math", x, pace, start, operation="MULTIPLY_ADD").outputs[0]
        wave = made("Math", turn, operation="SINE").outputs[0]
        line = made("Math", wave, wide, line, operation="MULTIPLY_ADD").outputs[0]
    return made("Math", y, line, operation="SUBTRACT").outputs[0]


def sand(tilt: float, colours: tuple[Colour, Colour]) -> Any:
    """Return sand that is wet where waves reach it."""
    made = Material()
    grains = made.noise(made.at, 900, Detail=3.0, Roughness=0.8)[0]
    patches = made.noise(made.at, 1.3, Detail=8.0)[0]
    dunes = made.noise(made.at, 9.0, Detail=9.0, Roughness=0.62)[0]
    steps = made.noise(made.at, 30.0, Roughness=0.7)[0]
    light, dark = colours
    middle = tuple((2 * x + y) / 3 for x, y in zip(light, dark, strict=True))
    colour = made.ramp(grains, (0.3, dark), (0.52, middle), (0.72, light))
    dim = made.ramp(patches, (0.35, (0.82, 0.80, 0.77)), (0.62, (1, 1, 1)))
    dry = made.mixed(1.0, colour, dim, "MULTIPLY")
    reach = made.noise(made.at, 0.9)[0]
    reach = made("Math", reach, 2.4, beyond_shore(made, tilt), operation="MULTIPLY_ADD").outputs[0]
    wet = made("MapRange", reach, -1.1, -0.2).outputs[0]
    made.set(made.base, Roughness=made("MapRange", wet, None, None, 0.95, 0.22).outputs[0])
    relief = made("Math", dunes, 0.6, steps, operation="MULTIPLY_ADD").outputs[0]
    is_dry = made("Math", 1.0, wet, operation="SUBTRACT").outputs[0]
    relief = made("Math", relief, is_dry, operation="MULTIPLY").outputs[0]
    relief = made("Math", grains, 0.06, relief, operation="MULTIPLY_ADD").outputs[0]
    soaked = made.mixed(1.0, dry, (0.34, 0.31, 0.30, 1), "MULTIPLY")
    return made.done(made.mixed(wet, dry, soaked), relief, deep=0.06, bump=0.75)


def water(tilt: float) -> Any:
    """Return the sea, with foam at its edge and on two breakers."""
    made = Material()
    off = beyond_shore(made, tilt)
    far = made("MapRange", off, 0.0, 26.0).outputs[0]
    shallow, deep = (0.09, 0.27, 0.27), (0.012, 0.085, 0.13)
    colour = made.ramp(far, (0.0, (0.5, 0.42, 0.3)), (0.1, shallow), (0.6, deep))
    lace = made.noise(made.at, 2.2, (1, 1.5, 1), Detail=9.0, Roughness=0.68, Distortion=0.6)[0]
    bent = made.noise(made.at, 0.35, Detail=4.0)[0]
    bent = made("Math", bent, 4.0, off, operation="MULTIPLY_ADD").outputs[0]
    edge = ((0.0, 0.95), (0.035, 0.75), (0.09, 0.12))
    breakers = ((0.2, 0.06), (0.235, 0.85), (0.29, 0.35), (0.4, 0.03), (0.5, 0.03), (0.53, 0.6))
    foams = (*edge, *breakers, (0.57, 0.08), (1.0, 0.0))
    bands = made("MapRange", bent, 1.6, 22.0).outputs[0]
    share = made.ramp(bands, *((place, (0.62 * each,) * 3) for place, each in foams))
    share = made("Math", lace, share, operation="ADD").outputs[0]
    foam = made("MapRange", share, 0.78, 0.95).outputs[0]
    made.set(made.base, IOR=1.33)
    made.set(made.base, Roughness=made("MapRange", foam, None, None, 0.07, 0.8).outputs[0])
    ripples = made.noise(made.at, 2.6, (1, 1.7, 1), Detail=9.0, Roughness=0.66)[0]
    relief = made("Math", foam, 0.5, ripples, operation="MULTIPLY_ADD").outputs[0]
    return made.done(made.mixed(foam, colour, (0.86, 0.88, 0.88, 1)), relief, deep=0.1, bump=0.8)


def waves(draw: Any, count: int, long: float, high: float, apart: float = 0.5) -> Any:
    """Return the height at x and y of waves whose directions lie so far `apart`."""
    turn, length = draw.normal(0, apart, count), long * draw.uniform(0.35, 1.6, count)
    phase, tall = draw.uniform(0, 6.3, count), high * (length / long) ** 1.2 / count**0.5

    def height(x: Any, y: Any) -> Any:
        total = np.zeros_like(x)
        for each, wide, start, top in zip(turn, length, phase, tall, strict=True):
            along = 2 * math.pi / wide * (math.sin(each) * x + math.cos(each) * y)
            total += top * (2 * (0.5 + 0.5 * np.sin(along + start)) ** 1.6 - 1)
        return total

    return height


def net(x: Any, y: Any, height: Callable[[Any, Any], Any], surface: Any) -> None:
    """Add a surface of given heights over rows and columns."""
    across, away = np.meshgrid(x, y)
    points = np.stack([across, away, height(across, away)], -1).reshape(-1, 3)
    hang("net", mesh("net", points, quads(len(y), len(x)), surface, is_smooth=True))


def hills(
    draw: Any,
    away: float,
    span: tuple[float, float],
    tall: float,
    colours: tuple[Colour, Colour] = FAR_BLUE,
    *,
    rough: float = 0.06,
) -> None:
    """Add far land between two ends, as blue as the air before it makes it."""
    deep = 2.5 * tall
    folds = [
        waves(draw, 30, tall * each, rough * tall * each**0.8, 9.0) for each in (2, 0.7, 0.25, 0.08)
    ]

    def height(x: Any, y: Any) -> Any:
        across = np.clip((x - span[0]) / (span[1] - span[0]), 0, 1)
        back = np.clip((y - away) / deep, 0, 1)
        rise = np.sin(math.pi * across) ** 0.6 * np.sin(math.pi / 2 * back) ** 0.8
        return rise * np.maximum(tall + sum(fold(x, y) for fold in folds), 0.05 * tall) - 1

    made = Material(rough=1.0)
    light, dark = colours
    woods = made.noise(made.at, 60 / away, Detail=9.0, Roughness=0.75)[0]
    made.done(made.ramp(woods, (0.4, dark), (0.62, light)))
    net(np.linspace(*span, 700), away + deep * np.linspace(0, 1, 160), height, made.made)


def sky(sun: tuple[float, float], clouds: float, seed: int) -> None:
    """Light everything by air with thin clouds, of which `clouds` tells how much they cover."""
    made = bpy.data.worlds.new("sky")
    bpy.context.scene.world, made.use_nodes = made, True
    around = Material.__new__(Material)
    around.made = made
    air, seen = around("TexSky"), around("TexCoord").outputs["Generated"]
    air.sky_type, air.sun_disc = "MULTIPLE_SCATTERING", False
    air.sun_elevation, air.sun_rotation = math.radians(sun[0]), math.radians(180 - sun[1])
    up = around("SeparateXYZ", seen).outputs[2]
    lift = around("Math", around("Math", up, 0.02, operation="MAXIMUM").outputs[0], 0.09)
    flat = around("VectorMath", seen, lift.outputs[0], operation="DIVIDE").outputs[0]
    veil = around("TexNoise", flat, Scale=0.42, Detail=12.0, Roughness=0.57, Distortion=0.3)
    veil.noise_dimensions = "4D"
    around.set(veil, W=float(seed))
    cover = around("MapRange", veil.outputs[0], 0.66 - 0.2 * clouds, 0.92 - 0.2 * clouds, 0, 0.85)
    colour = around.mixed(cover.outputs[0], air.outputs[0], (13, 13.2, 13.6, 1))
    around.set(made.node_tree.nodes["Background"], colour, 0.075)


def still_water(tilt: float) -> Any:
    made = Material(rough=0.03)
    ripples = made.noise(made.at, 1.6, (1, 2.6, 1), Detail=6.0)[0]
    off = made("MapRange", beyond_shore(made, tilt), 0.0, 9.0).outputs[0]
    made.set(made.base, IOR=1.33)
    colour = made.ramp(off, (0.0, (0.11, 0.1, 0.065)), (1.0, (0.008, 0.02, 0.022)))
    return made.done(colour, ripples, deep=0.02, bump=0.25)


def bank(draw: Any, tilt: float, surface: Any) -> None:
    """Add ground that falls into the water."""
    lumps, bumps = waves(draw, 14, 3.5, 0.035, 1.5), waves(draw, 60, 0.45, 0.014, 1.5)

    def height(x: Any, y: Any) -> Any:
        off = y - shore_at(x, tilt)
        dry = 1 / (1 + np.exp(1.6 * (off + 3.2)))
        return -0.055 * off * np.where(off < 0, 1, 1.6) + dry * (lumps(x, y) + bumps(x, y))

    rows = np.concatenate([np.arange(0.6, 14, 0.02), np.geomspace(14, 60, 90)])
    net(np.arange(-22, 22, 0.045), rows, height, surface)


def sea(draw: Any, tilt: float) -> None:
    swell, surface = waves(draw, 60, 3.6, 0.09), water(tilt)

    def height(x: Any, y: Any) -> Any:
        off = np.maximum(y - shore_at(x, tilt), 0)
        return swell(x, y) * np.minimum(1, off / 9) * np.exp(-off / 40) + 0.012

    net(np.arange(-60, 60, 0.12), np.arange(5.5 - 20 * tilt, 45, 0.08), height, surface)
    net(np.linspace(-2500, 2500, 400), np.geomspace(44.9, 9000, 400), height, surface)


def daylight(
    sun: tuple[float, float],
    clouds: float,
    seed: int,
    *,
    energy: float = 4.4,
    colour: Colour = (1, 0.91, 0.77),
    is_near: bool = False,
    is_low: bool = False,
) -> None:
    """Add a low sun, a sky and a camera: at a child's or a dog's eyes, or near the ground."""
    turned = (90 - sun[0], 0, sun[1])
    lamp("SUN", (0, 0, 5), turned, energy=energy, angle=0.009, color=colour)
    sky(sun, clouds, seed)
    if is_near:
        camera(0.5, 10, angle=40, sharp=8)
    elif is_low:
        camera(*LOW, **LENS)
    else:
        camera(1.35, 7, angle=42, sharp=None)


def shoot_shore(
    name: str, *, tilt: float, sun: tuple[float, float], clouds: float, seed: int
) -> None:
    daylight(sun, clouds, seed, energy=4.6, colour=NOON)
    far, more = 6.2, 4 * tilt
    shoot(name, [(-9, 1.2), (9, 1.2), (9, far + more), (-9, far - more)], exposure=0.4)


def beach_0() -> None:
    draw = np.random.default_rng(3)
    bank(draw, 0.0, sand(0.0, GOLDEN))
    sea(draw, 0.0)
    hills(draw, 2400, (-2600, -300), 110)
    shoot_shore("beach-0", tilt=0.0, sun=(38, -65), clouds=0.5, seed=3)


def beach_1() -> None:
    draw = np.random.default_rng(8)
    bank(draw, 0.75, sand(0.75, GOLDEN))
    sea(draw, 0.75)
    hills(draw, 3000, (100, 3200), 160)
    shoot_shore("beach-1", tilt=0.75, sun=(32, 55), clouds=0.75, seed=8)


def beach_2() -> None:
    """Draw the beach as what lies on it is seen."""
    draw = np.random.default_rng(11)
    bank(draw, 0.0, sand(0.0, GOLDEN))
    sea(draw, 0.0)
    for each in bpy.context.collection.objects:
        each.location.z -= NEAR_SAND_M
    daylight((40, -60), 0.6, 6, energy=4.6, colour=NOON, is_near=True)
    shoot("beach-2", [(-9, 0.3), (9, 0.3), (9, 2.6), (-9, 2.6)], exposure=0.4)


def lake_0() -> None:
    draw = np.random.default_rng(5)
    bank(draw, 0.35, sand(0.35, BROWN))
    flat = np.array([-2500.0, 2500.0]), np.array([-5.0, 9000.0])
    net(*flat, lambda x, _: 0 * x, still_water(0.35))
    hills(draw, 6000, (-6600, 3000), 420, ((0.3, 0.37, 0.43), (0.25, 0.32, 0.38)), rough=0.09)
    hills(draw, 2800, (-1500, 4200), 190, ((0.15, 0.2, 0.19), (0.11, 0.155, 0.15)), rough=0.07)
    hills(draw, 1300, (-3000, -150), 85, ((0.085, 0.13, 0.085), (0.045, 0.075, 0.055)))
    hills(draw, 900, (260, 1600), 42, ((0.06, 0.1, 0.05), (0.022, 0.043, 0.025)), rough=0.08)
    shoot_shore("lake-0", tilt=0.35, sun=(40, -70), clouds=0.7, seed=4)


def main() -> None:
    """Render the beach and the lake."""
    studio.render((beach_0, beach_1, beach_2, lake_0), __doc__)


if __name__ == "__main__":
    main()
