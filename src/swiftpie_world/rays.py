"""A camera over level ground, and shade there by rays towards the light and the sky.

Unlike the formulas that draw training pictures and users' pictures, shade is the linear light that
a plane receives in a pinhole camera. Only how wide soft light is suits what Cycles draws.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import sample

FOCAL = 1.2  # focal length of the camera, in heights of the picture
_SUN_RAYS, _SKY_RAYS = 40, 64  # for each point of the ground
_STEPS = 16  # points on the part of a ray that passes the box around the subject
# Share of light from a clear sun; and degrees of its radius, of the widest light, and by how much
# light of less share is wider, over what it has less. They suit a can and a ball that Cycles drew
# in 28 of the library's places.
_CLEAR, _SUN, _WIDEST, _WIDENS = 0.72, 0.5, 60.0, 270.0
_REFLECTED = 0.3  # light of the sky that comes from a subject instead, over that of the sky
_SOLID = 0.5  # opacity from which a subject hides light
_GAMMA = 2.2  # exponent from values of pixels to light
_GOLDEN = (math.sqrt(5) - 1) / 2


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


class Plane(NamedTuple):
    """The ground of a square picture, in its sides from the top."""

    foot: float  # row on which a subject stands
    horizon: float
    middle: float = 0.5  # column of the optical axis


class Source(NamedTuple):
    """The light of a place."""

    direction: Tensor  # (3,) unit, towards what lights one side: x right, y down, z to the viewer
    share: float  # of that in the light on a front that faces it by half


def ground_light(solid: Tensor, depth: Tensor, plane: Plane, source: Source) -> Tensor:
    """Return the factor (1, 1, R, R) of the values of ground beside a subject.

    The subject stands upright at `plane.foot` and reaches `depth` (1, 1, R, R), in sides of the
    picture, to the viewer and away from it where `solid` (1, 1, R, R), its opacity, is above a
    half.
    """
    side = solid.shape[-1]
    thick = depth * (solid > _SOLID)
    rows, columns = torch.nonzero(thick[0, 0], as_tuple=True)
    if not len(rows):
        return torch.ones_like(solid)
    box = torch.stack([
        torch.stack([columns.min(), columns.max() + 1]) / side - plane.middle,
        torch.stack([torch.zeros(()), plane.foot - rows.min() / side]),
        torch.stack([-thick.max(), thick.max()]),
    ])  # fmt: skip
    half = side // 2  # a shade has no finer edge, as a lens blurs it
    at = (torch.arange(half) + 0.5) / half
    y, x = torch.meshgrid(at, at, indexing="ij")
    below = y > plane.horizon + 0.5 / half
    # A point of the ground, in sides of the picture where the subject stands; z to the viewer.
    far = FOCAL * (plane.foot - plane.horizon) / (y - plane.horizon)[below]
    points = torch.stack(
        [(x[below] - plane.middle) * far / FOCAL, torch.zeros_like(far), FOCAL - far], 1
    )
    # What stands nearer than its foot shows would hide the foot, as the camera looks down.
    slope = (plane.foot - plane.horizon) / FOCAL
    up = (plane.foot - (torch.arange(side)[:, None] + 0.5) / side).clamp_min(0)
    points[:, 2] += (thick[0, 0] - up / slope).max().clamp_min(0)
    lit = 2 * source.share * max(0.0, -float(source.direction[1]))  # a front gets a half of it
    hidden = (1 - source.share) * (1 - _REFLECTED) * _hidden(points, _sky(), thick, box, plane)
    if lit:
        hidden = hidden + lit * _hidden(points, _sun(source), thick, box, plane)
    light = torch.ones(half, half)
    light[below] = 1 - hidden / (1 - source.share + lit)
    return F.interpolate(light.pow(1 / _GAMMA)[None, None], (side, side), mode="bilinear")


def _hidden(points: Tensor, rays: Tensor, thick: Tensor, box: Tensor, plane: Plane) -> Tensor:
    """Return the share of `rays` (N, 3), y up, that each of `points` (P, 3) loses."""
    count, rays = torch.zeros(len(points)), rays[rays[:, 1] > 0]
    for number, ray in enumerate(rays):
        # Where the ray is within the box: the greatest of three beginnings and the least end.
        ends = (box[None] - points[..., None]) / ray.where(ray.abs() > 1e-6, 1e-6)[None, :, None]
        first = ends.amin(2).amax(1).clamp_min(0)
        last = ends.amax(2).amin(1)
        near = (last > first).nonzero().flatten()
        if not len(near):
            continue
        shift = (number * _GOLDEN) % 1
        steps = (torch.arange(_STEPS) + shift) / _STEPS
        way = torch.lerp(first[near, None], last[near, None], steps)
        middle = (-points[near, 2:] / ray[2].where(ray[2].abs() > 1e-6, 1e-6)).clamp_min(0)
        way = torch.cat([way, middle.clamp(first[near, None], last[near, None])], dim=1)
        on = points[near, None] + way[..., None] * ray
        places = 2 * torch.stack([plane.middle + on[..., 0], plane.foot - on[..., 1]], dim=-1) - 1
        deep = sample(thick, places[None])[0, 0]
        count[near] += ray[1] * ((deep > 0) & (on[..., 2].abs() <= deep)).any(dim=1)
    return count / rays[:, 1].sum()


def _sky() -> Tensor:
    """Return rays (N, 3) to an even sky, y up."""
    number = torch.arange(_SKY_RAYS) + 0.5
    up, turn = number / _SKY_RAYS, 2 * math.pi * _GOLDEN * number
    flat = (1 - up.square()).sqrt()
    return torch.stack([flat * torch.cos(turn), up, flat * torch.sin(turn)], dim=1)


def _sun(source: Source) -> Tensor:
    """Return rays (N, 3), y up, to a disc that is wider for light that is less of one side."""
    wider = _WIDENS * max(0.0, _CLEAR - source.share)
    radius = math.radians(min(_WIDEST, _SUN + wider))
    number = torch.arange(_SUN_RAYS) + 0.5
    out, turn = (number / _SUN_RAYS).sqrt() * math.sin(radius), 2 * math.pi * _GOLDEN * number
    centre = source.direction * torch.tensor([1.0, -1.0, 1.0])
    across = torch.linalg.cross(centre, torch.tensor([0.3, 0.1, 0.9]))
    across = across / across.norm()
    down = torch.linalg.cross(centre, across)
    aside = torch.cos(turn)[:, None] * across + torch.sin(turn)[:, None] * down
    return (1 - out[:, None].square()).sqrt() * centre + out[:, None] * aside
