"""Everything in a picture that looks random, read from its noise: fields, ridges, cells, dots."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.data.scenes.drawing import Canvas, smoothstep
from swiftpie.noise import anchors, grain, layout_uniforms

SIDE = 32  # side of the four grain fields at 128 px: 16 latent pixels, unfolded by two

_SOFT_CHANNEL = {3: 0, 5: 2, 7: 1}  # each blur width reads its own field, so they are independent


@dataclass(frozen=True, eq=False)
class Fields(Canvas):
    """The noise of a group of pictures, ready to draw with; lengths are shares of the side."""

    noise: Tensor  # (B, 4, 32, 32) standard normal
    uniforms: Tensor  # (B, 16) in (0, 1)
    horizon: Tensor  # (B, 1, 1, 1) its height
    sun_x: Tensor  # (B, 1, 1, 1) where sun, moon or planet stands, from the left
    planet_y: Tensor  # (B, 1, 1, 1) how far down a planet stands

    def select(self, rows: list[int]) -> "Fields":
        """Return the fields of some pictures of the group."""
        drawn = ("noise", "uniforms", "horizon", "sun_x", "planet_y")
        return replace(self, **{name: getattr(self, name)[rows] for name in drawn})

    def u(self, index: int) -> Tensor:
        """Return layout number `index` in (0, 1), (B, 1, 1, 1)."""
        return self.uniforms[:, index].view(-1, 1, 1, 1)

    def soft(self, width: int) -> Tensor:
        """Return a smooth field (B, 1, R, R) of deviation about 1; `width` is 3, 5 or 7 cells."""
        channel = _SOFT_CHANNEL[width]
        field = self.noise[:, channel : channel + 1]
        padded = F.pad(field, (width - 1,) * 4, mode="reflect")
        smooth = F.avg_pool2d(F.avg_pool2d(padded, width, 1), width, 1)
        return self._enlarge(smooth * (1.5 * width), "bilinear")

    def ridge(self, width: int, which: int = 0) -> Tensor:
        """Return a smooth line over x, (B, 1, 1, R) of deviation about 1."""
        line = F.pad(self._columns(which), (width, width), mode="reflect")
        line = F.avg_pool1d(line, 2 * width + 1, 1) * math.sqrt(2 * width + 1)
        return F.interpolate(line, size=self.size_px, mode="linear").unsqueeze(2)

    def columns(self, count: int, which: int) -> Tensor:
        """Return one number for each of `count` columns, drawn as steps over x, (B, 1, 1, R)."""
        steps = F.interpolate(self._columns(which), size=count, mode="area") * 1.7
        return F.interpolate(steps, size=self.size_px, mode="nearest").unsqueeze(2)

    def rows(self, count: int) -> Tensor:
        """Return `count` standard normals (B, count) that have nothing to do with each other."""
        return self.noise[:, 0].mean(dim=2)[:, :count] * math.sqrt(SIDE)

    def cells(self, count: int, channel: int) -> Tensor:
        """Return a lattice of `count` x `count` standard normals as flat cells (B, 1, R, R)."""
        side = SIDE // count
        means = F.avg_pool2d(self.noise[:, channel : channel + 1], side) * side
        return self._enlarge(means, "nearest")

    def dots(
        self, count: int, *, size: int, place: int, above: float, radius: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scatter soft discs, at most one in each cell of a `count` x `count` lattice.

        Args:
            count: Cells a side; divides 32.
            size: Field whose cells decide whether there is a disc, and how large it is.
            place: Field that places the disc in its cell; the next one gives the height.
            above: A cell holds a disc when its number is above this.
            radius: Largest radius in cells.

        Returns:
            Coverage, two numbers in (0, 1) for each disc, and the distance from its centre in
            cells; all (B, 1, R, R).
        """
        value = self.cells(count, size)
        first = torch.special.ndtr(self.cells(count, place))
        second = torch.special.ndtr(self.cells(count, (place + 1) % 3))
        across = (self.x * count) % 1 - 0.4 - 0.2 * first
        down = (self.y * count) % 1 - 0.4 - 0.2 * second
        distance = torch.hypot(across, down)
        reach = radius * (0.6 + 0.4 * torch.tanh(value - above))
        edge = 0.6 * count / self.size_px
        coverage = smoothstep(reach + edge, reach - edge, distance) * (value > above)
        return coverage, first, second, distance

    def _columns(self, which: int) -> Tensor:
        return self.noise[:, 1 + which : 2 + which].mean(dim=2) * math.sqrt(SIDE)

    def _enlarge(self, field: Tensor, mode: str) -> Tensor:
        return F.interpolate(
            field,
            size=(self.size_px, self.size_px),
            mode=mode,
            align_corners=False if mode == "bilinear" else None,
        )


def read_fields(noise: Tensor, *, size_px: int) -> Fields:
    """Return what `noise` (B, 32, 16, 16) says, for pictures of `size_px` a side."""
    uniforms = layout_uniforms(noise)
    horizon, sun_x, planet_y = anchors(uniforms).T[..., None, None, None]
    centres = (torch.arange(size_px, device=noise.device, dtype=noise.dtype) + 0.5) / size_px
    return Fields(
        noise=grain(noise),
        uniforms=uniforms,
        horizon=horizon,
        sun_x=sun_x,
        planet_y=planet_y,
        x=centres.view(1, 1, 1, -1),
        y=centres.view(1, 1, -1, 1),
    )
