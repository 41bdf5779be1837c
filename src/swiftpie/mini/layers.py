"""Subjects cut out of pictures, and put before others: dyed, turned and lit from their own pixels.

Pictures are (1, 3, H, W) in [0, 1], masks (1, 1, H, W) in [0, 1] and frames (1, 4, S, S)
premultiplied in [0, 1], unless said otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from PIL import Image, ImageChops
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, to_affine
from swiftpie.geometry.relief import height, turn
from swiftpie.geometry.shading import Illumination, cast_on_ground, usual_shadow
from swiftpie.imageio.images import (
    carried_on,
    extent_of,
    plane,
    shrunk_to,
    subject_square,
    to_pil,
    to_tensor,
)
from swiftpie.masks import Box, grow
from swiftpie.mini.compositing import shrunk_into
from swiftpie.mini.fields import paste
from swiftpie.mini.looks import appearance
from swiftpie.models.cutout import Search, cutout_network, find_as_guessed, find_with
from swiftpie.pipelines.edit_region import Canvas
from swiftpie.pipelines.filling import enlarged_part
from swiftpie.types import TextCondition
from swiftpie.validation import Size

MIN_SHARE = 0.005  # of the picture; a smaller subject is an error of the mask
SURE = 1e-3  # of an opacity, so that its log-odds are finite
AGREED = 0.66  # of the outline by two guesses with one; of 20 photographs below lay 10 bad, 3 good
SOLID = 0.95  # opacity from which a colour is the subject's alone
LARGE_PX = 1024  # side of a frame; a larger one is shrunk
SMALL_PX = 256  # side of the frame that networks look at
LOOK_PX = 512  # longer side of the picture in which places and shadows are found
VISIBLE_LEVELS = 4  # of 255: a smaller change is not seen
THERE = 0.004  # opacity from which a pixel is touched


@dataclass(frozen=True, eq=False)
class OwnSubject:
    """A subject in its picture, which is cut out once something needs that."""

    picture: Image.Image  # RGB
    opacity: Tensor  # (1, 1, H, W) in [0, 1]
    is_doubtful: bool = False  # whether the outline may be wrong

    @cached_property
    def frame(self) -> Tensor:
        """The subject at its size in the picture, (1, 4, S, S) premultiplied, in [0, 1]."""
        return self._with_colours(self.cover)

    @cached_property
    def small(self) -> Tensor:
        """The same as large as networks see it, (1, 4, 256, 256)."""
        return self._with_colours(self._cover(SMALL_PX))

    @cached_property
    def cover(self) -> Tensor:
        """The opacity of the frame, (1, 1, S, S)."""
        return self._cover(min(self._side, LARGE_PX))

    @cached_property
    def layout(self) -> Layout:
        """Where the frame is in the picture, in the same view."""
        (left, top, right, bottom), (width, height) = self._square, self.picture.size
        side, nothing = self._side, torch.zeros(1)
        centre = torch.tensor([[(left + right) / 2 / width, (top + bottom) / 2 / height]])
        shares = [side / width] if height == width else [[side / width, side / height]]
        scale, pose = torch.tensor(shares), torch.zeros(1, 4)
        return Layout(centre, scale, rotation=nothing, flip=nothing, pose=pose)

    @cached_property
    def _square(self) -> tuple[int, int, int, int]:
        return subject_square(self.opacity, SUBJECT_FILL)

    @property
    def _side(self) -> int:
        return self._square[2] - self._square[0]

    def _cover(self, side_px: int) -> Tensor:
        (left, top, right, bottom), (height, width) = self._square, self.opacity.shape[2:]
        cover = F.pad(self.opacity, (-left, right - width, -top, bottom - height))
        if self._side == side_px:
            return cover
        return F.interpolate(cover, (side_px, side_px), mode="bilinear", antialias=True)

    def _with_colours(self, cover: Tensor) -> Tensor:
        """Return the frame of a `cover`; its colours are carried on to the rim."""
        side_px, part = cover.shape[3], self.picture.crop(self._square)
        if part.width != side_px:
            part = part.resize((side_px, side_px), Image.Resampling.BILINEAR)
        colours, is_solid = to_tensor(part).div_(2).add_(0.5), cover > SOLID
        inside = 1 - grow((~is_solid).to(torch.uint8), 1)
        if bool(inside.any()):
            colours = torch.where(is_solid, colours, carried_on(colours, inside.to(colours)))
        return torch.cat([colours * cover, cover], dim=1)


def find_subject(
    picture: Image.Image,
    canvas: Canvas,
    subject_mask: Callable[[], Tensor],
    *,
    box: Box | None = None,
) -> OwnSubject | None:
    """Return the subject of an RGB picture, or what is in a `box` of it; None if it has none.

    Where the network for cut-outs is unsure, the inversion network, which reads the prompt, guesses
    with it: `subject_mask` returns what that one says, (1, 1, h, w) in [0, 1], on the canvas.
    """
    found = find_with(cutout_network(), picture, Search(box=box))
    is_doubtful = box is None and found.how.is_doubtful
    if is_doubtful:
        share = canvas.leave_mask(subject_mask().float().cpu())
        guess = torch.logit(share.clamp(SURE, 1 - SURE))
        found = find_as_guessed(cutout_network(), picture, guess)
        assert found.how.confidence is not None, "the network for cut-outs is"
        is_doubtful = found.how.confidence < AGREED
    if (found.mask > 0.5).float().mean() < MIN_SHARE:
        return None
    return OwnSubject(picture, found.mask, is_doubtful)


def light_by_words(
    components: Components, noise: Tensor, prompt: TextCondition, *, given: Tensor | None = None
) -> Illumination | None:
    """Return the light of a picture by a prompt; None if unknown.

    Args:
        components: The networks.
        noise: Of the picture, (1, C, h, w).
        prompt: What the picture shows, one row.
        given: The part of the picture that stays, pixels in [-1, 1] and mask, (1, 4, S, S).
    """
    given = None if given is None else given.to(noise)
    found = components.layout_predictor.light_of_place(noise, prompt.pooled, given=given)
    return None if found is None else found.on_cpu()


def light_on(components: Components, frame: Tensor) -> Illumination | None:
    """Return the light on a frame, (1, 4, S, S) premultiplied in [0, 1]; None if unknown."""
    side = components.preset.image_size_px
    small = F.interpolate(frame, (side, side), mode="bilinear", antialias=True)
    small = small.to(components.device)
    pixels = 2 * small[:, :3] - small[:, 3:]
    found = components.layout_predictor.light_on(pixels, small[:, 3:])
    return None if found is None else found.on_cpu()


class Layer(NamedTuple):
    """A subject with its place, its looks and its light."""

    frame: Tensor
    layout: Layout
    own: Illumination | None = None  # in the frame, which is taken off; None if unknown
    scene: Illumination | None = None  # of the picture, which is put on
    colour: str | None = None  # one of `COLOURS`
    material: str | None = None  # one of `MATERIALS`
    before: Tensor | None = None  # (1, 1, H, W) what hides the layer
    casts: bool = False  # whether its shadow falls on the ground
    shown: Tensor | None = None  # the frame with its look, in its pose and light; see `finished`
    outline: Tensor | None = None  # (1, 1, S, S) its opacity in that pose, likewise


def paste_layers(picture: Image.Image, layers: Sequence[Layer]) -> Image.Image:
    """Return a picture with layers before it, the last one in front; other pixels stay."""
    for layer in layers:
        picture = _pasted(picture, finished(layer))
    return picture


def finished(layer: Layer) -> Layer:
    """Return a layer with its look and light, which holds at any place."""
    if layer.shown is not None:
        return layer
    if _is_as_before(layer):
        return layer._replace(shown=layer.frame, outline=layer.frame[:, 3:])
    relief = height(layer.frame[:, 3:])
    shown = outline = appearance(
        layer.frame,
        relief,
        layer.layout,
        own=layer.own,
        scene=layer.scene,
        colour=layer.colour,
        material=layer.material,
    )
    if layer.material is not None:  # glass can be seen through, and is there nevertheless
        outline = turn(layer.frame[:, 3:], relief, layer.layout.pose).frame
    return layer._replace(shown=shown, outline=outline[:, -1:])


def opacity_of(layer: Layer, size: Size) -> Tensor:
    """Return where a finished layer is by its outline, (1, 1, H, W) in a `size`."""
    assert layer.outline is not None, "the layer is finished"
    return shrunk_into(layer.outline, to_affine(layer.layout), size=size)


def shadow_of(layer: Layer, size: Size) -> Tensor:
    """Return the share of the ground's light that a finished layer takes, (1, 1, h, w)."""
    opacity = opacity_of(layer, size)
    if layer.scene is None:
        return torch.zeros_like(opacity)
    return cast_on_ground(opacity, layer.layout, usual_shadow(layer.scene))


def touched(layer: Layer, picture: Image.Image) -> Tensor:
    """Return where a picture may change visibly by a finished layer, (1, 1, H, W)."""
    size = (picture.height, picture.width)
    most = opacity_of(layer, size)
    if layer.before is not None:
        most = most * (1 - layer.before)
    if layer.casts:
        lost = F.interpolate(shadow_of(layer, shrunk_to(LOOK_PX, size)), size, mode="bilinear")
        most = torch.maximum(most, plane(brightest(picture)).mul_(lost))
    return most > (VISIBLE_LEVELS + 0.5) / 255  # of what is rounded


def brightest(picture: Image.Image) -> Image.Image:
    """Return the largest colour of each pixel of an RGB picture, in mode L."""
    red, green, blue = picture.split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _pasted(picture: Image.Image, layer: Layer) -> Image.Image:
    """Return a picture with a finished layer before it."""
    assert layer.shown is not None, "the layer is finished"
    small = shrunk_to(LOOK_PX, (picture.height, picture.width))
    affine, shade = to_affine(layer.layout), None
    there = [shrunk_into(layer.shown[:, 3:], affine, size=small)]
    if layer.casts:
        shade = shadow_of(layer, small)
        there.append(shade)
    touched = torch.cat(there, dim=1).amax(dim=1, keepdim=True)
    window = _window((touched > THERE).float(), picture)
    if window is None:
        return picture
    left, top, right, bottom = window
    size = (bottom - top, right - left)
    across, down = (left / picture.width, right / picture.width), (top, bottom)
    place = (across[0], down[0] / picture.height, across[1], down[1] / picture.height)
    patch = to_tensor(picture.crop(window)) / 2 + 0.5
    if shade is not None:
        patch = patch * enlarged_part(1 - shade, place, size).clamp(0, 1)
    shown = shrunk_into(layer.shown, affine, place=place, size=size)
    if layer.before is not None:
        shown = shown * (1 - layer.before[..., top:bottom, left:right])
    patch = paste(patch, shown)
    result = picture.copy()
    result.paste(to_pil(2 * patch.clamp(0, 1) - 1)[0], (left, top))
    return result


def _is_as_before(layer: Layer) -> bool:
    """Whether a layer keeps its look and its light."""
    return not (layer.colour or layer.material or layer.own is not layer.scene)


def _window(touched: Tensor, picture: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the pixels of a picture that a small map of it (1, 1, h, w) touches."""
    extent = extent_of(touched)
    if extent is None:
        return None
    rows, columns = touched.shape[2:]
    across, down = picture.width / columns, picture.height / rows
    left, top, right, bottom = extent
    return (
        max(0, int((left - 1) * across)),
        max(0, int((top - 1) * down)),
        min(picture.width, int((right + 1) * across) + 1),
        min(picture.height, int((bottom + 1) * down) + 1),
    )
