"""Eyes of animals in photographs: two dark spots, and a third one below them, the nose."""

import math
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import pixel_grid

_HALVED = 2  # frames of 128 px are searched in cells of 2
_SPOTS = ((1, 5), (3, 9), (3, 13), (5, 17))  # cells of a spot, and of what is about it
_DARKEST = 0.08  # brightness that is added, since a share of nothing says nothing
_INSIDE = 0.6  # opacity of a cell that is the subject's
_APART_CELLS = range(2, 15)  # half distances of eyes that are tried
_TILT_CELLS = (-2, -1, 0, 1, 2)  # by how much the right eye is lower than the middle
_STEEPEST, _TILT_PRIOR = 0.5, 0.3  # of the half distance
_NOSES_BELOW = (0.9, 1.2, 1.5, 1.8, 2.2)  # likewise, from the middle between the eyes
_FAINTEST = 0.25  # an eye
_UNLIKE = 0.3  # weight of a difference between both eyes
_NOSE, _NOSE_LIMIT = 0.6, 1.5  # weight of a nose, and what counts of it, of the eyes
_BETWEEN = 0.3  # weight of a spot between the eyes, where none should be
_BELOW, _APART = 0.44, 0.22  # expected, of the width of the head: from its top, half distance
_PRIOR = (0.3, 0.22, 0.5)  # deviations of x and y, and of the logarithm of the distance
_LEAST = 0.27  # of a score: less is no face
_TEXTURE = 0.008  # relative, from pixel to pixel: half of a fur differs by more, drawings by less
_TEXTURE_ROOM = 5  # pixels of a square within the subject
_SOLID = 0.95


class Eyes(NamedTuple):
    """Where two eyes are in frames, (B,) each, in half sides of them."""

    x: Tensor  # of the middle between them
    y: Tensor
    apart: Tensor  # half their distance


def photographed_eyes(frames: Tensor, head_x: Tensor, top: Tensor, width: Tensor) -> Eyes:
    """Return the eyes in frames that show fur or the like; NaN where no face is found.

    Drawn subjects, whose colours are smooth, have no such eyes.

    Args:
        frames: Premultiplied RGBA in [0, 1], (B, 4, 128, 128).
        head_x: The middle of each head, (B,), in half sides of the frame.
        top: Its highest point.
        width: Its width.
    """
    spots = _dark_spots(frames)
    step = 2 / spots.shape[-1]
    ways = [
        (apart, tilt)
        for apart, tilt in product(_APART_CELLS, _TILT_CELLS)
        if abs(tilt) <= _STEEPEST * apart
    ]
    near = F.max_pool2d(spots, 3, stride=1, padding=1)
    faces = torch.stack([_faces(spots, near, *way) for way in ways], dim=1)  # (B, W, n, n)
    distance = step * frames.new_tensor([apart for apart, _ in ways])
    head_x, top, width = (each.view(-1, 1, 1, 1) for each in (head_x, top, width))
    x, y = pixel_grid(*spots.shape[-2:], like=spots).unbind(-1)
    across, down = (x - head_x) / _PRIOR[0], (y - top - _BELOW * width) / _PRIOR[1]
    far = (distance.view(1, -1, 1, 1) / (_APART * width)).log() / _PRIOR[2]
    score = faces * torch.exp(-0.5 * (across.square() + down.square() + far.square()))
    best, place = score.flatten(1).max(dim=1)
    is_face = (best > _LEAST) & (_texture(frames) > _TEXTURE)
    cell = place % x.numel()
    found = (x.flatten()[cell], y.flatten()[cell], distance[place // x.numel()])
    return Eyes(*(torch.where(is_face, values, math.nan) for values in found))


def _faces(spots: Tensor, near: Tensor, apart: int, tilt: int) -> Tensor:
    """Return how much each cell of `spots` (B, n, n) is the middle of two eyes above a nose.

    `near` are the darkest of the spots about each cell, as noses are not exactly there.
    """
    left, right = _seen_from(spots, -apart, -tilt), _seen_from(spots, apart, tilt)
    eyes = torch.minimum(left, right) * (1 - _UNLIKE * (left - right).abs())
    eyes = eyes * math.exp(-0.5 * (tilt / apart / _TILT_PRIOR) ** 2)
    noses = [_seen_from(near, round(-tilt * way), round(way * apart)) for way in _NOSES_BELOW]
    nose = torch.minimum(torch.stack(noses).amax(dim=0), _NOSE_LIMIT * eyes)
    return torch.where(eyes > _FAINTEST, eyes + _NOSE * nose - _BETWEEN * spots, 0.0)


def _seen_from(field: Tensor, right: int, down: int) -> Tensor:
    """Return for each cell of (B, n, n) what lies so many cells away from it."""
    return field.roll((-down, -right), (1, 2))


def _dark_spots(frames: Tensor) -> Tensor:
    """Return by which share each cell (B, n, n) of the subject is darker than what is about it."""
    light, alpha = (
        F.avg_pool2d(plane, _HALVED)
        for plane in (frames[:, :3].mean(dim=1, keepdim=True), frames[:, 3:])
    )
    inside = (alpha > _INSIDE).to(alpha)
    darkest = torch.zeros_like(light)
    for spot, about in _SPOTS:
        fine, broad = (
            _mean(light * inside, size) / _mean(alpha * inside, size).clamp_min(0.05)
            for size in (spot, about)
        )
        darkest = torch.maximum(darkest, (broad - fine) / (broad + _DARKEST))
    return (darkest * -F.max_pool2d(-inside, 3, stride=1, padding=1))[:, 0]


def _texture(frames: Tensor) -> Tensor:
    """Return the median difference (B,) of a subject's pixels from their neighbours' mean."""
    light = frames[:, :3].mean(dim=1, keepdim=True)
    solid = (frames[:, 3:] > _SOLID).to(frames)
    within = -F.max_pool2d(-solid, _TEXTURE_ROOM, stride=1, padding=_TEXTURE_ROOM // 2)
    rough = (light - _mean(light, 3)).abs() / (light + _DARKEST)
    return torch.where(within > 0, rough, math.nan).flatten(1).nanmedian(dim=1).values


def _mean(field: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(field, size, 1, size // 2, count_include_pad=False)
