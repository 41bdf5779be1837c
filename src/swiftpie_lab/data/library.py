"""Builds the library of subjects by name, which the package holds."""

import json
from collections.abc import Mapping
from types import MappingProxyType

from swiftpie.library import ASSETS, INDEX, LICENCE
from swiftpie_lab.data.archive import Progress, list_subjects, normalise, read_archives

SIDE_PX = 128  # the reference frame of mini; no more of a sprite is seen

_VARIANT = "-fe0f"  # asks for a picture in place of a letter; tables and files differ in writing it

EVERYDAY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "airplane": ("plane", "aircraft"),
        "alien": ("extraterrestrial",),
        "alien monster": ("monster",),
        "automobile": ("car", "sedan", "hatchback", "convertible"),
        "baby chick": ("chick",),
        "backpack": ("bag", "school bag"),
        "basketball": ("ball",),
        "beer mug": ("beer", "mug"),
        "bicycle": ("bike",),
        "bird": ("sparrow", "songbird"),
        "birthday cake": ("cake",),
        "boy": ("kid",),
        "cat": ("kitten", "kitty", "tabby", "tabby cat", "siamese cat", "persian cat"),
        "cheese wedge": ("cheese",),
        "chocolate bar": ("chocolate",),
        "closed book": ("book",),
        "clown face": ("clown",),
        "cook": ("chef",),
        "couch and lamp": ("couch", "sofa"),
        "cooking": ("pan", "frying pan"),
        "cow": ("cattle",),
        "crossed swords": ("sword", "swords"),
        "deciduous tree": ("tree", "oak"),
        "dog": (
            *("puppy", "doggy", "golden retriever", "retriever", "labrador", "husky", "terrier"),
            *("beagle", "corgi", "dachshund", "bulldog", "german shepherd", "spaniel", "chihuahua"),
            *("pug", "greyhound", "dalmatian", "border collie", "rottweiler"),
        ),
        "ear of corn": ("corn",),
        "flying saucer": ("ufo", "spaceship"),
        "full moon": ("moon",),
        "gem stone": ("diamond", "gem", "jewel"),
        "globe showing europe africa": ("globe", "earth"),
        "gloves": ("glove",),
        "health worker": ("doctor", "nurse"),
        "honeybee": ("bee",),
        "house": ("home", "cottage"),
        "jack o lantern": ("pumpkin",),
        "laptop": ("computer",),
        "light bulb": ("bulb", "lamp"),
        "locked": ("lock", "padlock"),
        "mage": ("wizard", "magician"),
        "magnifying glass tilted left": ("magnifying glass", "magnifier"),
        "man": ("guy", "gentleman"),
        "maple leaf": ("leaf",),
        "microphone": ("mic",),
        "mobile phone": ("phone", "smartphone"),
        "mountain": ("hill",),
        "musical keyboard": ("piano",),
        "necktie": ("tie",),
        "ox": ("bull",),
        "person": ("human", "somebody"),
        "pig": ("piglet",),
        "police officer": ("policeman", "cop", "police"),
        "prince": ("king",),
        "princess": ("queen",),
        "racing car": ("race car", "sports car"),
        "raised hand": ("hand",),
        "red apple": ("apple",),
        "red heart": ("heart",),
        "rhinoceros": ("rhino",),
        "ringed planet": ("planet", "saturn"),
        "rocket": ("space rocket",),
        "ship": ("pirate ship",),
        "running shoe": ("shoe", "sneaker"),
        "sailboat": ("boat", "sailing boat", "yacht"),
        "santa claus": ("santa",),
        "sauropod": ("dinosaur", "brontosaurus"),
        "smiling face with smiling eyes": ("smile", "smiley"),
        "soccer ball": ("football",),
        "sports medal": ("medal",),
        "t rex": ("tyrannosaurus",),
        "t shirt": ("shirt",),
        "tangerine": ("orange", "mandarin"),
        "teacup without handle": ("cup", "teacup", "tea"),
        "teddy bear": ("teddy", "plush bear"),
        "television": ("tv",),
        "top hat": ("hat",),
        "tropical fish": ("goldfish",),
        "tulip": ("flower",),
        "wine glass": ("wine",),
        "woman": ("lady",),
        "woman mage": ("witch", "sorceress"),
        "woman's boot": ("boot",),
        "wrapped gift": ("gift", "present"),
    }
)
"""What people call a subject whose name is another, or who is but one of many with that tag."""


def build_library(
    sprite_data: bytes, name_data: bytes, progress: Progress | None = None
) -> dict[str, bytes]:
    """Return the files of the library, made from the archives of the pack of subjects.

    It holds all subjects of the pack, those too that no training shows, and some more: it is for
    users. Nothing that is measured reads it.
    """
    table, images = read_archives(sprite_data, name_data)
    sprites = {name.replace(_VARIANT, ""): data for name, data in images.items()}
    files, entries = {LICENCE: (ASSETS / LICENCE).read_bytes()}, []
    for entry in list_subjects(table):
        file_name = f"{entry['code']}.webp".replace(_VARIANT, "")
        if file_name in sprites:
            entries.append(entry | {"code": file_name.removesuffix(".webp")})
    for done, entry in enumerate(entries, start=1):
        file_name = f"{entry['code']}.webp"
        files[file_name] = normalise(sprites[file_name], side_px=SIDE_PX)
        entry["meant"] = EVERYDAY.get(str(entry["name"]), ())
        if progress is not None:
            progress(done, len(entries))
    files[INDEX] = json.dumps(entries, ensure_ascii=False, indent=0).encode()
    return files
