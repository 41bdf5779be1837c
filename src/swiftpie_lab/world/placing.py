"""Reference frames of subjects, and where a subject stands in a picture."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from swiftpie.geometry.layout import SUBJECT_FILL, Layout, pixel_grid, to_affine, warp
from swiftpie.noise import layout_uniforms
from swiftpie_lab.stickers.captions import Attributes
from swiftpie_lab.stickers.scenes import SCENES

FRAME_PX = 128

_PROBE_SCALE = 1 / math.sqrt(2)  # a square turned by any angle still fits
_BOX_ALPHA = 0.1  # fainter pixels do not count for the bounding box
# Smallest frame and what the noise adds, in sides of the picture.
_SCALES = {"normal": (0.48, 0.22), "tiny": (0.30, 0.06), "huge": (0.72, 0.14)}
_HAT_ROOM = 0.88  # a subject shrinks by this much so that its hat stays in the picture
_HAT_SCALE = 0.42  # side of the hat's frame over the subject's
_HAT_SINK = 0.10  # the hat's centre above the top of the head, in sides of the subject's frame
_FLOOR, _FLOOR_RANGE = 0.80, 0.14  # where grounded subjects stand, 0 = top of the picture
_TILT_GROUNDED, _TILT_FLOATING = 0.2, 0.4  # largest rotation, radians
_MARGIN = 0.85  # how much of the frame must stay inside the picture


def pose_subjects(tiles: Tensor, *, rotation: Tensor, flip: Tensor, hue: Tensor) -> Tensor:
    """Return reference frames (G, 4, 128, 128), premultiplied RGBA in [0, 1].

    Args:
        tiles: Premultiplied RGBA, (G, 4, h, w); uint8, or floating point in [0, 1].
        rotation: Radians, clockwise on screen, (G,).
        flip: 1 mirrors left to right before the rotation, (G,).
        hue: Turns the hue by this angle in radians; 0 keeps the colours, (G,).
    """
    sprites = tiles.float() / 255 if tiles.dtype == torch.uint8 else tiles
    sprites = _turn_hue(sprites, hue)
    middle = torch.full((len(rotation), 2), 0.5).to(rotation)
    scale, pose = torch.full_like(rotation, _PROBE_SCALE), rotation.new_zeros(len(rotation), 4)
    probe = Layout(middle, scale, rotation=rotation, flip=flip, pose=pose)
    shadow = warp(sprites[:, 3:], to_affine(probe), (FRAME_PX, FRAME_PX))
    low, high = bounding_box(shadow)
    grow = 2 * SUBJECT_FILL / (high - low).amax(dim=1)
    centre = 0.5 - (low + high) / 4 * grow[:, None]  # moves the middle of the box to the middle
    final = probe._replace(centre=centre, scale=_PROBE_SCALE * grow)
    return warp(sprites, to_affine(final), (FRAME_PX, FRAME_PX)).clamp(0, 1)


def bounding_box(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Return the corners (G, 2) of what is visible in `alpha` (G, 1, H, W), in [-1, 1]."""
    visible = alpha > _BOX_ALPHA
    pixel = 1 / alpha.shape[-1]  # half the width of a pixel in [-1, 1]
    low, high = [], []
    for other_axis in (1, 2):
        line = visible[:, 0].any(dim=other_axis)
        places = (torch.arange(line.shape[1], device=alpha.device) * 2 + 1) * pixel - 1
        low.append(torch.where(line, places, 1.0).amin(dim=1) - pixel)
        high.append(torch.where(line, places, -1.0).amax(dim=1) + pixel)
    return torch.stack(low, dim=1), torch.stack(high, dim=1)


def lowest_point(frames: Tensor, layout: Layout) -> Tensor:
    """Return how far the subject reaches below its centre, (B,) in sides of the picture."""
    step = 2  # every other pixel is exact enough, and four times cheaper
    alpha = frames[:, 3, ::step, ::step]
    points = pixel_grid(*alpha.shape[1:], like=alpha)
    across = (torch.sin(layout.rotation) * (1 - 2 * layout.flip)).view(-1, 1, 1)
    down = torch.cos(layout.rotation).view(-1, 1, 1)
    heights = across * points[..., 0] + down * points[..., 1]
    deepest = torch.where(alpha > 0.3, heights, -1.0).amax(dim=(1, 2))
    return deepest * layout.scale / 2


def head_point(frames: Tensor) -> Tensor:
    """Return where a hat touches each subject, x and y (B, 2) in [-1, 1] of the frame."""
    alpha = frames[:, 3, ::2, ::2]
    points = pixel_grid(*alpha.shape[1:], like=alpha)
    top = torch.where(alpha > 0.3, points[..., 1], 1.0).amin(dim=(1, 2))
    weight = alpha * (points[..., 1] <= top.view(-1, 1, 1) + 0.3)  # the top 15 % of the frame
    x = (weight * points[..., 0]).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp_min(1e-3)
    return torch.stack([x, top], dim=1)


def _turn_hue(sprites: Tensor, angle: Tensor) -> Tensor:
    """Rotate colours about the grey axis, keeping luminance roughly; alpha stays."""
    cos, sin = torch.cos(angle).view(-1, 1, 1), torch.sin(angle).view(-1, 1, 1)
    identity = torch.eye(3, device=sprites.device)
    mean = torch.full_like(identity, 1 / 3)
    cross = (identity.roll(1, 0) - identity.roll(-1, 0)) / math.sqrt(3)
    turn = mean + cos * (identity - mean) + sin * cross  # Rodrigues' formula
    alpha = sprites[:, 3:]
    colours = (turn @ sprites[:, :3].flatten(2)).view_as(sprites[:, :3])
    return torch.cat([colours.clamp_min(0).minimum(alpha), alpha], dim=1)


def place(
    noise: Tensor, frames: Tensor, scenes: Sequence[int], attributes: Sequence[Attributes]
) -> Layout:
    """Return the layout that belongs to `noise` (B, 32, 16, 16).

    Args:
        noise: Standard normal latents; sixteen block means decide.
        frames: Reference frames (B, 4, 128, 128); grounded subjects stand on their lowest point.
        scenes: Index into `SCENES` for each row.
        attributes: Size, side and accessory for each row.
    """
    u = layout_uniforms(noise)
    ranges = u.new_tensor([_SCALES[a.size] for a in attributes])
    hat = u.new_tensor([1.0 if a.accessory == "none" else _HAT_ROOM for a in attributes])
    scale = (ranges[:, 0] + ranges[:, 1] * u[:, 2]) * hat
    grounded = torch.tensor([SCENES[i].grounded for i in scenes], device=u.device)
    tilt = torch.where(grounded, _TILT_GROUNDED, _TILT_FLOATING)
    layout = Layout(
        centre=torch.zeros_like(u[:, :2]),
        scale=scale,
        rotation=(2 * u[:, 3] - 1) * tilt,
        flip=(u[:, 4] > 0.5).to(u.dtype),
        pose=u.new_zeros(len(u), 4),
    )
    margin = _MARGIN * scale / 2
    standing = _FLOOR + _FLOOR_RANGE * u[:, 1] - lowest_point(frames, layout)
    floating = margin + (1 - 2 * margin) * u[:, 1]
    side = u.new_tensor([{"none": 0, "left": -1, "right": 1}[a.side] for a in attributes])
    near_edge = 0.4 * scale + 0.1 * u[:, 0]
    x = torch.where(side < 0, near_edge, 1 - near_edge)
    x = torch.where(side == 0, margin + (1 - 2 * margin) * u[:, 0], x)
    y = torch.where(grounded, standing, floating)
    return layout._replace(centre=torch.stack([x, y], dim=1))


def place_hats(frames: Tensor, layout: Layout) -> Layout:
    """Return the layout of a hat on each subject's head."""
    head = head_point(frames)
    across = head[:, 0] / 2 * (1 - 2 * layout.flip)
    up = head[:, 1] / 2 - _HAT_SINK
    cos, sin = torch.cos(layout.rotation), torch.sin(layout.rotation)
    offset = torch.stack([cos * across - sin * up, sin * across + cos * up], dim=1)
    return layout._replace(
        centre=layout.centre + layout.scale[:, None] * offset, scale=layout.scale * _HAT_SCALE
    )
