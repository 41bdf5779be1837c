"""Photographs as scenes, to look at: `python -m benchmarks.scene_sheet FOLDER BACKGROUNDS -o OUT`.

48 pictures: 24 photographs, each in two settings of time, weather and season that the seed deals.
Every second photograph receives a subject, cut out by its hand-drawn outline. FOLDER holds
DreamBench's photographs, BACKGROUNDS those of free packages. Beside each picture stands the
photograph, or that of the subject.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import swiftpie
from benchmarks.cutout import Outline, open_photo, read_outlines
from benchmarks.sheet import Pair, identity_of, parser_of, save
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
    """Draw all pictures."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    drawn = pairs(swiftpie.load("mini"), given.folder, given.backgrounds, seed=given.seed)
    save(drawn, given, total=NUM_PHOTOS * SETTINGS_EACH)


if __name__ == "__main__":
    try:
        main()
    except SwiftPieError as error:
        sys.exit(str(error))
