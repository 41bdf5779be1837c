"""Where a subject goes in the picture: centre, scale, rotation, flip and pose as one value.

Coordinates: the picture and the reference frame both span [-1, 1] in x (right) and y (down).
The *reference frame* is the square picture of the subject that the encoders see: the subject's
bounding box is centred and its longer side covers `SUBJECT_FILL` of the frame.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.validation import Size

SQUARE: Size = (1, 1)
POSE_NUMBERS = 4  # numbers in a row of `Layout.pose`
SHARED_PX = 2**14  # least number of pixels for which several cores share the rows
SUBJECT_FILL = 0.9  # the rest is margin, so that soft edges and contact shadows stay inside
THINNEST = 0.05  # share of its frame that a subject is taken to have at least
WAVES = (0.25, 0.5, 1.0, 2.0, 4.0)  # frequencies of the position code, in turns a half picture


class Layout(NamedTuple):
    """Place of the reference frame in the picture, one row a sample.

    The frame is turned, stretched and bent by its pose before it is flipped, rotated and placed.
    """

    centre: Tensor  # (B, 2) x and y in [0, 1], 0 = left or top edge
    scale: Tensor  # (B,) side of the reference frame over that of the picture, > 0; or over its
    # width and height, (B, 2), so that subjects keep their shape in pictures that are not square
    rotation: Tensor  # (B,) radians, positive turns clockwise on screen
    flip: Tensor  # (B,) 1 mirrors the reference left to right, 0 keeps it
    pose: Tensor  # (B, 4) yaw, pitch, stretch and bend as `relief.turn` takes them, 0 keeps it


def to_affine(layout: Layout) -> Tensor:
    """Return the map (B, 2, 3) from the picture to the reference frame as its pose shows it."""
    cos, sin = torch.cos(layout.rotation), torch.sin(layout.rotation)
    mirror = 1 - 2 * layout.flip
    rows = [mirror * cos, mirror * sin, -sin, cos]
    scale = layout.scale.view(len(layout.scale), 1, -1)
    linear = torch.stack(rows, dim=-1).unflatten(-1, (2, 2)) / scale
    # Not by matmul, which autocast would do in bfloat16: too coarse for places.
    offset = -(linear * (2 * layout.centre - 1).unsqueeze(-2)).sum(dim=-1, keepdim=True)
    return torch.cat([linear, offset], dim=-1)


def from_box(
    box: tuple[float, float, float, float],
    *,
    size: Size = SQUARE,
    view: tuple[float, float] = (0.0, 0.0),
    extent: Tensor | None = None,
) -> Layout:
    """Return the upright layout whose subject stands in `box`, as large as fits.

    Args:
        box: left, top, right and bottom in [0, 1].
        size: height and width of the picture, in any unit.
        view: yaw and pitch in degrees, 0 as the reference shows the subject.
        extent: Width and height of the subject as shares of its frame, (1, 2), on the device of
            the layout; None: it fills the box along its longer side, on the processor.
    """
    boxes = torch.tensor([box], device=None if extent is None else extent.device)
    centre, scale = fit_to_boxes(boxes, size, extent)
    pose = centre.new_tensor([[*map(math.radians, view), 0.0, 0.0]])
    nothing = centre.new_zeros(1)
    return Layout(centre, scale, rotation=nothing, flip=nothing, pose=pose)


def fit_to_boxes(boxes: Tensor, size: Size, extent: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return centre and scale of the subjects of boxes (B, 4); see `from_box`."""
    height, width = size
    sides = boxes[:, 2:] - boxes[:, :2]
    room = sides * sides.new_tensor([width, height])
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    if extent is None:
        longest = room.amax(dim=1)
    else:
        shares = extent.clamp(min=THINNEST)
        shares = shares / shares.amax(dim=1, keepdim=True)
        longest = (room / shares).amin(dim=1)
        empty = (sides[:, 1] - longest * shares[:, 1] / height) / 2  # above and below
        centre = centre + torch.stack([torch.zeros_like(empty), empty], dim=1)
    return centre, _kept_in_shape(longest / SUBJECT_FILL / min(size), size)


def fitted(layout: Layout, size: Size) -> Layout:
    """Return the `layout` of a subject in a square picture for one of another shape.

    It keeps its size relative to the shorter side, and its feet stay at the same height.

    Args:
        layout: Made for a square picture; its scale is (B,).
        size: Height and width of the picture, in any unit.
    """
    lifted = SUBJECT_FILL / 2 * layout.scale * (1 - min(size) / size[0])
    down = torch.stack([torch.zeros_like(lifted), lifted], dim=1)
    return layout._replace(centre=layout.centre + down, scale=_kept_in_shape(layout.scale, size))


def upright(
    layout: Layout, *, is_turned: Tensor | None = None, flip: bool = False, tilt: float = 0.0
) -> Layout:
    """Return a layout without the mirror and the lean that its noise chose.

    The picture shows the subject from the same side, bent to the same side.

    Args:
        layout: B rows.
        is_turned: Which rows keep their rotation, (B,); None: none.
        flip: Mirror the reference left to right.
        tilt: Degrees to add to the rotation, positive turns clockwise on screen.
    """
    mirror = (1 - 2 * layout.flip) * (1 - 2 * flip)
    same = torch.ones_like(mirror)
    turn = torch.zeros_like(mirror) if is_turned is None else layout.rotation * is_turned
    return layout._replace(
        rotation=turn + math.radians(tilt),
        flip=torch.full_like(mirror, float(flip)),
        pose=layout.pose * torch.stack([mirror, same, same, mirror], dim=1),
    )


def _kept_in_shape(scale: Tensor, size: Size) -> Tensor:
    height, width = size
    if height == width:
        return scale
    return scale[:, None] * min(size) / scale.new_tensor([width, height])


def seen_view(layout: Layout) -> Tensor:
    """Return yaw and pitch as the picture shows them, (B, 2) in radians: a flip turns yaw round."""
    yaw, pitch = layout.pose[:, 0], layout.pose[:, 1]
    return torch.stack([yaw * (1 - 2 * layout.flip), pitch], dim=1)


def rotation_of(yaw: Tensor, pitch: Tensor) -> Tensor:
    """Return the rotation (B, 3, 3) that turns by `yaw` to the right and then tips by `pitch`."""
    (c, s), (cp, sp) = ((angle.cos(), angle.sin()) for angle in (yaw, pitch))
    entries = [c, torch.zeros_like(c), s, -s * sp, cp, c * sp, -s * cp, -sp, c * cp]
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def whole_frame(like: Tensor) -> Layout:
    """Return the layout that fills the picture with the frame, for every row of `like`."""
    zeros = torch.zeros(len(like), device=like.device)
    return Layout(
        centre=zeros[:, None].expand(-1, 2) + 0.5,
        scale=zeros + 1,
        rotation=zeros,
        flip=zeros,
        pose=zeros[:, None].expand(-1, 4),
    )


def pixel_grid(height: int, width: int, *, like: Tensor) -> Tensor:
    """Return pixel centres (height, width, 2) in [-1, 1], x first, on the device of `like`."""
    x, y = pixel_centres(width, like=like), pixel_centres(height, like=like)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def cell_positions(rows: int, columns: int, *, like: Tensor) -> Tensor:
    """Return cell centres (rows * columns, 2) in [-1, 1], x first."""
    return pixel_grid(rows, columns, like=like).flatten(0, 1)


def to_reference(affine: Tensor, points: Tensor) -> Tensor:
    """Map picture points (..., 2) by `affine` (B, 2, 3) to reference-frame points (B, ..., 2)."""
    flat = points.reshape(-1, 2)
    across, down, offset = affine[:, None].unbind(-1)  # (B, 1, 2) each
    mapped = flat[:, :1] * across + flat[:, 1:] * down + offset
    return mapped.unflatten(1, points.shape[:-1])


def warp(
    frame: Tensor,
    affine: Tensor,
    size: tuple[int, int],
    *,
    padding: str = "zeros",
    mode: str = "bilinear",
) -> Tensor:
    """Draw `frame` (B, C, H, W) into a picture of `size` (height, width); 0 outside the frame.

    `padding="border"` continues its rim there.
    """
    y, x = (pixel_centres(side, like=frame) for side in size)
    across, down, offset = affine[..., None, None].unbind(2)  # (B, 2, 1, 1) each
    # `to_reference` of all pixels, with the products taken once a row and once a column.
    grid = (x * across + y[:, None] * down + offset).movedim(1, -1)
    return sample(frame, grid.to(frame.dtype), padding=padding, mode=mode)


def sample(
    values: Tensor, grid: Tensor, *, padding: str = "zeros", mode: str = "bilinear"
) -> Tensor:
    """Return `values` (B, C, h, w) at a `grid` (B, H, W, 2) of places in [-1, 1], (B, C, H, W).

    PyTorch gives each picture of a batch to one core. Rows of one large picture are such a batch.
    """
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if is_traced or len(grid) > 1 or grid[..., 0].numel() < SHARED_PX or grid.device.type != "cpu":
        return F.grid_sample(values, grid, mode, padding, align_corners=False)
    cores, (rows, columns) = torch.get_num_threads(), grid.shape[1:3]
    shares = F.pad(grid, (0, 0, 0, 0, 0, -rows % cores)).reshape(cores, -1, columns, 2)
    same = values.expand(cores, -1, -1, -1)
    parts = F.grid_sample(same, shares, mode, padding, align_corners=False)
    return parts.movedim(0, 1).reshape(1, -1, cores * parts.shape[2], columns)[:, :, :rows]


def pixel_centres(count: int, *, like: Tensor) -> Tensor:
    """Return the centres of `count` pixels in a row, (count,) in [-1, 1]."""
    return (torch.arange(count, device=like.device, dtype=torch.float32) + 0.5) / count * 2 - 1


def fourier_features(points: Tensor) -> Tensor:
    """Return sines and cosines (..., 10 n) of positions (..., n); the picture's side is 2."""
    turns = points.new_tensor(WAVES) * math.pi * 2
    angles = (points.unsqueeze(-1) * turns).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def position_codes(rows: int, columns: int, *, like: Tensor) -> Tensor:
    """Return `fourier_features` of all cells of a picture, (20, rows, columns)."""
    codes = fourier_features(cell_positions(rows, columns, like=like))
    return codes.T.unflatten(1, (rows, columns))
