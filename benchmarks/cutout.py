"""How well subjects are cut out of real photographs: `python -m benchmarks.cutout FOLDER`.

FOLDER holds the photographs of DreamBench, a folder a subject. The outlines of 22 of them are ours,
drawn by hand to within about one percent of the side.
"""

import argparse
import functools
import hashlib
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageChops, ImageDraw
from torch import Tensor

from swiftpie.errors import InputError
from swiftpie.files import load_image
from swiftpie.images import plane
from swiftpie.masks import iou
from swiftpie.models.cutout import DOUBTFUL, confidence_with, find_with, load, packaged

OUTLINES = Path(__file__).parents[1] / "tests" / "cutout" / "outlines.json"
GOOD_IOU = 0.85
SUPERSAMPLED = 4  # outlines are filled at so many times the size of their photo


class Outline(NamedTuple):
    """Where the subject of one photo is."""

    file: str  # folder and name below that of all photos
    sha256: str
    size: tuple[int, int]  # width and height of the photo
    rings: list[list[tuple[float, float]]]  # x and y in shares; a ring inside another is a hole

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


def read_outlines() -> list[Outline]:
    """Return all outlines, by file name."""
    return [
        Outline(**{**row, "size": tuple(row["size"])}) for row in json.loads(OUTLINES.read_text())
    ]


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


def agreement(folder: Path, search: Callable[[Image.Image], Tensor]) -> dict[str, float]:
    """Return intersection over union by photo of what `search` finds and the outlines."""
    return {
        outline.file: float(iou(search(open_photo(folder, outline)), outline.mask()))
        for outline in read_outlines()
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
    told = (
        f"{sum(doubts[k])} of {len(doubts[k])} {n}" for k, n in ((False, "bad"), (True, "good"))
    )
    return f"confidence below {DOUBTFUL}: {' and '.join(told)}"


def main() -> None:
    """Print how well each subject is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="photographs of DreamBench, a folder a subject")
    parser.add_argument("--weights", type=Path, help="an exported network, not the packaged one")
    options = parser.parse_args()
    network = packaged() if options.weights is None else load(options.weights)
    torch.set_num_threads(1)
    scores = agreement(options.folder, functools.partial(find_with, network))
    confidences = {
        outline.file: confidence_with(network, open_photo(options.folder, outline))
        for outline in read_outlines()
    }
    for file, score in scores.items():
        sys.stdout.write(f"{file:28}{score:.3f}  confidence {confidences[file]:.3f}\n")
    found = [*scores.values()]
    sys.stdout.write(f"{summary(found)}\n{warnings(found, [*confidences.values()])}\n")


if __name__ == "__main__":
    main()
