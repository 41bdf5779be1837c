"""The places of the world, a module a kind; every `Place` in any of them is found by its name."""

import importlib
import pkgutil

from swiftpie_world.features import Place

# Networks, judges and benchmarks know these by their numbers; captions name them.
_KNOWN = (
    *("meadow", "forest", "mountains", "desert", "farm field", "garden", "country road"),
    *("snowy slope", "volcano", "vineyard", "canyon", "savanna", "ruins", "beach", "lake"),
    *("harbour", "waterfall", "arctic ice", "city street", "park", "village", "bridge"),
    *("playground", "castle", "campsite", "underwater", "space", "above the clouds"),
    *("wooden table", "kitchen", "living room", "library", "brick wall", "checkered floor"),
    *("stage", "museum", "cave", "white backdrop", "grey backdrop", "black backdrop"),
    *("red backdrop", "orange backdrop", "yellow backdrop", "green backdrop"),
    *("turquoise backdrop", "blue backdrop", "purple backdrop", "pink backdrop"),
    "brown backdrop",
)
# The seeds of the library's pictures count these; places that are not listed come after them.
_SCENES = (
    *("lavender field", "sunflower field", "tulip field", "rice terraces", "bamboo grove"),
    *("japanese garden", "pyramids", "oasis", "balloon festival", "lighthouse", "log cabin"),
    *("stone circle", "mushroom forest", "jungle temple", "airport", "petrol station"),
    *("market", "suburban street", "canal", "rooftop", "railway station", "pier", "funfair"),
    *("stadium", "swimming pool", "race track", "bedroom", "bathroom", "classroom", "attic"),
    *("greenhouse", "cafe", "bakery", "garage", "christmas room", "church", "sports hall"),
    *("supermarket", "spaceship", "cinema", "disco", "throne room", "train carriage"),
    "moon surface",
)


def find_places() -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    """Return the places that networks know by number, and the others."""
    found: dict[str, Place] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= _in_module(module.name)
    known, scenes = (tuple(map(found.pop, names)) for names in (_KNOWN, _SCENES))
    return known, (*scenes, *found.values())


def _in_module(name: str) -> dict[str, Place]:
    values = [*vars(importlib.import_module(f"{__name__}.{name}")).values()]
    values += [place for value in values if isinstance(value, tuple) for place in value]
    return {value.name: value for value in values if isinstance(value, Place)}


KNOWN, SCENES = find_places()
