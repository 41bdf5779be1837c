"""How much of a subject's own pixels its pictures show: `python -m benchmarks.own_pixels [FOLDER]`.

20 subjects stand in a park: the photographed ones of the package, those of FOLDER, a folder of
photographs each as of DreamBench, and cut-outs of the library. Pictures are compared with the
reference frame, warped into its place; with the place alone, as the same seed shows it, bit for
bit; and with the same picture by a denoiser that finds no subject, whose light leaves all as it is.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import swiftpie
from swiftpie.geometry.relief import height
from swiftpie.geometry.shading import Illumination
from swiftpie.imageio.images import plane, to_tensor
from swiftpie.library import subject_library
from swiftpie.masks import grow
from swiftpie.models.denoiser import Prediction
from swiftpie.places.own_pixels import OwnPixels
from swiftpie.types import Identity

PROMPT, COUNT, RIM_PX = "a thing in a park", 20, 6
FINEST = 0.03  # a share of the light: less is shading
OPAQUE, SEEN = 0.95, 0.5  # opacities: of the subject's own pixels, and of those that are not lost
NIGHT = f"{PROMPT} at night"
EVEN = Illumination(torch.ones(1, 3), torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))


class Kept(NamedTuple):
    """What one picture shows of its subject."""

    lost: float  # share of opaque pixels
    rim: float  # detail in the `RIM_PX` inside of the outline, over that of the own pixels
    middle: float  # the same further inside


class Changed(NamedTuple):
    """What the place and the denoiser have of one picture; levels are of 255, in the mean."""

    place: float  # share of pixels that are the place's own, bit for bit
    inside: float  # levels by which the denoiser's light changes where the subject is
    outside: float  # the same beside it


def without_subject(_: nn.Module, _inputs: object, drawn: Prediction) -> Prediction:
    """Return what a denoiser draws as if it showed no subject, for a hook."""
    return drawn._replace(subject_mask=torch.zeros_like(drawn.subject_mask))


def subjects(session: swiftpie.Session, folder: Path | None, seed: int) -> Iterator[Identity]:
    """Yield photographs of the package and of a folder, then cut-outs of the library by seed."""
    with as_file(files("swiftpie") / "assets" / "photos") as photos:
        yield from (session.encode_identity(path) for path in sorted(photos.glob("*.jpg")))
    if folder is not None:
        for path in sorted(folder.iterdir()):
            if first := sorted(path.glob("*.jpg"))[:1]:
                yield session.encode_identity(first[0])
    known = subject_library()
    for name in random.Random(seed).sample(list(known.names()), COUNT):
        yield session.encode_identity(known.picture(name))


def kept(session: swiftpie.Session, identity: Identity, seed: int) -> Kept:
    """Draw one picture and compare it with its reference."""
    drawn = session.personalize(identity, PROMPT, seed=seed)
    picture, mask = drawn.images[0], plane(drawn.subject_masks[0])
    size = (picture.height, picture.width)
    frame = OwnPixels.of(height(identity.mask[:1]), (_frame(identity),))
    shown = frame.sprite_at(drawn.layouts[0], EVEN, picture_px=max(size)).render(size)
    solid = shown[:, 3:] > OPAQUE
    inner = -grow(-solid.float(), RIM_PX) > 0
    own_detail = _detail(shown[:, :3], solid)
    ratio = _detail(to_tensor(picture) / 2 + 0.5, solid) / own_detail.clamp_min(1e-4)
    sure = solid & (own_detail > FINEST)
    lost = (solid & (mask < SEEN)).sum() / solid.sum()
    return Kept(float(lost), *(_middle(ratio[sure & part]) for part in (solid & ~inner, inner)))


def changed(
    session: swiftpie.Session, dark: swiftpie.Session, identity: Identity, prompt: str, seed: int
) -> Changed:
    """Draw one picture, the same without the denoiser's light, and its place without a subject."""
    drawn = session.personalize(identity, prompt, seed=seed)
    unlit = dark.personalize(identity, prompt, seed=seed)
    place = session.personalize((), prompt, seed=seed)
    pictures = (np.array(result.images[0], dtype=int) for result in (drawn, unlit, place))
    picture, unlit_picture, place_picture = map(torch.from_numpy, pictures)
    levels = (picture - unlit_picture).abs().float().mean(-1)
    is_subject = plane(drawn.subject_masks[0])[0, 0] > SEEN
    own = (picture == place_picture).all(-1).float().mean()
    return Changed(*map(float, (own, levels[is_subject].mean(), levels[~is_subject].mean())))


def _frame(identity: Identity) -> Tensor:
    """Return the reference frame as it came, premultiplied bytes (1, 4, S, S)."""
    if identity.large is not None:
        return identity.large
    pixels, mask = identity.pixels[:1], identity.mask[:1]
    return torch.cat([(pixels + mask) / 2, mask], dim=1).mul(255).round().to(torch.uint8)


def _detail(pixels: Tensor, solid: Tensor) -> Tensor:
    """Return how strong detail is at each pixel of (1, 3, H, W) in [0, 1], as a share of light.

    Only pixels where it is `solid`, (1, 1, H, W), count.
    """
    light = pixels.mean(dim=1, keepdim=True)
    soft = _mean(light, solid)
    return _mean((light - soft).abs(), solid) / (soft + 0.02)


def _mean(values: Tensor, solid: Tensor) -> Tensor:
    known = F.avg_pool2d(solid.float(), 3, 1, 1).clamp_min(1e-6)
    return F.avg_pool2d(values * solid, 3, 1, 1) / known


def _middle(values: Tensor) -> float:
    return float(values.median()) if values.numel() else 1.0


def main() -> None:
    """Print a row a subject, and the worst."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="photographs, a folder a subject")
    parser.add_argument("--seed", type=int, default=0, help="chooses cut-outs and pictures")
    given = parser.parse_args()
    session = swiftpie.load("mini")
    dark = swiftpie.load("mini")
    cast("nn.Module", dark.components.denoiser).register_forward_hook(without_subject)
    found, by_day, by_night = [], [], []
    for number, identity in enumerate(islice(subjects(session, given.folder, given.seed), COUNT)):
        seed = given.seed + number
        found.append(kept(session, identity, seed))
        by_day.append(changed(session, dark, identity, PROMPT, seed))
        by_night.append(changed(session, dark, identity, NIGHT, seed))
        sys.stdout.write(f"{number:3} {found[-1]} day {by_day[-1]} night {by_night[-1]}\n")
    sys.stdout.write(
        f"opaque pixels lost: at most {max(row.lost for row in found):.2%}\n"
        f"detail in the rim: at least {min(row.rim for row in found):.2f}, "
        f"middle of all {sorted(row.rim for row in found)[COUNT // 2]:.2f}\n"
        f"further inside: at least {min(row.middle for row in found):.2f}\n"
    )
    for when, rows in (("day", by_day), ("night", by_night)):
        places, inside, outside = zip(*rows, strict=True)
        sys.stdout.write(
            f"by {when}: {median(places):.0%} of the pixels are the place's own, bit for bit; the "
            f"denoiser changes the subject by {fmean(inside):.1f} of 255 levels, from "
            f"{min(inside):.1f} to {max(inside):.1f}, what is beside it by {fmean(outside):.2f}\n"
        )


if __name__ == "__main__":
    main()
