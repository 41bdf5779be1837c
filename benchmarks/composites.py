"""How well subjects are found beside others: `python -m benchmarks.composites SUBJECTS`.

SUBJECTS holds photographed subjects with transparency, as the recipe `mini-cutout` takes them. Of
those that it keeps from training, each composite shows one in a photographed place of the library,
which training does not know either: alone, or with rivals: another subject out of focus behind it,
and often a smaller one beside it, or an edge before its lower part.
"""

import argparse
import io
import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from benchmarks.cutout import GOOD_IOU, HINTS, finder_of, hint_of, summary, warnings
from swiftpie.imageio.images import plane
from swiftpie.masks import iou
from swiftpie.scenes import ASSETS, PLACES_INDEX, scene_library
from swiftpie_lab.data.photographs import photos_of
from swiftpie_world.blender.collect import is_rendered

SIZE = (512, 448)
SEED = 8_200_000  # far from the numbers of batches that training draws


class Composite(NamedTuple):
    """A photograph that was put together, and the exact mask of its subject."""

    photo: Image.Image
    mask: Tensor  # (1, 1, H, W)


def read_subjects(folder: Path) -> list[Image.Image]:
    """Return the subjects that training keeps apart, cropped, in own colours."""
    subjects = []
    for path in photos_of(folder.rglob("*"), "held_out"):
        with Image.open(path) as opened:
            subject = opened.convert("RGBA")
        subjects.append(subject.crop(subject.getchannel("A").getbbox()))
    return subjects


def draw(
    subjects: Sequence[Image.Image], places: Sequence[Image.Image], number: int, *, has_rivals: bool
) -> Composite:
    """Return the composite with this number; with and without rivals, its subject is one."""
    random = np.random.default_rng((SEED, number))
    chosen = [subjects[i] for i in random.permutation(len(subjects))[:3]]
    photo = _place(places[int(random.integers(len(places)))], random)
    side = random.uniform(0.35, 0.75) * SIZE[1]
    x, base = random.uniform(0.32, 0.68) * SIZE[0], random.uniform(0.72, 0.95) * SIZE[1]
    layer = _layer(chosen[0], side, x, base, random)
    rivals = np.random.default_rng((SEED, number, 1))
    if has_rivals:
        aside = rivals.choice([-1, 1]) * rivals.uniform(0.45, 0.85) * side
        extent, rise = side * rivals.uniform(0.9, 1.2), side * rivals.uniform(0, 0.2)
        rival = _layer(chosen[1], extent, x + aside, base - rise, rivals)
        # Premultiplied, since colours behind transparency would run into the rival's rim.
        blurred = rival.convert("RGBa").filter(ImageFilter.GaussianBlur(rivals.uniform(1.2, 4)))
        photo.alpha_composite(blurred.convert("RGBA"))
        if rivals.random() < 0.5:
            extent = side * rivals.uniform(0.3, 0.6)
            away = -aside / abs(aside) * side * rivals.uniform(0.4, 0.7)
            photo.alpha_composite(_layer(chosen[2], extent, x + away, base, rivals))
    photo.alpha_composite(layer)
    mask = layer.getchannel("A")
    if has_rivals and rivals.random() < 0.3:
        edge = round(base - side * rivals.uniform(0.02, 0.12))
        below = (0, edge, *SIZE)
        table = _place(places[int(rivals.integers(len(places)))], rivals)
        table = table.crop((0, SIZE[1] - 90, *SIZE))
        photo.paste(table.resize((SIZE[0], SIZE[1] - edge)), below)
        mask.paste(0, below)
    return Composite(_photographed(photo.convert("RGB"), random), plane(mask))


def _place(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    share = random.uniform(0.6, 1)
    wide, high = photo.width * share, photo.width * share * SIZE[1] / SIZE[0]
    left, top = (
        random.uniform(0, photo.width - wide),
        random.uniform(0, max(0, photo.height - high)),
    )
    box = (left, top, left + wide, min(photo.height, top + high))
    piece = photo.resize(SIZE, Image.Resampling.BICUBIC, box=box)
    return piece.filter(ImageFilter.GaussianBlur(random.uniform(0, 2))).convert("RGBA")


def _layer(
    subject: Image.Image, side: float, x: float, base: float, random: np.random.Generator
) -> Image.Image:
    """Return a subject that stands at a place, its longer side as given, in a light of its own."""
    zoom = side / max(subject.size)
    size = (max(1, round(subject.width * zoom)), max(1, round(subject.height * zoom)))
    small = subject.resize(size, Image.Resampling.BOX if zoom < 1 else Image.Resampling.BICUBIC)
    gain, alpha = random.uniform(0.7, 1.15), small.getchannel("A")
    small = small.point(lambda value: min(255, round(value * gain)))
    small.putalpha(alpha)
    layer = Image.new("RGBA", SIZE)
    layer.paste(small, (round(x - size[0] / 2), round(base - size[1])))
    return layer


def _photographed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 0.9)))
    noise = random.normal(0, random.uniform(0, 6), (*SIZE[::-1], 3))
    data = (np.asarray(image, np.float32) + noise).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(data).save(file, "JPEG", quality=int(random.integers(60, 95)))
    return Image.open(file).convert("RGB")


def area_under_curve(scores: Sequence[float], confidences: Sequence[float]) -> float:
    """Return how often a good outline has more confidence than a bad one; nan without a pair."""
    rows = list(zip(scores, confidences, strict=True))
    good = [sure for score, sure in rows if score >= GOOD_IOU]
    bad = [sure for score, sure in rows if score < GOOD_IOU]
    pairs = [(a > b) + (a == b) / 2 for a in good for b in bad]
    return statistics.fmean(pairs) if pairs else math.nan


def photographs() -> list[Image.Image]:
    """Return a photograph of each photographed place of the library."""
    rows = json.loads((ASSETS / PLACES_INDEX).read_text(encoding="utf-8"))
    names = (row["name"] for row in rows if not is_rendered(row["photographs"][0]))
    return [scene_library().image(name) for name in sorted(names)]


def main() -> None:
    """Print how well subjects are found alone and beside rivals, and how sure that is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", type=Path, help="cut-outs; those kept from training are used")
    parser.add_argument("--weights", type=Path, help="an exported network, not the packaged one")
    parser.add_argument("--cutout", default="", help="a public network, such as isnet")
    parser.add_argument("--count", type=int, default=100, help="composites of each kind")
    parser.add_argument("--hint", choices=HINTS, help="say where the subject is, as users may")
    options = parser.parse_args()
    find = finder_of(options)
    torch.set_num_threads(1)
    subjects, places = read_subjects(options.subjects), photographs()
    for has_rivals in (False, True):
        drawn = [draw(subjects, places, n, has_rivals=has_rivals) for n in range(options.count)]
        found = [
            find(one.photo, hint_of(one.mask, options.hint, seed=n)) for n, one in enumerate(drawn)
        ]
        scores = [float(iou(f.mask, one.mask)) for f, one in zip(found, drawn, strict=True)]
        sure = [one.how.confidence or 0.0 for one in found]
        sys.stdout.write(f"{'rivals' if has_rivals else 'clean'}: {summary(scores)}\n")
        if not options.cutout:
            curve = area_under_curve(scores, sure)
            sys.stdout.write(f"{warnings(scores, sure)}, AUC {curve:.3f}\n")


if __name__ == "__main__":
    main()
