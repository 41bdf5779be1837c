"""Finds the subject of a photo: a small U-Net guesses, colours and edges sharpen."""

import functools
import importlib.resources
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.arguments import checked
from swiftpie.errors import NoSubject
from swiftpie.imageio.images import alpha_of, bounding_box, shrunk_to, to_pil, to_tensor
from swiftpie.masks import HALF, box_mask, grow, resize_mask
from swiftpie.photo.cutout_net import CutoutNet
from swiftpie.photo.networks import NETWORKS
from swiftpie.photo.outline import (
    BORDER_SHARE,
    CUTOUT_PX,
    GUESS_PX,
    MAX_SHARE,
    MIN_SHARE,
    SMALL_PART,
    WORK_SIDE_PX,
    area_of,
    around,
    averaged,
    connected_parts,
    evenly_sharp,
    outlined,
    sharpest_part,
)
from swiftpie.photo.search import ANYWHERE, Search, search_of
from swiftpie.types import DOUBTFUL, REMEDY, Cutout, CutoutMethod
from swiftpie.validation import PixelBox

logger = logging.getLogger(__name__)

ASSETS = "assets/cutout"
VIEW_SHARES = (1.0, 0.75, 0.5)  # views around points have these shares of a photo's sides
POINT_REACH = 0.03  # A point decides so far around it, as a share of a view's smaller side.
MIDDLE, MOSTLY = (0.125, 0.875), 0.9  # inner part of each side; share of a guess in it
BORDER, BORDER_GUESS = 0.92, 8.0  # Beyond this share of the way out all is background, so surely.
# A second look changes little where the first is so sure and so much of the picture is looked at:
# of 13 such photographs it changed the overlap with a drawn outline by 0.017 at most.
CLEAR, WIDE_SHARE = 0.85, 1 / 3
INNER = (0.1, 0.9)  # The part of each side that is looked at to tell how sure an outline is.
FAINT = 1e-3  # Shares count as at least so much, and at most as much below 1.
# Log-odds that an outline is good, by those of what `confidence_of` tells: without hints fitted on
# 400 composites of `benchmarks.composites` beyond those of its figures; with hints, so that an
# agreement of 0.8 is even.
UNAIDED: tuple[list[float], float] = ([1.61, 1.80], -4.74)
HINTED: tuple[list[float], float] = ([1.36], -1.89)
ACROSS, DOWN = (0.32, 0.5, 0.68), 0.6  # Points where subjects are, as shares of the sides.
ASIDE = 0.25  # Share of a box's width that is left out at a side, where a rival may be.
CUT_SHARE, RIM_PX = 0.2, 2  # Share of a mask's rows that end along a side, looked at so near.
UNLIKELY = math.log(1e-3 / (1 - 1e-3))  # log-odds of a share of a thousandth
# Shares of a part of a mask that is an outline, fitted on 49 photographs: what is found in the part
# covers it so far (0.96 or 1.0; rough ones, 0.42 or 0.61), or it lies so far on one subject.
NEARLY, WHOLLY = 0.85, 0.95
RECTANGULAR = 0.95  # a mask that fills more of the box around its part is a rough one


class CutOut(NamedTuple):
    """A subject in its picture."""

    mask: Tensor  # (1, 1, H, W) in [0, 1]
    how: Cutout


@checked
def cut_out(image: Image.Image, search: str | Search = ANYWHERE, *, name: str = "") -> CutOut:
    """Return where the subject of `image` is, which way that was found, and how sure it is.

    A warning says that what was found may be wrong.

    Args:
        image: photo, mode RGB or RGBA. One subject is looked for, large and near the middle, or
            where `search` says.
        search: how to look for it; a string is read as by `search_of`.
        name: what a warning calls the picture, such as its file.

    Raises:
        InputError: The string describes no search.
        NoSubject: Next to nothing or nearly everything is found.
    """
    search = search_of(search)
    if search.is_whole:
        whole = torch.ones(1, 1, image.height, image.width)
        return CutOut(whole, Cutout(CutoutMethod.NONE, None))
    alpha = None if search.has_hints else alpha_of(image)
    if alpha is not None:
        if not alpha.any():
            raise NoSubject(*_not_found(alpha))
        return CutOut(alpha, Cutout(CutoutMethod.TRANSPARENCY, 1.0))
    if search.network:
        subject = find_with_named(image, search)
    else:
        subject = find_with_prior(cutout_network(), image, search)
    if not search.network and _share(subject.mask, search) <= MIN_SHARE:
        subject = CutOut(_by_colour(image, search), Cutout(CutoutMethod.COLOUR, None))
    if not _is_usable(subject.mask, search):
        raise NoSubject(*_not_found(subject.mask))
    _warn(subject.how, search, name)
    return subject


def find_with_named(image: Image.Image, search: Search) -> CutOut:
    """Return what the network that a search names sees in `image`, or in the box of the search.

    How sure it is stays unknown.
    """
    photo, network = image.convert("RGB"), NETWORKS[search.network]
    if network.settings:
        from swiftpie.photo.sam2 import segment

        mask = segment(network, to_tensor(photo) / 2 + 0.5, search)
        return CutOut(mask, Cutout(search.network, None))
    left, top, right, bottom = area = _views(photo.size, search)[0]
    view = np.asarray(photo.crop(area), np.float32) / np.float32(255)
    mask = torch.from_numpy(network.segment(view))[None, None]
    mask = F.pad(mask, (left, photo.width - right, top, photo.height - bottom))
    if search.box is not None:
        mask = mask * box_mask(search.box, height=photo.height, width=photo.width)
    return CutOut(mask, Cutout(search.network, None))


@torch.no_grad()
def find_with_prior(network: CutoutNet, image: Image.Image, search: Search = ANYWHERE) -> CutOut:
    """Return what `find_with` finds, and how likely that is right, as `confidence_of` tells.

    Where it is unlikely, the network looks as if a user had given one of several boxes and points.
    Of all that it finds so, what it sees again when it looks at that alone, and what is evenly
    sharp along its outline, is returned.
    """
    photo = image if image.mode == "RGB" else image.convert("RGB")
    best = find_with(network, photo, search)
    if not _is_usable(best.mask, search):
        return best
    sure = confidence_of(network, photo, best, search)
    by_points = search.box is None and search.has_hints
    unaided = confidence_of(network, photo, best) if by_points else sure
    if search.box is None and unaided < DOUBTFUL:
        candidates = [best]
        for hint in _hints_near(photo, best.mask, search):
            candidate = find_with(network, photo, hint)
            if _is_meant(candidate.mask, search) and not _is_cut(candidate.mask, hint, best.mask):
                candidates.append(candidate)
        best = max(candidates, key=lambda look: _firmness(network, photo, look.mask))
        sure = confidence_of(network, photo, best, search)
    return CutOut(best.mask, best.how._replace(confidence=round(sure, 4)))


def _hints_near(photo: Image.Image, mask: Tensor, search: Search) -> list[Search]:
    """Return what else a user might say of a subject that is a part of `mask`, or not in it."""
    left, top, right, bottom = bounding_box(mask)
    aside = ASIDE * (right - left)
    boxes = [(left + aside, top, right, bottom), (left, top, right - aside, bottom)]
    boxes.append(bounding_box(sharpest_part(photo, mask)))
    points = [ANYWHERE] if search.points else [replace(search, points=((x, DOWN),)) for x in ACROSS]
    return [*(replace(search, box=box) for box in boxes), *points]


def _is_meant(mask: Tensor, search: Search) -> bool:
    """Whether a mask may be the subject of a search: it holds its points, and none beside it."""
    rows, columns = mask.shape[2:]

    def holds(x: float, y: float) -> bool:
        row, column = min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)
        return bool(mask[0, 0, row, column] > HALF)

    return (
        _is_usable(mask, ANYWHERE)
        and all(holds(*point) for point in search.points)
        and not any(holds(*point) for point in search.background)
    )


def _is_cut(mask: Tensor, hint: Search, whole: Tensor) -> bool:
    """Whether a mask ends along a side of a box beyond which `whole` goes on."""
    if hint.box is None:
        return False
    solid, beyond = mask[0, 0] > HALF, whole[0, 0] > HALF
    width, most = solid.shape[1], CUT_SHARE * solid.any(dim=1).sum()
    left, right = (round(edge * width) for edge in hint.box[::2])
    sides = ((left + RIM_PX, left - RIM_PX), (right - RIM_PX - 1, right + RIM_PX))
    return any(
        0 <= low < width and 0 <= out < width and (solid[:, low] & beyond[:, out]).sum() > most
        for low, out in sides
    )


def _firmness(network: CutoutNet, photo: Image.Image, mask: Tensor) -> float:
    """Return log-odds that a mask is right, by a look at it alone and the sharpness around it."""
    area = around(bounding_box(mask), photo.size)
    agreed = _agreement(guesses(network, photo, [area])[0], mask, area)
    return float(torch.logit(torch.tensor([agreed, evenly_sharp(photo, mask)]), FAINT).sum())


@torch.no_grad()
def confidence_of(
    network: CutoutNet, image: Image.Image, subject: CutOut, search: Search = ANYWHERE
) -> float:
    """Return how likely it is that `subject` overlaps the true one by 0.85 or more (IoU).

    A view without the borders of the picture shows the same, if it is sure. And its outline is as
    sharp everywhere: what stands behind the subject is out of focus.
    """
    if search.has_hints:
        evidence, (weights, bias) = [subject.how.confidence or 0.0], HINTED
    else:
        photo = image if image.mode == "RGB" else image.convert("RGB")
        left, top, right, bottom = area = area_of((*INNER, photo.width), (*INNER, photo.height))
        guess = torch.from_numpy(guesses(network, photo, [area])[0]).sigmoid()
        covered = F.interpolate(subject.mask[..., top:bottom, left:right], guess.shape, mode="area")
        share = float((guess * covered).sum() / covered.sum().clamp_min(FAINT))
        evidence, (weights, bias) = [share, evenly_sharp(photo, subject.mask)], UNAIDED
    odds = torch.tensor(weights) @ torch.logit(torch.tensor(evidence), FAINT) + bias
    return float(odds.sigmoid())


@torch.no_grad()
def find_with(network: CutoutNet, image: Image.Image, search: Search = ANYWHERE) -> CutOut:
    """Return the subject that `network` finds in `image`, and how sure it is.

    A box is looked at with some of what is around it, and holds all of the subject. Around points,
    guesses about larger and smaller views are averaged. Without any hint the middle of the picture
    counts as well, if it holds most of the guess, and a subject that is small or unsure is looked
    at once more, closely. The confidence is the soft intersection over union of the first guess and
    the mask in the end. `confidence_of` looks further.
    """
    photo = image if image.mode == "RGB" else image.convert("RGB")
    views = _views(photo.size, search)
    first = averaged(guesses(network, photo, views), views)
    if not search.has_hints and _is_in_the_middle(first):
        views.append(area_of((*MIDDLE, photo.width), (*MIDDLE, photo.height)))
        first = averaged(np.stack([first, *guesses(network, photo, views[1:])]), views)
    mask = _outlined(photo, views[0], first, search)
    confidence = _agreement(first, mask, views[0])
    if not search.has_hints and _is_usable(mask, search):
        area = around(bounding_box(mask), photo.size)
        share = (area[2] - area[0]) * (area[3] - area[1]) / (photo.width * photo.height)
        if confidence < CLEAR or share < WIDE_SHARE:
            closer = guesses(network, photo, [area])[0] + _part(first, area, photo.size)
            mask = _outlined(photo, area, closer / 2, search)
            confidence = _agreement(first, mask, views[0])
    return CutOut(mask, Cutout(CutoutMethod.NETWORK, round(confidence, 4)))


def find_inside(network: CutoutNet, image: Image.Image, mask: Tensor) -> Tensor:
    """Return what a user means by a mask (1, 1, H, W) in [0, 1] that may be rough; never more.

    In each part of it, that is what `network` finds in a box around the part. Where that is nearly
    all of the part, the mask is an outline already and stays as it is, unless it is a rectangle.
    It stays as well where it lies on one subject, of which it is a piece, and, with a warning,
    where nothing stands out.
    """
    size = (mask.shape[2], mask.shape[3])
    parts = connected_parts((resize_mask(mask, shrunk_to(WORK_SIDE_PX, size))[0, 0] > HALF).numpy())
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    meant = mask.clone()
    for number in np.flatnonzero(sizes > SMALL_PART * sizes.max()):
        surroundings = grow(torch.from_numpy(parts == number)[None, None].float(), 1)
        part = mask * F.interpolate(surroundings, size)
        thing = _thing_in(network, image, part)
        if thing is not None:
            meant = torch.where(part > 0, torch.minimum(meant, thing), meant)
    return meant


def _thing_in(network: CutoutNet, image: Image.Image, part: Tensor) -> Tensor | None:
    """Return what stands out in a part (1, 1, H, W) of a mask; None if the part is an outline."""
    left, top, right, bottom = box = bounding_box(part)
    search = Search(box=box)
    thing = find_with(network, image, search).mask
    if not _is_usable(thing, search):
        logger.warning(
            "Nothing stands out in the mask as one subject, so all that it marks changes. If that "
            "is too much, paint the outline of the subject."
        )
        return None
    mean = part.mean()
    if mean <= RECTANGULAR * (right - left) * (bottom - top) and (
        (thing * part).mean() > NEARLY * mean
        or (find_with(network, image).mask * part).mean() > WHOLLY * mean
    ):
        return None
    return thing


@torch.no_grad()
def find_verified(network: CutoutNet, image: Image.Image) -> CutOut:
    """Return what `network` finds where a subject is unlikely everywhere, and how sure that is.

    The confidence is the soft intersection over union of the network's own mask and of this one.
    """
    photo = image if image.mode == "RGB" else image.convert("RGB")
    whole = (0, 0, *photo.size)
    logits = guesses(network, photo, [whole])[0]
    mask = _outlined(photo, whole, logits + UNLIKELY, ANYWHERE)
    return CutOut(mask, Cutout(CutoutMethod.NETWORK, round(_agreement(logits, mask, whole), 4)))


def _part(field: NDArray[np.float32], area: PixelBox, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return what a field over a photo of (width, height) says about an area, as a guess (n, n)."""
    whole = Image.fromarray(field)
    across, down = whole.width / size[0], whole.height / size[1]
    part = (area[0] * across, area[1] * down, area[2] * across, area[3] * down)
    return np.asarray(whole.resize((GUESS_PX,) * 2, Image.Resampling.BILINEAR, box=part))


@torch.no_grad()
def guesses(
    network: CutoutNet, photo: Image.Image, views: Sequence[PixelBox]
) -> NDArray[np.float32]:
    """Return the log-odds (V, n, n) of the subject in each view."""
    # Each view squeezed to a square: what lies at its edges tells what the subject is.
    squares = [photo.resize((CUTOUT_PX,) * 2, Image.Resampling.BOX, box=view) for view in views]
    pixels = torch.cat([*map(to_tensor, squares)]).contiguous(memory_format=torch.channels_last)
    logits: NDArray[np.float32] = network(pixels)[:, 0].numpy()
    return logits


def thing_odds(pixels: Tensor) -> Tensor:
    """Return the log-odds (1, 1, h, w) that `pixels` (1, 3, h, w) are of things that stand out."""
    photo = to_pil(2 * pixels - 1)[0]
    odds = torch.from_numpy(guesses(cutout_network(), photo, [(0, 0, *photo.size)]))
    return F.interpolate(odds[None], photo.size[::-1], mode="bilinear")


def _is_in_the_middle(logits: NDArray[np.float32]) -> bool:
    """Whether a guess (n, n) about a picture is about little beyond its middle."""
    share = torch.from_numpy(logits).sigmoid()
    low, high = (round(end * len(share)) for end in MIDDLE)
    return bool(share[low:high, low:high].sum() >= MOSTLY * share.sum())


def _agreement(logits: NDArray[np.float32], mask: Tensor, area: PixelBox) -> float:
    """Return the soft intersection over union of a guess about `area` and a mask, in [0, 1]."""
    left, top, right, bottom = area
    guess = torch.from_numpy(logits).sigmoid()
    covered = F.interpolate(mask[..., top:bottom, left:right], guess.shape, mode="area")[0, 0]
    return float(torch.minimum(guess, covered).sum() / torch.maximum(guess, covered).sum())


def _by_colour(image: Image.Image, search: Search) -> Tensor:
    """Return what lies within the picture, or the box, and differs in colour from its border."""
    photo = image.convert("RGB")
    area = _views(photo.size, search)[0]
    rows = torch.linspace(-1, 1, GUESS_PX).abs()
    reach = torch.maximum(rows[:, None], rows[None])  # 0 in the middle, 1 at the border
    logits = -BORDER_GUESS * (reach > BORDER).float()  # within it, colours alone tell
    return _outlined(photo, area, logits.numpy(), search)


def _outlined(
    photo: Image.Image, area: PixelBox, logits: NDArray[np.float32], search: Search
) -> Tensor:
    """Return the mask (1, 1, H, W) that colours and edges of `area` make of a guess about it."""
    view = photo if area == (0, 0, *photo.size) else photo.crop(area)
    size = shrunk_to(WORK_SIDE_PX, view.size)
    seeds = _seeds(photo.size, area, size, search) if search.has_hints else None
    mask = outlined(view, logits, seeds)
    if view is photo:
        return mask
    left, top, right, bottom = area
    return F.pad(mask, (left, photo.width - right, top, photo.height - bottom))


def _views(size: tuple[int, int], search: Search) -> list[PixelBox]:
    """Return what of a photo of (width, height) the network shall look at, in pixels."""
    width, height = size
    if search.box is not None:
        return [around(search.box, size)]
    if not search.points:
        return [(0, 0, width, height)]
    x, y = (sum(numbers) / len(search.points) for numbers in zip(*search.points, strict=True))
    views = []
    for share in VIEW_SHARES:
        left, top = (min(max(0.0, centre - share / 2), 1 - share) for centre in (x, y))
        views.append(area_of((left, left + share, width), (top, top + share, height)))
    return views


def _seeds(
    photo: tuple[int, int], area: PixelBox, size: tuple[int, int], search: Search
) -> NDArray[np.float32]:
    """Return what is known of each pixel of `area` at `size`: 1 subject, -1 not, 0 to be found."""
    left, top, right, bottom = area
    across = ((np.arange(size[0]) + 0.5) / size[0] * (right - left) + left) / photo[0]
    down = ((np.arange(size[1]) + 0.5) / size[1] * (bottom - top) + top) / photo[1]
    seeds = np.zeros(size[::-1], dtype=np.float32)
    if search.box is not None:
        low_x, low_y, high_x, high_y = search.box
        inside_x = (across >= low_x) & (across <= high_x)
        inside_y = (down >= low_y) & (down <= high_y)
        seeds[~(inside_y[:, None] & inside_x[None])] = -1
    reach = POINT_REACH * min((right - left) / photo[0], (bottom - top) / photo[1])
    for sign, points in ((1, search.points), (-1, search.background)):
        for x, y in points:
            apart = np.hypot(across[None] - x, down[:, None] - y)
            seeds[apart <= max(reach, float(apart.min()))] = sign
    return seeds


def _is_usable(mask: Tensor, search: Search) -> bool:
    """Whether a mask is neither next to nothing nor nearly everything of where one looked.

    Without hints, what lies along three borders is a part of the picture and not its subject.
    """
    share = _share(mask, search)
    if search.has_hints:
        return share > MIN_SHARE
    return MIN_SHARE < share <= MAX_SHARE and not _is_card(mask)


def _share(mask: Tensor, search: Search) -> float:
    """Return how much of where one looked a mask covers."""
    height, width = mask.shape[-2:]
    left, top, right, bottom = _views((width, height), search)[-1]
    return mask[..., top:bottom, left:right].mean().item()


def _is_card(mask: Tensor) -> bool:
    solid = mask[0, 0] > 0.5
    borders = (solid[0], solid[-1], solid[:, 0], solid[:, -1])
    return sum(bool(border.float().mean() > BORDER_SHARE) for border in borders) > 2


def _not_found(mask: Tensor) -> tuple[str, str]:
    along = ", along three of its borders" if _is_card(mask) else ""
    return (
        f"The subject could not be separated from its background: {mask.mean().item():.0%} of the "
        f"picture was found{along}. One subject that stands out is needed.",
        "Supply a mask, a box around it such as 0.2,0.1,0.8,0.95, or a point on it such as "
        "0.5,0.5.",
    )


def _warn(how: Cutout, search: Search, name: str) -> None:
    title = f"The subject of '{name}'" if name else "The subject"
    remedy = "a mask mends it" if search.has_hints else REMEDY
    if how.way == CutoutMethod.COLOUR:
        logger.warning(
            "%s was cut out by colour alone, as the network saw none. If it is wrong, %s.",
            *(title, remedy),
        )
    elif how.is_doubtful:
        logger.warning(
            "%s may be cut out badly (confidence %.2f; below %.2f most are). If it is, %s.",
            *(title, how.confidence, DOUBTFUL, remedy),
        )


@functools.cache
def cutout_network() -> CutoutNet:
    """Return the network that ships with the package."""
    with importlib.resources.as_file(importlib.resources.files("swiftpie") / ASSETS) as folder:
        return CutoutNet.from_pretrained(folder).requires_grad_(False)
