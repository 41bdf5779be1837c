"""Pixel arithmetic shared by all scenes: places, soft edges, blends and colours."""

from dataclasses import dataclass

import torch
from torch import Tensor

_EDGE_PX = 1.5  # half width of an anti-aliased edge


@dataclass(frozen=True, eq=False)
class Canvas:
    """The pixels of a square picture; lengths are shares of its side."""

    x: Tensor  # (1, 1, 1, R) pixel centres in [0, 1], rightwards
    y: Tensor  # (1, 1, R, 1) pixel centres in [0, 1], downwards

    @property
    def size_px(self) -> int:
        """Side R of the picture."""
        return self.x.shape[-1]

    def rgb(self, red: int, green: int, blue: int) -> Tensor:
        """Return a colour given in 0..255 as (1, 3, 1, 1) in [0, 1]."""
        return self.x.new_tensor([red / 255, green / 255, blue / 255]).view(1, 3, 1, 1)

    def below(self, line: float | Tensor, soft: float | None = None) -> Tensor:
        """Return 1 below the height `line`, 0 above, with a soft edge."""
        half = _EDGE_PX / self.size_px if soft is None else soft
        return smoothstep(line - half, line + half, self.y)

    def distance(self, x: float | Tensor, y: float | Tensor) -> Tensor:
        """Return the distance of each pixel from a point, (B, 1, R, R)."""
        return torch.hypot(self.x - x, self.y - y)

    def depth(self, line: float | Tensor, reach: float | Tensor) -> Tensor:
        """Return 0 at the height `line`, rising to 1 at `reach` below it."""
        return ((self.y - line) / reach).clamp(0, 1)


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


def hsv(hue: Tensor, *, saturation: float | Tensor, value: float | Tensor) -> Tensor:
    """Turn hue (B, 1, H, W), in turns, into red, green and blue (B, 3, H, W) in [0, 1]."""
    sector = hue % 1 * 6
    channels = []
    for offset in (5, 3, 1):
        k = (offset + sector) % 6
        channels.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.cat(channels, dim=1)


def grey(picture: Tensor) -> Tensor:
    """Return the luminance of `picture` (B, 3, H, W), repeated in three channels."""
    weights = picture.new_tensor([0.3, 0.59, 0.11]).view(1, 3, 1, 1)
    return (picture * weights).sum(dim=1, keepdim=True).expand_as(picture)


def paste(picture: Tensor, sprite: Tensor) -> Tensor:
    """Put a premultiplied RGBA `sprite` (B, 4, H, W) on `picture` (B, 3 or 4, H, W)."""
    return picture * (1 - sprite[:, 3:]) + sprite[:, : picture.shape[1]]
