"""How well all subjects of a picture are found: `python -m benchmarks.several [--cases 24]`.

Scenes are made of 2 to 4 of the package's sample subjects beside each other in photographed places
of the library. A subject is found where one outline overlaps it by 0.7 or more; it is split where
two outlines lie on it, and two are joined where one outline covers more than half of each.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib.resources import as_file, files

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from swiftpie.errors import NoSubject
from swiftpie.imageio.images import plane
from swiftpie.masks import iou
from swiftpie.photo.several import cut_out_all
from swiftpie.scenes import scene_library

SIZE = (512, 448)
SEED, FIRST = 8_300_000, 6  # The constants were chosen on the scenes before the first.
GOOD_IOU = 0.7


def draw(
    subjects: Sequence[Image.Image], places: Sequence[Image.Image], number: int
) -> tuple[Image.Image, list[Tensor]]:
    """Return a picture of 2 to 4 subjects, and the mask (1, 1, H, W) of each."""
    random = np.random.default_rng((SEED, number))
    count = 2 + number % 3
    photo = places[int(random.integers(len(places)))].convert("RGB").resize(SIZE)
    masks = []
    for slot, chosen in enumerate(random.permutation(len(subjects))[:count]):
        room = SIZE[0] / count
        side = int(random.uniform(0.7, 0.95) * min(room, 0.6 * SIZE[1]))
        subject = subjects[chosen].copy()
        subject.thumbnail((side, side))
        left = int((slot + 0.5) * room - subject.width / 2)
        top = int(random.uniform(0.7, 0.95) * SIZE[1]) - subject.height
        photo.paste(subject, (left, top), subject)
        cover = Image.new("L", SIZE)
        cover.paste(subject.getchannel("A"), (left, top))
        masks.append(plane(cover))
    return photo, masks


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=24)
    options = parser.parse_args(arguments)
    with as_file(files("swiftpie") / "assets" / "samples") as folder:
        subjects = [Image.open(path).convert("RGBA") for path in sorted(folder.glob("*.webp"))]
    subjects = [subject.crop(subject.getchannel("A").getbbox()) for subject in subjects]
    library = scene_library()
    places = [library.image(name) for name in sorted(library.names())[::7]]
    totals, started = (
        dict.fromkeys(("subjects", "found", "split", "joined", "others"), 0),
        time.time(),
    )
    for number in range(FIRST, FIRST + options.cases):
        photo, masks = draw(subjects, places, number)
        try:
            outlines = [found.mask for found in cut_out_all(photo)]
        except NoSubject:
            outlines = []
        on = torch.tensor([[float((o * m).sum() / m.sum()) for m in masks] for o in outlines])
        of = torch.tensor([[float((o * m).sum() / o.sum()) for m in masks] for o in outlines])
        totals["subjects"] += len(masks)
        totals["found"] += sum(any(iou(o, m) >= GOOD_IOU for o in outlines) for m in masks)
        if outlines:
            totals["split"] += int((((of > 0.5).sum(dim=0)) > 1).sum())
            totals["joined"] += int((((on > 0.5).sum(dim=1)) > 1).sum())
            totals["others"] += int((of.sum(dim=1) < 0.5).sum())
    seconds = round((time.time() - started) / options.cases, 2)
    sys.stdout.write(json.dumps({**totals, "seconds_each": seconds}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
