"""Photographs as scenes, to look at: `python -m benchmarks.scene_sheet FOLDER BACKGROUNDS -o OUT`.

48 pictures: 24 photographs, each in two settings of time, weather and season that the seed deals.
Every second photograph receives a subject, cut out by its hand-drawn outline. FOLDER holds
DreamBench's photographs, BACKGROUNDS those of free packages. Beside each picture stands the
photograph, or that of the subject.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.progress import track

import swiftpie
from benchmarks.cutout import Outline, open_photo, read_outlines
from benchmarks.sheet import Pair, identity_of, sheet
from swiftpie.errors import SwiftPieError
from swiftpie.imageio.decoding import load_image

NUM_PHOTOS, SETTINGS_EACH = 24, 2
SETTINGS = (
    "at sunset",
    "at night",
    "at dawn",
    "in the rain",
    "in the fog",
    "in falling snow",
    "in autumn",
    "in winter",
    "at sunset in autumn",
    "at night in falling snow",
    "on a winter morning",
    "at night in the rain",
)


def pairs(
    session: swiftpie.Session, folder: Path, backgrounds: Path, *, seed: int
) -> Iterator[Pair]:
    """Yield each photograph beside its picture in a setting.

    Raises:
        InputError: A photograph is missing, or another one than was outlined.
    """
    dealer = random.Random(seed)
    outlines = read_outlines()
    for number, path in enumerate(_photos(folder, backgrounds, dealer)):
        photo = load_image(path)
        subject = dealer.choice([one for one in outlines if _name(one) != path.parent.name])
        for setting in dealer.sample(SETTINGS, SETTINGS_EACH):
            if number % 2 == 0:
                picture = session.edit(photo, setting, seed=seed).image
                yield Pair(f"{path.stem} {setting}", photo, picture)
                continue
            identity = identity_of(session, folder, subject)
            result = session.personalize(identity, f"a thing {setting}", scene=photo, seed=seed)
            name = f"{_name(subject)} in {path.stem} {setting}"
            yield Pair(name, open_photo(folder, subject), result.images[0])


def _photos(folder: Path, backgrounds: Path, dealer: random.Random) -> list[Path]:
    """Return as many photographs of each folder, one of each of DreamBench's subjects at most."""
    subjects = sorted(path for path in folder.iterdir() if path.is_dir())
    half = NUM_PHOTOS // 2
    ours = [dealer.choice(sorted(one.glob("*.jpg"))) for one in dealer.sample(subjects, half)]
    theirs = sorted(path for path in backgrounds.iterdir() if path.is_file())
    mixed = [*ours, *dealer.sample(theirs, NUM_PHOTOS - half)]
    dealer.shuffle(mixed)
    return mixed


def _name(outline: Outline) -> str:
    return Path(outline.file).parent.name


def main() -> None:
    """Draw the sheet, and each picture at its full size beside it on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="DreamBench's photographs")
    parser.add_argument("backgrounds", type=Path, help="photographs of free packages")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the sheet, a PNG")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=Path, help="a folder for all pictures at their full size")
    given = parser.parse_args()
    session, found = swiftpie.load("mini"), []
    drawn = pairs(session, given.folder, given.backgrounds, seed=given.seed)
    for pair in track(drawn, total=NUM_PHOTOS * SETTINGS_EACH, description="scenes"):
        found.append(pair)
        if given.each is not None:
            given.each.mkdir(parents=True, exist_ok=True)
            pair.ours.save(given.each / f"{len(found):02d}.png")
    sheet(found).save(given.out)


if __name__ == "__main__":
    try:
        main()
    except SwiftPieError as error:
        sys.exit(str(error))
