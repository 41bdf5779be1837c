"""Fills a hole of a photograph from its surroundings.

*Tone* is what a completed thumbnail shows (`completion`), and *texture* is everything finer. It is
copied from nearby, with its grain and focus, by the few shifts that fit best, most of them those of
the patches (https://doi.org/10.1007/978-3-642-33709-3_2).

Pictures are (1, 3, H, W) in [0, 1] and masks (1, 1, H, W), 0 or 1.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import SURE, extent_of, extrapolate, luma, resized, shrunk_to
from swiftpie.masks import HALF, grow
from swiftpie.photo.completion import complete, lines_through
from swiftpie.photo.compositing import OnBand, blurred, blurred_within, enlarged, size_of, window_of
from swiftpie.photo.cutout import thing_odds
from swiftpie.photo.outline import connected_parts, to_lab

# Chosen by eye, those of shifts on 20 removals.
FINEST_PX = 2048  # longer side of what anything is looked for in; what is larger is enlarged
TONE_PX = 128  # longer side of what tones and shifts are found in
SAMPLED = 4  # a side, pixels in one of the tone's that tell how strong texture is
# Deviations in pixels of the tone: of the blur that parts tone and texture, and over which a tone
# inside yields to that of the border.
FINE_PX, MEETS_PX = 1.5, 3.0
# Texture hides seams where it is `ROUGH` times what lies between the tone and its blur by
# `EVEN_PX`. A change of `UNSEEN` is too faint to see.
EVEN_PX, ROUGH, UNSEEN = 4.0, 2.0, 0.004
# At the border of a hole ends what stays of a thing or its shadow, or a filling that does not fit.
# It is looked at in a copy of that longer side, beside borders so far off. A step counts where it
# is so many times that of four-fifths of those; how much the share of steps says of a doubt.
BORDER_PX, APART_PX, MORE, MOSTLY, FAINT, WEIGHT = 160, 6, 1.5, 0.8, 0.02, 3.0
AROUND_PX = 8  # Ground so near tells how uneven it is, in a thumbnail of lines.
# Longer side of what things are looked for in; half of the width of what is none, as a joint; how
# much of the border of a hole a hidden thing has, over its own size; the most that things take.
SEEN_PX, THICK_PX, TOUCHES, MOST_THINGS = 256, 3, 0.7, 0.4
# Shifts in pixels of the tone: a grid's step, how near and far it reaches, how many are taken from
# patches, and how many chosen.
STEP, NEAREST, FARTHEST, MOST_FOUND, NUM_SHIFTS = 16, 12, 96, 64, 16
# Costs of a shift: of a difference of texture, of `TONE_PX` up or down, where perspective changes
# things, and where it leads to no valid pixel; and the blur of costs.
DIFFERS, UNLEVEL, UNFIT, SMOOTH_PX = 2.5, 0.2, 2.0, 4.0
# Costs of being alone among pixels so near, and of being copied again; rounds of choices.
ALONE, ALONE_PX, AGAIN, ROUNDS = 0.3, 5.0, 0.1, 6
# What stands out of texture, as a twig on asphalt, would be seen again: how many times as far from
# the mean so near as is usual, of which medians count so many; what it costs to copy it.
OUT, MEAN_PX, MEDIANS, OUTSTANDING = 3.0, 5.0, 4.0, 1.0
LINES_PX = 320  # longer side at which thin lines are continued

OnDoubt = Callable[[float], object]  # gets how doubtful a filling is, and may raise to stop


def inpaint(
    patch: Tensor, hole: Tensor, *, on_band: OnBand = int, on_doubt: OnDoubt = float
) -> Tensor:
    """Return a `patch` of a photograph with its `hole` filled; some of it must remain.

    A larger patch than `FINEST_PX` is inpainted at that size, and the filling enlarged.
    """
    size, full = shrunk_to(FINEST_PX, size_of(patch)), size_of(patch)
    if size != full:
        small_hole = (resized(hole, size) > 0).to(hole)
        on_band()
        if not bool(small_hole.all()):
            small = resized(patch, size)
            filling = inpaint(small, small_hole, on_band=on_band, on_doubt=on_doubt)
            result, window = patch.clone(), window_of(hole)
            in_hole = hole[..., *window] > 0
            filling = enlarged(filling, full, window, on_band=on_band)
            torch.where(in_hole, filling, result[..., *window], out=result[..., *window])
            return result
    distractors = neighbours(patch, hole)
    on_band()
    small, valid = _shrunk(patch, torch.maximum(hole, distractors), TONE_PX)
    if not bool(valid.any()):
        return extrapolate(patch, 1 - hole)
    coarse, strength, rough = _tone_of(patch, hole, small, valid)
    on_band()
    fine = (patch - resized(coarse, full, mode="bilinear")) * (1 - hole)
    on_band()
    tones = torch.cat([small, DIFFERS * strength], dim=1)
    completed = complete(tones, valid, on_round=on_band)
    tones, moves, lines = completed or (extrapolate(tones, valid), torch.zeros(0, 2).long(), None)
    colours = tones[:, :3]
    doubt = 0.0 if lines is None else uncertainty(colours, valid, lines)
    shifts, shares = _shifts(tones, valid, moves)
    on_band()
    filling, window = patch.clone(), window_of(hole)
    tone = torch.lerp(blurred(colours, FINE_PX), blurred(colours, EVEN_PX), rough)
    tone = enlarged(tone, full, window, on_band=on_band)
    texture = _copied_texture(fine, hole, window, shifts, shares)
    detail, valid = _shrunk(fine, torch.maximum(hole, distractors), LINES_PX)
    lines, share = (
        resized(field, full, mode="bilinear")[..., *window]
        for field in lines_through(detail, valid)
    )
    filling[..., *window] = tone + (1 - share) * texture + lines
    result = meet_border(filling, patch, hole, distractors, rough)
    on_doubt(doubt + WEIGHT * steps_at_border(result, hole))
    return result


def _tone_of(patch: Tensor, hole: Tensor, small: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
    """Return tone, strength of texture, and where that hides seams, for a thumbnail `small`."""
    step = slice(None, None, max(1, max(size_of(patch)) // (SAMPLED * TONE_PX)))
    coarse, even = (blurred_within(small, valid, reach) for reach in (FINE_PX, EVEN_PX))
    samples, is_valid = patch[..., step, step], 1 - hole[..., step, step]
    strength = luma((samples - resized(coarse, size_of(samples), mode="bilinear")) * is_valid).abs()
    strength = resized(strength, size_of(coarse)) * valid
    uneven = blurred_within(luma(coarse - even).abs(), valid, EVEN_PX) + UNSEEN
    rough = (blurred_within(strength, valid, EVEN_PX) / uneven - ROUGH).clamp(0, 1)
    rough = extrapolate(rough, valid)
    return torch.lerp(coarse, even, rough), strength, rough


def uncertainty(colours: Tensor, valid: Tensor, lines: Tensor) -> float:
    """Return how far gaps are from smaller `lines`, over how uneven ground around is, in Lab."""
    size = size_of(lines)
    gap = (resized(valid, size) < 1 - SURE).to(valid)
    tone, straight = (
        torch.from_numpy(to_lab(part[0].movedim(0, -1).clamp(0, 1).numpy())).movedim(-1, 0)[None]
        for part in (resized(colours, size), lines)
    )
    apart = (tone - straight).norm(dim=1, keepdim=True)[gap > 0].mean()
    uneven = (tone - blurred_within(tone, 1 - gap, 2.0)).norm(dim=1, keepdim=True)
    around = uneven[grow(gap, AROUND_PX) > gap]
    return float(apart / (around.median() + 1)) if len(around) else math.inf


def steps_at_border(filled: Tensor, hole: Tensor) -> float:
    """Return on which share of the border of the `hole` colours step as hardly elsewhere."""
    size = shrunk_to(BORDER_PX, size_of(filled))
    pixels, mask = resized(filled, size), (resized(hole, size) > HALF).to(hole)
    masks = mask, grow(mask, APART_PX), -grow(-mask, APART_PX)
    steps, *nearby = (steps_along(pixels, rim) for rim in masks)
    usual = torch.cat([*nearby, steps.new_zeros(1)]).quantile(MOSTLY)
    return float((steps > MORE * (usual + FAINT)).sum() / max(1, len(steps)))


def steps_along(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return how far colours on both sides of the border of a mask (1, 1, h, w) differ, (N,)."""
    rims = mask + grow(-mask, 2), grow(mask, 3) - grow(mask, 1)
    inside, outside = (blurred_within(pixels, rim, 2.0) for rim in rims)
    return (inside - outside).abs().amax(dim=1, keepdim=True)[grow(mask, 1) > mask]


def neighbours(patch: Tensor, hole: Tensor) -> Tensor:
    """Return what stands out beside the `hole`, (1, 1, H, W), 0 or 1: it would be copied.

    What is partly hidden is no such thing, as it goes on, nor is what is thin, as a joint.
    """
    pixels, valid = _shrunk(patch, hole, SEEN_PX)
    outside = torch.where(valid > 0, pixels, extrapolate(pixels, valid))
    likely = (thing_odds(outside) > 0) & (valid > 0)
    solid = grow(-grow(-likely.float(), THICK_PX), THICK_PX)
    parts = torch.from_numpy(connected_parts(solid[0, 0].numpy() > 0)).long()
    sizes, border = parts.flatten().bincount(), grow(1 - valid, 2)[0, 0] > 0
    touching = parts[border].bincount(minlength=len(sizes))
    is_thing = touching < TOUCHES * sizes.sqrt()
    is_thing[0] = False
    things = is_thing[parts][None, None].to(valid)
    things *= bool(things.sum() <= MOST_THINGS * valid.sum())
    return (resized(grow(things, 2), size_of(patch)) > 0).to(hole) * (1 - hole)


def meet_border(
    inner: Tensor, patch: Tensor, hole: Tensor, distractors: Tensor, rough: Tensor
) -> Tensor:
    """Return `patch` with `inner` in the `hole`, near the border in the tone of that.

    Where texture is `rough`, a pixel of it would be a stain inside, so that even tones meet. What
    is `distractors` beyond the border tells none.
    """
    part = (..., *window_of(hole))
    result, inner, around = patch.clone(), inner[part], patch[part]
    gap, rough = (
        torch.maximum(hole, distractors)[part],
        resized(rough, size_of(patch))[part].clamp(0, 1),
    )
    apart, valid = _shrunk(around - inner, gap, TONE_PX)
    apart = extrapolate(blurred_within(apart, valid, FINE_PX), valid)
    apart *= (blurred(valid, MEETS_PX) / HALF).clamp_max(1)
    inner += torch.lerp(extrapolate(around - inner, 1 - gap), resized(apart, size_of(gap)), rough)
    result[part] = torch.where(hole[part] > 0, inner, around)
    return result


def _shrunk(patch: Tensor, hole: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return a thumbnail, and which of its pixels are fully known."""
    size = shrunk_to(side, size_of(patch))
    weight = resized(1 - hole, size)
    pixels = resized(patch * (1 - hole), size) / weight.clamp_min(SURE)
    return pixels, (weight > 1 - SURE).to(weight)


def _shifts(tone: Tensor, valid: Tensor, usual: Tensor) -> tuple[Tensor, Tensor]:
    """Return shifts (K, 2) in shares of the sides, and masks of where each applies (1, K, h, w).

    They are the most frequent of the `usual` ones (N, 2), or of a grid. A shift costs the
    difference of colours, texture strength and standing out between a place and its source.
    """
    size = size_of(tone)
    reach = torch.arange(-FARTHEST, FARTHEST + 1, STEP)
    every = torch.cartesian_prod(reach, reach)
    every = every[every.square().sum(dim=1) >= NEAREST**2]
    far = usual.square().sum(dim=1) >= NEAREST**2
    every = torch.cat([_most_frequent(usual[far]), every])
    left, top, right, bottom = extent_of(1 - valid) or (0, 0, size[1], size[0])
    here = (0, slice(None), slice(top, bottom), slice(left, right))
    wide = F.pad(torch.cat([tone, valid, salient(tone)], dim=1), (TONE_PX,) * 4)

    def source_of(shift: Tensor) -> Tensor:
        down, across = (shift + TONE_PX).tolist()
        return wide[0, :, top + down : bottom + down, left + across : right + across]

    costs = valid.new_empty(1, len(every), bottom - top, right - left)
    for cost, shift in zip(costs[0], every, strict=True):
        source = source_of(shift)
        apart = (source[:4] - tone[here]).abs()
        apart = torch.where(source[4] > 0, apart[:3].mean(dim=0) + apart[3], UNFIT)
        apart += UNLEVEL * shift[0].abs() / TONE_PX
        torch.mul(apart, 1 - valid[here][0], out=cost)
    less, gaps = (F.avg_pool2d(field, 2, ceil_mode=True) for field in (costs, 1 - valid[here]))
    best = _best_shifts(blurred(less, SMOOTH_PX / 2)[0, :, gaps[0] > 0])
    costs, shares = blurred(costs[:, best], SMOOTH_PX), tone.new_zeros(1, len(best), *size)
    odd = torch.stack([source_of(shift)[5] for shift in every[best]])
    costs += OUTSTANDING * (odd - source_of(torch.zeros(2).long())[5]).clamp_min(0)
    shares[here] = in_pieces(costs, every[best], hole=1 - valid[here])[0]
    return every[best] / torch.tensor(size), shares


def salient(tone: Tensor) -> Tensor:
    """Return how far places stand out of the texture around them, (1, 1, h, w) in [0, 1]."""
    apart = (tone - blurred(tone, MEAN_PX)).abs().amax(dim=1, keepdim=True)
    usual = blurred(apart.clamp_max(MEDIANS * float(apart.median())), 2 * MEAN_PX) + 2 * UNSEEN
    return F.max_pool2d((apart / (OUT * usual) - 1).clamp(0, 1), 3, 1, 1)


def in_pieces(costs: Tensor, shifts: Tensor, *, hole: Tensor) -> Tensor:
    """Return where each of `shifts` (K, 2) applies (1, K, h, w), in large pieces of little cost.

    Where others fit, nothing is copied to two places in the `hole` (1, h, w).
    """
    height, width = hole.shape[1:]
    ends = (shifts - shifts.amin(dim=0)).tolist()
    sources = [(slice(down, down + height), slice(left, left + width)) for down, left in ends]
    choice, odd = costs.argmin(dim=1), torch.arange(height)[:, None] + torch.arange(width)
    for turn in range(ROUNDS):  # half of the pixels at a time, as else all change at once
        pieces = F.one_hot(choice, len(shifts)).movedim(-1, 1).to(costs)
        copied = costs.new_zeros([TONE_PX * 2 + side for side in (height, width)])
        for source, there in zip(sources, pieces[0] * hole, strict=True):
            copied[source] += there
        repeats = torch.stack([copied[source] for source in sources]) - pieces[0]
        repeats = blurred(repeats[None].clamp_max(2), FINE_PX)
        best = (costs - ALONE * blurred(pieces, ALONE_PX) + AGAIN * repeats).argmin(dim=1)
        choice = torch.where(odd % 2 == turn % 2, best, choice)
    return F.one_hot(choice, len(shifts)).movedim(-1, 1).to(costs)


def _most_frequent(shifts: Tensor) -> Tensor:
    """Return those of `shifts` (N, 2) that are more frequent than similar ones, (K, 2)."""
    counts = torch.zeros(1, 1, 2 * TONE_PX, 2 * TONE_PX)
    counts[0, 0].index_put_(tuple((shifts + TONE_PX).T), torch.ones(1), accumulate=True)
    counts = blurred(counts, 1.0)
    peaks = ((counts == F.max_pool2d(counts, 3, 1, 1)) * counts).flatten().topk(MOST_FOUND)
    places = peaks.indices[peaks.values > 0]
    return torch.stack([places // (2 * TONE_PX), places % (2 * TONE_PX)], dim=1) - TONE_PX


def _best_shifts(costs: Tensor) -> Tensor:
    """Return the shifts (K,) that together have the least `costs` (S, pixels), found greedily."""
    least, best = costs.new_full(costs.shape[1:], UNFIT), []
    for _ in range(min(NUM_SHIFTS, len(costs))):
        best.append((least - costs).clamp_min(0).sum(dim=1).argmax())
        least = torch.minimum(least, costs[best[-1]])
    return torch.stack(best)


def _copied_texture(
    fine: Tensor, hole: Tensor, window: tuple[slice, slice], shifts: Tensor, shares: Tensor
) -> Tensor:
    """Return `fine` (1, 3, H, W) copied by shifts to the `hole` in the part `window`."""
    size, texture = size_of(fine), torch.zeros_like(fine[..., *window])
    for shift, share in zip(shifts.tolist(), shares.split(1, dim=1), strict=True):
        if (extent := extent_of(share)) is None:
            continue
        left, top, right, bottom = extent
        down, across = (round(part * side) for part, side in zip(shift, size, strict=True))
        rows = _pixels_in((top, bottom), share.shape[2], size[0], within=window[0], shift=down)
        columns = _pixels_in((left, right), share.shape[3], size[1], within=window[1], shift=across)
        if rows.start < rows.stop and columns.start < columns.stop:
            weight = enlarged(share, size, (rows, columns), mode="bilinear")
            source = fine[..., _moved(rows, down), _moved(columns, across)]
            here = (..., _moved(rows, -window[0].start), _moved(columns, -window[1].start))
            texture[here].addcmul_(weight * hole[..., rows, columns], source)
    return texture


def _pixels_in(cells: tuple[int, int], few: int, side: int, *, within: slice, shift: int) -> slice:
    """Return the pixels of some `cells` that lie `within` a slice and whose source exists."""
    first, last = (cells[0] - 1) * side // few, -(-(cells[1] + 1) * side // few)
    return slice(max(within.start, -shift, first), min(within.stop, side - shift, last))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
