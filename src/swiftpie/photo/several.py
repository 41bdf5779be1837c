"""All subjects of a photograph: what is found around the points of a grid, where outlines agree."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.arguments import checked
from swiftpie.errors import NoSubject
from swiftpie.imageio.images import bounding_box, shrunk_to
from swiftpie.masks import HALF, iou
from swiftpie.photo.cutout import CutOut, cutout_network, find_with
from swiftpie.photo.cutout_net import CutoutNet
from swiftpie.photo.outline import MAX_SHARE
from swiftpie.photo.search import Search
from swiftpie.validation import Box

ACROSS = 5  # Points of the grid along each side.
SIDES = (0.35, 0.6)  # sides of the boxes around a point, as shares of the picture's
LOOKED_AT_PX, COMPARED_PX = 1024, 96  # longer side of what is looked at; side of outlines compared
# Chosen on 40 scenes of `benchmarks.several` beyond those of its figures. Outlines that agree so
# far show the same; a look around an outline adds so much of its sides, and confirms it if both
# agree so far, if the network is so sure, and if no side of its box cuts off more.
SAME, MARGIN, CONFIRMED = 0.7, 0.12, 0.8
SUREST, CUT_SHARE, CUT_AT_ALL = 0.8, 0.2, 0.1
SMALLEST = 0.014  # least share of the picture that a subject covers
ALIKE = 0.5  # intersection over union of outlines that show the same
WITHIN, APART = 0.65, 0.3  # shares of an outline that lie in another: a part of it, or beside it
SMALLER = 0.7  # A part has at most this share of the pixels of the whole.
RIM = 2  # pixels inside the side of a box, where an outline is cut


@checked
@torch.no_grad()
def cut_out_all(image: Image.Image) -> list[CutOut]:
    """Return the subjects of `image`, from left to right.

    Each point of a grid asks for what it lies on, in a smaller and a larger box around it. What is
    found so is looked at again, closely: a subject looks the same both times. Of outlines that show
    the same, the one is kept that most agree with. What covers two others is no subject, and what
    lies in another is a part of it.

    Raises:
        NoSubject: There is none that the network is sure of.
    """
    network, size = cutout_network(), shrunk_to(LOOKED_AT_PX, image.size)
    small = image if size == image.size else image.resize(size, Image.Resampling.BOX)
    looks = (find_with(network, small, search) for search in _searches())
    candidates = [look for look in looks if SMALLEST / 3 < float(look.mask.mean()) <= MAX_SHARE]
    masks = [subject.mask for subject in candidates]
    confidences = [subject.how.confidence or 0.0 for subject in candidates]
    distinct = _distinct(_overlaps(masks).union, confidences, least=SAME)
    closer = (_looked_at_again(network, small, masks[number]) for number in distinct)
    confirmed = [subject for subject in closer if subject is not None]
    confidences = [subject.how.confidence or 0.0 for subject, _ in confirmed]
    subjects = agreeing([subject.mask for subject, _ in confirmed], confidences)
    if not subjects:
        raise NoSubject(
            "No subject stands out in this picture."
            if not candidates
            else "Something stands out in this picture, but no outline is sure: each of several "
            f"subjects has to look the same twice, with a confidence of at least {SUREST}.",
            "Cut out one subject alone, or name each with a box or a point on it, as in "
            "`cutout=0.2,0.1,0.8,0.95`.",
        )
    rows = sorted((confirmed[number] for number in subjects), key=lambda row: _across(row[0].mask))
    if small is image:
        return [subject for subject, _ in rows]
    return [find_with(network, image, search)._replace(how=subject.how) for subject, search in rows]


def _looked_at_again(
    network: CutoutNet, image: Image.Image, first: Tensor
) -> tuple[CutOut, Search] | None:
    """Return what a box around an outline shows, and the box, if that is the same, whole and sure.

    What the box cuts is looked at once more, in a box around what was found.
    """
    mask = first
    for _ in range(2):
        left, top, right, bottom = bounding_box(mask)
        across, down = MARGIN * (right - left), MARGIN * (bottom - top)
        start = max(0.0, left - across), max(0.0, top - down)
        box = (*start, min(1.0, right + across), min(1.0, bottom + down))
        subject = find_with(network, image, search := Search(box=box))
        mask, cut = subject.mask, _cut_share(subject.mask, box)
        if cut <= CUT_AT_ALL or not mask.any():
            break
    is_whole = cut <= CUT_SHARE and SMALLEST < float(mask.mean()) <= MAX_SHARE
    is_sure = (subject.how.confidence or 0.0) >= SUREST and float(iou(mask, first)) >= CONFIRMED
    return (subject, search) if is_whole and is_sure else None


class _Overlaps(NamedTuple):
    """How outlines lie to each other, (N, N)."""

    union: Tensor  # intersection over union
    within: Tensor  # share of a row that lies in a column
    area: Tensor  # of each, (N,)


def _overlaps(masks: Sequence[Tensor]) -> _Overlaps:
    if not masks:
        return _Overlaps(torch.empty(0, 0), torch.empty(0, 0), torch.empty(0))
    size = (COMPARED_PX, COMPARED_PX)
    rows = torch.cat([F.interpolate(mask, size, mode="area").flatten(1) for mask in masks])
    area = rows.sum(dim=1)
    both = torch.stack([torch.minimum(row, rows).sum(dim=1) for row in rows])
    return _Overlaps(both / (area[:, None] + area[None] - both), both / area[:, None], area)


def _distinct(union: Tensor, sure: Sequence[float], *, least: float) -> list[int]:
    """Return one of outlines that overlap by more than `least`: the one that most agree with."""
    best: list[int] = []
    votes = (union > ALIKE).sum(dim=1).tolist()
    for number in sorted(range(len(sure)), key=lambda n: (-votes[n], -sure[n])):
        if not (union[number, best] > least).any():
            best.append(number)
    return best


def agreeing(masks: list[Tensor], sure: list[float]) -> list[int]:
    """Return which masks (1, 1, H, W) show subjects, each one once: non-maximum suppression."""
    union, within, area = _overlaps(masks)
    best = _distinct(union, sure, least=ALIKE)

    def joins(number: int) -> bool:
        apart: list[int] = []
        for smaller in sorted(best, key=lambda n: -float(area[n])):
            is_part = within[smaller, number] > WITHIN and area[smaller] < SMALLER * area[number]
            if is_part and not (torch.maximum(within, within.T)[smaller, apart] > APART).any():
                apart.append(smaller)
        return len(apart) > 1

    single = [number for number in best if not joins(number)]
    return [
        n for n in single if not any(within[n, o] > WITHIN and area[o] > area[n] for o in single)
    ]


def _searches() -> list[Search]:
    steps = [(number + 0.5) / ACROSS for number in range(ACROSS)]
    searches = []
    for y, x, side in product(steps, steps, SIDES):
        left, top = max(0.0, x - side / 2), max(0.0, y - side / 2)
        box = (left, top, min(1.0, x + side / 2), min(1.0, y + side / 2))
        searches.append(Search(box=box, points=((x, y),)))
    return searches


def _cut_share(mask: Tensor, box: Box) -> float:
    """Return the largest share of a side of a box along which it cuts an outline."""
    inside = mask[0, 0] > HALF
    rows, columns = inside.shape
    left, right = (round(box[n] * columns) for n in (0, 2))
    top, bottom = (round(box[n] * rows) for n in (1, 3))
    sides = (
        (left > 0, inside[top:bottom, left + RIM]),
        (right < columns, inside[top:bottom, right - 1 - RIM]),
        (top > 0, inside[top + RIM, left:right]),
        (bottom < rows, inside[bottom - 1 - RIM, left:right]),
    )
    return max((float(side.float().mean()) for is_within, side in sides if is_within), default=0.0)


def _across(mask: Tensor) -> float:
    """Return how far to the right a mask (1, 1, H, W) lies."""
    columns = mask.sum(dim=(0, 1, 2))
    return float((columns * torch.arange(len(columns))).sum() / columns.sum())
