"""All subjects of a photograph: what is found around the points of a grid, where outlines agree."""

from itertools import product

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.arguments import checked
from swiftpie.errors import NoSubject
from swiftpie.masks import HALF
from swiftpie.models.cutout import CutOut, cutout_network, find_with
from swiftpie.models.outline import MAX_SHARE, MIN_SHARE
from swiftpie.models.search import Search

ACROSS = 5  # Points of the grid along each side.
SIDES = (0.35, 0.6)  # of the boxes around a point, as shares of the picture's
COMPARED_PX = 96  # side at which outlines are compared
# Chosen on 6 scenes of `benchmarks.several`: below this confidence outlines show pieces and ground,
# and an outline along so much of a side of its box is cut by it.
SUREST, CUT_SHARE = 0.8, 0.2
ALIKE = 0.5  # intersection over union of outlines that show the same
WITHIN, APART = 0.65, 0.3  # shares of an outline that lie in another: a part of it, or beside it
SMALLER = 0.7  # A part has at most this share of the pixels.
RIM = 2  # pixels inside the side of a box


@checked
@torch.no_grad()
def cut_out_all(image: Image.Image) -> list[CutOut]:
    """Return the subjects of `image`, from left to right.

    Each point of a grid asks for what it lies on, in a smaller and a larger box around it. Of
    outlines that show the same, the one is kept that most agree with. What covers two others is no
    subject, and what lies in another is a part of it.

    Raises:
        NoSubject: There is none that the network is sure of.
    """
    network = cutout_network()
    found = [
        seen
        for search in _searches()
        if _is_whole(seen := find_with(network, image, search), search)
    ]
    chosen = agreeing(
        [subject.mask for subject in found], [subject.how.confidence or 0.0 for subject in found]
    )
    if not chosen:
        raise NoSubject(
            "No subject stands out in this picture.",
            "Name each with a box or a point on it, as in `cutout=0.2,0.1,0.8,0.95`.",
        )
    return sorted((found[number] for number in chosen), key=lambda subject: _across(subject.mask))


def agreeing(masks: list[Tensor], sure: list[float]) -> list[int]:
    """Return which masks (1, 1, H, W) show subjects, each one once: non-maximum suppression."""
    if not masks:
        return []
    size = (COMPARED_PX, COMPARED_PX)
    rows = torch.cat([F.interpolate(mask, size, mode="area").flatten(1) for mask in masks])
    area = rows.sum(dim=1)
    both = torch.stack([torch.minimum(row, rows).sum(dim=1) for row in rows])
    within = both / area[:, None]  # the share of a row that lies in a column
    alike = both / (area[:, None] + area[None] - both) > ALIKE
    best: list[int] = []
    for number in sorted(range(len(rows)), key=lambda n: (-int(alike[n].sum()), -sure[n])):
        if not alike[number, best].any():
            best.append(number)

    def joins(number: int) -> bool:
        apart: list[int] = []
        for other in sorted(best, key=lambda n: -float(area[n])):
            is_part = within[other, number] > WITHIN and area[other] < SMALLER * area[number]
            if is_part and not (torch.maximum(within, within.T)[other, apart] > APART).any():
                apart.append(other)
        return len(apart) > 1

    alone = [number for number in best if not joins(number)]
    return [n for n in alone if not any(within[n, o] > WITHIN and area[o] > area[n] for o in alone)]


def _searches() -> list[Search]:
    steps = [(number + 0.5) / ACROSS for number in range(ACROSS)]
    found = []
    for y, x, side in product(steps, steps, SIDES):
        left, top = max(0.0, x - side / 2), max(0.0, y - side / 2)
        box = (left, top, min(1.0, x + side / 2), min(1.0, y + side / 2))
        found.append(Search(box=box, points=((x, y),)))
    return found


def _is_whole(found: CutOut, search: Search) -> bool:
    """Whether what was found is sure, of a usable size, and not cut by a side of its box."""
    share, mask = float(found.mask.mean()), found.mask[0, 0] > HALF
    if not MIN_SHARE < share <= MAX_SHARE or (found.how.confidence or 0.0) < SUREST:
        return False
    assert search.box is not None, "each has one"
    rows, columns = mask.shape
    left, right = (round(search.box[n] * columns) for n in (0, 2))
    top, bottom = (round(search.box[n] * rows) for n in (1, 3))
    sides = (
        (left > 0, mask[top:bottom, left + RIM]),
        (right < columns, mask[top:bottom, right - 1 - RIM]),
        (top > 0, mask[top + RIM, left:right]),
        (bottom < rows, mask[bottom - 1 - RIM, left:right]),
    )
    return not any(is_inside and side.float().mean() > CUT_SHARE for is_inside, side in sides)


def _across(mask: Tensor) -> float:
    """Return how far to the right a mask (1, 1, H, W) lies."""
    columns = mask.sum(dim=(0, 1, 2))
    return float((columns * torch.arange(len(columns))).sum() / columns.sum())
