"""Draws sticker scenes: a deterministic function of noise, subject, scene and attributes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.data.captions import Attributes
from swiftpie.data.lighting import contact_shadow, foregrounds, light
from swiftpie.data.placing import place, place_hats
from swiftpie.data.posing import FRAME_PX, lowest_point
from swiftpie.data.scenes import SCENES
from swiftpie.data.scenes.drawing import grey, over, paste
from swiftpie.data.scenes.fields import Fields, read_fields
from swiftpie.layout import Layout, to_affine, warp

ACCESSORIES = ("crown", "top hat")  # order of the accessory frames given to `render`


class Rendering(NamedTuple):
    """Pictures with all that is known about them; pixels lie in [-1, 1]."""

    pixels: Tensor  # (B, 3, R, R)
    mask: Tensor  # (B, 1, R, R) visible share of subject and accessory, in [0, 1]
    background: Tensor  # (B, 3, R, R) the same picture without subject, shadow and foreground
    layout: Layout
    companion_mask: Tensor  # (B, 1, R, R) visible share of the second subject; 0 without one


class Placed(NamedTuple):
    """A subject in each picture and its place."""

    frames: Tensor  # (B, 4, 128, 128)
    layout: Layout


def render(
    noise: Tensor,
    frames: Tensor,
    scenes: Sequence[int],
    attributes: Sequence[Attributes],
    *,
    accessories: Tensor,
    size_px: int = 128,
    layout: Layout | None = None,
    companion: Placed | None = None,
) -> Rendering:
    """Draw one picture a row.

    Args:
        noise: Standard normal latents, (B, 32, 16, 16); decides all that the rest leaves open.
        frames: Reference frames from `pose_subjects`, (B, 4, 128, 128).
        scenes: Index into `SCENES` for each row.
        attributes: Size, side, accessory and colour for each row.
        accessories: Reference frames of crown and top hat, (2, 4, 128, 128).
        size_px: Side of the pictures.
        layout: Where the subjects go; by default the noise decides.
        companion: Second subjects, behind the first. Nothing stands in front of two.
    """
    fields = read_fields(noise, size_px=size_px)
    layout = place(noise, frames, scenes, attributes) if layout is None else layout
    background = draw_backgrounds(fields, scenes)
    behind, companion_mask = background, torch.zeros_like(background[:, :1])
    if companion is not None:
        sprite = draw_frames(companion.frames, companion.layout, size_px=size_px)
        behind, companion_mask = _stand(sprite, behind, companion, fields, scenes)
    subject = Placed(frames, layout)
    sprite = _draw_subjects(
        frames, attributes, layout=layout, accessories=accessories, side=size_px
    )
    picture, mask = _stand(sprite, behind, subject, fields, scenes)
    if companion is None:
        colour, coverage = foregrounds(fields, scenes, layout=layout, base=_lowest(subject))
        picture, mask = over(picture, colour, coverage), mask * (1 - coverage)
    rows = [row for row, a in enumerate(attributes) if a.is_black_and_white]
    if rows:
        picture[rows], background[rows] = grey(picture[rows]), grey(background[rows])
    return Rendering(
        pixels=picture.clamp(0, 1) * 2 - 1,
        mask=mask,
        background=background * 2 - 1,
        layout=layout,
        companion_mask=companion_mask * (1 - mask),
    )


def draw_backgrounds(fields: Fields, scenes: Sequence[int]) -> Tensor:
    """Draw empty scenes (B, 3, R, R) in [0, 1]; rows of one scene are drawn together."""
    side = fields.size_px
    pictures = fields.noise.new_empty(len(scenes), 3, side, side)
    for index in sorted(set(scenes)):
        rows = [row for row, scene in enumerate(scenes) if scene == index]
        drawn = SCENES[index].draw(fields.select(rows))
        pictures[rows] = drawn.clamp(0, 1).expand(len(rows), 3, side, side)
    return pictures


def draw_frames(frames: Tensor, layout: Layout, *, size_px: int) -> Tensor:
    """Draw reference frames (B, 4, 128, 128) into transparent pictures (B, 4, R, R)."""
    affine = to_affine(layout)
    drawn = warp(frames, affine, (size_px, size_px))
    # Below half the frame's size, bilinear samples would skip pixels: read a smaller frame.
    rows = (layout.scale * size_px < FRAME_PX / 2).nonzero().flatten()
    if len(rows):
        drawn[rows] = warp(F.avg_pool2d(frames[rows], 2), affine[rows], (size_px, size_px))
    return drawn


def _stand(
    sprite: Tensor, picture: Tensor, subject: Placed, fields: Fields, scenes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the pictures with a lit `sprite` and its shadow, and its alpha (B, 1, R, R)."""
    layout = subject.layout
    lit = light(sprite, fields, scenes, layout=layout)
    shadow = contact_shadow(fields, scenes, layout=layout, base=_lowest(subject))
    return paste(picture * (1 - shadow), lit), lit[:, 3:]


def _lowest(subject: Placed) -> Tensor:
    """Return the height of each subject's lowest point in the picture, (B, 1, 1, 1)."""
    below = lowest_point(subject.frames, subject.layout)
    return (subject.layout.centre[:, 1] + below).view(-1, 1, 1, 1)


def _draw_subjects(
    frames: Tensor,
    attributes: Sequence[Attributes],
    *,
    layout: Layout,
    accessories: Tensor,
    side: int,
) -> Tensor:
    sprite = draw_frames(frames, layout, size_px=side)
    rows = [row for row, a in enumerate(attributes) if a.accessory != "none"]
    if not rows:
        return sprite
    kinds = [ACCESSORIES.index(attributes[row].accessory) for row in rows]
    wearers = Layout(*(value[rows] for value in layout))
    hats = draw_frames(accessories[kinds], place_hats(frames[rows], wearers), size_px=side)
    sprite[rows] = paste(sprite[rows], hats)
    return sprite
