"""Subjects put before a picture from their own pixels: dyed, turned and lit.

Pictures are (1, 3, H, W) in [0, 1], frames (1, 4, S, S) premultiplied in [0, 1].
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image, ImageChops
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import Layout, to_affine
from swiftpie.geometry.relief import height, turn
from swiftpie.geometry.shading import Illumination, cast_on_ground, usual_shadow
from swiftpie.imageio.images import extent_of, plane, shrunk_to, to_pil, to_tensor
from swiftpie.mini.compositing import shrunk_into
from swiftpie.mini.fields import paste
from swiftpie.mini.looks import appearance
from swiftpie.pipelines.compositing import Area, enlarged_part
from swiftpie.validation import Size

LOOK_PX = 512  # longer side of the picture in which places and shadows are found
VISIBLE_LEVELS = 4  # of 255: a smaller change is not seen
THERE = 0.004  # opacity from which a pixel is touched
WHOLE: Area = (0.0, 0.0, 1.0, 1.0)


class Figure(NamedTuple):
    """A subject with its place, its looks and its light."""

    frame: Tensor
    layout: Layout
    own: Illumination | None = None  # in the frame, which is taken off; None if unknown
    scene: Illumination | None = None  # of the picture, which is put on
    colour: str | None = None  # one of `COLOURS`
    material: str | None = None  # one of `MATERIALS`
    before: Tensor | None = None  # (1, 1, H, W) what hides the figure
    casts: bool = False  # whether its shadow falls on the ground
    floor: float | None = None  # height of the ground in [0, 1]; None: its feet
    shade: Tensor | None = None  # (1, 1, h, w) of the ground's light that is lost already
    shown: Tensor | None = None  # the frame with its look, in its pose and light; see `finished`
    outline: Tensor | None = None  # (1, 1, S, S) its opacity in that pose, likewise


def put(picture: Image.Image, figures: Sequence[Figure]) -> Image.Image:
    """Return a picture with figures before it, the last one in front; other pixels stay."""
    for figure in figures:
        picture = _with(picture, finished(figure))
    return picture


def finished(figure: Figure) -> Figure:
    """Return a figure as it is put, which need not be drawn again at another place."""
    if figure.shown is not None:
        return figure
    if _is_as_before(figure):
        return figure._replace(shown=figure.frame, outline=figure.frame[:, 3:])
    relief = height(figure.frame[:, 3:])
    shown = outline = _shown(figure, relief)
    if figure.material is not None:  # glass can be seen through, and is there nevertheless
        outline = turn(figure.frame[:, 3:], relief, figure.layout.pose).frame
    return figure._replace(shown=shown, outline=outline[:, -1:])


def outlined(figure: Figure) -> Figure:
    """Return a figure with the outline of the finished one; its frame may be its opacity alone."""
    if figure.outline is not None:
        return figure
    cover = figure.frame[:, -1:]
    outline = turn(cover, height(cover), figure.layout.pose).frame
    return figure._replace(outline=outline)


def opacity_of(figure: Figure, size: Size) -> Tensor:
    """Return where a figure is by its outline, (1, 1, H, W) in a `size`."""
    assert figure.outline is not None, "the figure has an outline"
    return shrunk_into(figure.outline, to_affine(figure.layout), place=WHOLE, size=size)


def shadow_of(figure: Figure, size: Size) -> Tensor:
    """Return the share of the ground's light that an outlined figure takes, (1, 1, h, w)."""
    opacity = opacity_of(figure, size)
    if figure.scene is None:
        return torch.zeros_like(opacity)
    return cast_on_ground(opacity, figure.layout, usual_shadow(figure.scene), floor=figure.floor)


def touched(figure: Figure, picture: Image.Image) -> Tensor:
    """Return where a picture may change visibly by a figure with an outline, (1, 1, H, W)."""
    size = (picture.height, picture.width)
    most = opacity_of(figure, size)
    if figure.before is not None:
        most = most * (1 - figure.before)
    if figure.casts:
        lost = 1 - _light_left(figure, shrunk_to(LOOK_PX, size))
        lost = F.interpolate(lost, size, mode="bilinear")
        most = torch.maximum(most, plane(brightest(picture)).mul_(lost))
    return most > (VISIBLE_LEVELS + 0.5) / 255  # of what is rounded


def brightest(picture: Image.Image) -> Image.Image:
    """Return the largest colour of each pixel of an RGB picture, in mode L."""
    red, green, blue = picture.split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _with(picture: Image.Image, figure: Figure) -> Image.Image:
    """Return a picture with a finished figure before it."""
    assert figure.shown is not None, "the figure is finished"
    small = shrunk_to(LOOK_PX, (picture.height, picture.width))
    affine, shade = to_affine(figure.layout), None
    there = [shrunk_into(figure.shown[:, 3:], affine, place=WHOLE, size=small)]
    if figure.casts:
        shade = _light_left(figure, small)
        there.append(1 - shade)
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
        patch = patch * enlarged_part(shade, place, size).clamp(0, 1)
    shown = shrunk_into(figure.shown, affine, place=place, size=size)
    if figure.before is not None:
        shown = shown * (1 - figure.before[..., top:bottom, left:right])
    patch = paste(patch, shown)
    result = picture.copy()
    result.paste(to_pil(2 * patch.clamp(0, 1) - 1)[0], (left, top))
    return result


def _light_left(figure: Figure, size: Size) -> Tensor:
    """Return the share of the present light of the ground that a figure leaves, (1, 1, h, w)."""
    lost = 0.0 if figure.shade is None else figure.shade
    return ((1 - shadow_of(figure, size)) / (1 - lost)).clamp(max=1)


def _is_as_before(figure: Figure) -> bool:
    """Whether a figure keeps its look and its light, and is not turned under a light that stays."""
    layout = figure.layout
    is_turned = bool(layout.pose.any() or layout.rotation.any())
    return not (figure.colour or figure.material or figure.own is not figure.scene or is_turned)


def _shown(figure: Figure, relief: Tensor) -> Tensor:
    """Return the frame of a subject with its look, in its pose and its light."""
    return appearance(
        figure.frame,
        relief,
        figure.layout,
        own=figure.own,
        scene=figure.scene,
        colour=figure.colour,
        material=figure.material,
    )


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
