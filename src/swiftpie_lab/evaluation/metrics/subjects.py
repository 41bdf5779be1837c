"""How much a picture keeps of the subject of photographs, and how much of it is a copy."""

import itertools
import math
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie_lab.evaluation.case import Metric, Reference, SeesPictures, of
from swiftpie_lab.evaluation.judges import Lpips

COPY_PX = 96  # side at which subjects are compared pixel by pixel
FARTHEST_PX = 15  # shift that is looked at
TURNS_DEG, SIZES = range(-20, 21, 5), (0.82, 0.88, 0.94, 1.0, 1.06, 1.13, 1.2)
FINE_TURNS_DEG, FINE_SIZES = (-2.5, -1.5, -0.75, 0, 0.75, 1.5, 2.5), (0.97, 0.985, 1, 1.015, 1.03)
BLUR_PX = 7  # what is smoother says nothing about details
EDGE_PX = 4  # of the outline, which is alike in many views
COPIED_AT = 0.89  # correlation of details from which a subject counts as pasted
TINY = 1e-4


def likeness(
    network: SeesPictures,
    picture: Image.Image,
    references: tuple[Reference, ...],
    *,
    is_masked: bool,
) -> float | None:
    """Return the mean cosine of a picture and all references that the network can see."""
    seen = (reference.seen_by(network, is_masked=is_masked) for reference in references)
    others = [vector for vector in seen if vector is not None]
    if not others:
        return None
    mine = network.picture(picture)
    return fmean(float((mine * other).sum()) for other in others)


def copied(cutout: Image.Image, references: tuple[Reference, ...]) -> float | None:
    """Return 1 if the subject is the first reference, moved or turned in the plane; else 0."""
    first = references[0].cutout if references else None
    return None if first is None else float(alignment(first, cutout) > COPIED_AT)


def alignment(reference: Image.Image, cutout: Image.Image) -> float:
    """Return how well details of both subjects (RGBA) fall on each other, -1 to 1.

    The reference is turned in the picture's plane, mirrored, resized and shifted until their
    correlation is highest. A view from elsewhere moves details against each other, so that no such
    change makes them meet; a paste has all of them in their places, in whatever light.
    """
    mine, planes = _details(_planes(cutout))[0], _planes(reference)
    coarse = list(itertools.product(map(math.radians, TURNS_DEG), SIZES, (1, -1)))
    found = _correlations(planes, mine, coarse)
    angle, size, mirror = coarse[int(found.argmax())]
    fine = [
        (angle + math.radians(more), size * factor, mirror)
        for more in FINE_TURNS_DEG
        for factor in FINE_SIZES
    ]
    return float(_correlations(planes, mine, fine).max())


Change = tuple[float, float, int]  # radians, factor, and -1 to mirror


def _correlations(planes: Tensor, mine: Tensor, changes: list[Change]) -> Tensor:
    """Return for each change (V,) the highest correlation over all near shifts."""
    views, sides = _details(_changed(planes, changes)), (2 * COPY_PX, 2 * COPY_PX)
    spectrum = torch.fft.rfft2(mine, s=sides).conj()
    found = torch.fft.irfft2(torch.fft.rfft2(views, s=sides) * spectrum, s=sides)
    for axis in (-1, -2):
        found = found.roll(FARTHEST_PX, axis).narrow(axis, 0, 2 * FARTHEST_PX + 1)
    return found.flatten(1).amax(1) / (views.flatten(1).norm(dim=1) * mine.norm() + TINY)


def diversity(lpips: Lpips, picture: Tensor, twins: tuple[Tensor, ...]) -> float | None:
    """Return the mean distance of all pairs of a picture and its `twins` of other seeds."""
    pairs = itertools.combinations((*twins, picture), 2)
    return fmean(lpips.distance(*pair) for pair in pairs) if twins else None


def _planes(image: Image.Image) -> Tensor:
    """Return brightness and opacity, (1, 2, S, S) in [0, 1]."""
    small = image.resize((COPY_PX, COPY_PX), Image.Resampling.BICUBIC, reducing_gap=3.0)
    both = [np.asarray(one, dtype=np.float32) for one in (small.convert("L"), small.getchannel(3))]
    return torch.from_numpy(np.stack(both))[None] / 255


def _changed(planes: Tensor, changes: list[Change]) -> Tensor:
    rows = [
        [
            [mirror * math.cos(angle) / size, -mirror * math.sin(angle) / size, 0.0],
            [math.sin(angle) / size, math.cos(angle) / size, 0.0],
        ]
        for angle, size, mirror in changes
    ]
    shape = [len(rows), 2, COPY_PX, COPY_PX]
    grid = F.affine_grid(torch.tensor(rows), shape, align_corners=False)
    return F.grid_sample(planes.expand(shape), grid, align_corners=False)


def _details(planes: Tensor) -> Tensor:
    """Return by how much subjects differ from what is around, (V, S, S), 0 along the outline."""
    grey, opacity = planes.split(1, dim=1)
    inside = -F.max_pool2d(-opacity, 2 * EDGE_PX + 1, 1, EDGE_PX)
    around = [F.avg_pool2d(one, BLUR_PX, 1, BLUR_PX // 2) for one in (grey * inside, inside)]
    return (inside * (grey - around[0] / (around[1] + TINY)))[:, 0]


def _likeness(
    title: str, network: str, *, is_masked: bool = False, to_first: bool = False
) -> Metric:
    def compare(
        seeing: SeesPictures, picture: Image.Image, references: tuple[Reference, ...]
    ) -> float | None:
        chosen = references[:1] if to_first else references
        return likeness(seeing, picture, chosen, is_masked=is_masked)

    shown = "cutout" if is_masked else "image"
    return Metric(
        title + ", masked" * is_masked + ", first photograph" * to_first,
        of(compare, f"networks.{network}", shown, "references"),
        "cosine",
        needs="" if network == "subjects" else network,
    )


NETWORKS = {
    "dino": ("DINO ViT-S/16", "dino_small"),
    "dinov2": ("DINOv2 ViT-S/14", "dinov2"),
    "clip-i": ("CLIP-I ViT-B/32", "clip_small"),
    "clip-i-large": ("CLIP-I ViT-L/14", "clip"),
    "likeness": ("likeness by the judge of sprites", "subjects"),
}

METRICS = {
    **{name: _likeness(*network) for name, network in NETWORKS.items()},
    **{
        f"{name}-first": _likeness(*network, to_first=True)
        for name, network in NETWORKS.items()
        if name != "likeness"
    },
    **{
        f"{name}-masked": _likeness(*NETWORKS[name], is_masked=True)
        for name in ("dino", "clip-i", "likeness")
    },
    "copied": Metric(
        "details as in the photograph",
        of(copied, "cutout", "references"),
        "%",
        higher_is_better=None,
    ),
    "diversity": Metric(
        "diversity: LPIPS between seeds",
        of(diversity, "networks.lpips", "picture", "twins"),
        needs="lpips",
    ),
}
