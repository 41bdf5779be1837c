"""Renders the library's hall: `python -m swiftpie_world.blender.halls FOLDER`.

Cycles draws it into FOLDER/renderings, as for `near_places`, of the same panorama and furniture, in
one or two minutes of one core.
"""

import math

from swiftpie_world.blender import studio
from swiftpie_world.blender.shores import LENS, LOW
from swiftpie_world.blender.studio import (
    OAK,
    Colour,
    Material,
    boards,
    camera,
    lamp,
    light,
    shoot,
    sides,
    slab,
    speckled,
    thing,
)

PLASTER: Colour = (0.7, 0.68, 0.64)


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
    camera(*LOW, **LENS)
    shoot("hall-0", sides(2.3, 1.2, 7.0), exposure=0.2)


def main() -> None:
    """Render the hall."""
    studio.render((hall_0,), __doc__)


if __name__ == "__main__":
    main()
