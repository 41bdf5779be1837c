"""Pixel arithmetic, and smooth fields that finished pictures are changed by; noise decides them."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.noise import grain

CELLS = 32  # a side, of the four noise fields
_SOFT_CHANNEL = {3: 0, 5: 2, 7: 1}  # each blur width reads its own field, so they are independent
Colour = tuple[int, int, int]


def smoothstep(low: float | Tensor, high: float | Tensor, value: Tensor) -> Tensor:
    """Rise smoothly from 0 at `low` to 1 at `high`; falls when `low` is above `high`."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return `first` where `share` is 0 and `second` where it is 1; all broadcast."""
    return torch.lerp(first, second, share)


def over(picture: Tensor, colour: Tensor, coverage: Tensor) -> Tensor:
    """Paint `colour` on `picture` (B, 3, H, W) where `coverage` in [0, 1] says so."""
    return torch.lerp(picture, colour, coverage)


def paste(picture: Tensor, sprite: Tensor) -> Tensor:
    """Put a premultiplied RGBA `sprite` (B, 4, H, W) on `picture` (B, 3 or 4, H, W)."""
    return picture * (1 - sprite[:, 3:]) + sprite[:, : picture.shape[1]]


@dataclass(frozen=True, eq=False)
class PictureFields:
    """The noise and the pixels of a group of square pictures; lengths are shares of the side."""

    x: Tensor  # (1, 1, 1, R) pixel centres in [0, 1], rightwards
    y: Tensor  # (1, 1, R, 1) pixel centres in [0, 1], downwards
    noise: Tensor  # (B, 4, 32, 32) standard normal

    @property
    def size_px(self) -> int:
        """Side R of the picture."""
        return self.x.shape[-1]

    def rgb(self, red: int, green: int, blue: int) -> Tensor:
        """Return a colour given in 0..255 as (1, 3, 1, 1) in [0, 1]."""
        return self.x.new_tensor([red / 255, green / 255, blue / 255]).view(1, 3, 1, 1)

    def distance(self, x: float | Tensor, y: float | Tensor) -> Tensor:
        """Return the distance of each pixel from a point, (B, 1, R, R)."""
        return torch.hypot(self.x - x, self.y - y)

    def select(self, rows: list[int] | slice) -> Self:
        """Return the fields of some pictures of the group; of a slice they are views."""
        return replace(self, noise=self.noise[rows])

    def soft(self, width: int) -> Tensor:
        """Return a smooth field (B, 1, R, R) of deviation about 1; `width` is 3, 5 or 7 cells."""
        channel = _SOFT_CHANNEL[width]
        field = self.noise[:, channel : channel + 1]
        padded = F.pad(field, (width - 1,) * 4, mode="reflect")
        smooth = F.avg_pool2d(F.avg_pool2d(padded, width, 1), width, 1)
        return self._enlarge(smooth * (1.5 * width), "bilinear")

    def cells(self, count: int, channel: int) -> Tensor:
        """Return a lattice of `count` x `count` standard normals as flat cells (B, 1, R, R)."""
        side = CELLS // count
        means = F.avg_pool2d(self.noise[:, channel : channel + 1], side) * side
        return self._enlarge(means, "nearest")

    def _enlarge(self, field: Tensor, mode: str) -> Tensor:
        return F.interpolate(field, size=(self.size_px, self.size_px), mode=mode)


def fields_of(noise: Tensor, *, size_px: int) -> PictureFields:
    """Return the fields that `noise` (B, 32, h, w) gives pictures of `size_px` a side."""
    centres = (torch.arange(size_px, device=noise.device, dtype=noise.dtype) + 0.5) / size_px
    return PictureFields(centres.view(1, 1, 1, -1), centres.view(1, 1, -1, 1), coarse_fields(noise))


def coarse_fields(noise: Tensor) -> Tensor:
    """Return the fields (B, 4, 32, 32) that pictures are drawn from, whatever their size."""
    field = grain(noise)
    factor = field.shape[-1] // CELLS
    # A mean of n normals has deviation 1 / sqrt(n).
    return field if factor == 1 else F.avg_pool2d(field, factor) * factor
