"""How much a picture keeps of the subject of photographs, and how much of it is a copy."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie_lab.evaluation.case import Evidence, Metric, Reference, SeesPictures, of
from swiftpie_lab.evaluation.judges import Lpips

COPY_PX = 64  # side at which subjects are compared pixel by pixel
FARTHEST_PX = 10  # shift that is looked at
TURNS_DEG = range(-20, 21, 5)
SIZES = (0.88, 0.94, 1.0, 1.06, 1.13)
BLUR_PX = 9  # what is smoother says nothing about details
COPIED_AT = 0.6  # correlation of details from which a subject counts as pasted
TINY = 1e-8


def likeness(
    network: SeesPictures,
    picture: Image.Image,
    references: tuple[Reference, ...],
    *,
    is_masked: bool,
) -> float | None:
    """Return the mean cosine of a picture and all references that the network can see."""
    seen = (one.seen_by(network, is_masked=is_masked) for one in references)
    others = [one for one in seen if one is not None]
    if not others:
        return None
    mine = network.picture(picture)
    return fmean(float((mine * other).sum()) for other in others)


def copied(cutout: Image.Image, references: tuple[Reference, ...]) -> float | None:
    """Return 1 if the subject is a picture of one of the references, moved or turned; else 0."""
    others = [one.cutout for one in references if one.cutout is not None]
    if not others:
        return None
    return float(max(alignment(other, cutout) for other in others) > COPIED_AT)


def alignment(reference: Image.Image, cutout: Image.Image) -> float:
    """Return how well details of both subjects on white fall on each other, -1 to 1.

    The reference is turned in the picture's plane, mirrored, resized and shifted until their
    correlation is highest. A view from elsewhere moves details against each other, so that no such
    change makes them meet; a paste has all of them in their places, in whatever light.
    """
    mine, views = _details(_grey(cutout)), _details(_variants(_grey(reference)))
    spectrum = torch.fft.rfft2(mine, s=(2 * COPY_PX, 2 * COPY_PX)).conj()
    found = torch.fft.irfft2(torch.fft.rfft2(views, s=(2 * COPY_PX, 2 * COPY_PX)) * spectrum)
    near = torch.cat([found[..., -FARTHEST_PX:], found[..., : FARTHEST_PX + 1]], dim=-1)
    near = torch.cat([near[..., -FARTHEST_PX:, :], near[..., : FARTHEST_PX + 1, :]], dim=-2)
    lengths = views.flatten(1).norm(dim=1) * mine.norm() + TINY
    return float((near.flatten(1).amax(1) / lengths).max())


def diversity(lpips: Lpips, picture: Tensor, twins: tuple[Tensor, ...]) -> float | None:
    """Return the mean distance to pictures of the same request with earlier seeds."""
    return fmean(lpips.distance(picture, twin) for twin in twins) if twins else None


def _grey(image: Image.Image) -> Tensor:
    side = (COPY_PX, COPY_PX)
    small = image.convert("L").resize(side, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return torch.from_numpy(np.asarray(small, dtype=np.float32) / 255)[None, None]


def _variants(grey: Tensor) -> Tensor:
    """Return a picture turned, resized and mirrored in all ways that are tried, (V, 1, S, S)."""
    cases = itertools.product(TURNS_DEG, SIZES, (1, -1))
    rows = [_turned(math.radians(degrees), size, mirror) for degrees, size, mirror in cases]
    affine = torch.tensor(rows)
    grid = F.affine_grid(affine, [len(rows), 1, COPY_PX, COPY_PX], align_corners=False)
    return F.grid_sample(
        grey.expand(len(rows), -1, -1, -1), grid, align_corners=False, padding_mode="border"
    )


def _turned(angle: float, size: float, mirror: int) -> list[list[float]]:
    cosine, sine = math.cos(angle) / size, math.sin(angle) / size
    return [[mirror * cosine, -mirror * sine, 0.0], [sine, cosine, 0.0]]


def _details(grey: Tensor) -> Tensor:
    """Return what differs from its surroundings, (V, S, S), each about 0."""
    smooth = F.avg_pool2d(grey, BLUR_PX, 1, BLUR_PX // 2, count_include_pad=False)
    return (grey - smooth)[:, 0]


def _compared(network: str, *, is_masked: bool) -> Callable[[Evidence], float | None]:
    shown = "cutout" if is_masked else "image"
    compare = partial(likeness, is_masked=is_masked)
    return of(compare, f"networks.{network}", shown, "references")


def _likeness(title: str, network: str, *, is_masked: bool = False) -> Metric:
    shown = f"{title}, masked" if is_masked else title
    score = _compared(network, is_masked=is_masked)
    return Metric(shown, score, "cosine", needs="" if network == "subjects" else network)


METRICS = {
    "dino": _likeness("DINO ViT-S/16", "dino_small"),
    "dino-masked": _likeness("DINO ViT-S/16", "dino_small", is_masked=True),
    "clip-i": _likeness("CLIP-I ViT-B/32", "clip_small"),
    "clip-i-masked": _likeness("CLIP-I ViT-B/32", "clip_small", is_masked=True),
    "clip-i-large": _likeness("CLIP-I ViT-L/14", "clip"),
    "likeness": _likeness("likeness by the judge of sprites", "subjects"),
    "likeness-masked": _likeness("likeness by the judge of sprites", "subjects", is_masked=True),
    "copied": Metric("pasted", of(copied, "cutout", "references"), "%", higher_is_better=None),
    "diversity": Metric(
        "diversity: LPIPS between seeds",
        of(diversity, "networks.lpips", "picture", "twins"),
        needs="lpips",
    ),
}
