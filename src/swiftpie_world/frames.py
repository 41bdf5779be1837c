"""Reference frames of subjects, and frames drawn into pictures."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import SUBJECT_FILL, Layout, pixel_grid, to_affine, warp

FRAME_PX = 128

_PROBE_SCALE = 1 / math.sqrt(2)  # a square turned by any angle still fits
_BOX_ALPHA = 0.1  # fainter pixels do not count for the bounding box


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


def draw_frames(frames: Tensor, layout: Layout, *, size_px: int) -> Tensor:
    """Draw reference frames (B, 4, 128, 128) into transparent pictures (B, 4, R, R)."""
    affine = to_affine(layout)
    drawn = warp(frames, affine, (size_px, size_px))
    # Below half the frame's size, bilinear samples would skip pixels: read a smaller frame.
    rows = (layout.scale * size_px < FRAME_PX / 2).nonzero().flatten()
    if len(rows):
        drawn[rows] = warp(F.avg_pool2d(frames[rows], 2), affine[rows], (size_px, size_px))
    return drawn
