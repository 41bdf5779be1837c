"""Fills a part of a photograph: from its surroundings, or with a small drawing.

From its surroundings, *tone* is what a completed thumbnail shows (`completion`), and *texture* is
everything finer. It is copied from nearby by the few shifts that fit best, most of them those of
the patches (https://doi.org/10.1007/978-3-642-33709-3_2), with the photograph's grain and focus.
A drawing is on a *canvas*, the window of the photograph as the model sees it. A *patch* is a part
of the photograph in its own pixels.

Pictures are (1, 3, H, W) in [0, 1] and masks (1, 1, H, W), 0 or 1.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import SURE, extent_of, extrapolate, halved, luma, resized, shrunk_to
from swiftpie.masks import HALF, grow
from swiftpie.noise import generator_of
from swiftpie.photo.completion import complete, lines_through
from swiftpie.photo.cutout import thing_odds
from swiftpie.photo.outline import connected_parts, to_lab
from swiftpie.validation import Box, Size

FINEST_PX = 2048  # longer side of what anything is looked for in; what is larger is enlarged
TONE_PX = 128  # longer side of what tones and shifts are found in
SAMPLED = 4  # a side, pixels in one of the tone's that tell how strong texture is
NEAR = 1 / 16  # A step is looked at so far, as a share of its longer side.
FINE_PX = 1.5  # deviation of the blur that parts tone and texture, in pixels of the tone
MEETS_PX = 3.0  # likewise: so far inside a tone yields to that of the border
# Likewise where texture hides seams, as it is so many times what is between both; too faint to see.
EVEN_PX, ROUGH, UNSEEN = 4.0, 2.0, 0.004
# At the border of what goes ends what stays of a thing or its shadow, or a filling that does not
# fit. It is looked at in a copy of that longer side, beside others so far off. A step counts where
# it is so many times that of four-fifths of those; how much the share of steps says of a doubt.
BORDER_PX, APART_PX, MORE, MOSTLY, FAINT, WEIGHT = 160, 6, 1.5, 0.8, 0.02, 3.0
AROUND_PX = 8  # Ground so near tells how uneven it is, in a thumbnail of lines.
# Longer side of what things are looked for in; half of the width of what is none, as a joint; how
# much of the border of what goes a hidden thing has, over its own size; the most that things take.
SEEN_PX, THICK_PX, TOUCHES, MOST_THINGS = 256, 3, 0.7, 0.4
# Shifts in pixels of the tone: a grid's step, how near and far it reaches, how many are taken from
# patches, and how many chosen; what a difference of texture costs, and a shift up or down by
# `TONE_PX`, where perspective changes things; the blur of costs; what it costs to be alone among
# those so near, and to be copied again. Chosen by eye on 20 removals.
STEP, NEAREST, FARTHEST, MOST_FOUND, NUM_SHIFTS = 16, 12, 96, 64, 16
DIFFERS, UNLEVEL, SMOOTH_PX = 2.5, 0.2, 4.0
ALONE, ALONE_PX, AGAIN, ROUNDS = 0.3, 5.0, 0.1, 6
# What stands out of texture, as a twig on asphalt, would be seen again: how many times as far from
# the mean so near as is usual, of which medians count so many; what it costs to copy it.
OUT, MEAN_PX, MEDIANS, OUTSTANDING = 3.0, 5.0, 4.0, 1.0
LINES_PX = 320  # longer side at which thin lines are continued
UNFIT = 2.0  # what a shift costs where it leads to nothing known
BAND_PX = 256  # rows, or columns, that are enlarged at once

OnBand = Callable[[], object]
"""Called after each part of the work, as a band of rows of a large picture; may raise to stop."""

OnDoubt = Callable[[float], object]  # gets how doubtful a filling is, and may raise to stop
Part = tuple[slice, slice]  # rows and columns of a picture
DARKEST = 0.03  # added to both colours of a ratio, so that black gives no infinity
SHADE_PX, FAULT_PX = 1.2, 4.0  # deviations of blurs, on the canvas
MOST_GRAIN = 2.0  # medians; what stands out further is an edge
PLAIN_PX, PLAINEST = 8, 0.05  # side of a block, and the share of the blocks that are plain
MOST_NOISE = 0.003  # deviation of a camera's noise; more is texture, where all is textured
DEVIATION = 1.25  # A normal distribution's deviation over its mean absolute value.
WELL_KNOWN = 0.05  # share of a blur's weight that has to be known


def inpaint(
    patch: Tensor, gone: Tensor, *, on_band: OnBand = int, on_doubt: OnDoubt = float
) -> Tensor:
    """Return a `patch` of a photograph with the part that is `gone` inpainted; some must remain.

    A larger patch than `FINEST_PX` is inpainted at that size, and the filling enlarged.
    """
    size = shrunk_to(FINEST_PX, _size(patch))
    if size != _size(patch):
        goes = (resized(gone, size) > 0).to(gone)
        on_band()
        if not bool(goes.all()):
            less = resized(patch, size)
            filled, there = inpaint(less, goes, on_band=on_band, on_doubt=on_doubt), _near(gone)
            result, missing = patch.clone(), gone[..., *there] > 0
            filled = enlarged(filled, _size(patch), there, on_band=on_band)
            torch.where(missing, filled, result[..., *there], out=result[..., *there])
            return result
    alike = neighbours(patch, gone)
    on_band()
    small, known = _shrunk(patch, torch.maximum(gone, alike), TONE_PX)
    if not bool(known.any()):
        return extrapolate(patch, 1 - gone)
    step = slice(None, None, max(1, max(_size(patch)) // (SAMPLED * TONE_PX)))
    coarse, even = (blurred_within(small, known, reach) for reach in (FINE_PX, EVEN_PX))
    few, left = patch[..., step, step], 1 - gone[..., step, step]
    strength = luma((few - resized(coarse, _size(few), mode="bilinear")) * left).abs()
    strength = resized(strength, _size(coarse)) * known
    uneven = blurred_within(luma(coarse - even).abs(), known, EVEN_PX) + UNSEEN
    rough = extrapolate(
        (blurred_within(strength, known, EVEN_PX) / uneven - ROUGH).clamp(0, 1), known
    )
    on_band()
    coarse = torch.lerp(coarse, even, rough)
    fine = (patch - resized(coarse, _size(patch), mode="bilinear")) * (1 - gone)
    on_band()
    few = torch.cat([small, DIFFERS * strength], dim=1)
    completed = complete(few, known, on_round=on_band)
    few, usual, lines = completed or (extrapolate(few, known), gone.new_zeros(0, 2).long(), None)
    shown = few[:, :3]
    doubt = 0.0 if lines is None else uncertainty(shown, known, lines)
    shifts, shares = _shifts(few, known, usual)
    on_band()
    inner, there = patch.clone(), _near(gone)
    tone = torch.lerp(blurred(shown, FINE_PX), blurred(shown, EVEN_PX), rough)
    tone = enlarged(tone, _size(patch), there, on_band=on_band)
    texture = _copied_texture(fine, gone, there, shifts, shares)
    less, known = _shrunk(fine, torch.maximum(gone, alike), LINES_PX)
    lines, share = (
        resized(part, _size(patch), mode="bilinear")[..., *there]
        for part in lines_through(less, known)
    )
    inner[..., *there] = tone + (1 - share) * texture + lines
    filled = meet_border(inner, patch, gone, alike, rough)
    on_doubt(doubt + WEIGHT * steps_at_border(filled, gone))
    return filled


def uncertainty(shown: Tensor, known: Tensor, lines: Tensor) -> float:
    """Return how far gaps are from smaller `lines`, over how uneven ground around is, in Lab."""
    size = _size(lines)
    gap = (resized(known, size) < 1 - SURE).to(known)
    tone, straight = (
        torch.from_numpy(to_lab(part[0].movedim(0, -1).clamp(0, 1).numpy())).movedim(-1, 0)[None]
        for part in (resized(shown, size), lines)
    )
    apart = (tone - straight).norm(dim=1, keepdim=True)[gap > 0].mean()
    uneven = (tone - blurred_within(tone, 1 - gap, 2.0)).norm(dim=1, keepdim=True)
    near = uneven[grow(gap, AROUND_PX) > gap]
    return float(apart / (near.median() + 1)) if len(near) else math.inf


def steps_at_border(filled: Tensor, gone: Tensor) -> float:
    """Return on which share of the border of what is `gone` colours step as hardly elsewhere."""
    size = shrunk_to(BORDER_PX, _size(filled))
    pixels, mask = resized(filled, size), (resized(gone, size) > HALF).to(gone)
    masks = mask, grow(mask, APART_PX), -grow(-mask, APART_PX)
    steps, *others = (steps_along(pixels, rim) for rim in masks)
    usual = torch.cat([*others, steps.new_zeros(1)]).quantile(MOSTLY)
    return float((steps > MORE * (usual + FAINT)).sum() / max(1, len(steps)))


def steps_along(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return how far colours on both sides of the border of a mask (1, 1, h, w) differ, (N,)."""
    rims = mask + grow(-mask, 2), grow(mask, 3) - grow(mask, 1)
    inside, outside = (blurred_within(pixels, rim, 2.0) for rim in rims)
    return (inside - outside).abs().amax(dim=1, keepdim=True)[grow(mask, 1) > mask]


def neighbours(patch: Tensor, gone: Tensor) -> Tensor:
    """Return what stands out beside what is `gone`, (1, 1, H, W), 0 or 1: it would be copied.

    What is partly hidden is no such thing, as it goes on, nor is what is thin, as a joint.
    """
    pixels, known = _shrunk(patch, gone, SEEN_PX)
    without = torch.where(known > 0, pixels, extrapolate(pixels, known))
    likely = (thing_odds(without) > 0) & (known > 0)
    solid = grow(-grow(-likely.float(), THICK_PX), THICK_PX)
    parts = torch.from_numpy(connected_parts(solid[0, 0].numpy() > 0)).long()
    sizes, border = parts.flatten().bincount(), grow(1 - known, 2)[0, 0] > 0
    touching = parts[border].bincount(minlength=len(sizes))
    is_thing = touching < TOUCHES * sizes.sqrt()
    is_thing[0] = False
    things = is_thing[parts][None, None].to(known)
    things *= bool(things.sum() <= MOST_THINGS * known.sum())
    return (resized(grow(things, 2), _size(patch)) > 0).to(gone) * (1 - gone)


def meet_border(inner: Tensor, patch: Tensor, gone: Tensor, alike: Tensor, rough: Tensor) -> Tensor:
    """Return `patch` with `inner` where it is `gone`, near the border in the tone of that.

    Where texture is `rough`, a pixel of it would be a stain inside, so that even tones meet. What
    is `alike` beyond the border tells none.
    """
    near = (..., *_near(gone))
    result, inner, around = patch.clone(), inner[near], patch[near]
    gap, rough = torch.maximum(gone, alike)[near], resized(rough, _size(patch))[near].clamp(0, 1)
    apart, known = _shrunk(around - inner, gap, TONE_PX)
    apart = extrapolate(blurred_within(apart, known, FINE_PX), known)
    apart *= (blurred(known, MEETS_PX) / HALF).clamp_max(1)
    inner += torch.lerp(extrapolate(around - inner, 1 - gap), resized(apart, _size(gap)), rough)
    result[near] = torch.where(gone[near] > 0, inner, around)
    return result


def match_border(inner: Tensor, patch: Tensor, gone: Tensor) -> Tensor:
    """Return `patch` with `inner` where it is `gone`, matched in tone at the border."""
    if extent_of(gone) is None:
        return patch
    near = (..., *_near(gone))
    result, inner, around, goes = patch.clone(), inner[near], patch[near], gone[near]
    result[near] = torch.where(goes > 0, inner + extrapolate(around - inner, 1 - goes), around)
    return result


def blurred_within(values: Tensor, known: Tensor, deviation_px: float) -> Tensor:
    """Return `values` blurred as if nothing were beside what is `known` (B, 1, H, W) in [0, 1]."""
    return blurred(values * known, deviation_px) / blurred(known, deviation_px).clamp_min(SURE)


def blurred(values: Tensor, deviation_px: float) -> Tensor:
    """Return `values` (B, C, H, W) with a Gaussian blur; the border is repeated."""
    reach = math.ceil(3 * deviation_px)
    places = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    kernel = (-(places / deviation_px).square() / 2).exp()
    kernel = (kernel / kernel.sum()).expand(values.shape[1], 1, -1)
    padded = F.pad(values, (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel[:, :, None, :], groups=values.shape[1])
    return F.conv2d(rows, kernel[:, :, :, None], groups=values.shape[1])


def enlarged(
    values: Tensor, size: Size, there: Part, *, mode: str = "bicubic", on_band: OnBand = int
) -> Tensor:
    """Return the part `there` of `values` (1, C, h, w) enlarged to `size`, and not the rest."""
    # Enlarging is linear, along columns and along rows: its weights are enlarged unit vectors.
    down, across = (
        resized(torch.eye(few).expand(1, 1, few, few), (many, few), mode=mode)[0, 0, part].to(
            values
        )
        for few, many, part in zip(_size(values), size, there, strict=True)
    )
    return weighted(values, down, across, on_band=on_band)


def weighted(values: Tensor, down: Tensor, across: Tensor, *, on_band: OnBand = int) -> Tensor:
    """Return `down @ values @ across.T` of `values` (1, C, h, w), for weights that are mostly 0.

    `down` (H, h) weighs rows and `across` (W, w) columns. `on_band` is called after each band.
    """
    result = values.new_empty(*values.shape[:2], len(down), len(across))
    for rows, above in _bands(down):
        band = down[rows, above] @ values[..., above, :]
        for columns, used in _bands(across):
            result[..., rows, columns] = band[..., used] @ across[columns, used].T
        on_band()
    return result


def enlarged_part(
    canvas: Tensor, place: Box, size: tuple[int, int], *, on_band: OnBand = int
) -> Tensor:
    """Return the part of a canvas at `place`, smooth, in `size`; sampling by a grid is slower."""
    left, top, right, bottom = place
    rows = _bicubic(canvas.shape[2], top, bottom, count=size[0]).to(canvas)
    columns = _bicubic(canvas.shape[3], left, right, count=size[1]).to(canvas)
    return weighted(canvas, rows, columns, on_band=on_band)


def _bicubic(side: int, low: float, high: float, *, count: int) -> Tensor:
    """Return bicubic weights of `count` pixels between two shares of a `side`, (count, side)."""
    places = low + (torch.arange(count) + 0.5) / count * (high - low)
    grid = torch.stack(torch.meshgrid((torch.arange(side) + 0.5) / side, places, indexing="xy"), 2)
    units = torch.eye(side)[None, None]
    return F.grid_sample(units, 2 * grid[None] - 1, "bicubic", "border", align_corners=False)[0, 0]


def _bands(weights: Tensor) -> Iterator[Part]:
    """Yield bands of the rows of `weights`, each with the columns in which they are not 0."""
    for start in range(0, len(weights), BAND_PX):
        rows = slice(start, start + BAND_PX)
        used = weights[rows].any(dim=0).nonzero()
        yield rows, slice(int(used[0]), int(used[-1]) + 1)


def _shrunk(patch: Tensor, gone: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return a thumbnail, and which of its pixels are fully known."""
    size = shrunk_to(side, _size(patch))
    weight = resized(1 - gone, size)
    pixels = resized(patch * (1 - gone), size) / weight.clamp_min(SURE)
    return pixels, (weight > 1 - SURE).to(weight)


def _shifts(tone: Tensor, known: Tensor, usual: Tensor) -> tuple[Tensor, Tensor]:
    """Return shifts (K, 2) in shares of the sides, and masks of where each applies (1, K, h, w).

    They are the most frequent of the `usual` ones (N, 2), or of a grid. A shift costs the
    difference of colours, texture strength and standing out between a place and its source.
    """
    size = _size(tone)
    reach = torch.arange(-FARTHEST, FARTHEST + 1, STEP)
    every = torch.cartesian_prod(reach, reach)
    every = every[every.square().sum(dim=1) >= NEAREST**2]
    far = usual.square().sum(dim=1) >= NEAREST**2
    every = torch.cat([_most_frequent(usual[far]), every])
    left, top, right, bottom = extent_of(1 - known) or (0, 0, size[1], size[0])
    here = (0, slice(None), slice(top, bottom), slice(left, right))
    wide = F.pad(torch.cat([tone, known, salient(tone)], dim=1), (TONE_PX,) * 4)

    def source_of(shift: Tensor) -> Tensor:
        down, across = (shift + TONE_PX).tolist()
        return wide[0, :, top + down : bottom + down, left + across : right + across]

    costs = known.new_empty(1, len(every), bottom - top, right - left)
    for cost, shift in zip(costs[0], every, strict=True):
        source = source_of(shift)
        apart = (source[:4] - tone[here]).abs()
        apart = torch.where(source[4] > 0, apart[:3].mean(dim=0) + apart[3], UNFIT)
        apart += UNLEVEL * shift[0].abs() / TONE_PX
        torch.mul(apart, 1 - known[here][0], out=cost)
    less, gaps = (F.avg_pool2d(field, 2, ceil_mode=True) for field in (costs, 1 - known[here]))
    best = _best_shifts(blurred(less, SMOOTH_PX / 2)[0, :, gaps[0] > 0])
    costs, shares = blurred(costs[:, best], SMOOTH_PX), tone.new_zeros(1, len(best), *size)
    odd = torch.stack([source_of(shift)[5] for shift in every[best]])
    costs += OUTSTANDING * (odd - source_of(torch.zeros(2).long())[5]).clamp_min(0)
    shares[here] = in_pieces(costs, every[best], gone=1 - known[here])[0]
    return every[best] / torch.tensor(size), shares


def salient(tone: Tensor) -> Tensor:
    """Return how far places stand out of the texture around them, (1, 1, h, w) in [0, 1]."""
    apart = (tone - blurred(tone, MEAN_PX)).abs().amax(dim=1, keepdim=True)
    usual = blurred(apart.clamp_max(MEDIANS * float(apart.median())), 2 * MEAN_PX) + 2 * UNSEEN
    return F.max_pool2d((apart / (OUT * usual) - 1).clamp(0, 1), 3, 1, 1)


def in_pieces(costs: Tensor, shifts: Tensor, *, gone: Tensor) -> Tensor:
    """Return where each of `shifts` (K, 2) applies (1, K, h, w), in large pieces of little cost.

    Where others fit, nothing is copied to two places that are `gone` (1, h, w).
    """
    height, width = gone.shape[1:]
    ends = (shifts - shifts.amin(dim=0)).tolist()
    sources = [(slice(down, down + height), slice(left, left + width)) for down, left in ends]
    chosen, odd = costs.argmin(dim=1), torch.arange(height)[:, None] + torch.arange(width)
    for turn in range(ROUNDS):  # half of the pixels at a time, as else all change at once
        taken = F.one_hot(chosen, len(shifts)).movedim(-1, 1).to(costs)
        copied = costs.new_zeros([TONE_PX * 2 + side for side in (height, width)])
        for source, there in zip(sources, taken[0] * gone, strict=True):
            copied[source] += there
        again = torch.stack([copied[source] for source in sources]) - taken[0]
        again = blurred(again[None].clamp_max(2), FINE_PX)
        better = (costs - ALONE * blurred(taken, ALONE_PX) + AGAIN * again).argmin(dim=1)
        chosen = torch.where(odd % 2 == turn % 2, better, chosen)
    return F.one_hot(chosen, len(shifts)).movedim(-1, 1).to(costs)


def _most_frequent(shifts: Tensor) -> Tensor:
    """Return those of `shifts` (N, 2) that are more frequent than similar ones, (K, 2)."""
    counts = torch.zeros(1, 1, 2 * TONE_PX, 2 * TONE_PX)
    counts[0, 0].index_put_(tuple((shifts + TONE_PX).T), torch.ones(1), accumulate=True)
    counts = blurred(counts, 1.0)
    peaks = ((counts == F.max_pool2d(counts, 3, 1, 1)) * counts).flatten().topk(MOST_FOUND)
    chosen = peaks.indices[peaks.values > 0]
    return torch.stack([chosen // (2 * TONE_PX), chosen % (2 * TONE_PX)], dim=1) - TONE_PX


def _best_shifts(costs: Tensor) -> Tensor:
    """Return the shifts (K,) that together have the least `costs` (S, pixels), found greedily."""
    left, best = costs.new_full(costs.shape[1:], UNFIT), []
    for _ in range(min(NUM_SHIFTS, len(costs))):
        best.append((left - costs).clamp_min(0).sum(dim=1).argmax())
        left = torch.minimum(left, costs[best[-1]])
    return torch.stack(best)


def _copied_texture(
    fine: Tensor, gone: Tensor, there: Part, shifts: Tensor, shares: Tensor
) -> Tensor:
    """Return `fine` (1, 3, H, W) copied by shifts to what is `gone` in the part `there`."""
    size, texture = _size(fine), torch.zeros_like(fine[..., *there])
    for shift, share in zip(shifts.tolist(), shares.split(1, dim=1), strict=True):
        if (extent := extent_of(share)) is None:
            continue
        left, top, right, bottom = extent
        down, across = (round(part * side) for part, side in zip(shift, size, strict=True))
        rows = _window((top, bottom), share.shape[2], size[0], near=there[0], move=down)
        columns = _window((left, right), share.shape[3], size[1], near=there[1], move=across)
        if rows.start < rows.stop and columns.start < columns.stop:
            weight = enlarged(share, size, (rows, columns), mode="bilinear")
            source = fine[..., _moved(rows, down), _moved(columns, across)]
            here = (..., _moved(rows, -there[0].start), _moved(columns, -there[1].start))
            texture[here].addcmul_(weight * gone[..., rows, columns], source)
    return texture


def _window(cells: tuple[int, int], few: int, side: int, *, near: slice, move: int) -> slice:
    """Return the pixels within one of `cells`, that are `near` and whose source is there."""
    first, last = (cells[0] - 1) * side // few, -(-(cells[1] + 1) * side // few)
    return slice(max(near.start, -move, first), min(near.stop, side - move, last))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _near(gone: Tensor) -> Part:
    """Return the bounding box of what is `gone`, with a margin."""
    left, top, right, bottom = extent_of(gone) or (0, 0, 0, 0)
    margin = math.ceil(NEAR * max(right - left, bottom - top))
    rows = slice(max(0, top - margin), min(gone.shape[2], bottom + margin))
    return rows, slice(max(0, left - margin), min(gone.shape[3], right + margin))


def _size(values: Tensor) -> Size:
    return values.shape[2], values.shape[3]


class CanvasDrawing(NamedTuple):
    """A window before and after drawing, on the canvas."""

    before: Tensor  # (1, 3, h, w)
    after: Tensor  # (1, 3, h, w)
    alone: Tensor  # (1, 3, h, w) the same drawn without the subject; as `after` if there is none
    changes: Tensor  # (1, 1, h, w) where it may differ
    subject: Tensor  # (1, 1, h, w) the subject's opacity in the drawing


def draw_over(
    patch: Tensor, alone: Tensor, *, gone: Tensor, place: Box, seed: int, on_band: OnBand = int
) -> Tensor:
    """Return a patch whose `gone` part shows a canvas (1, 3, h, w), with the patch's own grain.

    The patch is at `place` on the canvas. `on_band` is called after each part of the work, and may
    raise to stop.
    """
    size = _size(patch)
    cell_px = max(1.0, size[1] / (alone.shape[3] * (place[2] - place[0])))
    finer = round(math.log2(cell_px)) + 1  # octaves of the photograph than the canvas
    texture = matching_grain(patch, 1 - gone, num_octaves=finer, seed=seed)
    on_band()
    return match_border(texture + enlarged_part(alone, place, size, on_band=on_band), patch, gone)


def matching_grain(
    patch: Tensor, known: Tensor, *, num_octaves: int, seed: int, is_even: bool = False
) -> Tensor:
    """Return random texture (1, 1, H, W) with the spectrum of `patch` where it is `known`.

    Each octave is noise with the deviation found nearby, with edges clipped. If it `is_even`, the
    deviation is that of the plainest blocks, which is the noise of the camera.
    """
    generator, grey = generator_of(seed), luma(patch)
    texture, size = torch.zeros_like(grey), grey.shape[-2:]
    for _ in range(num_octaves):
        if not (known > 0.5).any() or min(_size(grey)) < 2:
            break  # nothing is known at this scale
        band, grey = split(grey)
        if is_even:
            blocks = F.avg_pool2d(band.abs(), PLAIN_PX, ceil_mode=True, count_include_pad=False)
            plain = DEVIATION * blocks.flatten().sort().values[int(PLAINEST * blocks.numel())]
            spread = plain.clamp(max=MOST_NOISE)
        else:
            usual = MOST_GRAIN * float(band.abs()[known > 0.5].median())
            spread = extrapolate(band.clamp(-usual, usual).square(), known).clamp_min(0).sqrt()
        noise, _ = split(torch.randn(band.shape, generator=generator))
        noise = spread * noise / noise.std(correction=0).clamp_min(SURE)
        texture += F.interpolate(noise, size, mode="bilinear", align_corners=False)
        known = (halved(known) > 1 - SURE).to(known)
    return texture


def without_model_error(drawing: CanvasDrawing) -> CanvasDrawing:
    """Return the drawing without the colour errors that it has where nothing was to change."""
    shown = (blurred(drawing.changes, SHADE_PX) < SURE).to(drawing.changes)
    error = blurred(log_ratio(drawing.alone, drawing.before, shown, FAULT_PX), FAULT_PX)
    both = torch.stack([drawing.after, drawing.alone])
    after, alone = ((both + DARKEST) * (-error).exp() - DARKEST).clamp(0, 1)
    return drawing._replace(after=after, alone=alone)


def log_ratio(first: Tensor, second: Tensor, known: Tensor, deviation_px: float) -> Tensor:
    """Return the smooth logarithm of `first` over `second`, (1, 3, h, w), where that is `known`.

    Elsewhere it is carried on.
    """
    weight = blurred(known, deviation_px)
    sums = [blurred(values * known, deviation_px) + DARKEST * weight for values in (first, second)]
    ratio = (sums[0].clamp_min(SURE**2) / sums[1].clamp_min(SURE**2)).log()
    return extrapolate(ratio, (weight > WELL_KNOWN * weight.amax()).to(weight))


def split(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the finest octave of `values`, and the rest at half the size."""
    half = halved(values)
    return values - F.interpolate(half, _size(values), mode="bilinear", align_corners=False), half
