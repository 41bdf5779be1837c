"""Completes a thumbnail by patches of what it shows elsewhere.

From coarse to fine, every patch with a gap gets the known patch that is most like it, and what is
missing becomes the mean of the patches that cover it (https://doi.org/10.1109/TPAMI.2007.60).
Straight lines across the gap set its tone; patches add the finer detail.

Pictures are (1, C, H, W), masks (1, 1, H, W) of 0 and 1, and patches rows of numbers.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import SURE, extrapolate, resized, shrunk_to
from swiftpie.masks import grow
from swiftpie.photo.outline import box_mean

PATCH_PX = 7
ROUNDS = {45: 3, 64: 1}  # by the longer side of a thumbnail, in pixels
# What it costs a patch to be far away along and down, where perspective changes things. How much
# less it says a pixel further from what is known. Chosen by eye on 16 removals.
ALONG, DOWN, FADE = 2.5, 8.6, 1.3
# Lines that go straight on tell tones, which change evenly; patches tell what is finer than such a
# share of the longer side.
EVEN = 1 / 5
# Thin lines: half of their width, as a share of the longer side; how far ends are seen and copied,
# over that; by how much they are clearer than noise; how many ends are tried, and lines drawn.
THICK, LINE_REACH, CLEAR, MOST_ENDS, MOST_LINES = 0.0117, 6, 1.2, 150, 12
# Directions of chords that are tried, and what a chord costs: where one end leaves the picture, by
# its length over the longer side, and if it is upright; `NOWHERE` is how far an absent end is.
NUM_ANGLES, OPEN_COST, LENGTH_COST, UPRIGHT_COST, NOWHERE = 24, 0.2, 0.1, 0.2, 1e6


def complete(
    pixels: Tensor, valid: Tensor, *, on_round: Callable[[], object]
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return `pixels` (1, 4, h, w) completed where they are not `valid`; None without a patch.

    The fourth channel says how strong finer texture is. The second value, (N, 2), is how many rows
    and columns away each patch was copied from. The third is a smaller thumbnail of lines that go
    straight on. `on_round` may raise to stop.
    """
    result = lines = moves = None
    whole = (pixels.shape[2], pixels.shape[3])
    for side, rounds in ROUNDS.items():
        if min(size := shrunk_to(side, whole)) < PATCH_PX:
            continue
        weight = resized(valid, size)
        is_valid = weight > 1 - SURE
        is_source = F.max_pool2d((~is_valid).to(weight), PATCH_PX, 1)[0, 0] == 0
        if not bool(is_source.any()):
            continue
        sources, targets = (flags.flatten().nonzero()[:, 0] for flags in (is_source, ~is_source))
        places, weights = _places(size), _weights(is_valid.to(weight), ~is_source)
        averages = resized(pixels * valid, size) / weight.clamp_min(SURE)
        lines = tone_across_gap(averages, is_valid.to(weight)) if lines is None else lines
        even = torch.where(is_valid, averages, resized(lines, size, mode="bilinear"))
        guess = even if result is None else resized(result, size, mode="bilinear")
        result = torch.where(is_valid, averages, guess)
        reach = round(EVEN * side / 2)
        even = F.avg_pool2d(even, 2 * reach + 1, 1, reach, count_include_pad=False)
        detail = F.unfold(averages - even, PATCH_PX)[0].T
        for _ in range(rounds):
            rows = F.unfold(result, PATCH_PX)[0].T
            patches = torch.cat([rows, places], dim=1)  # colours first
            squares = patches[sources].square().sum(dim=1)
            scores = torch.addmm(squares, patches[targets], patches[sources].T, alpha=-2)
            matches = sources[scores.argmin(dim=1)]
            cover = rows.new_zeros(PATCH_PX**2 * 5, len(rows))
            cover[:, targets] = F.pad(detail[matches].T, (0, 0, 0, PATCH_PX**2), value=1) * weights
            sums = F.fold(cover[None], size, PATCH_PX)
            filled = even + sums[:, :4] / sums[:, 4:].clamp_min(SURE**2)
            result = torch.where(is_valid, averages, filled)
            on_round()
        moves = (places[matches] - places[targets]) * max(whole) / torch.tensor([DOWN, ALONG])
    if result is None or lines is None or moves is None:
        return None
    result = torch.where(valid > 0, pixels, resized(result, whole, mode="bicubic"))
    return result, moves.round().long(), lines[:, :3]


def tone_across_gap(pixels: Tensor, valid: Tensor) -> Tensor:
    """Return `pixels` (1, C, h, w) where they are `valid`, and straight lines' tones elsewhere.

    Each gap pixel mixes the colours at both ends of the chord through it with the most alike ends.
    """
    reach, gap = max(valid.shape[2:]), 1 - valid
    result = extrapolate(pixels, valid)
    wide = F.pad(box_mean(result, 1), (reach,) * 4, mode="replicate")[0].flatten(1)
    ends = (F.pad(valid, (reach,) * 4) > 0).flatten()
    (down, right), stride = gap[0, 0].nonzero().T, valid.shape[3] + 2 * reach
    angles = torch.arange(NUM_ANGLES) * math.pi / NUM_ANGLES
    along = torch.stack([angles.sin(), angles.cos()])[..., None] * torch.arange(1, reach + 1)
    steps = along.round().long()[0] * stride + along.round().long()[1]
    start, colours, away = (down + reach) * stride + right + reach, [], []
    for sign in (1, -1):
        at = start[:, None] + sign * steps[:, None]  # (angles, gaps, steps)
        is_end = ends[at]
        first = is_end.int().argmax(dim=2, keepdim=True)
        colours.append(wide[:, at.gather(2, first)[..., 0]])
        away.append(torch.where(is_end.any(dim=2), first[..., 0] + 1.0, NOWHERE))
    whole = away[0] + away[1]
    length = whole.clamp_max(2 * reach)
    apart = (colours[0] - colours[1]).abs().mean(dim=0).where(whole < NOWHERE, OPEN_COST)
    costs = valid.new_zeros(1, NUM_ANGLES, *valid.shape[2:])
    length_costs = (LENGTH_COST + UPRIGHT_COST * angles.sin())[:, None] * length / reach
    costs[0][:, down, right] = apart + length_costs
    best = (box_mean(costs, 1) / box_mean(gap, 1))[0][:, down, right].argmin(dim=0)[None]
    share = (away[1] / whole).gather(0, best)
    last, first = (side.gather(1, best.expand(len(side), 1, -1))[:, 0] for side in colours[::-1])
    result[0][:, down, right] = torch.lerp(last, first, share)
    return result


def lines_through(detail: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return thin lines that go straight through what is not `valid`, and where, (1, 1, h, w).

    Two ends at the gap belong together if `detail` (1, C, h, w) continues them alike, away from it.
    """
    size = torch.tensor(valid.shape[2:])
    thick = max(2, round(THICK * max(valid.shape[2:])))
    reach = LINE_REACH * thick
    gap, visible = 1 - valid, torch.cat([detail * valid, valid], dim=1)
    lines, best = torch.zeros_like(detail), torch.zeros_like(valid)

    def sampled(places: Tensor) -> Tensor:
        grid = (2 * places + 1).flip(-1) / size.flip(0) - 1
        return F.grid_sample(visible, grid[None], mode="bilinear", align_corners=False)[0]

    clear = F.max_pool2d((detail * valid).norm(dim=1, keepdim=True), 5, 1, 2)
    ends = (grow(gap, 1) > gap)[0, 0].nonzero()
    ends = ends[clear[0, 0][tuple(ends.T)].argsort(descending=True)[:MOST_ENDS]].float()
    starts, stops = ends[torch.combinations(torch.arange(len(ends)))].unbind(1)
    length = (stops - starts).norm(dim=1, keepdim=True)
    shares = torch.tensor([[0.1], [0.5], [0.9]])
    between = sampled(torch.lerp(starts[:, None], stops[:, None], shares))
    is_chord = (length[:, 0] > reach) & (between[-1].amax(dim=1) < SURE)
    starts, stops, length = starts[is_chord], stops[is_chord], length[is_chord]
    unit = (stops - starts) / length
    outwards = (unit[:, None] * torch.arange(1.0, reach + 1)[:, None]).repeat(2, 1, 1)
    outwards[: len(unit)] *= -1
    beyond_ends = sampled(torch.cat([starts, stops])[:, None] + outwards)
    is_seen = (beyond_ends[-1].mean(dim=1) > 1 - SURE).view(2, -1).all(dim=0)
    halves = beyond_ends[:-1].unflatten(2, (2, -1)).mean(dim=3).view(len(lines[0]), 2, -1, 2)
    differ = (halves - halves.mean(dim=(1, 3), keepdim=True)).norm(dim=0).amax(dim=(0, 2))
    alike = halves.norm(dim=0).amin(dim=(0, 2)) - differ
    noise = (detail * valid).norm(dim=1).sum() / valid.sum()
    score = torch.where(is_seen, alike - CLEAR * noise, 0.0).clamp_min(0)
    gap_places, across = gap[0, 0].nonzero(), torch.arange(-thick, thick + 1.0)[:, None, None]
    for _ in range(MOST_LINES):
        if len(score) == 0 or float(score.max()) == 0:
            break
        k = int(score.argmax())
        normal = torch.stack([-unit[k, 1], unit[k, 0]])
        ways = starts[k] + outwards[k], stops[k] + outwards[len(unit) + k]
        profiles = [sampled(way + normal * across)[:-1] for way in ways]  # (C, widths, steps)
        off = (gap_places - starts[k]) @ normal
        closeness = (2 - 2 * off.abs() / thick).clamp(0, 1)
        is_best = closeness > best[0, 0, *gap_places.T]
        gap_pixels, off, closeness = gap_places[is_best], off[is_best], closeness[is_best]
        share = ((gap_pixels - starts[k]) @ unit[k] / length[k]).clamp(0, 1)
        low = (off + thick).long().clamp_max(2 * thick - 1)
        distance = torch.stack([share, 1 - share]) * length[k] % (2 * reach)
        steps = (reach - 0.5 - (reach - distance).abs()).long()  # mirrored at both ends
        here, there = (
            torch.lerp(profile[:, low, step], profile[:, low + 1, step], off + thick - low)
            for profile, step in zip(profiles, steps, strict=True)
        )
        colours = torch.lerp(here, there, (4 * share - 1.5).clamp(0, 1))
        lines[0][:, *gap_pixels.T] = closeness * colours
        best[0, 0, *gap_pixels.T] = closeness
        drawn_line = torch.stack([starts[k], stops[k]])
        distances = torch.cdist(torch.cat([starts, stops]), drawn_line).amin(dim=1)
        score = torch.where(distances.view(2, -1).amin(dim=0) < 2 * thick, 0.0, score)
    return lines, best


def _places(size: tuple[int, int]) -> Tensor:
    """Return places (N, 2) of patches, whose squared distances are what it costs to come so far."""
    rows, columns = (torch.arange(side - PATCH_PX + 1) for side in size)
    return torch.cartesian_prod(rows, columns) * torch.tensor([DOWN, ALONG]) / max(size)


def _weights(valid: Tensor, is_target: Tensor) -> Tensor:
    """Return how much each target (N,) says, which is less the deeper it lies in a gap."""
    depth, gap = torch.zeros_like(valid), 1 - valid
    while bool(gap.any()):
        depth, gap = depth + gap, -grow(-gap, 1)
    down, right = is_target.nonzero().T + PATCH_PX // 2
    return (FADE ** -depth[0, 0, down, right]).clamp_min(SURE)
