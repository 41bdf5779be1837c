"""Finds what to remove with a thing that the user points at: the thing, its edge, its shadow.

Pictures are (1, 3, H, W) in [0, 1] and masks (1, 1, H, W), 0 or 1.
"""

import logging
import math
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import SURE, extent_of, extrapolate, resized, shrunk_to, to_tensor
from swiftpie.masks import HALF, grow, resize_mask
from swiftpie.models.cutout import cut_out, cutout_network, find_with
from swiftpie.models.outline import connected_parts
from swiftpie.models.search import Search
from swiftpie.pipelines.filling import FINEST_PX, OnBand, blurred, blurred_within
from swiftpie.types import CutoutMethod

logger = logging.getLogger(__name__)

LEAST_THERE = 0.2  # opacity above which a pixel is of the thing
CLOSER = 0.1  # A share of width and height on each side, for a second look.
EDGE = 0.02  # Its edge reaches so far, as a share of its longer side.
ROOM = 0.035  # likewise: what goes with it around it, in case that not all of it was seen
GAP = 0.06  # likewise: half of the width of gaps in what goes that go, too
LOOK_PX = 128  # longer side of what shadows are looked for in
AROUND = 1.0  # Ground looked at on each side, a share of its longer side.
SIDEWAYS, BELOW = 0.7, 0.25  # likewise: so far from the thing a shadow may reach
SIDE_GROUND = 0.12  # likewise, where the ground that is darker goes on
FOOT = 0.5  # Shadows lie beside this lower share of its height.
DARKER = (0.12, 2.5)  # least and most that a shadow darkens its ground, natural logarithms
FAINT, MOST_SOFT = 0.04, 2.5  # likewise at its soft rim, and the most that that enlarges it
TINT = 0.35  # likewise, of one colour from the others; another surface differs more
DARKEST = 0.05  # Added to both sides of the ratio: noise in the dark is no colour.
RIM_PX = 2  # by which a shadow is taken to be larger
SMOOTH_PX = 2.0  # Ground is smoothed so far, as texture casts no shadow.
MOST_SHADOW = 1.0  # A shadow's largest area over the thing's; more is other ground.
LEAST_REACH = 0.3  # The least share of `SIDEWAYS` and `BELOW` that is looked at.
# What sticks out of a thing beyond its outline, as an antenna; chosen by eye on 43 photographs.
THIN_PX = 256  # longer side of what it is looked for in
STANDS_OUT = 0.15  # How far one colour at least lies from its surroundings.
BESIDE = 0.05  # Surroundings are averaged so far, as a share of its longer side.
LONG, THIN = 0.12, 0.25  # The least length as a share, the most area over length squared.


def removal_mask(photograph: Image.Image, search: Search, *, on_band: OnBand = int) -> Tensor:
    """Return the mask of the thing that `search` finds, its edge and shadow, as bytes (1, 1, H, W).

    Of a larger photograph, a copy of `FINEST_PX` is looked at. `on_band` is called after each part
    of the work, and may raise to stop.

    Raises:
        NoSubject: The search finds nothing that stands out.
    """
    full = (photograph.height, photograph.width)
    size = shrunk_to(FINEST_PX, full)
    less = photograph if size == full else photograph.resize(size[::-1], Image.Resampling.BOX)
    on_band()
    thing = _seen(less, search)
    on_band()
    found = with_surroundings(less, thing)
    on_band()
    if less is photograph:
        return found
    return 255 * (resize_mask(found.float(), full) >= HALF * 255).to(torch.uint8)


def with_surroundings(photograph: Image.Image, thing: Tensor) -> Tensor:
    """Return what goes with a thing (1, 1, H, W) of bytes, 0 or 1: its edge and shadow, 0 or 255.

    Some of the photograph has to be the thing.
    """
    extent = extent_of(thing)
    assert extent is not None, "a subject was found"
    left, top, right, bottom = extent
    side = max(right - left, bottom - top)
    beyond = math.ceil(AROUND * side)
    crop = (
        max(0, left - beyond),
        max(0, top - beyond),
        min(photograph.width, right + beyond),
        min(photograph.height, bottom + beyond),
    )
    here = (..., slice(crop[1], crop[3]), slice(crop[0], crop[2]))
    solid = thing[here].float()
    size = (solid.shape[2], solid.shape[3])
    small = shrunk_to(LOOK_PX, size)
    scale = max(small) / max(size)
    pixels = (to_tensor(photograph.crop(crop).convert("RGB")) + 1) / 2
    seen = (resized(solid, small) > 0).float()
    around = grow(seen, math.ceil(EDGE * scale * side) + 1)
    shadow = shadow_of(resized(pixels, small), around)
    edge = grow(solid, math.ceil(ROOM * side) + 1)
    goes = torch.maximum(edge, (resized(shadow, size) > 0).float())
    whole = close_gaps((resized(goes, small) > 1 - SURE).float(), math.ceil(GAP * scale * side))
    goes = torch.maximum(goes, (resized(whole, size) > 0.5).float())
    small = shrunk_to(THIN_PX, size)
    thin = sticking_out(resized(pixels, small), (resized(goes, small) > SURE).float())
    gone = torch.zeros_like(thing)
    gone[here] = 255 * torch.maximum(goes, (resized(thin, size) > SURE).float()).to(torch.uint8)
    return gone


def sticking_out(pixels: Tensor, gone: Tensor) -> Tensor:
    """Return what is long and thin, touches what goes and unlike that ends in what is around it."""
    extent = extent_of(gone)
    assert extent is not None, "a thing goes"
    side = max(extent[2] - extent[0], extent[3] - extent[1])
    known = ground = 1 - gone
    for _ in range(3):  # what stands out does not count as ground
        usual = blurred_within(pixels, ground, max(1, BESIDE * side))
        apart = (pixels - usual).abs().amax(dim=1, keepdim=True)
        ground = known * (apart < STANDS_OUT)
    parts = connected_parts(((known - ground)[0, 0] > 0).numpy())
    touching = parts[(grow(gone, 2)[0, 0] > 0).numpy()]
    ends = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    thin = torch.zeros_like(gone)
    for number in np.setdiff1d(touching, [0, *ends]):
        part = torch.from_numpy(parts == number)[None, None]
        left, top, right, bottom = extent_of(part) or (0, 0, 0, 0)
        length = max(right - left, bottom - top)
        if length > LONG * side and int(part.sum()) < THIN * length**2:
            thin[part] = 1
    return grow(thin, RIM_PX)


def _seen(photograph: Image.Image, search: Search) -> Tensor:
    """Return the mask of the thing itself, (1, 1, H, W) of bytes, 0 or 1.

    A click is searched twice, the second time in the box of the first result, where the thing is
    larger. A click in a box is searched in the whole picture, too, where more lies around it.
    The union is taken: removing too much shows less than leaving a part of the thing.
    """
    found = cut_out(photograph, search)
    thing = found.mask > LEAST_THERE
    extent = extent_of(thing)
    assert extent is not None, "a subject was found"
    if found.how.way is not CutoutMethod.NETWORK:
        return thing.to(torch.uint8)
    if search.box is None:
        left, top, right, bottom = (
            end / side for end, side in zip(extent, 2 * photograph.size, strict=True)
        )
        across, down = CLOSER * (right - left), CLOSER * (bottom - top)
        box = (
            max(0.0, left - across),
            max(0.0, top - down),
            min(1.0, right + across),
            min(1.0, bottom + down),
        )
        thing |= (
            find_with(cutout_network(), photograph, replace(search, box=box)).mask > LEAST_THERE
        )
    elif search.points:
        wide = find_with(cutout_network(), photograph, replace(search, box=None)).mask > LEAST_THERE
        left, top, right, bottom = (
            round(end * side) for end, side in zip(search.box, 2 * photograph.size, strict=True)
        )
        thing[..., top:bottom, left:right] |= wide[..., top:bottom, left:right]
    return thing.to(torch.uint8)


def close_gaps(mask: Tensor, radius_px: int) -> Tensor:
    """Return `mask` (1, 1, H, W) with gaps narrower than twice `radius_px` closed."""
    wide = F.pad(mask, (2 * radius_px,) * 4, mode="replicate")
    shrunk = -grow(-grow(wide, radius_px), radius_px)
    rows, columns = (slice(2 * radius_px, 2 * radius_px + side) for side in mask.shape[2:])
    return torch.maximum(mask, shrunk[..., rows, columns])


def shadow_of(pixels: Tensor, thing: Tensor, *, reach: float = 1.0) -> Tensor:
    """Return the shadow of a thing on the ground at its foot; empty if there is none.

    The ground beyond the reach of a shadow gives the usual brightness. A shadow is darker in all
    colours alike, connected to the foot, and no larger than `MOST_SHADOW` of the thing. Dark ground
    that extends to both sides as far as a shadow may reach is another ground. Where it extends so
    to one side, the shadow ends beside the thing, and a warning says so. The result overlaps the
    rim of the thing. Where a thing leaves no ground beyond that, a shadow reaches less far.
    """
    extent = extent_of(thing)
    if extent is None:
        return torch.zeros_like(thing)
    left, top, right, bottom = extent
    side = max(right - left, bottom - top)
    within, ground = torch.zeros_like(thing), torch.zeros_like(thing)
    sideways, below = reach * SIDEWAYS * side, reach * BELOW * side
    rows = slice(round(bottom - FOOT * (bottom - top)), round(bottom + below))
    first = max(0, round(left - sideways))
    last = min(thing.shape[3], round(right + sideways)) - 1
    within[..., rows, first : last + 1] = 1
    ground[..., rows.start :, :] = 1
    ground = ground * (1 - within)
    if not bool(ground.any()):
        is_all = reach < LEAST_REACH
        return torch.zeros_like(thing) if is_all else shadow_of(pixels, thing, reach=reach / 2)
    known = 1 - thing
    smooth = blurred_within(pixels, known, SMOOTH_PX)
    usual = blurred(extrapolate(pixels, ground), SIDEWAYS * side / 4)
    change = ((smooth + DARKEST) / (usual + DARKEST)).log()
    darker = -change.mean(dim=1, keepdim=True)
    is_grey = (change + darker).abs().amax(dim=1, keepdim=True) < TINT
    least, darkest = DARKER
    may_be, faint = (
        ((darker > limit) & (darker < darkest) & is_grey & (within > 0)).float() * known
        for limit in (least, FAINT)
    )
    shadow = _reached(thing, may_be) * known
    near = math.ceil(SIDE_GROUND * side)
    beyond = (
        (shadow[..., first], (..., slice(0, max(0, left - near)))),
        (shadow[..., last], (..., slice(right + near, None))),
        (shadow[..., rows.stop - 1 :, :], (..., slice(bottom + near, None), slice(None))),
    )
    ends = [bool(end.any()) for end, _ in beyond]
    for goes_on, (_, rest) in zip(ends, beyond, strict=True):
        if goes_on:
            shadow[rest] = 0
    is_ground = all(ends[:2]) or (reach < 1 and any(ends[:2]))
    if is_ground or not 0 < float(shadow.sum()) <= MOST_SHADOW * float(thing.sum()):
        return torch.zeros_like(thing)
    if any(ends[:2]):
        logger.warning(
            "The ground beside what is removed stays dark. If that is the rest of a shadow, mark "
            "the thing and its shadow by a mask."
        )
    soft = _reached(shadow, faint)
    is_soft = not ends[2] and 0 < float(soft.sum()) <= MOST_SOFT * float(shadow.sum())
    return grow(soft if is_soft else shadow, RIM_PX)


def _reached(start: Tensor, through: Tensor) -> Tensor:
    """Return `start` with what hangs together with it in a mask."""
    reached, count = start, -1.0
    while float(reached.sum()) > count:
        count = float(reached.sum())
        reached = torch.maximum(reached, grow(reached, 1) * through)
    return reached
