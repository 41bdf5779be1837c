"""Renders the snow and wheat: `python -m benchmarks.fields FOLDER [NAME ...]`.

Cycles of `pip install bpy==5.0.1` draws them into FOLDER/renderings, as `benchmarks.shores` does.
Snow, firs, wheat, hills and sky are formulas of this file. A place takes a minute and a half of one
core.
"""
# ruff: noqa: ANN401 - Blender has no types.

import math
import random
from typing import Any

import numpy as np

from benchmarks import near_places as studio
from benchmarks.near_places import Colour, Material, camera, lamp, shoot
from benchmarks.shores import hills, net, sky, waves

NEEDLES: tuple[Colour, ...] = ((0.012, 0.028, 0.016), (0.018, 0.036, 0.018), (0.022, 0.034, 0.02))
WHITE: Colour = (0.82, 0.85, 0.9)
SNOWY_ROCK: tuple[Colour, Colour] = ((0.62, 0.68, 0.78), (0.2, 0.25, 0.33))
WOODED: tuple[Colour, Colour] = ((0.34, 0.4, 0.46), (0.1, 0.14, 0.17))


def snow() -> Any:
    """Return snow that wind has packed."""
    made = Material(rough=0.6)
    packed = made.noise(made.at, 2.2, (1, 2.5, 1), Detail=9.0, Roughness=0.6)[0]
    lumps = made.noise(made.at, 14.0, Detail=8.0, Roughness=0.65)[0]
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
    made = studio.bpy.data.meshes.new("fir")
    made.from_pydata(corners.tolist(), [], np.arange(len(corners)).reshape(-1, 3).tolist())
    leaf, heap = Material(rough=0.8), Material(rough=0.7)
    made.materials.append(leaf.done(green))
    made.materials.append(heap.done(WHITE))
    made.polygons.foreach_set("material_index", np.concatenate(which).tolist())
    return made


def wood(
    deal: random.Random, firs: Any, ground: Any, spots: Any, tall: tuple[float, float]
) -> None:
    """Plant firs at places, of heights in metres."""
    for x, y in spots:
        stood = studio.bpy.data.objects.new("fir", deal.choice(firs))
        high = deal.uniform(*tall)
        stood.scale = (high * deal.uniform(0.85, 1.2),) * 2 + (high,)
        stood.rotation_euler = (deal.gauss(0, 0.02), deal.gauss(0, 0.02), deal.uniform(0, 6.3))
        stood.location = (x, y, float(ground(np.array(float(x)), np.array(float(y)))) - 0.02 * high)
        studio.bpy.context.collection.objects.link(stood)


def clearing(
    name: str, seed: int, near: Any, *, sun: tuple[float, float], clouds: float, exposure: float
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
    sides = [(deal.choice((-1, 1)) * deal.gauss(28, 6), deal.uniform(38, 80)) for _ in range(40)]
    wood(deal, firs, ground, edge, (6, 13))
    wood(deal, firs, ground, sides, (4, 10))
    wood(deal, firs, ground, near, (3.5, 7))
    hills(draw, 2600, (-3400, 3200), 330, WOODED, rough=0.06)
    hills(draw, 6500, (-6800, 6200), 1150, SNOWY_ROCK, rough=0.09)
    turned = (90 - sun[0], 0, sun[1])
    lamp("SUN", (0, 0, 5), turned, energy=3.6, angle=0.012, color=(1, 0.9, 0.76))
    sky(sun, clouds, seed)
    camera(1.35, 7, angle=42, sharp=None)
    shoot(name, [(-9, 1.2), (9, 1.2), (9, 9), (-9, 9)], exposure=exposure)


def snow_0() -> None:
    near = ((-13, 21), (-17, 27), (-11, 31), (15, 25), (19, 33), (-20, 35))
    clearing("snowy slope-0", 4, near, sun=(24, -62), clouds=0.6, exposure=0.35)


def snow_1() -> None:
    near = ((8.5, 15), (11, 19), (14, 22), (10, 26), (-19, 30), (-16, 38), (17, 30))
    clearing("snowy slope-1", 7, near, sun=(19, 48), clouds=0.9, exposure=0.45)


STRAW: tuple[Colour, ...] = ((0.5, 0.33, 0.11), (0.58, 0.4, 0.15), (0.42, 0.29, 0.1))
WOODS: tuple[Colour, Colour] = ((0.075, 0.13, 0.055), (0.03, 0.06, 0.025))
FAR_FIELDS: tuple[Colour, Colour] = ((0.3, 0.3, 0.16), (0.13, 0.2, 0.11))


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
    made = studio.bpy.data.meshes.new("wheat")
    made.from_pydata(np.stack(ends, 1).reshape(-1, 3).tolist(), [], faces.tolist())
    leaf = Material(rough=0.6)
    leaf.done(colour)
    glow = leaf("BsdfTranslucent", (*(1.3 * part for part in colour), 1))
    both = leaf("MixShader", 0.3, leaf.base.outputs[0], glow.outputs[0])
    leaf.set(leaf.made.node_tree.nodes["Material Output"], both.outputs[0])
    made.materials.append(leaf.made)
    return made


def sown(deal: random.Random, patches: Any, x: Any, y: Any, apart: float) -> None:
    """Lay patches over an area that `x` and `y` span."""
    for away in np.arange(*y, apart):
        for across in np.arange(*x, apart):
            laid = studio.bpy.data.objects.new("wheat", deal.choice(patches))
            shift = deal.uniform(-0.2, 0.2) * apart, deal.uniform(-0.2, 0.2) * apart
            laid.location = (float(across) + shift[0], float(away) + shift[1], 0)
            laid.rotation_euler = (0, 0, deal.choice((0, 1, 2, 3)) * math.pi / 2)
            laid.scale = (1, 1, deal.uniform(0.9, 1.08))
            studio.bpy.context.collection.objects.link(laid)


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


def field(name: str, seed: int, *, edge: float, sun: tuple[float, float], clouds: float) -> None:
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
    turned = (90 - sun[0], 0, sun[1])
    lamp("SUN", (0, 0, 5), turned, energy=4.4, angle=0.009, color=(1, 0.91, 0.79))
    sky(sun, clouds, seed)
    camera(1.35, 7, angle=42, sharp=None)
    far_end = edge - 0.6
    shoot(name, [(-9, 1.2), (9, 1.2), (9, far_end), (-9, far_end)], exposure=0.3)


def wheat_0() -> None:
    field("wheat field-0", 2, edge=6.5, sun=(36, -58), clouds=0.7)


def main() -> None:
    """Render both fields."""
    studio.render((snow_0, snow_1, wheat_0), __doc__)


if __name__ == "__main__":
    main()
