"""Whether subjects stand in photographed places: `python -m benchmarks.standing FOLDER -o OUT`.

40 pictures: subjects of DreamBench, cut out by their hand-drawn outlines, in places that the seed
deals: small things in places seen from near, others in the others. FOLDER holds DreamBench's
photographs. Three figures: in how many pictures the subject's lowest point lies on the annotated
ground, in how many of those whose name has a usual height theirs is within a factor 1.5, and in how
many of the first 16, drawn at night and at sunset as well, the subject and what is around it keep
the same share of their daylight, within 15 %. Then what `benchmarks.ground` prints of insertions
without a box.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import swiftpie
from benchmarks.cutout import Outline, open_photo, read_outlines
from benchmarks.ground import report, views
from benchmarks.sheet import Pair, identity_of, parser_of, save
from swiftpie.errors import SwiftPieError
from swiftpie.geometry.ground import SMALL_M, Ground, heights_in
from swiftpie.masks import HALF
from swiftpie.mini.placing import staged
from swiftpie.mini.reading import read
from swiftpie.mini.relight import NOISE_SHAPE
from swiftpie.mini.scenes import scene_library
from swiftpie.mini.words import tokens_in
from swiftpie.noise import draw_noise
from swiftpie.pipelines.request import PersonalizeRequest, Subject

NUM_PICTURES, NUM_NIGHTS, SIZE = 40, 16, (768, 576)
DARK = ("at night", "at sunset")
FACTOR = 1.5  # by which a height may be off
SLACK = 0.015  # of the picture: what an outline is off at the feet
AROUND = 0.12  # of the longer side: how far the surroundings of a subject reach
DARKER = 0.15  # by which subjects may keep another share of their daylight than surroundings


class Standing(NamedTuple):
    """One picture, and how its subject stands."""

    pair: Pair
    is_on_ground: bool
    factor: float | None  # of its height over the usual one; None: no table has it
    dark: dict[str, float]  # its share of daylight over that of its surroundings, by time of day


def standing_in(mask: Image.Image, ground: Ground, height_m: float | None) -> tuple[bool, float]:
    """Return whether a subject's lowest point lies on the ground, and its height in usual ones."""
    seen = np.asarray(mask) > 255 * HALF
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen[seen.any(1)][-1])
    foot = ((rows[-1] + 1) / len(seen), (columns.mean() + 0.5) / seen.shape[1])
    ys = [y for _, y in ground.corners]
    y = min(max(ys), max(min(ys), foot[0]))
    left, right = ground.span_at(y)
    is_on = abs(y - foot[0]) <= SLACK and left - SLACK <= foot[1] <= right + SLACK
    tall = (rows[-1] + 1 - rows[0]) / len(seen)
    return bool(is_on), 1.0 if height_m is None else tall / (ground.metre_at(y) * height_m)


def brightness(picture: Image.Image, mask: Image.Image) -> tuple[float, float]:
    """Return the mean brightness in [0, 1] of a subject and of what is around it."""
    grey, seen = np.asarray(picture.convert("L")) / 255, np.asarray(mask)
    reach, solid = round(AROUND * max(mask.size)), seen > 255 * HALF
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    around = np.zeros_like(solid)
    top, left = max(0, rows[0] - reach), max(0, columns[0] - reach)
    around[top : rows[-1] + reach, left : columns[-1] + reach] = True
    rim = np.asarray(mask.filter(ImageFilter.MaxFilter(9))) > 0
    return float(grey[solid].mean()), float(grey[around & ~rim].mean())


def pictures(session: swiftpie.Session, folder: Path, *, seed: int) -> Iterator[Standing]:
    """Yield pictures of subjects in places that the seed deals.

    Raises:
        InputError: A photograph is missing, or another one than was outlined.
    """
    dealer, known = random.Random(seed), scene_library()
    outlines = read_outlines()
    grounds = {name: known.ground(name, 0) for name in known.names()}
    near, far = (
        [name for name, ground in grounds.items() if ground and ground.is_near == is_near]
        for is_near in (True, False)
    )
    for number in range(NUM_PICTURES):
        outline: Outline = dealer.choice(outlines)
        words = tokens_in(Path(outline.file).parent.name.replace("_", " "))
        noun = words[-1].rstrip("0123456789")
        height = next(iter(heights_in([*words[:-1], noun])), None)
        name = dealer.choice(near if height is not None and height < SMALL_M else far)
        prompt = f"a {noun} {known.phrase(name)}"
        identity = identity_of(session, folder, outline)
        drawn = session.personalize(identity, prompt, scene=name, seed=seed + number, size=SIZE)
        request = PersonalizeRequest(
            subjects=(Subject(identity),),
            prompt=prompt,
            seeds=(seed + number,),
            scene=name,
            size_px=SIZE[::-1],
        )
        noise = draw_noise([seed + number], NOISE_SHAPE)
        found = staged(session.components, request, read(prompt), noise)
        assert found is not None, "something stands there"
        ground = found.ground.seen_in(found.view)
        is_on, factor = standing_in(drawn.subject_masks[0], ground, height)
        dark = {}
        for time in DARK if number < NUM_NIGHTS else ():
            dim = session.personalize(
                identity, f"{prompt} {time}", scene=name, seed=seed + number, size=SIZE
            )
            (subject, place), (lit, lit_place) = (
                brightness(result.images[0], result.subject_masks[0]) for result in (dim, drawn)
            )
            dark[time] = (subject / lit) / (place / lit_place)
        picture = drawn.images[0].copy()
        if not is_on:
            ImageDraw.Draw(picture).rectangle((0, 0, 20, 20), fill="red")
        title = f"{prompt}: {'on' if is_on else 'OFF'}, {factor:.2f}"
        pair = Pair(title, open_photo(folder, outline), picture)
        yield Standing(pair, is_on, None if height is None else factor, dark)


def main() -> None:
    """Draw, measure and store a sheet."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = list(pictures(swiftpie.load("mini"), given.folder, seed=given.seed))
    save([each.pair for each in found], given, total=NUM_PICTURES)
    on = sum(each.is_on_ground for each in found)
    factors = [each.factor for each in found if each.factor is not None]
    right = sum(1 / FACTOR <= factor <= FACTOR for factor in factors)
    alike = (
        f"as dark as its place {time} "
        f"{sum(abs(each.dark[time] - 1) <= DARKER for each in found[:NUM_NIGHTS])} of {NUM_NIGHTS}"
        for time in DARK
    )
    sys.stdout.write(
        f"on the ground {on} of {len(found)}, usual height {right} of {len(factors)} with one, "
        f"{', '.join(alike)}\n"
    )
    sys.stdout.write(report(list(views())))


if __name__ == "__main__":
    try:
        main()
    except SwiftPieError as error:
        sys.exit(str(error))
