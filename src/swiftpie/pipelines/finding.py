"""Finds the subject of an identity in another picture, whatever else that picture shows.

The question is that of PerSAM (arXiv:2305.03048): one picture of a subject and its mask, and no
training. There, features like the subject's become points that prompt a segmentation network. The
network for cut-outs takes no prompts and sees one subject at a time, so it proposes: it looks at
the picture and at overlapping parts of it, and each connected thing that it sees is a candidate.
The candidate that looks most like the reference wins, and its outline is found at full size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import InputError, NoSubject
from swiftpie.imageio.images import plane, shrunk_to
from swiftpie.library import subject_library
from swiftpie.masks import bounding_box, resize_mask
from swiftpie.models.cutout import cutout_network, find_around, guesses
from swiftpie.models.cutout_net import CutoutNet
from swiftpie.models.outline import Area, Flags, area_of, around, connected_parts, to_lab
from swiftpie.pipelines.identity import canonical_frame
from swiftpie.pipelines.removal import LEAST_THERE, with_surroundings
from swiftpie.pipelines.request import EditRequest, RepaintRequest
from swiftpie.types import Identity

LIKENESS_PX = 128  # side of the frames that are compared
NUM_SPREAD = 24  # subjects of the library that tell how far features spread
COLOUR_WEIGHT = 1.5  # of the histogram; each level of the network counts 1
LIGHTNESS_BINS, CHROMA_BINS, CHROMA_STEP = 5, 16, 8.0  # of Lab
BINOMIAL = (0.25, 0.5, 0.25)  # light moves colours to the next bin
SOLID = 0.5  # mask above which a pixel counts

LOOK_PX, CELLS = 512, 96  # longer side of the picture that is looked at, and of candidates
MIDDLE = (0.15, 0.85)  # of each side, in one view
PARTS = ((0.7, 2), (0.5, 3))  # share of a side that a part shows, and parts along it
MOST_THINGS = 3  # of one view
LEAST_SHARE = 0.008  # of the picture: smaller things cannot be compared
TWINS = 0.8  # intersection over union from which two candidates are one
NUM_CLOSER = 4  # best candidates that are looked at closely
WHOLE_WITHIN = 0.05  # of the best likeness: a candidate that contains the best one is preferred
CONTAINS = 0.8  # of the best one
GUESS = 2.0  # log-odds of the winner, added to the network's when the outline is found
LEAST_ALIKE = 0.6  # below, the subject is taken to be absent; docs/editing.md says what is found

REMEDY = (
    "Give a reference that shows it as the picture does, or say where it is by a mask, a box or a "
    "point."
)

Changing = TypeVar("Changing", EditRequest, RepaintRequest)


class Found(NamedTuple):
    """A subject in another picture."""

    mask: Tensor  # (1, 1, H, W) in [0, 1]
    likeness: float  # to the reference that is most alike, at most 1


def find_identity(identity: Identity, image: Image.Image, *, is_there: bool = False) -> Found:
    """Return where the subject of `identity` is in `image`, of any size; transparency is ignored.

    Args:
        identity: The subject, encoded from pictures.
        image: The picture to look in.
        is_there: The picture shows it for sure: what is most alike is taken, even if hardly alike.

    Raises:
        InputError: The identity was made without a picture.
        NoSubject: Nothing in the picture looks like the subject; with `is_there`, nothing stands
            out at all.
    """
    found = most_alike(identity, image)
    if found is None:
        raise NoSubject("The subject is not found in the picture: nothing stands out.", REMEDY)
    if not is_there and found.likeness < LEAST_ALIKE:
        raise NoSubject(
            f"The subject is not found in the picture: the likeness is {found.likeness:.2f}, and "
            f"{LEAST_ALIKE:.2f} is needed.",
            f"{REMEDY} If it is there for sure, `find` takes what looks most like it with "
            "is_there (--is-there).",
        )
    return found


def with_place_found(request: Changing) -> Changing:
    """Return a change with a `where` as one with the mask of that subject in its picture.

    What is removed goes with its edge and its shadow, unless the subject keeps its pose.

    Raises:
        InputError: The identity was made without a picture.
        NoSubject: Nothing in the picture looks like the subject.
    """
    assert isinstance(request.where, Identity), "`Session.resolved` encodes it"
    mask = find_identity(request.where, request.picture).mask
    if isinstance(request, RepaintRequest) and not request.keep_pose:
        thing = (mask > LEAST_THERE).to(torch.uint8)
        mask = with_surroundings(request.picture, thing).float() / 255
    return replace(request, mask=mask, where=None)


@torch.no_grad()
def most_alike(identity: Identity, image: Image.Image) -> Found | None:
    """Return what looks most like the subject, even if hardly alike; None if nothing stands out."""
    if not bool(identity.mask.flatten(1).amax(1).gt(0).all()):
        raise InputError(
            "The identity holds no picture of its subject, only the vector of a face, so it cannot "
            "be looked for. Encode pictures of the subject."
        )
    photo = image.convert("RGB")
    small = photo.resize(shrunk_to(LOOK_PX, photo.size), Image.Resampling.BOX)
    wanted = describe(identity.pixels, identity.mask)
    things = _distinct(_things(small, _views(small.size)))
    if not things:
        return None
    alike = _likeness(small, things, wanted)
    best = [things[number] for number in alike.argsort(descending=True)[:NUM_CLOSER]]
    closer = _distinct(
        _things(small, [around(bounding_box(_mask(thing)), small.size) for thing in best])
    )
    if closer:
        things, alike = things + closer, torch.cat([alike, _likeness(small, closer, wanted)])
    thing = _whole(things, alike)
    guess = GUESS * (2 * _mask(things[thing]) - 1)
    mask = find_around(cutout_network(), photo, guess, bounding_box(_mask(things[thing])))
    return Found(mask, round(float(alike.max()), 4))


def _views(size: tuple[int, int]) -> list[Area]:
    """Return the views of a picture of (width, height): all of it, and overlapping parts."""
    views = [(0, 0, *size), area_of((*MIDDLE, size[0]), (*MIDDLE, size[1]))]
    for share, count in PARTS:
        starts = [(1 - share) * number / (count - 1) for number in range(count)]
        for top, left in product(starts, starts):
            across, down = (left, left + share, size[0]), (top, top + share, size[1])
            views.append(area_of(across, down))
    return views


def _things(photo: Image.Image, views: Sequence[Area]) -> Iterator[Flags]:
    """Yield each connected thing (h, w) that the network sees in a view, the largest ones first."""
    width, height = shrunk_to(CELLS, photo.size)
    scales = (width / photo.width, height / photo.height) * 2
    for view, logits in zip(views, guesses(cutout_network(), photo, views), strict=True):
        left, top, right, bottom = (
            round(end * scale) for end, scale in zip(view, scales, strict=True)
        )
        solid = np.zeros((height, width), np.bool_)
        size = (max(1, bottom - top), max(1, right - left))
        seen = F.interpolate(torch.from_numpy(logits)[None, None], size, mode="area")[0, 0]
        here = (slice(top, top + size[0]), slice(left, left + size[1]))
        solid[here] = seen.numpy()[: height - top, : width - left] > 0
        labels = connected_parts(solid)
        numbers, counts = np.unique(labels[solid], return_counts=True)
        for number in numbers[np.argsort(-counts)][:MOST_THINGS]:
            thing: Flags = labels == number
            if thing.mean() > LEAST_SHARE:
                yield thing


def _distinct(things: Iterator[Flags]) -> list[Flags]:
    """Return things without twins, the largest of them each."""
    kept: list[Flags] = []
    for thing in sorted(things, key=np.sum, reverse=True):
        if all((thing & other).sum() < TWINS * (thing | other).sum() for other in kept):
            kept.append(thing)
    return kept


def _likeness(photo: Image.Image, things: Sequence[Flags], wanted: Tensor) -> Tensor:
    """Return how much each thing (h, w) looks like the best of the references (R, D), (T,)."""
    size = (photo.height, photo.width)
    frames = [
        canonical_frame(photo, resize_mask(_mask(thing), size), LIKENESS_PX) for thing in things
    ]
    pixels = torch.cat([frame.pixels for frame in frames])
    mask = torch.cat([frame.mask for frame in frames])
    return (describe(pixels, mask) @ wanted.T).amax(dim=1)


def _whole(things: Sequence[Flags], alike: Tensor) -> int:
    """Return the number of the thing that is most alike, or of a whole that it is a part of."""
    best = things[int(alike.argmax())]
    near = [
        number
        for number, thing in enumerate(things)
        if alike[number] >= alike.max() - WHOLE_WITHIN
        and (thing & best).sum() >= CONTAINS * best.sum()
    ]
    return max(near, key=lambda number: int(things[number].sum()))


def _mask(thing: Flags) -> Tensor:
    """Return a thing (h, w) as a mask (1, 1, h, w)."""
    return torch.from_numpy(thing)[None, None].float()


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
            _levels(cutout_network(), pixels, mask), _spread(), strict=True
        )
    ]
    parts.append(COLOUR_WEIGHT * torch.stack([*map(_colours, pixels, mask)]))
    return F.normalize(torch.cat(parts, dim=1), dim=1)


@cache
def _spread() -> tuple[tuple[Tensor, Tensor], ...]:
    """Return mean and deviation of each level's features, over subjects of the library."""
    known = subject_library()
    names = known.names()
    pictures = [known.image(name) for name in names[:: len(names) // NUM_SPREAD][:NUM_SPREAD]]
    frames = [
        canonical_frame(picture, plane(picture.getchannel("A")), LIKENESS_PX)
        for picture in pictures
    ]
    pixels = torch.cat([frame.pixels for frame in frames])
    mask = torch.cat([frame.mask for frame in frames])
    levels = _levels(cutout_network(), pixels, mask)
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
