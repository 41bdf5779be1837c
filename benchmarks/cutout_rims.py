"""How well the rims of cut-outs are found: `python -m benchmarks.cutout_rims [FOLDER] [-o SHEET]`.

18 subjects of the package, a third each hard, with short fur and with long fur, stand in
photographed places, half of them on gravel, half in colours near those of the ground. 6 more hard
ones stand on grounds that have their own colours. Their opacity is known. Each is cut out by an
outline as rough as drawn by hand. What is printed is the mean error of opacity in the band around
the rim, and the error of pictures of the subject on a dark, a grey and a bright ground, in percent.

FOLDER holds the photographs of DreamBench. The rims of the hard things among them should stay at
the outlines drawn by hand, which are off by about a pixel: if these are given, if rougher ones are,
and if the network finds the subject.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional as F

from benchmarks.composites import photographs
from benchmarks.cutout import open_photo, read_outlines
from swiftpie.imageio.images import sample_pictures, to_pil, to_tensor
from swiftpie.masks import HALF, grow
from swiftpie.photo.cutout import cutout_network, find_with_prior
from swiftpie.photo.matte import own_colours, unmixed

COUNT, OWN, SIDE_PX, FINER = 18, 6, 640, 3
FURS = {"hard": 0, "short fur": 5, "long fur": 12}  # lengths of hairs in pixels
ROUGH = 0.004  # of the side: detail that a drawn outline leaves out
HAIRS = 40.0  # spread of their shades, of 255
BAND_PX = 15
GROUNDS = (0.1, 0.5, 0.9)
HARD = (  # names of folders
    "backpack",
    "berry_bowl",
    "can",
    "candle",
    "clock",
    "colorful_sneaker",
    "duck_toy",
    "poop_emoji",
    "rc_car",
    "robot_toy",
    "shiny_sneaker",
    "vase",
)

Array = NDArray[Any]


class Case(NamedTuple):
    """A subject in a place."""

    fur: str
    photo: Image.Image
    outline: Tensor  # (1, 1, H, W), as a user gives it
    alpha: Tensor  # (1, 1, H, W)
    lit: Tensor  # (1, 3, H, W) in [0, 1], premultiplied


def cases(seed: int) -> Iterator[Case]:
    """Yield the same subjects for a seed."""
    random, places = np.random.default_rng(seed), photographs()
    subjects = []
    for path in sample_pictures(sys.maxsize):
        with Image.open(path) as opened:
            subject = opened.convert("RGBA")
        subjects.append(subject.crop(subject.getchannel("A").getbbox()))
    for number in range(COUNT + OWN):
        fur = [*FURS][number % len(FURS)] if number < COUNT else "hard, own colours"
        lit, alpha = _with_fur(subjects[random.integers(len(subjects))], random, FURS.get(fur, 0))
        ground = _ground(places[random.integers(len(places))], random)
        if number >= COUNT:
            own = lit[alpha[..., 0] > 0.98]
            ground = (ground - ground.mean((0, 1))) / (ground.std((0, 1)) + 0.02)
            ground = np.clip(ground * own.std(0) + own.mean(0), 0, 1)
        elif number // len(FURS) % 2:
            gravel = cv2.GaussianBlur(
                random.normal(0, 1, alpha.shape), (0, 0), random.uniform(1, 2)
            )
            ground = np.clip(0.55 * ground + 0.1 + 0.16 * gravel[..., None] / gravel.std(), 0, 1)
        if number < COUNT and random.random() < 0.5:
            lit = 0.55 * lit + 0.45 * ground[alpha[..., 0] < 0.02].mean(axis=0) * alpha
        lit, alpha, photo = (
            cv2.GaussianBlur(each, (0, 0), 0.6) for each in (lit, alpha, lit + (1 - alpha) * ground)
        )
        noisy = np.clip(photo + random.normal(0, 0.012, photo.shape), 0, 1)
        stored = io.BytesIO()
        to_pil(2 * _tensor(noisy) - 1)[0].save(stored, "JPEG", quality=90)
        outline = _drawn(alpha > 0.5, random)
        yield Case(
            *(fur, Image.open(stored).convert("RGB"), _tensor(outline)),
            alpha=_tensor(alpha[..., None]),
            lit=_tensor(lit),
        )


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(values).float().movedim(-1, 0)[None]


def _ground(place: Image.Image, random: np.random.Generator) -> Array:
    """Return a square (H, W, 3) in [0, 1] of a place, half of them out of focus."""
    side = int(min(place.size) * random.uniform(0.6, 1))
    left, top = (int(random.integers(length - side + 1)) for length in place.size)
    part = place.convert("RGB").crop((left, top, left + side, top + side))
    part = part.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    if random.random() < 0.5:
        part = part.filter(ImageFilter.GaussianBlur(4))
    return np.asarray(part) / 255


def _with_fur(
    subject: Image.Image, random: np.random.Generator, length: int
) -> tuple[Array, Array]:
    """Return premultiplied colours (H, W, 3) and opacity (H, W, 1) of a subject with hairs."""
    side = SIDE_PX * FINER
    scale = 0.7 * side / max(subject.size)
    large = subject.resize([round(scale * length) for length in subject.size])
    whole = Image.new("RGBA", (side, side))
    whole.paste(large, ((side - large.width) // 2, (side - large.height) // 2))
    colours, solid = np.array(whole.convert("RGB")), (np.array(whole)[..., 3] > 127).astype("uint8")
    far, nearest = cv2.distanceTransformWithLabels(
        1 - solid, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    known = np.zeros((nearest.max() + 1, 3), "uint8")
    known[nearest[solid > 0]] = colours[solid > 0]
    colours = known[nearest]
    hairs = np.zeros_like(solid)
    depth = cv2.GaussianBlur(cv2.distanceTransform(solid, cv2.DIST_L2, 5) - far, (0, 0), 6)
    down, across = np.gradient(depth)
    ways = np.linspace(-0.5, 1, 8)[:, None]
    for contour in cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        for x, y in contour[random.integers(len(contour), size=length and len(contour) // 3), 0]:
            angle = np.arctan2(-down[y, x], -across[y, x]) + random.normal(0.5, 0.4)
            along = np.array([np.cos(angle), np.sin(angle)]) * length * FINER
            along = along * random.uniform(0.4, 1.2)
            bent = np.array([-along[1], along[0]]) * random.normal(0, 0.4)
            points = ((x, y) + ways * along + ways**2 * bent).round().astype(int)
            wide, shade = int(random.integers(1, 4)), random.normal(1, 0.18)
            cv2.polylines(hairs, [points], False, 255, wide, cv2.LINE_AA)
            colour = [int(min(255, max(0, shade * value))) for value in colours[y, x]]
            cv2.polylines(colours, [points], False, colour, wide + 1)
    texture = cv2.resize(random.normal(0, 14, (SIDE_PX, SIDE_PX)), (side, side))
    if length:  # fur shows hairs within, too
        coat = cv2.blur(np.random.default_rng(length).normal(0, 1, (side, side)), (1, 3 * FINER))
        texture += HAIRS * cv2.GaussianBlur(coat, (0, 0), FINER / 2) / coat.std()
    alpha = np.maximum(solid, hairs / 255)[..., None]
    lit = np.clip(colours + texture[..., None], 0, 255) / 255 * alpha
    small = cv2.resize(np.dstack([lit, alpha]), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return small[..., :3], small[..., 3:]


def _drawn(solid: Array, random: np.random.Generator) -> Array:
    """Return the mask (H, W, 1) of a hand-drawn polygon."""
    mask, square = np.zeros(solid.shape, "uint8"), np.ones((5, 5), "uint8")
    core = cv2.morphologyEx(solid.astype("uint8"), cv2.MORPH_OPEN, square)
    for contour in cv2.findContours(core, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        corners = cv2.approxPolyDP(contour, SIDE_PX * ROUGH, True)[:, 0]
        off = random.normal(0, 1.5, (1, 2)) + random.normal(0, 1.2, corners.shape)
        cv2.fillPoly(mask, [(8 * (corners + off)).round().astype(int)], 255, cv2.LINE_AA, 3)
    return mask[..., None] / 255


def photographed(folder: Path, seed: int) -> Iterator[tuple[str, Image.Image, Tensor, Tensor]]:
    """Yield what is given, the photograph, its outline and the given one, (1, 1, H, W) each."""
    random, network = np.random.default_rng(seed), cutout_network()
    for name, outline in read_outlines(whole=True).items():
        if name in HARD:
            photo, mask = open_photo(folder, outline).convert("RGB"), outline.mask()
            yield "outline given", photo, mask, mask
            rough = _drawn(mask[0, 0].numpy() > HALF, random)
            yield "rough outline given", photo, mask, _tensor(rough)
            yield "found", photo, mask, find_with_prior(network, photo).mask


def _mean_in_band(values: Tensor, alpha: Tensor) -> float:
    """Return the mean of `values` around the rim of an opacity; all are (1, 1, H, W)."""
    seen, solid = (alpha > 0.02).float(), (alpha > 0.98).float()
    band = grow(seen, BAND_PX) * grow(1 - solid, BAND_PX)
    return float((values * band).sum() / band.sum())


def main() -> None:
    """Print the errors, and draw the cut-outs on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="the photographs of DreamBench")
    parser.add_argument("-o", "--out", type=Path, help="a sheet of the photographs and cut-outs")
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    errors: dict[str, list[tuple[float, ...]]] = {}
    times_ms, tiles = [], []
    for case in cases(given.seed):
        pixels, started = to_tensor(case.photo), time.perf_counter()
        alpha = unmixed(pixels, case.outline)
        lit = (own_colours(pixels, alpha) + 1) / 2 * alpha
        times_ms.append(1000 * (time.perf_counter() - started))
        pictures = [lit - case.lit + (case.alpha - alpha) * ground for ground in GROUNDS]
        squares = torch.stack(pictures).square().mean(dim=(0, 2))[:, None]
        opacity = _mean_in_band((alpha - case.alpha).abs(), case.alpha)
        picture = _mean_in_band(squares, case.alpha) ** 0.5
        errors.setdefault(case.fur, []).append((opacity, picture))
        tiles.append(torch.cat([(pixels + 1) / 2, lit + (1 - alpha) * GROUNDS[1]], dim=2))
    for how, photo, mask, outline in photographed(given.folder, given.seed) if given.folder else ():
        off = (unmixed(to_tensor(photo), outline) - mask).abs()
        errors.setdefault(f"photographs, {how}", []).append((_mean_in_band(off, mask),))
    for name, rows in errors.items():
        means = [100 * statistics.fmean(each) for each in zip(*rows, strict=True)]
        kinds = zip(("opacity", "picture"), means, strict=False)
        sys.stdout.write(f"{name}: {', '.join(f'{kind} {mean:.2f} %' for kind, mean in kinds)}\n")
    sys.stdout.write(f"median {statistics.median(times_ms):.0f} ms of one core\n")
    if given.out is not None:
        small = F.interpolate(torch.cat(tiles), scale_factor=0.5, mode="area")
        to_pil(torch.cat([*small.split(1)], dim=3) * 2 - 1)[0].save(given.out)


if __name__ == "__main__":
    main()
