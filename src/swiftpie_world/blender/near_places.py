"""Renders the near places: `python -m swiftpie_world.blender.near_places FOLDER [NAME ...]`.

FOLDER holds, all CC0, `hdri/` with the panoramas of Debian's blender-data (studiolights/world) and
`apartment.exr` of npm's @pmndrs/assets, where it is in base64, and `blendswap-cc-0/`, furniture
unzipped from Debian's sweethome3d-furniture. Cycles of `pip install bpy==5.0.1` draws each place
into FOLDER/renderings, of which `collect` makes the library's files, and prints where its ground is
and how tall a metre is, for `places.json`. A place takes about a minute and a half of one core.
"""
# ruff: noqa: ANN401 - Blender has no types.

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from swiftpie_world.blender.studio import (
    GREENS,
    OAK,
    WALNUT,
    Colour,
    Material,
    boards,
    camera,
    cover,
    hang,
    lamp,
    leafy,
    light,
    render,
    shoot,
    sides,
    slab,
    speckled,
    thing,
    tiles,
    tuft,
)


def grass(
    name: str, panorama: str, yaw: float, *, sun: tuple[float, float], seed: int, edge: float = 4.5
) -> None:
    """Draw a lawn on which things stand up to an `edge`, so many metres away."""
    deal, tufts = random.Random(seed), [tuft(each) for each in range(6)]
    for made, colour in zip(tufts, (0, 1, 2, 0, 1, 3), strict=True):
        made.materials.append(leafy(GREENS[colour], 1.7, rough=0.45, share=0.35))
    earth = speckled((0.10, 0.19, 0.04), (0.06, 0.11, 0.025), rough=0.9, scale=30)
    slab((0, 4.7, -0.02), (60, 10, 0.02), earth)
    far = 0.25
    while far < 9:
        step, side = (0.17, 2) if far < 3.5 else (0.3, 1)
        for x in np.arange(-0.35 - 0.62 * far, 0.35 + 0.62 * far, step):
            for _ in range(side):
                kind, near = deal.choice(tufts), deal.uniform(-0.08, 0.08)
                at = float(x) + deal.uniform(-0.08, 0.08), far + near, 0
                turn = 0, 0, deal.uniform(0, 6.3)
                scale = *[1.5 / side**0.5] * 2, deal.uniform(0.75, 1.15)
                hang("tuft", kind, at, turn, scale)
        far += step
    lamp("SUN", (0, 0, 5), (90 - sun[0], 0, sun[1]), energy=4.0, angle=0.03, color=(1, 0.93, 0.82))
    light(panorama, yaw)
    camera(0.36, sharp=4)
    shoot(name, sides(9, 0.3, edge), exposure=0.3)
    cover(name)


def grass_0() -> None:
    grass("grass-0", "forest.exr", 60, sun=(50, 60), seed=2)


def lounge(
    name: str,
    wood: Any,
    wall: Colour,
    rug: tuple[Colour, Colour],
    *pieces: tuple[Any, ...],
    far: float = 3.4,
) -> None:
    """Draw a living room as a person sees it who sits."""
    slab((0, 4.2, -0.05), (9, 9, 0.1), boards(wood, 0.15, long=2.4, gap=0.0012, rough=0.35))
    slab((0, 4.9, 1.4), (12, 2.8, 0.1), speckled(wall, wall, rough=0.8, scale=9), upright=True)
    white = speckled((0.8, 0.8, 0.78), (0.79, 0.79, 0.77), rough=0.4, scale=9)
    slab((0, 4.83, 0.06), (12, 0.03, 0.12), white)
    slab((0.1, 2.7, 0.006), (3.2, 2.1, 0.012), woven(*rug))
    for piece, at, tall, turn in pieces:
        thing(piece, at, tall, turn=turn)
    light("apartment.exr", 100, 0.7)
    lamp("AREA", (-3.2, 1.2, 2.4), (55, 0, -75), size=2.0, energy=180, color=(1, 0.96, 0.9))
    camera(1.05, 13, angle=44, sharp=None)
    shoot(name, sides(1.7, 1.2, far))


def kitchen_0() -> None:
    """Draw a kitchen as a person sees it who sits."""
    slab((0, 3.7, -0.05), (9, 9, 0.1), boards(OAK, 0.15, long=2.4, gap=0.0012, rough=0.4))
    plaster = speckled((0.62, 0.6, 0.55), (0.62, 0.6, 0.55), rough=0.8, scale=9)
    slab((0, 4.5, 1.4), (12, 2.8, 0.1), plaster, upright=True)
    slab((-0.15, 4.44, 1.15), (3.0, 0.6, 0.02), tiles((0.62, 0.66, 0.62)), upright=True)
    for x in (-0.75, 0.45, 1.05):
        thing("lowerCabinet", (x, 4.12, 0), 0.9)
    for x in (-0.75, -0.15, 0.45, 1.05):
        thing("upperCabinet", (x, 4.28, 1.45), 0.7)
    thing("sinkCabinet", (-0.15, 4.12, 0), 1.2)
    thing("highCabinet", (-1.37, 4.1, 0), 2.1)
    thing("largeFridge", (1.85, 4.05, 0), 1.8)
    thing("orchids", (0.95, 4.1, 0.9), 0.45)
    light("apartment.exr", 100, 0.7)
    lamp("AREA", (-3.0, 0.8, 2.4), (55, 0, -70), size=2.0, energy=160, color=(1, 0.96, 0.9))
    camera(1.05, 11, angle=44, sharp=None)
    shoot("kitchen-0", sides(1.7, 1.2, 3.5))


def woven(light_: Colour, dark: Colour) -> Any:
    """Return cloth of two colours of thread."""
    made = Material(rough=0.95)
    fine = made.noise(made.at, 90, Detail=4.0, Roughness=0.8)[0]
    broad = made.noise(made.at, 2.5, Detail=5.0)[0]
    both = made("Math", fine, 0.25, broad, operation="MULTIPLY_ADD").outputs[0]
    return made.done(made.ramp(both, (0.42, dark), (0.78, light_)), fine, deep=0.006, bump=0.8)


def lounge_0() -> None:
    plant = ("decorativePlant", (1.75, 4.3, 0), 1.55, 0.0)
    cloth = ((0.36, 0.33, 0.29), (0.29, 0.26, 0.225))
    sofa = ("sofa2", (-0.1, 4.2, 0), 0.9, 0.0)
    lounge("living room-0", OAK, (0.66, 0.62, 0.54), cloth, sofa, plant)


def lounge_1() -> None:
    cloth = ((0.15, 0.19, 0.24), (0.115, 0.145, 0.19))
    sofa, shelf = ("couch", (0.45, 4.2, 0), 0.72, 0.0), ("bookcase", (-1.75, 4.6, 0), 1.75, 0.0)
    lounge("living room-1", WALNUT, (0.6, 0.62, 0.6), cloth, sofa, shelf)


def bedroom_0() -> None:
    bed, stand = ("bed3", (-1.0, 3.75, 0), 1.05, 0.0), ("bedsideTable2", (0.35, 4.5, 0), 0.5, 0.0)
    lamp_, plant = ("desklamp", (0.35, 4.45, 0.5), 0.42, 0.0), ("plant", (1.9, 4.4, 0), 1.5, 0.0)
    cloth = ((0.5, 0.47, 0.43), (0.41, 0.385, 0.345))
    lounge("bedroom-0", OAK, (0.62, 0.63, 0.6), cloth, bed, stand, lamp_, plant, far=2.55)


PLACES: tuple[Callable[[], None], ...] = (*(grass_0, lounge_0, lounge_1, bedroom_0, kitchen_0),)


def main() -> None:
    """Render the near places."""
    render(PLACES, __doc__)


if __name__ == "__main__":
    main()
