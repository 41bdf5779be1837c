"""Pictures to look at: `python -m benchmarks.sheet DREAMBENCH BACKGROUNDS -o SHEET`.

24 insertions, 8 removals and 8 replacements. DREAMBENCH holds its photographs, a folder a subject,
BACKGROUNDS those of free packages, as `swiftpie_world.blender.collect` finds them. Subjects come
from those that were outlined by hand (`benchmarks.cutout`), cut out by that outline, so that what
is seen is how they were put in and not how they were found. The subject that goes is clicked at.
Next to each insertion and replacement stands the naive paste, to each removal the photograph
before.

`--free N` draws, in place of these, N insertions without a box that `--seed` deals, as a user does
them: photographs of DreamBench's subjects, which the cut-out network outlines and a prompt names,
into photographs with ground for things of their size (`benchmarks._deal`). Even seeds deal from one
half of these photographs, to tune by, and odd seeds from the other, to judge by. A quarter more
photographs follow that have no ground, which should be refused. The names say what is warned of or
refused.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw
from rich.progress import track

import swiftpie
from benchmarks._deal import dealt, noun_of
from benchmarks.cutout import Outline, open_photo, read_outlines
from swiftpie.errors import SwiftPieError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import mask_to_pil
from swiftpie.masks import Box
from swiftpie.types import Identity

CELL_PX, LABEL_PX, COLUMNS = 320, 14, 8
TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class Pair(NamedTuple):
    """Two pictures to be compared."""

    name: str
    other: Image.Image  # the paste, or the photograph before
    ours: Image.Image


def pairs(session: swiftpie.Session, folder: Path, backgrounds: Path) -> Iterator[Pair]:
    """Yield every pair, insertions first.

    Raises:
        InputError: A photograph is missing, or another one than was outlined.
    """
    outlines, photographs = read_outlines(whole=True), read_outlines()
    for subject, place, box in TABLES["insertions"]:
        photo = load_image((folder if "/" in place else backgrounds) / place)
        identity = identity_of(session, folder, outlines[subject])
        result = session.insert(photo, identity, box=tuple(box), seed=1)
        pasted = _pasted(photo, folder, outlines[subject], box)
        yield Pair(f"{subject} into {place}", pasted, result.image)
    for subject in TABLES["removals"]:
        photo = open_photo(folder, photographs[subject])
        result = session.remove(photo, points=[_middle(photographs[subject])], seed=1)
        yield Pair(f"{subject} out", photo, result.image)
    for goes, comes in TABLES["replacements"]:
        photo = open_photo(folder, photographs[goes])
        identity = identity_of(session, folder, outlines[comes])
        result = session.replace(photo, identity, points=[_middle(photographs[goes])], seed=1)
        assert result.box is not None, "who comes has a place"
        yield Pair(
            f"{comes} for {goes}", _pasted(photo, folder, outlines[comes], result.box), result.image
        )


def free_pairs(
    session: swiftpie.Session, folder: Path, backgrounds: Path, *, seed: int, count: int
) -> Iterator[Pair]:
    """Yield the subject's photograph, and the insertion without a box or the photograph alone.

    As many more as a quarter of `count` come from photographs without ground.
    """
    places = [
        *dealt(folder, backgrounds, seed=seed, count=count),
        *dealt(folder, backgrounds, seed=seed, count=count // 4, refused=True),
    ]
    for number, (subject, place) in enumerate(places):
        noun, photo = noun_of(subject.parent.name), load_image(place)
        name = f"{noun} into {place.parent.name}/{place.stem}"
        try:
            identity = session.encode_identity(load_image(subject))
            drawn = session.insert(photo, identity, prompt=f"a photo of a {noun}", seed=number)
            name, photo = " ".join([name, *drawn.warnings]), drawn.image
        except SwiftPieError as error:
            name = f"{name} REFUSED {error}"
        yield Pair(name, load_image(subject), photo)


def sheet(found: Sequence[Pair]) -> Image.Image:
    """Return all pairs side by side, named."""
    rows = -(-len(found) // (COLUMNS // 2))
    whole = Image.new("RGB", (COLUMNS * CELL_PX, rows * (CELL_PX + LABEL_PX)), "white")
    draw = ImageDraw.Draw(whole)
    for number, pair in enumerate(found):
        left = number % (COLUMNS // 2) * 2 * CELL_PX
        top = number // (COLUMNS // 2) * (CELL_PX + LABEL_PX)
        for shift, picture in enumerate((pair.other, pair.ours)):
            small = picture.copy()
            small.thumbnail((CELL_PX, CELL_PX))
            whole.paste(small, (left + shift * CELL_PX, top))
        draw.text((left + 2, top + CELL_PX), f"{number + 1} {pair.name}", fill="black")
    return whole


def identity_of(session: swiftpie.Session, folder: Path, outline: Outline) -> Identity:
    """Encode the subject of a photograph, cut out by its outline."""
    mask = mask_to_pil(outline.mask())[0]
    return session.encode_identity(open_photo(folder, outline), masks=mask)


def _middle(outline: Outline) -> tuple[float, float]:
    """Return where a user would click: the middle of the subject, in shares of the sides."""
    middle = (outline.mask()[0, 0] > 0).nonzero().float().mean(dim=0)
    return float(middle[1]) / outline.size[0], float(middle[0]) / outline.size[1]


def _pasted(photo: Image.Image, folder: Path, outline: Outline, box: Box) -> Image.Image:
    """Return the subject in its own light, as large as `box` allows and with its feet down."""
    alpha = mask_to_pil(outline.mask())[0]
    extent = alpha.getbbox()
    assert extent is not None, "an outline has a subject"
    cut, shape = open_photo(folder, outline).convert("RGB").crop(extent), alpha.crop(extent)
    left, top, right, bottom = (
        round(share * side) for share, side in zip(box, photo.size * 2, strict=True)
    )
    scale = min((right - left) / cut.width, (bottom - top) / cut.height)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    pasted, corner = photo.copy(), ((left + right - size[0]) // 2, bottom - size[1])
    pasted.paste(cut.resize(size), corner, shape.resize(size))
    return pasted


def save(drawn: Iterable[Pair], given: argparse.Namespace, *, total: int) -> None:
    """Draw the sheet, and each picture at its full size in a file of its own on request."""
    found = []
    for pair in track(drawn, total=total, description="pictures"):
        found.append(pair)
        if given.each is not None:
            given.each.mkdir(parents=True, exist_ok=True)
            pair.ours.save(given.each / f"{len(found):02d}.png")
    sheet(found).save(given.out)


def main() -> None:
    """Draw all pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="DreamBench's photographs")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the sheet, a PNG")
    parser.add_argument("--each", type=Path, help="a folder for all pictures at their full size")
    parser.add_argument("backgrounds", type=Path, help="photographs of free packages")
    parser.add_argument("--free", type=int, help="so many insertions without a box, up to 28")
    parser.add_argument("--seed", type=int, default=0, help="of the insertions without a box")
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--weights", type=Path, help="an export, in place of the preset's own")
    given = parser.parse_args()
    session = swiftpie.load(given.preset, weights=given.weights)
    total = sum(map(len, TABLES.values()))
    drawn = pairs(session, given.folder, given.backgrounds)
    if given.free is not None:
        total, asked = given.free + given.free // 4, {"seed": given.seed, "count": given.free}
        drawn = free_pairs(session, given.folder, given.backgrounds, **asked)
    save(drawn, given, total=total)


if __name__ == "__main__":
    try:
        main()
    except SwiftPieError as error:
        sys.exit(str(error))
