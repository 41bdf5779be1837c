"""Mattes: how much of each pixel near an outline the subject covers, and its colours there."""

import math

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from swiftpie.imageio.images import (
    carried_on,
    extrapolate,
    halved,
    mask_to_pil,
    resized,
    to_pil,
    to_tensor,
)
from swiftpie.masks import HALF, grow
from swiftpie.photo.outline import GUIDE_PIXELS, box_mean, colours_apart, matted, pooled

# Numbers of this file that name no other source were chosen by eye.
SOLID = 0.95  # A mask below it is an edge, which shows some of the ground.
# Parts of a mask's longer side: how far an outline may be off, and how far within it is an edge.
RIMS, EDGES = 90, 320
APART = 0.35  # Distance from which colours in [-1, 1] tell a mixture.
STEEPER = 1.5  # A matte is so many times as steep, so that noise in plain ground leaves no veil.
# How many spreads colours are apart where they tell a mixture, and where the hard rim follows them.
TELLING, FOLLOWED = (2.0, 5.0), (0.0, 2.0)
# Squared spreads times the share of a matte far from the outline, and what is added to it: hair.
FURRED, SOFT = (0.4, 0.8), 0.005
# Grain of a subject over its ground's: less has no hair, and a matte shows the ground's. In 8 bits.
SMOOTH, GRAIN = (0.15, 0.25), 2e-5
# Width of a hard rim, without bumps of `EVEN_PX` but where the outline loses so much of its form.
EDGE_PX, EVEN_PX, LOST = 1.6, 6.5, (0.08, 0.25)
# From which mean width of edges that colours tell the others are softer, so many times that, and
# which share they tell: hard edges are 1.2 to 2.5 wide, of short fur 3 and of long fur 5.
SHARP_PX, SOFTER, MANY = 2.6, 2.0, 0.25
OUTLINE_WEIGHT = 30.0  # weight of the outline where colours tell nothing, over theirs where they do
MATTED_PX = 512  # longest side of a matted picture; of a larger one, a smaller copy is
FAINT, THIN = 0.02, 0.2  # Opacity that is just seen; weight of the colours so near a rim.
GAPS = 1.25  # A pixel counts as covered at most so many times what its colour says: hair has gaps.


def unmixed(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return how much of each pixel (1, 3, H, W) a subject covers near its outline, (1, 1, H, W).

    Colours of both sides of the outline, carried on over it, tell how a pixel mixes them if they
    are apart by their spreads. A matte of both follows the edges of the picture. It stays where it
    is soft far from the outline, as hair is. Elsewhere the rim is hard: where most of the matte
    lies or, between like colours, where the outline lies, and without bumps.
    """
    photo, size, times = pixels, (mask.shape[2], mask.shape[3]), 1
    while max(mask.shape[2:]) > MATTED_PX:
        pixels, mask, times = halved(pixels), halved(mask), 2 * times
    rim = max(2, round(max(mask.shape[2:]) / RIMS))
    solid = (mask > HALF).to(pixels)
    inside, outside = 1 - grow(1 - solid, rim), 1 - grow(solid, 4 * rim // 3)
    ground = extrapolate(pixels, outside)
    apart = extrapolate(pixels, inside) - ground
    square = apart.square().sum(dim=1, keepdim=True)
    share = ((pixels - ground) * apart).sum(dim=1, keepdim=True) / square.clamp_min(FAINT)
    sides, shape = torch.cat([inside, outside]), (mask.shape[2], mask.shape[3])
    spreads = colours_apart(halved(halved(pixels)), halved(halved(sides)), rim)
    telling = grow(sides, 2 * rim).prod(dim=0, keepdim=True)
    telling *= resized(spreads, shape, mode="bilinear")
    trust = (square / APART**2).clamp(max=1) * _ramp(telling, TELLING)
    unknown = inside + outside < HALF
    guess = torch.where(unknown, torch.lerp(mask, share.clamp(0, 1), trust), inside)
    lines = matted(pixels, guess, trust + OUTLINE_WEIGHT * (1 - trust), unknown=unknown)
    matte = _opacity(lines, pixels)
    stray = (matte - solid).abs() * ((box_mean(mask, 1) - HALF).abs() > 1 / 3)
    grey, weights = pixels.mean(dim=1, keepdim=True), torch.cat([unknown.to(stray), sides])
    grain = (grey - box_mean(grey, 1)).square()
    fields = torch.cat([weights * torch.cat([stray, grain, grain]), weights], dim=1)
    sums, rests = pooled(halved(halved(fields)), 2 * rim + 1, F.avg_pool2d).split(1, dim=1)
    soft, own_grain, ground_grain = (sums / rests.clamp_min(GRAIN)).split(1)
    rough = _ramp(((own_grain + GRAIN) / (ground_grain + GRAIN)).sqrt(), SMOOTH)
    hair = rough * _ramp(spreads.square() * (soft + SOFT), FURRED)
    furred = resized(hair * _ramp(spreads, TELLING), size, mode="bilinear")
    width = _width(matte, trust * unknown * resized(rough, shape, mode="bilinear"), unknown, rim)
    edge_px = min(EDGE_PX / times + SOFTER * max(0.0, width - SHARP_PX), EVEN_PX)
    followed = torch.lerp(mask, matte, _ramp(telling, FOLLOWED))
    fields = torch.cat([lines, _hard(followed, mask, edge_px)], dim=1)
    lines, hard = resized(fields, size, mode="bilinear").split([4, 1], dim=1)
    return torch.lerp(hard.clamp(0, 1), _opacity(lines, photo), furred)


def _hard(matte: Tensor, mask: Tensor, edge_px: float) -> Tensor:
    """Return a matte with such an edge, unclamped; its short bumps stay where the mask has some."""
    small = halved(torch.cat([matte, mask], dim=1))
    even, outline = pooled(pooled(small, 3, F.avg_pool2d), 3, F.avg_pool2d).split(1, dim=1)
    missing = (3 * (outline - HALF) + HALF).clamp(0, 1) - small[:, 1:]
    bumps = pooled(_ramp(grow(missing.abs(), 1), LOST), 3, F.avg_pool2d)
    fields = torch.cat([EVEN_PX / edge_px * (even - HALF), bumps], dim=1)
    even, bumps = resized(fields, (mask.shape[2], mask.shape[3]), mode="bilinear").split(1, dim=1)
    return torch.lerp(even, 3 / min(edge_px, 3) * (box_mean(matte, 1) - HALF), bumps) + HALF


def _width(matte: Tensor, trust: Tensor, unknown: Tensor, rim: int) -> float:
    """Return the mean width in pixels of edges that colours tell; 0 where they tell few."""
    mixed = (matte * (1 - matte) * trust).sum() / trust.sum().clamp_min(MANY * unknown.sum())
    return 6 * (rim + 4 * rim // 3) * float(mixed)  # of an even slope, a sixth of its width


def _ramp(values: Tensor, span: tuple[float, float]) -> Tensor:
    """Return 0 for values up to a span's start, 1 from its end on."""
    return ((values - span[0]) / (span[1] - span[0])).clamp(0, 1)


def _opacity(lines: Tensor, pixels: Tensor) -> Tensor:
    """Return the matte (1, 1, H, W) of `matted`'s lines, steepened."""
    matte = (lines[:, :3] * pixels).sum(dim=1, keepdim=True) + lines[:, 3:]
    return (STEEPER * (matte - HALF) + HALF).clamp(0, 1)


def own_colours(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return `pixels` (1, 3, H, W) with the subject's colours where `mask` (1, 1, H, W) is soft.

    A photograph shows the subject mixed with its ground there, but for what looks like one of them
    alone. Colours of both are carried on over the rim, and the subject's take what is left.
    """
    solid = (mask > SOLID).to(pixels)
    if not solid.any():
        return pixels
    inner = 1 - grow(1 - solid, max(1, round(max(mask.shape[-2:]) / EDGES)))
    # Parts too thin to have an inside tell theirs, too.
    subject = carried_on(pixels, torch.maximum(inner, THIN * solid))
    ground = carried_on(pixels, 1 - grow((mask > FAINT).to(pixels), 1))
    colours, cover = torch.where(inner > 0, pixels, subject), box_mean(mask, 1)
    rim = ((inner < HALF) & (cover > 0)).flatten().nonzero()[:, 0]
    fields = (field.flatten(2)[..., rim] for field in (pixels, subject, ground, cover, mask))
    observed, subject, ground, cover, limit = fields
    observed, contrast = observed - ground, subject - ground
    share = ((observed * contrast).sum(1, True) + cover) / (contrast.square().sum(1, True) + 1)
    cover = cover.maximum(share.minimum(limit)).minimum(GAPS * share.clamp_min(0))
    subject += (observed - cover * contrast) * (cover / (cover.square() + 1 - cover))
    colours.flatten(2)[..., rim] = subject.clamp_(-1, 1)
    return colours


def with_own_colours(photo: Image.Image, outline: Tensor) -> Image.Image:
    """Return a photo of any size cut out by `unmixed`, mode RGBA, in the subject's own colours."""
    photo = photo.convert("RGB")
    times = math.ceil(math.sqrt(photo.width * photo.height / GUIDE_PIXELS))
    small = to_tensor(photo.reduce(times))
    cover = unmixed(small, F.avg_pool2d(outline, times, ceil_mode=True))
    colours = to_pil(own_colours(small, cover))[0].resize(photo.size)
    alpha = mask_to_pil(resized(cover, (photo.height, photo.width), mode="bilinear"))[0]
    cut = Image.composite(photo, colours, alpha.point(lambda value: 255 * (value > 255 * SOLID)))
    cut.putalpha(alpha)
    return cut
