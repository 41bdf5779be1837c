"""A camera over level ground, and where its pixels see the ground."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Camera(NamedTuple):
    """Where a camera is, in metres from a thing's foot, and its lens, in sides of the picture."""

    height: float
    distance: float
    pitch: float  # radians down
    focal: float
    column: float  # of the axis
    row: float

    @classmethod
    def aimed(
        cls, height: float, distance: float, pitch: float, focal: float, foot: tuple[float, float]
    ) -> "Camera":
        """Return the camera that sees the foot at a column and a row, in sides of the picture."""
        depth = distance * math.cos(pitch) + height * math.sin(pitch)
        above = distance * math.sin(pitch) - height * math.cos(pitch)
        return cls(height, distance, pitch, focal, foot[0], foot[1] + focal * above / depth)

    def ground(self, size_px: int) -> tuple[Tensor, Tensor]:
        """Return where pixels see the ground, and which of them do.

        Returns:
            (2, H, W) metres right of the foot and behind it, and (1, H, W), true below the horizon.
        """
        places = (torch.arange(size_px) + 0.5) / size_px
        across = (places[None] - self.column) / self.focal
        up = (self.row - places[:, None]) / self.focal
        cos, sin = math.cos(self.pitch), math.sin(self.pitch)
        fall = sin - up * cos
        far = self.height / fall.clamp_min(1e-6)
        behind = ((cos + up * sin) * far - self.distance).expand(-1, size_px)
        return torch.stack([across * far, behind]), (fall > 1e-3).expand(-1, size_px)[None]
