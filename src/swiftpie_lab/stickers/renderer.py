"""Draws sticker scenes: a deterministic function of noise, subject, scene and attributes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import Layout, to_affine, warp
from swiftpie_lab.stickers.captions import Attributes
from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.world.fields import Fields, grey, over, paste, read_fields, smoothstep
from swiftpie_lab.world.placing import FRAME_PX, lowest_point, place, place_hats

ACCESSORIES = ("crown", "top hat")  # order of the accessory frames given to `render`
FOREGROUND_SHARE = 0.35  # of the pictures whose scene has a foreground
_LIGHT_NUMBER = 7  # the layout number that places the sun or the moon
_GATE_NUMBER, _COVER_NUMBER = 11, 12
_COVER, _COVER_RANGE = 0.08, 0.06  # share of the subject's height behind the foreground
_SHADOW = 0.45
MIN_CHANGE_LEVELS = 4  # of 255: less is invisible, and files and autoencoders change as much
GROW_PX = 2  # of what changes: closes gaps where two renderings happen to agree


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
    sprite = _draw_subjects(subject, attributes, accessories, size_px=size_px)
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


def visible_change(before: Tensor, after: Tensor) -> Tensor:
    """Return where pictures (B, 3, R, R) in [-1, 1] differ as files of 8 bits, (B, 1, R, R)."""
    first, second = (((one + 1) * 127.5).round() for one in (before, after))
    return ((first - second).abs().amax(dim=1, keepdim=True) > MIN_CHANGE_LEVELS).to(before)


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
    lit = light(sprite, fields, scenes, layout=subject.layout)
    shadow = contact_shadow(fields, scenes, layout=subject.layout, base=_lowest(subject))
    return paste(picture * (1 - shadow), lit), lit[:, 3:]


def _lowest(subject: Placed) -> Tensor:
    below = lowest_point(subject.frames, subject.layout)
    return (subject.layout.centre[:, 1] + below).view(-1, 1, 1, 1)


def _draw_subjects(
    subject: Placed, attributes: Sequence[Attributes], accessories: Tensor, *, size_px: int
) -> Tensor:
    sprite = draw_frames(subject.frames, subject.layout, size_px=size_px)
    rows = [row for row, a in enumerate(attributes) if a.accessory != "none"]
    if not rows:
        return sprite
    kinds = [ACCESSORIES.index(attributes[row].accessory) for row in rows]
    wearers = Layout(*(value[rows] for value in subject.layout))
    hats = place_hats(subject.frames[rows], wearers)
    sprite[rows] = paste(sprite[rows], draw_frames(accessories[kinds], hats, size_px=size_px))
    return sprite


def light(sprite: Tensor, fields: Fields, scenes: Sequence[int], *, layout: Layout) -> Tensor:
    """Return the premultiplied `sprite` (B, 4, R, R) in the light of its scene."""
    lights = [SCENES[i].light for i in scenes]
    tint = sprite.new_tensor([light.tint for light in lights]).view(-1, 3, 1, 1)
    shade = sprite.new_tensor([light.shade for light in lights]).view(-1, 1, 1, 1)
    x, scale = layout.centre[:, 0].view(-1, 1, 1, 1), layout.scale.view(-1, 1, 1, 1)
    beside = ((fields.x - x) / (scale / 2)).clamp(-1, 1)
    side = 2 * fields.u(_LIGHT_NUMBER) - 1
    alpha = sprite[:, 3:]
    colours = sprite[:, :3] * (tint * (1 + shade * side * beside))
    return torch.cat([colours.minimum(alpha), alpha], dim=1)


def contact_shadow(
    fields: Fields, scenes: Sequence[int], *, layout: Layout, base: Tensor
) -> Tensor:
    """Return how much of the ground's light is lost, (B, 1, R, R) in [0, 0.45]."""
    strength = fields.x.new_tensor([_SHADOW * SCENES[i].grounded for i in scenes])
    x, scale = layout.centre[:, 0].view(-1, 1, 1, 1), layout.scale.view(-1, 1, 1, 1)
    across = ((fields.x - x) / (0.42 * scale)).square()
    down = ((fields.y - base) / (0.09 * scale)).square()
    return strength.view(-1, 1, 1, 1) * torch.exp(-((across + down) ** 1.5))


def foregrounds(
    fields: Fields, scenes: Sequence[int], *, layout: Layout, base: Tensor
) -> tuple[Tensor, Tensor]:
    """Return colour (B, 3, R, R) and coverage (B, 1, R, R) of what stands before the subjects.

    Args:
        fields: Noise of the pictures; one layout number decides whether there is anything.
        scenes: Index into `SCENES` for each row.
        layout: Where the subjects are.
        base: Height of their lowest point, (B, 1, 1, 1).
    """
    side = fields.size_px
    colour = fields.noise.new_zeros(len(scenes), 3, side, side)
    coverage = fields.noise.new_zeros(len(scenes), 1, side, side)
    has_one = (fields.uniforms[:, _GATE_NUMBER] < FOREGROUND_SHARE).tolist()
    scale = layout.scale.view(-1, 1, 1, 1)
    edge = base - (_COVER + _COVER_RANGE * fields.u(_COVER_NUMBER)) * scale
    away = (fields.x - layout.centre[:, 0].view(-1, 1, 1, 1)).abs() / scale
    window = smoothstep(0.75, 0.55, away)  # the foreground ends a little beside the subject
    for index in sorted(set(scenes)):
        draw = SCENES[index].foreground
        rows = [row for row, scene in enumerate(scenes) if scene == index and has_one[row]]
        if draw is None or not rows:
            continue
        paint, shape = draw(fields.select(rows), edge[rows], base[rows])
        colour[rows] = paint.clamp(0, 1).expand(len(rows), 3, side, side)
        coverage[rows] = shape * window[rows]
    return colour, coverage
