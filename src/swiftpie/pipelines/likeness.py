"""How alike the subjects of two pictures look to the network for cut-outs."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.cutout import to_lab
from swiftpie.imageio.images import plane
from swiftpie.library import packaged as library
from swiftpie.models.cutout import packaged
from swiftpie.models.cutout_net import CutoutNet
from swiftpie.pipelines.identity import canonical_frame

LIKENESS_PX = 128  # side of the frames that are compared
NUM_SPREAD = 24  # subjects of the library that tell how far features spread
COLOUR_WEIGHT = 1.5  # of the histogram, beside 1 for each level of the network
LIGHTNESS_BINS, CHROMA_BINS, CHROMA_STEP = 5, 16, 8.0  # of Lab
BINOMIAL = (0.25, 0.5, 0.25)  # light moves colours to the next bin
SOLID = 0.5  # mask above which a pixel counts


@torch.no_grad()
def describe(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return unit vectors (B, D) of subjects, whose products say how alike they look, at most 1.

    A vector holds the mean and the deviation of the network's features inside of the mask, level by
    level, in units of their spread over subjects of the library, and a histogram of colours.
    The network learned to tell kinds of things apart, and things from their surroundings, so its
    features know surfaces and shapes; nothing was trained for likeness.

    Args:
        pixels: Frames (B, 3, S, S) in [-1, 1], grey (0) outside of the subject.
        mask: The subject in them, (B, 1, S, S) in [0, 1]; nowhere empty.
    """
    size = (LIKENESS_PX, LIKENESS_PX)
    pixels, mask = (F.interpolate(each.float().cpu(), size, mode="area") for each in (pixels, mask))
    parts = [
        F.normalize((level - mean) / deviation, dim=1)
        for level, (mean, deviation) in zip(
            _levels(packaged(), pixels, mask), _spread(), strict=True
        )
    ]
    parts.append(COLOUR_WEIGHT * torch.stack([*map(_colours, pixels, mask)]))
    return F.normalize(torch.cat(parts, dim=1), dim=1)


@cache
def _spread() -> tuple[tuple[Tensor, Tensor], ...]:
    """Return mean and deviation of each level's features, over subjects of the library."""
    known = library()
    names = known.names()
    pictures = [known.image(name) for name in names[:: len(names) // NUM_SPREAD][:NUM_SPREAD]]
    frames = [
        canonical_frame(picture, plane(picture.getchannel("A")), LIKENESS_PX)
        for picture in pictures
    ]
    pixels = torch.cat([frame.pixels for frame in frames])
    mask = torch.cat([frame.mask for frame in frames])
    levels = _levels(packaged(), pixels, mask)
    return tuple((level.mean(0), level.std(0)) for level in levels)


@torch.no_grad()
def _levels(network: CutoutNet, pixels: Tensor, mask: Tensor) -> list[Tensor]:
    """Return mean and deviation of features inside of the mask, (B, 2 C) a level."""
    found = []
    for features in network.levels(pixels):
        weight = F.interpolate(mask, features.shape[-2:], mode="area")
        weight = weight / weight.sum((2, 3), keepdim=True).clamp_min(1e-6)
        mean = (features * weight).sum((2, 3))
        variance = ((features - mean[..., None, None]).square() * weight).sum((2, 3))
        found.append(torch.cat([mean, variance.sqrt()], dim=1))
    return found


def _colours(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return the roots of a smooth Lab histogram (D,) of length 1; frames (C, S, S)."""
    solid = mask[0] > SOLID
    rgb = (pixels / mask.clamp_min(1e-3)).clamp(-1, 1) / 2 + 0.5
    lab = torch.from_numpy(to_lab(rgb.permute(1, 2, 0).numpy()))[solid]
    light = (lab[:, 0] / (100 / LIGHTNESS_BINS)).clamp(0, LIGHTNESS_BINS - 1).long()
    red, blue = (
        (lab[:, axis] / CHROMA_STEP + CHROMA_BINS / 2).clamp(0, CHROMA_BINS - 1).long()
        for axis in (1, 2)
    )
    places = (light * CHROMA_BINS + red) * CHROMA_BINS + blue
    counts = torch.bincount(places, minlength=LIGHTNESS_BINS * CHROMA_BINS**2).float()
    cube = counts.view(1, 1, LIGHTNESS_BINS, CHROMA_BINS, CHROMA_BINS)
    kernel = torch.tensor(BINOMIAL)
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(BINOMIAL)
        edge = [int(other == axis) for other in range(3)]
        cube = F.conv3d(cube, kernel.view(shape), padding=edge)
    return F.normalize(cube.flatten().sqrt(), dim=0)
