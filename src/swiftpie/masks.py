"""Masks (B, 1, H, W) in [0, 1]: where they come from, and their edges; 1 = subject."""

import math
from itertools import pairwise

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.arguments import checked
from swiftpie.errors import AmbiguousMask, ImageError, InputError
from swiftpie.imageio.decoding import Source, describe, load_image
from swiftpie.imageio.images import alpha_of, plane
from swiftpie.validation import Box as Box
from swiftpie.validation import check_box as check_box
from swiftpie.validation import parse_box as parse_box

HALF = 0.5  # below it, a pixel of a given mask is outside, and stays to the bit
BLACK = 0.1  # up to it, and as far from white, noise of a JPEG is one of the two values
FEW = 0.05  # share of strokes that may be other than white, as their edges are
MAX_BETWEEN = 1 / 3  # share of a mask between black and white; wide soft edges have up to 1 / 4

VISIBLE = 0.3  # a row or column counts as touched by the subject above this coverage
MAX_ASPECT_ERROR = 0.02  # between a mask file and its photo: more than rounding explains

ATTENTION_CEILING = 3.0  # means; larger values are outliers of single tokens
ATTENTION_LOW, ATTENTION_HIGH = 0.05, 0.95  # quantiles that become 0 and 1
ATTENTION_STEEPNESS = 10.0  # Steepness of the logistic curve around one half.
MIN_STRUCTURE = 0.5  # spread over mean below which a map points nowhere

NOISE_CEILING = 3.0  # means; as SwiftEdit's released code has it
NOISE_THRESHOLD = 0.5  # A share of the ceiling.
NOISE_ROUNDING = 1e-5  # mean difference up to which two noises of unit variance are the same
FEATHER_PX = 6  # an edge fades over this width


@checked
def load_mask(
    source: Source, size: tuple[int, int], *, of_subject: bool = False, by_white: bool = False
) -> Tensor:
    """Return the mask in a picture file, (1, 1, H, W) in [0, 1].

    Where the file has transparency, that alone decides: what is transparent may change, as in masks
    of OpenAI and Photoshop. Else white may change.

    Args:
        source: a path, encoded bytes, an open binary file, or a PIL image.
        size: width and height of the photo it belongs to.
        of_subject: The mask shows the subject of the photo, as a cut-out does: what is opaque, or
            else white.
        by_white: What is opaque and white may change, as painters export strokes on a clear layer;
            nothing that is transparent may.

    Raises:
        AmbiguousMask: Transparency decides, and all that is seen are white strokes.
        ImageError: It is no readable picture, marks nothing, is hardly two-valued, or is not shaped
            as the photo.
    """
    image = load_image(source)
    name = f"The mask {describe(source)}".replace("The mask The picture", "The mask")
    aspect = (image.width * size[1]) / (image.height * size[0])
    if abs(aspect - 1) > MAX_ASPECT_ERROR:
        raise ImageError(
            f"{name} is {image.width}x{image.height} px and its photo {size[0]}x{size[1]} "
            "px. Both need the same shape. Export the mask from that photo."
        )
    alpha = alpha_of(image)
    white = plane(image.convert("L"))
    if alpha is None or by_white:
        mask = white if alpha is None else white * alpha
    elif of_subject:
        mask = alpha
    elif _is_of_strokes(white, alpha):
        raise AmbiguousMask(
            f"{name} is clear, with white in it. White may mark what changes, as strokes on a "
            "clear layer, or the clear part may, as in masks of OpenAI.",
            "Fill the clear part with black for the first, or paint the white part black for the "
            "second.",
        )
    else:
        mask = 1 - alpha
    if mask.max() < HALF:
        by = {"of_subject": of_subject, "by_white": by_white}
        raise ImageError(f"{name} {_marks_nothing(image, **by)}")
    between = ((mask > BLACK) & (mask < 1 - BLACK)).float().mean().item()
    if between > MAX_BETWEEN:
        raise ImageError(
            f"{name} is hardly a mask: {between:.0%} of it is between black and white, or between "
            "clear and opaque. Only soft edges may be. Check that it is no photograph."
        )
    return resize_mask(mask, (size[1], size[0]))


def hole_of(image: Image.Image) -> Tensor | None:
    """Return the mask (1, 1, H, W) of a hole in a picture: what is transparent; None without one.

    Transparency along most of the border is no hole, but the ground of a cut-out.
    """
    alpha = alpha_of(image)
    if alpha is None:
        return None
    is_hole = alpha.min() <= HALF and _clear_border(alpha) <= HALF
    return 1 - alpha if is_hole else None


def _clear_border(alpha: Tensor) -> float:
    """Return how much of the border of a picture with opacity (1, 1, H, W) is transparent."""
    sides = (alpha[..., 0, :], alpha[..., -1, :], alpha[..., 0], alpha[..., -1])
    return (torch.cat([side.flatten() for side in sides]) < HALF).float().mean().item()


def _is_of_strokes(white: Tensor, alpha: Tensor) -> bool:
    """Whether a mask is clear along most of its border, and white wherever anything is seen."""
    seen = white[alpha >= HALF]
    return (
        _clear_border(alpha) > HALF
        and len(seen) > 0
        and (seen < 1 - BLACK).float().mean().item() <= FEW
    )


def without_outside(mask: Tensor) -> Tensor:
    """Return `mask` (B, 1, H, W) of bytes with all that is below half set to 0: it is outside."""
    return mask.where(mask >= HALF * 255, 0)


def check_mask(mask: Tensor) -> None:
    """Refuse masks with values that mean nothing."""
    if mask.ndim != 4:
        raise InputError(
            f"A mask has shape {tuple(mask.shape)}; (1, 1, H, W) is needed. Use mask[None, None]."
        )
    low, high = mask.float().aminmax() if mask.numel() else (mask.new_zeros(()),) * 2
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"A mask has values from {low:.3g} to {high:.3g}; 0 to 1 are needed. Scale or clamp it."
        )


def in_frame(box: Box | None) -> Box | None:
    """Return a box that reaches beyond a picture, moved into it."""
    if box is None:
        return None
    left, top, right, bottom = box
    x, y = max(0.0, -left) - max(0.0, right - 1), max(0.0, -top) - max(0.0, bottom - 1)
    return max(0.0, left + x), max(0.0, top + y), min(1.0, right + x), min(1.0, bottom + y)


def box_mask(box: Box, *, height: int, width: int, feather: float = 0.0) -> Tensor:
    """Return a mask (1, 1, height, width) that is 1 inside `box`.

    Args:
        box: left, top, right and bottom in [0, 1]; a pixel cut by its edge is covered in part.
        height: rows of the mask.
        width: columns of the mask.
        feather: share of the picture's side over which the mask fades out beyond the box, >= 0.
    """
    left, top, right, bottom = check_box(box)
    rows = _ramp(top, bottom, count=height, feather=feather)
    columns = _ramp(left, right, count=width, feather=feather)
    return (rows[:, None] * columns[None, :])[None, None]


def resize_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Return `mask` (B, 1, H, W) at `size` (height, width), by area along a side that shrinks."""
    height, width = mask.shape[-2:]
    small = (min(height, size[0]), min(width, size[1]))
    if small != (height, width):
        mask = F.interpolate(mask, size=small, mode="area")
    if small != tuple(size):
        mask = F.interpolate(mask, size=size, mode="bilinear", align_corners=False)
    return mask


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return intersection over union (B,) of masks (B, 1, H, W); two empty masks agree fully."""
    first, second = a.flatten(1) > 0.5, b.flatten(1) > 0.5
    union, shared = (first | second).sum(dim=1), (first & second).sum(dim=1)
    return torch.where(union > 0, shared / union.clamp(min=1), 1.0)


def attention_to_mask(attention: Tensor) -> Tensor:
    """Turn attention maps into masks, each by its own statistics.

    Args:
        attention: what a few tokens received, (B, 1, h, w), >= 0, of any scale.

    Returns:
        Masks (B, 1, h, w). A map without structure gives all ones: then there is no telling
        subject from background, and treating all as subject is the mild error.
    """
    maps = attention.float()
    mean = _means(maps).clamp(min=torch.finfo(torch.float32).tiny)
    low, high = _quantiles(maps)
    has_structure = (high - low) / mean >= MIN_STRUCTURE
    maps = _binomial_blur((maps / (ATTENTION_CEILING * mean)).clamp(0, 1))
    low, high = _quantiles(maps)
    maps = ((maps - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    soft = torch.sigmoid(ATTENTION_STEEPNESS * (maps - 0.5))
    return torch.where(has_structure, soft, 1.0).to(attention.dtype)


def from_noise_difference(
    source_noise: Tensor, edit_noise: Tensor, *, is_soft: bool = False
) -> Tensor:
    """Return where two prompts disagree about the noise behind one picture, (B, 1, h, w).

    From arXiv:2412.04301, self-guided editing mask. The released code averages over batch and
    channels; here every sample is on its own, which for one picture is the same.

    Args:
        source_noise: inverted noise (B, C, h, w) under the first prompt.
        edit_noise: under the second, the same shape; if it is the same noise, nothing is marked.
        is_soft: whether the difference is scaled to [0, 1], as in the paper; else it is 0 or 1 by
            the ceiling and the threshold of the released code.
    """
    difference = (source_noise.float() - edit_noise.float()).abs().mean(dim=1, keepdim=True)
    if is_soft:
        least, most = difference.amin((2, 3), keepdim=True), difference.amax((2, 3), keepdim=True)
        share = (difference - least) / (most - least).clamp(min=1e-12)
    else:
        ceiling = NOISE_CEILING * _means(difference)
        share = torch.minimum(difference, ceiling) / ceiling.clamp(min=1e-12)
        share = (share > NOISE_THRESHOLD).float()
    return share * (_means(difference) > NOISE_ROUNDING)


def grow(mask: Tensor, radius_px: int) -> Tensor:
    """Return `mask` (B, C, H, W), of floats or bytes, widened by `radius_px` on every side."""
    least = -math.inf if mask.is_floating_point() else 0
    grown, side = F.pad(mask, (radius_px,) * 4, value=least), 2 * radius_px + 1
    for axis in (2, 3):
        # Windows that double need fewer comparisons than one look at each of `side` pixels.
        done = 1
        while done < side:
            step = min(done, side - done)
            rest = grown.shape[axis] - step
            grown = torch.maximum(grown.narrow(axis, 0, rest), grown.narrow(axis, step, rest))
            done += step
    return grown


def feather(mask: Tensor) -> Tensor:
    """Return `mask` (B, 1, H, W), edges fading inwards; the border of the picture is no edge."""
    shrunk = [mask]
    for _ in range(FEATHER_PX - 1):
        shrunk.append(-F.max_pool2d(-shrunk[-1], 3, stride=1, padding=1))
    return torch.minimum(torch.stack(shrunk).mean(dim=0), mask)


def _marks_nothing(image: Image.Image, *, of_subject: bool, by_white: bool) -> str:
    """Return what is said of a mask without a pixel of half or more."""
    where = "where the subject is" if of_subject else "where the picture may change"
    if by_white and alpha_of(image) is not None:
        return f"has no white that is opaque. It has to be white {where}. Paint that in white."
    if image.mode != "RGBA":
        return f"is black. It has to be white {where}. Invert it, or paint that in white."
    if alpha_of(image) is None:
        return (
            f"is opaque everywhere, and black, so it marks nothing. It has to be transparent or "
            f"white {where}. Erase that part of it."
        )
    wanted = "opaque" if of_subject else "transparent"
    return f"is nowhere more than half {wanted}. It has to be {wanted} {where}. Export it again."


def _ramp(low: float, high: float, *, count: int, feather: float) -> Tensor:
    """Return how much of each of `count` cells of [0, 1] lies in [low, high], fading outside."""
    edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    pairs = list(pairwise(edges.tolist()))
    inside = torch.tensor([max(0.0, min(b, high) - max(a, low)) * count for a, b in pairs])
    if feather <= 0:
        return inside.clamp(0, 1)
    centres = torch.tensor([(a + b) / 2 for a, b in pairs])
    beyond = torch.maximum(low - centres, centres - high).clamp(min=0)
    return torch.maximum(inside, 1 - beyond / feather).clamp(0, 1)


def _means(maps: Tensor) -> Tensor:
    return maps.flatten(1).mean(dim=1)[:, None, None, None]


def _quantiles(maps: Tensor) -> Tensor:
    """Return the low and the high quantile of each map (B, 1, h, w), as (2, B, 1, 1, 1)."""
    values = maps.flatten(1).float()  # CUDA knows no quantiles of shorter numbers
    levels = values.new_tensor([ATTENTION_LOW, ATTENTION_HIGH])
    return torch.quantile(values, levels, dim=1)[..., None, None, None].to(maps)


def _binomial_blur(maps: Tensor) -> Tensor:
    """Blur (B, 1, h, w) by the 3x3 binomial kernel; the edge is repeated."""
    kernel = torch.tensor([0.25, 0.5, 0.25], device=maps.device, dtype=maps.dtype)
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, (kernel[:, None] * kernel[None, :])[None, None])


def subject_extent(mask: Tensor) -> Tensor:
    """Return width and height of the subject in its frame (B, 1, H, W), as (B, 2) in [0, 1]."""
    fullest = [mask[:, 0].amax(side) for side in (1, 2)]  # of each column, of each row
    return torch.stack([(coverage > VISIBLE).float().mean(1) for coverage in fullest], dim=1)
