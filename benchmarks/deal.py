"""Photographs that insertions without a box are dealt from, and what may stand in them.

Each was looked at: it has ground on which something may stand, and room for it beside what it
shows. Small things, of 5 to 35 cm, go where a photograph shows ground from near; dogs, cats and
backpacks go where the camera stands as far away as from them. A file is named by its folder of
DreamBench and its number, or as `benchmarks.collect` names it.
"""

import random
from collections.abc import Iterator
from pathlib import Path

NEAR, FAR, NOWHERE = "near", "far", "nowhere"
LARGE = frozenset(("dog", "cat", "backpack"))  # nouns of what goes where the ground is far
# Both halves: what even seeds deal, to tune by, and what odd seeds deal, to judge by. Training and
# the fit of grounds never read those packages' photographs that odd seeds deal.
GROUNDS = (
    {
        NEAR: "bear_plushie/00 bear_plushie/01 bear_plushie/02 bear_plushie/03 bear_plushie/04 "
        "can/02 can/03 colorful_sneaker/00 colorful_sneaker/01 colorful_sneaker/02 "
        "colorful_sneaker/03 colorful_sneaker/04 grey_sloth_plushie/00 grey_sloth_plushie/01 "
        "grey_sloth_plushie/03 grey_sloth_plushie/04 rc_car/00 rc_car/01 rc_car/03 rc_car/04 "
        "vase/01 vase/02 vase/05 plasma-BytheWater",
        FAR: "cat/00 cat/01 cat/02 dog3/01 dog3/03 dog3/04 lomiri-sunset_by_Aitzol_Berasategi "
        "lxqt-fog plasma-ColdRipple plasma-EveningGlow plasma-Path stellarium-hurricane1 "
        "stellarium-hurricane4 stellarium-hurricane8 viser-potsdamer_platz_1k-30 "
        "viser-potsdamer_platz_1k-120 viser-potsdamer_platz_1k-210 viser-lebombo_1k-210",
        NOWHERE: "mate-Storm lxqt-cloud lomiri-Dragonfly_by_Bolly plasma-Kite mate-Aqua "
        "enlightenment-Sunset-Clouds lomiri-Kleiber_by_Lukas_Baubkus plasma-summer_1am",
    },
    {
        NEAR: "candle/00 candle/01 candle/02 candle/03 candle/04 duck_toy/00 duck_toy/01 "
        "duck_toy/02 duck_toy/03 poop_emoji/00 poop_emoji/01 poop_emoji/02 poop_emoji/03 "
        "poop_emoji/04 robot_toy/02 robot_toy/04 shiny_sneaker/00 shiny_sneaker/01 "
        "shiny_sneaker/02 shiny_sneaker/03 shiny_sneaker/04 shiny_sneaker/05 mate-Wood",
        FAR: "dog2/00 dog5/02 dog5/03 dog7/01 dog7/02 dog7/03 lomiri-Wine_by_Jakkub_Mede "
        "stellarium-hurricane2 viser-kiara_1_dawn_1k-120 viser-kiara_1_dawn_1k-210 "
        "viser-venice_sunset_1k-120 viser-venice_sunset_1k-210 viser-venice_sunset_1k-300",
        NOWHERE: "enlightenment-God-Rays enlightenment-Mountain lomiri-greentock_by_Peter_Nerlich "
        "lomiri-seeding_by_Clements_Engelhardt lxqt-drop "
        "enlightenment-Green-Maple enlightenment-White-Flower lxqt-Butterfly-Kenneth-Wimer",
    },
)
# Photographs of DreamBench that show all of a subject, and that no hand holds.
SUBJECTS = {
    "backpack": "02 03 05",
    "bear_plushie": "00 01 02 03 04",
    "berry_bowl": "01 02 04 05",
    "can": "00 01 02 03",
    "candle": "00 01 02 03 04",
    "cat": "00 01 02",
    "clock": "03 04 05",
    "colorful_sneaker": "00 01 02 03 04",
    "dog": "01 02 03",
    "dog2": "00 01 03 04",
    "dog3": "01 03 04",
    "dog5": "02 03",
    "dog6": "00 01 02 03",
    "dog7": "01 02",
    "duck_toy": "00 01 02 03",
    "grey_sloth_plushie": "00 01 03 04",
    "pink_sunglasses": "01 03",
    "poop_emoji": "00 01 02 03 04",
    "rc_car": "00 01 02 03 04",
    "robot_toy": "01 02 04",
    "shiny_sneaker": "00 01 02 03 04 05",
    "vase": "02 04",
}


def noun_of(folder: str) -> str:
    """Return the words by which a prompt names the subject of a folder of DreamBench."""
    words = folder.rstrip("0123456789").split("_")
    if words[-1] == "emoji":
        return "toy"
    return "toy car" if words[0] == "rc" else words[-1]  # DreamBench's class is "toy"


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
            if owner != name.split("/")[0] and (noun_of(owner) in LARGE) is (kind == FAR)
            for number in numbers.split()
        ]
        ground = folder / f"{name}.jpg" if "/" in name else next(backgrounds.glob(f"{name}.*"))
        yield dealer.choice(fitting), ground
