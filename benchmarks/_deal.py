"""Photographs that insertions without a box are dealt from, and what may stand in them.

Each was looked at: it has ground on which something may stand, and room for it beside what it
shows. Views of panoramas are left out, for they are blurred. Things of 5 to 20 cm go where the
camera is close to the ground or to a thing of that size, those of 30 cm where it is a step away,
dogs, cats and backpacks where it is as far away as from them. A file is named by its folder of
DreamBench and its number, or as `swiftpie_world.blender.collect` names it.
"""

import random
from collections.abc import Iterator
from pathlib import Path

CLOSE, NEAR, FAR, NOWHERE = "close", "near", "far", "nowhere"
# Nouns of what is larger than 20 cm, by where it goes.
FITS = {"plushie": (NEAR, FAR), "dog": (FAR,), "cat": (FAR,), "backpack": (FAR,)}
SMALL = (CLOSE, NEAR, NOWHERE)  # where all other things go
# Both halves: what even seeds deal, to tune by, and what odd seeds deal, to judge by. Training and
# the fit of grounds never read those packages' photographs that odd seeds deal.
GROUNDS = (
    {
        CLOSE: "bear_plushie/01 bear_plushie/02 bear_plushie/03 bear_plushie/04 can/02 can/03 "
        "cat/01 cat/02 colorful_sneaker/01 colorful_sneaker/02 colorful_sneaker/03 "
        "colorful_sneaker/04 grey_sloth_plushie/03 grey_sloth_plushie/04 rc_car/00 rc_car/01 "
        "rc_car/04 vase/02",
        NEAR: "bear_plushie/00 colorful_sneaker/00 grey_sloth_plushie/00 plasma-BytheWater",
        FAR: "dog3/01 dog3/04 lomiri-aitzgorri_by_Aitzol_Berasategi "
        "lomiri-sunset_by_Aitzol_Berasategi lxqt-fog lxqt-this-is-not-windows plasma-ColdRipple "
        "plasma-EveningGlow plasma-Path stellarium-hurricane1 stellarium-hurricane4 "
        "stellarium-hurricane8",
        NOWHERE: "enlightenment-Sunset-Clouds lomiri-Dragonfly_by_Bolly "
        "lomiri-Kleiber_by_Lukas_Baubkus lxqt-cloud mate-Aqua mate-Storm plasma-Kite "
        "plasma-summer_1am",
    },
    {
        CLOSE: "candle/01 candle/02 candle/03 candle/04 duck_toy/00 duck_toy/02 poop_emoji/00 "
        "poop_emoji/01 poop_emoji/03 poop_emoji/04 robot_toy/02 robot_toy/04 shiny_sneaker/01 "
        "shiny_sneaker/02 shiny_sneaker/03 shiny_sneaker/04 shiny_sneaker/05 mate-Wood",
        NEAR: "candle/00 duck_toy/03 poop_emoji/02 shiny_sneaker/00",
        FAR: "dog2/00 dog2/03 dog7/01 lomiri-Wine_by_Jakkub_Mede "
        "lomiri-picosdeeuropa_by_Aitzol_Berasategi stellarium-hurricane2",
        NOWHERE: "enlightenment-God-Rays enlightenment-Green-Maple enlightenment-Mountain "
        "enlightenment-White-Flower lomiri-greentock_by_Peter_Nerlich "
        "lomiri-seeding_by_Clements_Engelhardt lxqt-Butterfly-Kenneth-Wimer lxqt-drop",
    },
)
# Photographs of DreamBench that show all of a subject: no hand holds it, and no grass, cloth or
# wall hides its foot.
SUBJECTS = {
    "backpack": "02 05",
    "bear_plushie": "00 01 02 04",
    "can": "00 01 02 03",
    "candle": "00 01 04",
    "cat": "01 02",
    "clock": "04",
    "colorful_sneaker": "00 01 03 04",
    "dog2": "00 03 04",
    "dog3": "01 03 04",
    "dog5": "02 03",
    "dog6": "00 01 02 03",
    "dog7": "01 02",
    "duck_toy": "00 01 02 03",
    "grey_sloth_plushie": "01 03 04",
    "pink_sunglasses": "01 03",
    "poop_emoji": "00 03 04",
    "rc_car": "00 01 02 03 04",
    "robot_toy": "01 02 04",
    "shiny_sneaker": "00 01 02 04 05",
    "vase": "02",
}


def noun_of(folder: str) -> str:
    """Return the words by which a prompt names the subject of a folder of DreamBench."""
    words = folder.rstrip("0123456789").split("_")
    if words[-1] == "emoji":
        return "toy"  # as DreamBench names it
    return "toy car" if words[0] == "rc" else words[-1]


def dealt(
    folder: Path, backgrounds: Path, *, seed: int, count: int, refused: bool = False
) -> Iterator[tuple[Path, Path]]:
    """Yield a subject's photograph and that of its place, which is not dealt twice.

    Those that have no ground at all are dealt instead if they are to be `refused`.
    """
    dealer = random.Random(seed)
    grounds = GROUNDS[seed % 2]
    places = [(kind, name) for kind, names in grounds.items() for name in names.split()]
    places = [place for place in places if (place[0] == NOWHERE) is refused]
    for kind, name in dealer.sample(places, count):
        fitting = [
            folder / owner / f"{number}.jpg"
            for owner, numbers in SUBJECTS.items()
            if owner != name.split("/")[0] and kind in FITS.get(noun_of(owner), SMALL)
            for number in numbers.split()
        ]
        ground = folder / f"{name}.jpg" if "/" in name else next(backgrounds.rglob(f"{name}.*"))
        yield dealer.choice(fitting), ground
