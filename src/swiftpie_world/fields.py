"""What places are drawn with: pixel arithmetic, and fields read from noise."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.noise import anchors, layout_uniforms
from swiftpie.places.fields import CELLS, Colour, coarse_fields
from swiftpie.places.looks import smoothstep

__all__ = ["SIDE", "Colour", "Fields", "hsv", "over", "paste", "read_fields", "smoothstep"]

SIDE = CELLS
_SOFT_CHANNEL = {3: 0, 5: 2, 7: 1}  # each blur width reads its own field, so they are independent


def hsv(hue: Tensor, *, saturation: float | Tensor, value: float | Tensor) -> Tensor:
    """Turn hue (B, 1, H, W), in turns, into red, green and blue (B, 3, H, W) in [0, 1]."""
    sector = hue % 1 * 6
    places = [(offset + sector) % 6 for offset in (5, 3, 1)]
    chroma = torch.cat([torch.minimum(k, 4 - k).clamp(0, 1) for k in places], dim=1)
    return value - value * saturation * chroma


@dataclass(frozen=True, eq=False)
class Fields:
    """The noise and the pixels of a group of square pictures; lengths are shares of the side."""

    x: Tensor  # (1, 1, 1, R) pixel centres in [0, 1], rightwards
    y: Tensor  # (1, 1, R, 1) pixel centres in [0, 1], downwards
    noise: Tensor  # (B, 4, 32, 32) standard normal
    uniforms: Tensor  # (B, 16) in (0, 1)
    horizon: Tensor  # (B, 1, 1, 1) its height
    sun_x: Tensor  # (B, 1, 1, 1) where sun, moon or planet stands, from the left
    planet_y: Tensor  # (B, 1, 1, 1) how far down a planet stands

    def select(self, rows: list[int] | slice) -> "Fields":
        """Return the fields of some pictures of the group; of a slice they are views."""
        drawn = ("noise", "uniforms", "horizon", "sun_x", "planet_y")
        return replace(self, **{name: getattr(self, name)[rows] for name in drawn})

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

    def u(self, index: int) -> Tensor:
        """Return layout number `index` in (0, 1), (B, 1, 1, 1)."""
        return self.uniforms[:, index].view(-1, 1, 1, 1)

    def ridge(self, width: int, which: int = 0) -> Tensor:
        """Return a smooth line over x, (B, 1, 1, R) of deviation about 1."""
        line = F.pad(self._columns(which), (width, width), mode="reflect")
        line = F.avg_pool1d(line, 2 * width + 1, 1) * math.sqrt(2 * width + 1)
        return F.interpolate(line, size=self.size_px, mode="linear").unsqueeze(2)

    def columns(self, count: int, which: int) -> Tensor:
        """Return one number for each of `count` columns, drawn as steps over x, (B, 1, 1, R)."""
        steps = F.interpolate(self._columns(which), size=count, mode="area") * 1.7
        return F.interpolate(steps, size=self.size_px, mode="nearest").unsqueeze(2)

    def _columns(self, which: int) -> Tensor:
        return self.noise[:, 1 + which : 2 + which].mean(dim=2) * math.sqrt(SIDE)


def read_fields(noise: Tensor, *, size_px: int) -> Fields:
    """Return what `noise` (B, 32, h, w) says, for pictures of `size_px` a side.

    Noise of larger pictures (h and w multiples of 16) is pooled to the same coarseness, so that a
    scene has the same features at any size.
    """
    uniforms = layout_uniforms(noise)
    horizon, sun_x, planet_y = anchors(uniforms).T[..., None, None, None]
    centres = (torch.arange(size_px, device=noise.device, dtype=noise.dtype) + 0.5) / size_px
    return Fields(
        noise=coarse_fields(noise),
        uniforms=uniforms,
        horizon=horizon,
        sun_x=sun_x,
        planet_y=planet_y,
        x=centres.view(1, 1, 1, -1),
        y=centres.view(1, 1, -1, 1),
    )


def over(picture: Tensor, colour: Tensor, coverage: Tensor) -> Tensor:
    """Paint `colour` on `picture` (B, 3, H, W) where `coverage` in [0, 1] says so."""
    return torch.lerp(picture, colour, coverage)


def paste(picture: Tensor, sprite: Tensor) -> Tensor:
    """Put a premultiplied RGBA `sprite` (B, 4, H, W) on `picture` (B, 3 or 4, H, W)."""
    return picture * (1 - sprite[:, 3:]) + sprite[:, : picture.shape[1]]
