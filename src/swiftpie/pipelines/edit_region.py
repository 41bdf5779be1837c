"""The canvas on which networks see a picture, and the region in which it may change."""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageChops
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import MAX_SIDE_PX, MIN_SIDE_PX, Components
from swiftpie.errors import InputError
from swiftpie.imageio.images import (
    alpha_of,
    as_rgb,
    extent_of,
    from_8_bits,
    in_8_bits,
    mask_to_pil,
    plane,
    shrunk_to,
    to_pil,
    to_tensor,
)
from swiftpie.masks import HALF, Box, box_mask, feather, grow, hole_of, resize_mask, without_outside
from swiftpie.models.text import PromptPair
from swiftpie.pipelines.choose import Choice, Clock
from swiftpie.pipelines.request import cells_of
from swiftpie.pipelines.tasks import ChangingT, EditRequest, RetouchRequest
from swiftpie.types import EditedImage
from swiftpie.validation import PixelBox, Size

FEATHER_SIDE_PX = 512  # longer side of a picture whose edges fade over `FEATHER_PX`
NEAR_PX = 2  # on each side of a changed pixel: what is taken to change
WINDOW = 2.0  # side of the window over the longer side of what changes

UNCHANGED = (
    "The prompts do not differ for this picture, so nothing in it will change. Give another "
    "prompt, a keyword or a mask."
)
UNCHANGED_INSIDE = (
    "The prompts do not differ, so nothing in the mask will change. Give another prompt, the "
    "picture of a subject or a variation, or leave the source prompt out to redraw the mask."
)


@dataclass(frozen=True)
class Canvas:
    """The sizes of one picture, or of a part of it; padding is below and to the right."""

    full: Size  # height and width of the user's picture
    content: Size  # size of the window, scaled
    padded: Size  # in whole latent cells, as the networks see it
    window: PixelBox  # the part of the user's picture on the canvas

    def enter(self, image: Image.Image) -> Tensor:
        """Return pixels (1, 3, H, W) at the padded size; the last row and column are repeated."""
        size = (self.content[1], self.content[0])
        part = image.resize(size, Image.Resampling.BICUBIC, box=self.window)
        return self._pad(to_tensor(part))

    def enter_mask(self, mask: Tensor) -> Tensor:
        """Return a mask (1, 1, H, W) of the picture, in [0, 1] or of bytes, at the padded size."""
        return self._pad(resize_mask(from_8_bits(self.part_of(mask)), self.content))

    def leave(self, drawing: Tensor, original: Image.Image) -> Image.Image:
        """Return the user's picture with a drawing, (1, 3, H, W), in its window."""
        left, top, right, bottom = self.window
        size = (right - left, bottom - top)
        content = (0, 0, self.content[1], self.content[0])
        joined = original.copy()
        part = to_pil(drawing)[0].crop(content).resize(size, Image.Resampling.LANCZOS)
        joined.paste(part, (left, top))
        return joined

    def part_of(self, mask: Tensor) -> Tensor:
        """Return the window of a mask (1, 1, H, W) of the given picture, a view of it."""
        left, top, right, bottom = self.window
        return mask[..., top:bottom, left:right]

    def shares_of(self, box: tuple[float, float, float, float]) -> Box:
        """Return a box in pixels of the given picture as shares of the padded canvas."""
        left, top, right, bottom = self.window
        across = self.content[1] / (self.padded[1] * (right - left))
        down = self.content[0] / (self.padded[0] * (bottom - top))
        corners = (((x - left) * across, (y - top) * down) for x, y in (box[:2], box[2:]))
        (x1, y1), (x2, y2) = corners
        return x1, y1, x2, y2

    def _pad(self, pixels: Tensor) -> Tensor:
        below, right = (self.padded[side] - self.content[side] for side in (0, 1))
        return F.pad(pixels, (0, right, 0, below), mode="replicate")


def canvas_for(
    size: Size, *, side_px: int, unit_px: int, changes: PixelBox | None = None
) -> Canvas:
    """Return the canvas of a picture of `size` with about the area of a square of `side_px`.

    Both padded sides are multiples of `unit_px`. If the picture would be shrunk and `changes` is
    small in it, the canvas is a window around the changes, so that they keep their resolution.
    """
    height, width = size
    window = (0, 0, width, height)
    if changes is not None and height * width > side_px**2:
        around = square_around(changes, size, least_px=side_px)
        if 2 * (around[2] - around[0]) * (around[3] - around[1]) <= height * width:
            window = around
    height, width = window[3] - window[1], window[2] - window[0]
    scale = min(side_px / math.sqrt(height * width), MAX_SIDE_PX / max(height, width))
    content = (max(1, round(height * scale)), max(1, round(width * scale)))
    padded = tuple(math.ceil(max(side, MIN_SIDE_PX) / unit_px) * unit_px for side in content)
    return Canvas(full=size, content=content, padded=(padded[0], padded[1]), window=window)


def square_around(extent: PixelBox, size: Size, *, least_px: int) -> PixelBox:
    """Return a square window of a picture of `size` in which `extent` takes half of a side.

    The window lies inside of the picture and has at least `least_px` a side if the picture does. It
    is cut off only if `extent` itself is longer than the shorter side of the picture.
    """
    left, top, right, bottom = extent
    longer = max(right - left, bottom - top)
    side = min(max(math.ceil(WINDOW * longer), least_px), max(min(size), longer))

    def shifted(middle: float, length: int) -> tuple[int, int]:
        start = min(max(0, round(middle - side / 2)), max(0, length - side))
        return start, min(start + side, length)

    columns, rows = shifted((left + right) / 2, size[1]), shifted((top + bottom) / 2, size[0])
    return columns[0], rows[0], columns[1], rows[1]


def extent_or_whole(mask: Tensor) -> PixelBox:
    """Return the bounding box of a mask (1, 1, H, W) above 0; the whole picture if it is empty."""
    return extent_of(mask > 0) or (0, 0, mask.shape[3], mask.shape[2])


class EditRegion(NamedTuple):
    """Where a picture may change."""

    latent: Tensor  # (1, 1, h, w) for attention, on the canvas
    # (1, 1, H, W) on the user's picture; bytes, so that a saved mask repeats the same edit
    pixels: Tensor


def given_mask(mask: object, size: Size) -> Tensor:
    """Return a mask or box of the user for a picture of `size`, as bytes (1, 1, H, W).

    What is below half is outside, and 0; soft edges within stay as they are.

    Raises:
        InputError: The mask has a wrong shape.
    """
    height, width = size
    if isinstance(mask, tuple):
        pixels = box_mask(mask, height=height, width=width)
    else:
        assert isinstance(mask, Tensor), "`Session.resolved` opens files before they are drawn"
        if mask.ndim != 4 or mask.shape[:2] != (1, 1):
            raise InputError(
                f"The mask has shape {tuple(mask.shape)}; it must be (1, 1, H, W). Add the missing "
                "axes."
            )
        pixels = resize_mask(mask.float().cpu(), (height, width))
    return without_outside(in_8_bits(pixels))


def joined(
    original: Image.Image,
    edited: Image.Image,
    region: Tensor,
    clock: Clock,
    **fields: Any,  # noqa: ANN401 - the other fields of the edit
) -> EditedImage:
    """Return an edit whose drawing shows in a `region` (1, 1, H, W) of bytes."""
    blend = blend_mask(region)
    image = Image.composite(edited, original, blend)
    clock.end_stage("join")
    return EditedImage(image, edited, blend, mask_to_pil(region)[0], **fields)


def where_changed(before: Image.Image, after: Image.Image, *, least: int = 1) -> Tensor:
    """Return where RGB pictures differ by so many levels, and what is near, bytes (1, 1, H, W)."""
    red, green, blue = ImageChops.difference(before, after).split()
    most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return grow(in_8_bits(plane(most.point(lambda level: 255 * (level >= least)))), NEAR_PX)


def blend_mask(mask: Tensor) -> Image.Image:
    """Return how much of a change shows, mode L, for a mask (1, 1, H, W), bytes or in [0, 1]."""
    size = (mask.shape[2], mask.shape[3])
    small = shrunk_to(FEATHER_SIDE_PX, size)
    soft = in_8_bits(resize_mask(feather(resize_mask(from_8_bits(mask), small)), size))
    return Image.fromarray(torch.minimum(soft, in_8_bits(mask))[0, 0].cpu().numpy())


def known_mask(
    choice: Choice[EditRequest], mask: Tensor | None, canvas: Canvas, *, draws_anew: bool
) -> tuple[PromptPair, PromptPair, Tensor | None]:
    """Return an edit's prompts, the two that are compared to find what changes, and its mask.

    The mask is None where they have to be compared, and empty, with a warning, where prompts that
    say the same change nothing. In a given mask they do if the edit `draws_anew` there, or if there
    is no source prompt, as that says nothing about the picture.
    """
    request, encoder = choice.request, choice.components.text
    prompts = contrast = PromptPair(encoder, (request.source_prompt, request.prompt))
    if request.keyword:
        contrast = PromptPair(encoder, ("", request.keyword))
    if mask is None:
        is_idle, warning = contrast.are_alike, UNCHANGED
    else:
        says_something = not draws_anew and bool(request.source_prompt.strip())
        is_idle, warning = says_something and prompts.are_alike, UNCHANGED_INSIDE
    if is_idle:
        choice.warn(warning)
        mask = torch.zeros(1, 1, *canvas.full, dtype=torch.uint8)
    return prompts, contrast, mask


def widened_region(
    choice: Choice[EditRequest], latent: Tensor, canvas: Canvas, reach_px: int = 0
) -> Tensor:
    """Return a region of the user's picture, as bytes, for one in latents (1, 1, h, w).

    It is widened by `reach_px`, by default a cell, so that its soft edge lies around it.
    """
    height, width = canvas.content
    hard = (resize_mask(latent.cpu(), canvas.padded)[..., :height, :width] > 0.5).float()
    if not hard.any():
        choice.warn(UNCHANGED)
    reach_px = reach_px or canvas.padded[0] // latent.shape[2]
    return without_outside(in_8_bits(resize_mask(grow(hard, reach_px), canvas.full)))


def region_of(pixels: Tensor, canvas: Canvas, *, like: Tensor) -> EditRegion:
    """Return a region of the given picture, also at the resolution of latents (1, C, h, w)."""
    latent = resize_mask(canvas.enter_mask(pixels), (like.shape[2], like.shape[3]))
    return EditRegion(latent.to(like), pixels)


def enter_canvas(
    components: Components, request: EditRequest
) -> tuple[Image.Image, Tensor | None, Canvas]:
    """Return the picture of an edit in RGB, its mask (1, 1, H, W) of bytes, and its canvas."""
    original, preset = as_rgb(request.picture), components.preset
    side_px = request.settings.size_px or preset.image_size_px
    cells_of(components.preset, (side_px, side_px))
    size = (original.height, original.width)
    mask = None if request.mask is None else given_mask(request.mask, size)
    # A model that sees what stays composes whole pictures; in a window it would draw another one.
    composes = components.family.sees_what_stays
    changes = None if mask is None or composes else extent_or_whole(mask)
    unit_px = 2 * preset.latent_cell_px
    return original, mask, canvas_for(size, side_px=side_px, unit_px=unit_px, changes=changes)


def in_hole(request: ChangingT) -> ChangingT:
    """Return a request whose mask is its picture's transparent hole, if nothing else says one."""
    if request.mask is not None:
        return request
    if isinstance(request, RetouchRequest):
        is_open = request.identity is None
    else:
        is_open = not (request.keyword or request.source_prompt.strip())
    hole = hole_of(request.picture) if is_open else None
    return request if hole is None else replace(request, mask=hole)


def with_transparency(request: EditRequest | RetouchRequest, result: EditedImage) -> EditedImage:
    """Return an edit with the original alpha channel; holes that are drawn in become opaque."""
    if alpha_of(request.picture) is None:
        return result
    alpha = request.picture.getchannel("A")
    if isinstance(request, RetouchRequest) or request.mask is not None:
        region = result.region.point(lambda value: 255 * (value > 0))
        hole = alpha.point(lambda value: 255 * (value <= 255 * HALF))
        alpha = ImageChops.lighter(alpha, ImageChops.darker(hole, region))
    image, edited = result.image.copy(), result.edited.copy()
    image.putalpha(alpha)
    edited.putalpha(alpha)
    return result._replace(image=image, edited=edited)
