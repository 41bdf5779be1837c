"""Renders large rooms: `python -m benchmarks.halls FOLDER [NAME ...]`.

Cycles of `pip install bpy==5.0.1` draws them into FOLDER/renderings, as `benchmarks.near_places`
does, of the same panorama and furniture. Floors and walls are formulas of this file. A place takes
one or two minutes of one core.
"""
# ruff: noqa: ANN401 - Blender has no types.

import math
from typing import Any

from benchmarks import near_places as studio
from benchmarks.near_places import (
    OAK,
    Colour,
    Material,
    boards,
    lamp,
    light,
    shoot,
    sides,
    slab,
    speckled,
    thing,
)
from benchmarks.streets import FAR, seen_from

PLASTER: Colour = (0.7, 0.68, 0.64)


def concrete() -> Any:
    """Return a floor of concrete that years of use have stained."""
    made = Material(rough=0.5)
    cloudy = made.noise(made.at, 0.7, Detail=9.0, Roughness=0.62)[0]
    stains = made.noise(made.at, 3.0, Detail=12.0, Roughness=0.78)[0]
    grains = made.noise(made.at, 90, Detail=8.0, Roughness=0.85)[0]
    tone = made("Math", stains, 0.35, cloudy, operation="MULTIPLY_ADD").outputs[0]
    colour = made.ramp(tone, (0.48, (0.2, 0.195, 0.185)), (0.86, (0.37, 0.36, 0.34)))
    specks = made.ramp(grains, (0.36, (0.68, 0.67, 0.66)), (0.62, (1.08, 1.08, 1.07)))
    shine = made("MapRange", stains, 0.35, 0.65, 0.38, 0.62)
    made.set(made.base, Roughness=shine.outputs[0])
    return made.done(made.mixed(1.0, colour, specks, "MULTIPLY"), grains, deep=0.002, bump=0.3)


def corrugated(colour: Colour, wide: float) -> Any:
    """Return sheet metal whose upright folds are so wide, in metres."""
    made = Material(rough=0.45)
    x, _, _ = made("SeparateXYZ", made.at).outputs
    turn = made("Math", x, 2 * math.pi / wide, operation="MULTIPLY").outputs[0]
    fold = made("Math", turn, operation="SINE").outputs[0]
    rust = made.noise(made.at, 1.6, (1, 0.3, 1), Detail=9.0, Roughness=0.7)[0]
    dim = tuple(0.7 * part for part in colour)
    painted = made.ramp(rust, (0.36, dim), (0.6, colour))
    return made.done(painted, fold, deep=0.03, bump=1.0)


def hall_0() -> None:
    """Draw a bright hall with a floor of oak and windows at the left."""
    laid = boards(OAK, 0.14, long=2.4, gap=0.0012, rough=0.35)
    slab((0, 8, -0.05), (20, 20, 0.1), laid, turn=math.pi / 2)
    plain = speckled(PLASTER, PLASTER, rough=0.8, scale=9)
    white = speckled((0.8, 0.8, 0.78), (0.79, 0.79, 0.77), rough=0.4, scale=9)
    door = speckled((0.36, 0.24, 0.15), (0.34, 0.225, 0.14), rough=0.45, scale=4)
    slab((0, 13.0, 2.5), (24, 5, 0.2), plain, upright=True)
    slab((0, 12.88, 0.07), (24, 0.03, 0.14), white)
    for y in (4.0, 7.0, 10.0, 13.0):  # piers between windows
        slab((-3.2, y, 2.5), (0.3, 0.9, 5), plain)
    slab((-3.2, 8, 0.2), (0.2, 10, 0.4), plain)
    glass = Material()
    glow = glass("Emission", (0.9, 0.95, 1, 1), 2.6).outputs[0]
    glass.set(glass.made.node_tree.nodes["Material Output"], glow)
    slab((-3.6, 8, 2.7), (0.02, 10, 4.6), glass.made)
    for x in (0.3, 1.32):  # a door of two leaves
        slab((x, 12.86, 1.15), (1.0, 0.06, 2.3), door)
    for x, y in ((2.5, 7.6), (2.5, 11.2)):
        slab((x, y, 2.5), (0.42, 0.42, 5), white)
    thing("decorativePlant", (-1.9, 12.2, 0), 1.7)
    light("apartment.exr", 100, 0.75)
    lamp("AREA", (-3.4, 3.5, 2.4), (65, 0, -90), size=4.0, energy=330, color=(1, 0.97, 0.93))
    seen_from(FAR)
    shoot("hall-0", sides(2.3, 1.2, 7.0), exposure=0.2)


def warehouse(name: str, *pieces: tuple[Any, ...]) -> None:
    """Draw a warehouse with a floor of concrete and a wall of sheet metal."""
    slab((0, 8, -0.05), (24, 22, 0.1), concrete())
    slab((0, 13.0, 2.5), (24, 5, 0.2), corrugated((0.34, 0.37, 0.38), 0.3), upright=True)
    kerb = speckled((0.42, 0.41, 0.39), (0.34, 0.33, 0.31), rough=0.9, scale=14)
    slab((0, 12.85, 0.3), (24, 0.2, 0.6), kerb)
    steel = speckled((0.16, 0.2, 0.24), (0.12, 0.15, 0.18), rough=0.5, scale=12)
    for x in (-3.4, 2.9):
        slab((x, 11.0, 2.5), (0.08, 0.3, 5), steel)
        for y in (10.84, 11.16):
            slab((x, y, 2.5), (0.26, 0.03, 5), steel)
    for piece, at, tall, turn in pieces:
        thing(piece, at, tall, turn=turn)
    light("apartment.exr", 100, 0.6)
    lamp("AREA", (-4.0, 4.0, 4.2), (45, 0, -70), size=3.0, energy=420, color=(1, 0.98, 0.95))
    seen_from(FAR)
    shoot(name, sides(2.6, 1.2, 7.5), exposure=0.2)


def warehouse_0() -> None:
    crates = (("crate", (-2.2, 11.2, 0), 0.9, 0.2), ("pallet", (-0.9, 11.0, 0), 0.15, 0.1))
    warehouse("warehouse-0", *crates, ("forkLift", (1.5, 11.4, 0), 2.1, 0.9))


def warehouse_1() -> None:
    drums = tuple(
        ("barrel", (x, y, 0), 0.88, x) for x, y in ((1.6, 11.6), (2.3, 11.3), (2.0, 12.1))
    )
    warehouse("warehouse-1", *drums, ("shippingContainer", (-2.6, 12.4, 0), 2.5, 0.0))


PLACES = (hall_0, warehouse_0, warehouse_1)


def main() -> None:
    """Render the places."""
    studio.render(PLACES, __doc__)


if __name__ == "__main__":
    main()
