"""Finds what to remove with a thing that the user points at: the thing, its edge, its shadow.

Pictures are (1, 3, H, W) in [0, 1] and masks (1, 1, H, W), 0 or 1.
"""

import logging
import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import (
    SURE,
    bounding_box,
    extent_of,
    extrapolate,
    in_unit,
    resized,
    shrunk_to,
    to_tensor,
)
from swiftpie.masks import HALF, Box, box_mask, grow, resize_mask
from swiftpie.photo.compositing import OnBand, blurred, blurred_within
from swiftpie.photo.cutout import cut_out, cutout_network, find_with, thing_odds
from swiftpie.photo.filling import FINEST_PX, steps_along
from swiftpie.photo.outline import connected_parts
from swiftpie.photo.search import Search
from swiftpie.types import CutoutMethod

logger = logging.getLogger(__name__)

# All numbers of this file that name no other source were chosen by eye.
LEAST_THERE = 0.2  # opacity above which a pixel is of the thing
CLOSER = 0.1  # Border of the box of a second look, a share of each of the thing's sides.
OFF = 0.12  # By how much a box may be too small, a share of the root of its area.
# Shares of a thing's longer side: its soft edge, the border that goes with it, that at its dark
# foot, half of the width of gaps that are closed, and the ground looked at on each side.
EDGE, ROOM, FOOT_ROOM, GAP, AROUND = 0.02, 0.025, 0.06, 0.06, 1.0
LOOK_PX = 128  # longer side of what shadows are looked for in
# Reach of a shadow to the sides and below as shares of the thing's longer side, the least part of
# it that is looked at, and the lower share of the thing's height beside which shadows lie.
SIDEWAYS, BELOW, LEAST_REACH, FOOT = 0.7, 0.25, 0.3, 0.5
# Least and most that a shadow darkens its ground, the least at its rim, and the most by which a
# colour is off the mean; natural logarithms, the last also a share.
DARKER, FAINT, TINT = (0.12, 2.5), 0.04, 0.35
DARKEST = 0.05  # Added to both sides of the ratio: noise in the dark is no colour.
RIM_PX = 2  # by which a shadow is taken to be larger
SMOOTH_PX = 2.0  # Ground is smoothed so far, as texture casts no shadow.
# A shadow's largest area over the thing's; and with its soft rim, over that without.
MOST_SHADOW, MOST_SOFT = 1.0, 2.5
# A sharp shadow: how many levels of brightness are tried, up to that of a share of the ground; the
# lowest share of a thing that it touches; its least area over the thing's; the most of its border
# that the picture cuts off, and the least that touches the thing.
NUM_LEVELS, LIGHT, AT_FOOT, LEAST_SHADOW, MOST_CUT, LEAST_FOOT = 8, 0.85, 0.25, 0.02, 0.2, 0.2
# The share of the border with a step, for sharp and soft shadows; for soft ones, the most border
# over what touches; both chosen by eye on 36 photographs. The most that the step varies over its
# mean: .46 for six shadows, .54 otherwise.
BOUNDED, MOST_BORDER, VARIED = (0.8, 0.9), 2.0, 0.5
# Widths of the two sides of the border of a sharp shadow and of a soft one, and the blur of both.
WIDTH_PX, SOFT_PX, NEAR_PX = 4, 6, 1.5
# By how much more of a mask's border has steps of colour than the border `FARTHER_PX` around: .33
# or more for 21 of 22 outlines, and at most .3 for 20 that are wider by 1.75 % of the longer side.
MORE_STEPS, STEP, FARTHER_PX = 0.3, 0.08, 4
OUTLINE_PX = 160  # Longer side of a photograph that is looked at for these steps.
# What sticks out of a thing, as an antenna, chosen by eye on 43 photographs: longer side of what it
# is looked for in, how far a colour lies from its surroundings, and how far these are averaged.
THIN_PX, STANDS_OUT, BESIDE = 256, 0.15, 0.05
# The least length of it as a share, the most area over length squared, and the most that touches
# over the length. By how much the log-odds of the network that it is of a thing are above those so
# near: 5 of an antenna, 3.5 or less of 25 joints, twigs and horizons.
LONG, THIN, FOOTED, CLEARER, BESIDE_PX = 0.12, 0.25, 0.4, 4.0, 6
# A rest of the thing, as a leaf or a foot: its least and most area, in pixels and as a share, and
# how much clearer it is. Beside 48 things 12 parts are as clear, and one of them is ground.
REST_PX, MOST_REST, REST_CLEARER = 3, 0.03, 2.5
# What rests on a thing: its least area over the thing's, how far it reaches beyond the thing's
# sides over its width, the least and most that touches over its size, and its least log-odds. On
# 104 photographs it is the berries of six bowls, and a statue behind a shoe.
LEAST_LOAD, WIDER, TOUCHES, SURELY = 0.02, 0.35, (0.5, 5.0), 1.8


def removal_of(
    photograph: Image.Image, thing: Search | Tensor, *, on_band: OnBand = int
) -> tuple[Tensor, Box]:
    """Return the mask of a thing with its edge and shadow, as bytes (1, 1, H, W), and its own box.

    The thing is what a search finds, or given by such a mask. A copy of `FINEST_PX` is looked at
    of a larger photograph.

    Raises:
        NoSubject: A search finds nothing that stands out.
    """
    full = (photograph.height, photograph.width)
    size = shrunk_to(FINEST_PX, full)
    small = photograph if size == full else photograph.resize(size[::-1], Image.Resampling.BOX)
    on_band()
    if isinstance(thing, Search):
        solid = _thing_at(small, thing)
    else:
        solid = (resize_mask(thing.float(), size) >= HALF * 255).to(torch.uint8)
    on_band()
    mask = with_surroundings(small, solid)
    on_band()
    if small is not photograph:
        mask = 255 * (resize_mask(mask.float(), full) >= HALF * 255).to(torch.uint8)
    return mask, bounding_box(solid)


def ends_with_thing(picture: Image.Image, marked: Tensor) -> bool:
    """Return whether colours change across the border of a mask (1, 1, H, W) as nowhere near."""
    size = shrunk_to(OUTLINE_PX, (picture.height, picture.width))
    pixels = in_unit(to_tensor(picture.resize(size[::-1], Image.Resampling.BOX)))
    hole = (resize_mask(marked.float(), size) > HALF * 255).float()
    masks = hole, grow(hole, FARTHER_PX)
    shares = [(steps_along(pixels, mask) > STEP).float().mean() for mask in masks]
    return float(shares[0] - shares[1]) > MORE_STEPS


def with_surroundings(photograph: Image.Image, thing: Tensor) -> Tensor:
    """Return what goes with a thing (1, 1, H, W) of bytes, 0 or 1: its edge and shadow, 0 or 255.

    Some of the photograph has to be the thing.
    """
    left, top, right, bottom = extent_of(thing) or (0, 0, 0, 0)
    side, (width, height) = max(right - left, bottom - top), photograph.size
    beyond = math.ceil(AROUND * side)
    low, high = (max(0, left - beyond), max(0, top - beyond)), (right + beyond, bottom + beyond)
    crop = (*low, min(width, high[0]), min(height, high[1]))
    part = (..., slice(crop[1], crop[3]), slice(crop[0], crop[2]))
    solid = thing[part].float()
    size = (solid.shape[2], solid.shape[3])
    small = shrunk_to(LOOK_PX, size)
    scale = max(small) / max(size)
    pixels = in_unit(to_tensor(photograph.crop(crop).convert("RGB")))
    around = grow((resized(solid, small) > 0).float(), math.ceil(EDGE * scale * side) + 1)
    shadow = shadow_of(resized(pixels, small), around)
    edge, foot = grow(solid, math.ceil(ROOM * side) + 1), solid.clone()
    below = max(0, round(bottom - AT_FOOT * (bottom - top)) - crop[1])
    foot[..., :below, :] = 0
    edge[..., below:, :] = grow(foot, math.ceil(FOOT_ROOM * side) + 1)[..., below:, :]
    hole = torch.maximum(edge, (resized(shadow, size) > 0).float())
    whole = close_gaps((resized(hole, small) > 1 - SURE).float(), math.ceil(GAP * scale * side))
    hole = torch.maximum(hole, (resized(whole, size) > 0.5).float())
    small = shrunk_to(THIN_PX, size)
    thin_mask = thin_parts(resized(pixels, small), (resized(hole, small) > SURE).float())
    mask = torch.zeros_like(thing)
    hole = torch.maximum(hole, (resized(thin_mask, size) > SURE).float())
    mask[part] = 255 * hole.to(torch.uint8)
    return mask


def thin_parts(pixels: Tensor, hole: Tensor) -> Tensor:
    """Return what is thin or small, touches what goes and unlike that ends in what is around it."""
    left, top, right, bottom = extent_of(hole) or (0, 0, 0, 0)
    side = max(right - left, bottom - top)
    valid = ground = 1 - hole
    for _ in range(3):  # what stands out does not count as ground
        usual = blurred_within(pixels, ground, max(1, BESIDE * side))
        apart = (pixels - usual).abs().amax(dim=1, keepdim=True)
        ground = valid * (apart < STANDS_OUT)
    parts = connected_parts(((valid - ground)[0, 0] > 0).numpy())
    rim, candidates = grow(hole, 2), []
    ends = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    for number in np.setdiff1d(parts[(rim[0, 0] > 0).numpy()], [0, *ends]):
        part = torch.from_numpy(parts == number)[None, None]
        left, top, right, bottom = extent_of(part) or (0, 0, 0, 0)
        length, foot, area = max(right - left, bottom - top), rim[part].sum(), part.sum()
        is_thin = LONG * side < length and area < THIN * length**2 and foot < FOOTED * length
        if is_thin or REST_PX < area < MOST_REST * hole.sum():
            candidates.append((part.to(hole), CLEARER if is_thin else REST_CLEARER))
    thin_mask = torch.zeros_like(hole)
    if candidates:
        odds = thing_odds(pixels)
        for part, clearer in candidates:
            beside = (grow(part, BESIDE_PX) - part) * valid
            if odds[part > 0].mean() - odds[beside > 0].mean() > clearer:
                thin_mask = torch.maximum(thin_mask, part)
    return grow(thin_mask, RIM_PX)


def _thing_at(photograph: Image.Image, search: Search) -> Tensor:
    """Return the mask of the thing itself, (1, 1, H, W) of bytes, 0 or 1.

    A click is searched twice, the second time in the box of the first result, where the thing is
    larger. A click in a box is searched in the whole picture, too; what ends hardly beyond the box
    goes. The union is taken, as a part that is left shows most. What rests on it goes with it.
    """
    cutout = cut_out(photograph, search)
    thing = cutout.mask > LEAST_THERE
    if cutout.how.way is not CutoutMethod.NETWORK:
        return thing.to(torch.uint8)
    if search.box is None:
        low, high = np.array(extent_of(thing)).reshape(2, 2) / photograph.size
        reach = CLOSER * (high - low)
        box = (*(low - reach).clip(0).tolist(), *(high + reach).clip(max=1).tolist())
        closer = replace(search, box=box)
        thing |= find_with(cutout_network(), photograph, closer).mask > LEAST_THERE
        if not search.background and (load := supported_objects(photograph, thing)).any():
            logger.warning("What rests on the thing goes, too. A point keeps it: `not:0.5,0.2`.")
            thing |= load
    elif search.points:
        wide = find_with(cutout_network(), photograph, replace(search, box=None)).mask > LEAST_THERE
        inside = box_mask(search.box, height=photograph.height, width=photograph.width).round()
        surroundings = grow(inside, math.ceil(OFF * inside.sum().sqrt()))
        thing |= wide & ((inside if bool((wide & (surroundings <= 0)).any()) else surroundings) > 0)
    return thing.to(torch.uint8)


def supported_objects(photograph: Image.Image, thing: Tensor) -> Tensor:
    """Return what rests on a thing or in it, (1, 1, H, W) of booleans, as berries in a bowl.

    Without the thing it stands out, above the middle of that and hardly wider, and touches it.
    """
    size = shrunk_to(THIN_PX, (thing.shape[2], thing.shape[3]))
    small = photograph.convert("RGB").resize(size[::-1], Image.Resampling.BOX)
    pixels, solid = in_unit(to_tensor(small)), (resized(thing.float(), size) > 0).float()
    left, top, right, bottom = extent_of(solid) or (0, 0, 0, 0)
    hole = grow(solid, math.ceil(ROOM * max(right - left, bottom - top)) + 1)
    odds = thing_odds(torch.where(hole > 0, extrapolate(pixels, 1 - hole), pixels))
    parts = connected_parts(((odds > 0) & (hole <= 0))[0, 0].numpy())
    rim, load = grow(hole, 2)[0, 0].numpy() > 0, torch.zeros_like(solid)
    for number in np.setdiff1d(parts[rim], [0]):
        part = parts == number
        rows, columns = part.nonzero()
        wider = max(left - columns.min(), columns.max() + 1 - right) / (right - left)
        foot = (part & rim).sum() / math.sqrt(len(rows))
        is_load = rows.max() < (top + bottom) / 2 and wider < WIDER
        is_large = len(rows) > LEAST_LOAD * hole.sum() and TOUCHES[0] < foot < TOUCHES[1]
        if is_load and is_large and odds[0, 0].numpy()[part].mean() > SURELY:
            load[0, 0, part] = 1
    return resized(load, (thing.shape[2], thing.shape[3])) > HALF


def close_gaps(mask: Tensor, radius_px: int) -> Tensor:
    """Return `mask` (1, 1, H, W) with gaps narrower than twice `radius_px` closed."""
    wide = F.pad(mask, (2 * radius_px,) * 4, mode="replicate")
    shrunk = -grow(-grow(wide, radius_px), radius_px)
    rows, columns = (slice(2 * radius_px, 2 * radius_px + side) for side in mask.shape[2:])
    return torch.maximum(mask, shrunk[..., rows, columns])


def shadow_of(pixels: Tensor, thing: Tensor) -> Tensor:
    """Return the shadow that touches a thing's foot, and overlaps its rim; empty without one.

    A sharp one has a step of brightness all around, however far it reaches, also on a wall. A soft
    one clings to the thing, or is the rim of the sharp one.
    """
    if extent_of(thing) is None:
        return torch.zeros_like(thing)
    valid = 1 - thing
    logs = (blurred_within(pixels, valid, NEAR_PX).clamp_min(0) + DARKEST).log()
    sharp = _sharp_shadow(logs, thing)
    with_rim = _soft_shadow(pixels, thing, warns=not bool(sharp.any()))
    rim, soft = grow(sharp, RIM_PX), with_rim * valid
    clings = _border(soft, thing).sum() <= MOST_BORDER * (soft * grow(thing, 1)).sum()
    is_near = bool(clings | (soft.sum() <= MOST_SOFT * rim.sum()))
    share, *_ = _step_at(logs, soft, thing, least=FAINT / 2, width_px=SOFT_PX)
    return torch.maximum(rim, with_rim) if is_near and share >= BOUNDED[1] else rim


def _sharp_shadow(logs: Tensor, thing: Tensor) -> Tensor:
    """Return what at a thing's foot is darker than all around it, for logarithms of the colours.

    Of the parts below several levels, it is the one with the clearest step along its border. Ground
    that goes on to both sides, or is mostly cut off, is no shadow.
    """
    _, top, _, bottom = extent_of(thing) or (0, 0, 0, 0)
    valid, best, greatest = 1 - thing, torch.zeros_like(thing), 0.0
    grey, rim = logs.mean(dim=1, keepdim=True), grow(thing, 2) * valid
    touched = rim[0, 0].numpy() > 0
    touched[: round(bottom - AT_FOOT * (bottom - top))] = False
    if not touched.any():
        return best
    darkest, brightest = float(grey[0, 0, touched].amin()), float(grey[valid > 0].quantile(LIGHT))
    for level in np.linspace(darkest, brightest, NUM_LEVELS + 1)[1:]:
        dark = (grey < level) * valid
        dark *= grow(-grow(-torch.maximum(dark, thing), 1), 1)  # what is thin is a joint
        parts = connected_parts(dark[0, 0].numpy() > 0)
        sizes = np.bincount(parts.ravel()) / float(thing.sum())
        for number in np.setdiff1d(parts[touched], [0]):
            if not LEAST_SHADOW < sizes[number] <= MOST_SHADOW:
                continue
            part = torch.from_numpy(parts == number)[None, None].to(thing)
            ends = part[..., 0].sum(), part[..., -1].sum(), part[..., : max(1, top), :].sum()
            border = float(_border(part, thing).sum())
            is_cut = bool(ends[0] * ends[1] > 0) or float(sum(ends)) > MOST_CUT * border
            if is_cut or float((part * rim).sum()) < LEAST_FOOT * border or not border:
                continue
            share, step, varied = _step_at(logs, part, thing, least=DARKER[0], width_px=WIDTH_PX)
            around = (grow(part, WIDTH_PX) - part) * valid
            spread = sum(float(grey[mask > 0].std(correction=0)) for mask in (part, around))
            is_even = share >= BOUNDED[0] and varied <= VARIED
            if is_even and step / (spread + DARKEST) > greatest:
                best, greatest = part, step / (spread + DARKEST)
    return best


def _border(part: Tensor, thing: Tensor) -> Tensor:
    """Return the pixels around a part of a picture, but for those of a thing and beside it."""
    return (grow(part, 1) - part) * (1 - grow(thing, 1))


def _step_at(
    logs: Tensor, part: Tensor, thing: Tensor, *, least: float, width_px: int
) -> tuple[float, float, float]:
    """Return where on its border a part is darker alike, as a share, how much, and how varied."""
    if (extent := extent_of(grow(part, width_px))) is None:
        return 0.0, 0.0, 0.0
    left, top, right, bottom = extent
    here = (..., slice(top, bottom), slice(left, right))
    logs, part, thing = logs[here], part[here], thing[here]
    outside = (grow(part, width_px) - grow(part, 1)) * (1 - thing)
    rims = outside, part + grow(-part, width_px - 1)
    window = 2 * width_px + 1, 1, width_px
    sums = (F.avg_pool2d(torch.cat([logs * rim, rim], dim=1), *window) for rim in rims)
    light, dark = (total[:, :3] / total[:, 3:].clamp_min(SURE) for total in sums)
    step = (light - dark).mean(dim=1, keepdim=True)
    uneven = (light - dark - step).abs().amax(dim=1, keepdim=True)
    is_shadow = (step > least) & (step < DARKER[1]) & (uneven < TINT * step + DARKEST)
    border = _border(part, thing) > 0
    shares, steps = is_shadow[border].float(), step[border]
    varied = steps.std(correction=0) / steps.mean().clamp_min(SURE)
    return float(shares.mean()), float((steps * shares).mean()), float(varied)


def _soft_shadow(pixels: Tensor, thing: Tensor, *, reach: float = 1.0, warns: bool) -> Tensor:
    """Return what may be the shadow of a thing on the ground at its foot, with the thing's rim.

    The ground beyond the reach of a shadow gives the usual brightness. A shadow is darker in all
    colours alike, connected to the foot, and no larger than `MOST_SHADOW` of the thing. What
    extends to a side as far as it may reach is another ground, or warned of. Where a thing leaves
    no ground beyond that, a shadow reaches less far.
    """
    left, top, right, bottom = extent_of(thing) or (0, 0, 0, 0)
    side, none = max(right - left, bottom - top), torch.zeros_like(thing)
    within, ground = none.clone(), none.clone()
    sideways, below = reach * SIDEWAYS * side, reach * BELOW * side
    rows = slice(round(bottom - FOOT * (bottom - top)), round(bottom + below))
    first = max(0, round(left - sideways))
    last = min(thing.shape[3], round(right + sideways)) - 1
    within[..., rows, first : last + 1] = 1
    ground[..., rows.start :, :] = 1
    ground = ground * (1 - within)
    if not bool(ground.any()):
        again = partial(_soft_shadow, pixels, thing, reach=reach / 2, warns=warns)
        return none if reach < LEAST_REACH else again()
    valid = 1 - thing
    smooth = blurred_within(pixels, valid, SMOOTH_PX)
    usual = blurred(extrapolate(pixels, ground), SIDEWAYS * side / 4)
    change = ((smooth + DARKEST) / (usual + DARKEST)).log()
    darker = -change.mean(dim=1, keepdim=True)
    is_grey = (change + darker).abs().amax(dim=1, keepdim=True) < TINT
    least, darkest = DARKER
    may_be, faint = (
        ((darker > limit) & (darker < darkest) & is_grey & (within > 0)).float() * valid
        for limit in (least, FAINT)
    )
    shadow = connected_to(thing, may_be) * valid
    sides = [bool(shadow[..., column].any()) for column in (first, last)]
    if any(sides):
        if warns and reach == 1 and not all(sides):
            logger.warning(
                "The ground beside what is removed stays dark. If that is the rest of a shadow, "
                "mark the thing and its shadow by a mask."
            )
        return none
    if not 0 < float(shadow.sum()) <= MOST_SHADOW * float(thing.sum()):
        return none
    soft = connected_to(shadow, faint)
    is_soft = float(soft.sum()) <= MOST_SOFT * float(shadow.sum())
    return grow(soft if is_soft else shadow, RIM_PX)


def connected_to(start: Tensor, through: Tensor) -> Tensor:
    """Return `start` with all pixels of the mask `through` that are connected to it."""
    mask, count = start, -1.0
    while float(mask.sum()) > count:
        count = float(mask.sum())
        mask = torch.maximum(mask, grow(mask, 1) * through)
    return mask
