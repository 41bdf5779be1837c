"""Where a subject stands: its layout, read from the noise, the scene and the caption."""

from collections.abc import Sequence

import torch
from torch import Tensor

from swiftpie.data.captions import Attributes
from swiftpie.data.posing import head_point, lowest_point
from swiftpie.data.scenes import SCENES
from swiftpie.layout import Layout
from swiftpie.noise import layout_uniforms

# Smallest frame and what the noise adds, in sides of the picture.
_SCALES = {"normal": (0.48, 0.22), "tiny": (0.30, 0.06), "huge": (0.72, 0.14)}
_HAT_ROOM = 0.88  # a subject shrinks by this much so that its hat stays in the picture
_HAT_SCALE = 0.42  # side of the hat's frame over the subject's
_HAT_SINK = 0.10  # the hat's centre above the top of the head, in sides of the subject's frame
_FLOOR, _FLOOR_RANGE = 0.80, 0.14  # where grounded subjects stand, 0 = top of the picture
_TILT_GROUNDED, _TILT_FLOATING = 0.2, 0.4  # largest rotation, radians
_MARGIN = 0.85  # how much of the frame must stay inside the picture


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
    )
    margin = _MARGIN * scale / 2
    standing = _FLOOR + _FLOOR_RANGE * u[:, 1] - lowest_point(frames, layout)
    floating = margin + (1 - 2 * margin) * u[:, 1]
    x = _across(u[:, 0], scale, margin=margin, attributes=attributes)
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


def _across(
    u: Tensor, scale: Tensor, *, margin: Tensor, attributes: Sequence[Attributes]
) -> Tensor:
    side = u.new_tensor([{"none": 0, "left": -1, "right": 1}[a.side] for a in attributes])
    near_edge = 0.4 * scale + 0.1 * u
    free = margin + (1 - 2 * margin) * u
    return torch.where(side == 0, free, torch.where(side < 0, near_edge, 1 - near_edge))
