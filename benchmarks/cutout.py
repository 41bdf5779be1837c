"""How well subjects are cut out of real photographs: `python -m benchmarks.cutout FOLDER`.

FOLDER holds the photographs of DreamBench, a folder a subject. The outlines of 22 of them are ours,
drawn by hand to within about one percent of the side.
"""

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageChops, ImageDraw
from torch import Tensor

from swiftpie.errors import InputError
from swiftpie.imageio.atomic import write_file
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import bounding_box, plane
from swiftpie.masks import grow, iou
from swiftpie.photo.cutout import CutOut, cutout_network, find_with_named, find_with_prior
from swiftpie.photo.cutout_net import CutoutNet
from swiftpie.photo.search import Search
from swiftpie.types import DOUBTFUL

OUTLINES = Path(__file__).parents[1] / "tests" / "cutout" / "outlines.json"
GOOD_IOU = 0.85
HINTS = ("box", "loose", "point")
LOOSE = 0.06  # of the sides of a box, by how much it is off at most
SUPERSAMPLED = 4  # outlines are filled at so many times the size of their photo


class Outline(NamedTuple):
    """Where the subject of one photo is."""

    file: str  # folder and name below that of all photos
    sha256: str
    size: tuple[int, int]  # width and height of the photo
    rings: list[list[tuple[float, float]]]  # x and y in shares; a ring inside another is a hole
    is_whole: bool = True  # nothing hides a part of the subject

    def mask(self) -> Tensor:
        """Return the subject's mask (1, 1, H, W) in [0, 1]."""
        size = (self.size[0] * SUPERSAMPLED, self.size[1] * SUPERSAMPLED)
        filled = Image.new("1", size)
        for ring in self.rings:
            layer = Image.new("1", size)
            points = [(x * size[0], y * size[1]) for x, y in ring]
            ImageDraw.Draw(layer).polygon(points, fill=1)
            filled = ImageChops.logical_xor(filled, layer)
        return plane(filled.convert("L").resize(self.size, Image.Resampling.BOX))


def read_outlines(*, whole: bool = False) -> dict[str, Outline]:
    """Return the outline of each subject in its first photograph, or the first that is whole."""
    found = dict[str, Outline]()
    for row in json.loads(OUTLINES.read_text()):
        outline = Outline(**{**row, "size": tuple(row["size"])})
        if outline.is_whole or not whole:
            found.setdefault(Path(outline.file).parent.name, outline)
    return found


def open_photo(folder: Path, outline: Outline) -> Image.Image:
    """Return the photo that was outlined.

    Raises:
        InputError: It is missing, or another one.
    """
    path = folder / outline.file
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != outline.sha256:
        raise InputError(
            f"{path} is not the photograph that was outlined (sha256 {outline.sha256}). The "
            "photographs of DreamBench are needed, a folder a subject. Check the folder."
        )
    return load_image(path)


def finder_of(options: argparse.Namespace) -> Callable[[Image.Image, Search], CutOut]:
    """Return what finds a subject by the network that the command line names."""
    if options.cutout:
        return lambda photo, search: find_with_named(photo, replace(search, network=options.cutout))
    load, folder = CutoutNet.from_pretrained, options.weights
    return partial(find_with_prior, load(folder) if folder else cutout_network())


def hint_of(mask: Tensor, kind: str | None, *, seed: int) -> Search:
    """Return what a user would give to say where a subject is: a box around it, or a point on it.

    A loose box is off by up to 6 % of each side, always the same way. The point is as far from the
    outline as there is one.
    """
    if kind is None:
        return Search()
    if kind == "point":
        depth, rest = torch.zeros_like(mask), mask
        while (rest > 0.5).any():
            depth += (rest > 0.5).float()
            rest = -grow(-rest, 1)
        height, width = mask.shape[2:]
        row, column = divmod(int(depth.flatten().argmax()), width)
        return Search(points=((column / width, row / height),))
    left, top, right, bottom = bounding_box(mask)
    if kind == "loose":
        random = torch.Generator().manual_seed(seed)
        off = (2 * torch.rand(4, generator=random) - 1) * LOOSE
        sides = torch.tensor([right - left, bottom - top]).repeat(2)
        edges = torch.tensor([left, top, right, bottom]) + off * sides
        left, top, right, bottom = edges.clamp(0, 1).tolist()
    return Search(box=(left, top, right, bottom))


def boxes_of_subjects() -> dict[str, list[float]]:
    """Return the box around each subject, as `swiftpie evaluate dreambench --boxes` reads it."""
    return {
        name: [round(edge, 4) for edge in bounding_box(outline.mask())]
        for name, outline in read_outlines().items()
    }


def summary(scores: Sequence[float]) -> str:
    """Return the median and how many are good, in words."""
    good = sum(score >= GOOD_IOU for score in scores)
    return f"median {statistics.median(scores):.3f}, {good} of {len(scores)} at least {GOOD_IOU}"


def warnings(scores: Sequence[float], confidences: Sequence[float]) -> str:
    """Return how many bad and good outlines a warning would come with, in words."""
    doubts: dict[bool, list[bool]] = {is_good: [] for is_good in (False, True)}
    for score, confidence in zip(scores, confidences, strict=True):
        doubts[score >= GOOD_IOU].append(confidence < DOUBTFUL)
    shares = (
        f"{sum(doubts[k])} of {len(doubts[k])} {n}" for k, n in ((False, "bad"), (True, "good"))
    )
    return f"confidence below {DOUBTFUL}: {' and '.join(shares)}"


def main() -> None:
    """Print how well each subject is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="photographs of DreamBench, a folder a subject")
    parser.add_argument("--weights", type=Path, help="an exported network, not the packaged one")
    parser.add_argument("--cutout", default="", help="a public network, such as isnet")
    parser.add_argument("--hint", choices=HINTS, help="say where the subject is, as users may")
    parser.add_argument("--save-boxes", type=Path, metavar="FILE", help="and measure nothing")
    options = parser.parse_args()
    if options.save_boxes is not None:
        write_file(options.save_boxes, json.dumps(boxes_of_subjects(), indent=1).encode())
        return
    find = finder_of(options)
    torch.set_num_threads(1)
    scores, confidences, times_ms = [], [], []
    for outline in read_outlines().values():
        photo = open_photo(options.folder, outline)
        search = hint_of(outline.mask(), options.hint, seed=int(outline.sha256[:8], 16))
        started = time.perf_counter()
        found = find(photo, search)
        times_ms.append(1000 * (time.perf_counter() - started))
        scores.append(float(iou(found.mask, outline.mask())))
        confidences.append(found.how.confidence or 0.0)
        sys.stdout.write(f"{outline.file:28}{scores[-1]:.3f}  confidence {confidences[-1]:.3f}\n")
    doubts = "" if options.cutout else f"\n{warnings(scores, confidences)}"
    sys.stdout.write(f"{summary(scores)}{doubts}\n")
    sys.stdout.write(f"median {statistics.median(times_ms):.0f} ms of one core\n")


if __name__ == "__main__":
    main()
