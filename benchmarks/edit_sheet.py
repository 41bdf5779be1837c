"""Edits of photographs, to look at: `python -m benchmarks.edit_sheet FOLDER BACKGROUNDS -o OUT`.

20 edits by words alone, each of another of DreamBench's subjects in FOLDER. The seed deals subjects
and photographs, and each is edited once. Beside each edit stands the photograph, twice where the
edit is refused. BACKGROUNDS is not opened.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import swiftpie
from benchmarks.sheet import Pair, parser_of, save
from swiftpie.errors import CapabilityError, SwiftPieError
from swiftpie.imageio.decoding import load_image

EDITS = (
    "at sunset",
    "at night",
    "in the rain",
    "in falling snow",
    "in autumn",
    "in winter",
    "on a beach",
    "in a forest",
    "in front of a castle",
    "as a watercolor painting",
    "as a pencil sketch",
    "red",
    "blue",
    "made of gold",
    "made of wood",
    "wearing a crown",
    "wearing sunglasses",
    "upside down",
    "seen from the left",
    "nothing",
)


def pairs(session: swiftpie.Session, folder: Path, *, seed: int) -> Iterator[Pair]:
    """Yield each photograph beside its edit."""
    dealer = random.Random(seed)
    subjects = sorted(path for path in folder.iterdir() if path.is_dir())
    for words, subject in zip(EDITS, dealer.sample(subjects, len(EDITS)), strict=True):
        path = dealer.choice(sorted(subject.glob("*.jpg")))
        photo = load_image(path)
        title = f"{subject.name} {path.stem}: {words}"
        try:
            yield Pair(title, photo, session.edit(photo, words, seed=seed).image)
        except CapabilityError:
            yield Pair(f"{title} (refused)", photo, photo)


def main() -> None:
    """Draw all edits."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    drawn = pairs(swiftpie.load("mini"), given.folder, seed=given.seed)
    save(drawn, given, total=len(EDITS))


if __name__ == "__main__":
    try:
        main()
    except SwiftPieError as error:
        sys.exit(str(error))
