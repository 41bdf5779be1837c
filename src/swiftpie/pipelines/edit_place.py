"""Where an edit may change a picture: given by the user, or found between two prompts."""

import logging
from typing import NamedTuple

from torch import Tensor

from swiftpie.errors import InputError
from swiftpie.masks import Box, MaskRule, box_mask, from_noise_difference, grow, resize_mask
from swiftpie.pipelines.canvas import Canvas

logger = logging.getLogger(__name__)

GROW_PX = 8  # a found mask is widened by a latent cell, so that its soft edge lies around it
LEARNED_GROW_PX = 5  # one that a network was taught is four times finer


class Place(NamedTuple):
    """Where a picture may change."""

    region: Tensor  # (1, 1, h, w) for attention, on the canvas
    allowed: Tensor  # (1, 1, H, W) for pixels, on the given picture


def given_place(mask: Tensor | Box, canvas: Canvas, *, like: Tensor) -> Place:
    """Return the user's mask or box, the region for latents `like` (1, C, h, w).

    Raises:
        InputError: It is not shaped as a mask.
    """
    height, width = canvas.full
    if not isinstance(mask, Tensor):
        full = box_mask(mask, height=height, width=width)
    elif mask.ndim == 4 and mask.shape[:2] == (1, 1):
        full = resize_mask(mask.float().cpu(), (height, width))
    else:
        raise InputError(
            f"A mask of shape {tuple(mask.shape)} was given; (1, 1, H, W) is needed. Add the "
            "missing axes."
        )
    allowed = _in_8_bits(full)
    region = resize_mask(canvas.enter_mask(allowed), (like.shape[2], like.shape[3]))
    return Place(region.to(like), allowed)


def compared_place(
    source_noise: Tensor, edit_noise: Tensor, *, canvas: Canvas, rule: MaskRule
) -> Place:
    """Return where two inversions (1, C, h, w) of the canvas disagree."""
    return _grown(from_noise_difference(source_noise, edit_noise, rule=rule), canvas, GROW_PX)


def learned_place(mask: Tensor, *, canvas: Canvas, like: Tensor) -> Place:
    """Return where a network says that prompts disagree, `mask` (1, 1, h', w') on the canvas."""
    place = _grown(mask, canvas, LEARNED_GROW_PX)
    cells = (like.shape[2], like.shape[3])
    return place._replace(region=resize_mask(canvas.enter_mask(place.allowed), cells).to(like))


def _grown(region: Tensor, canvas: Canvas, reach_px: int) -> Place:
    hard = (canvas.leave_mask(region.cpu()) > 0.5).float()
    if not hard.any():
        logger.warning(
            "The prompts agree everywhere about this picture, so nothing of it will change. "
            "Give another prompt, a keyword or a mask."
        )
    return Place(region, _in_8_bits(resize_mask(grow(hard, reach_px), canvas.full)))


def _in_8_bits(mask: Tensor) -> Tensor:
    """Round as a picture file would, so that a mask that was saved gives the same edit again."""
    return (mask * 255).round() / 255
