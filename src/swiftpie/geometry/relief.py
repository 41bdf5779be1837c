"""The relief of a cut-out: how far each of its points stands out, so that it can be turned and lit.

Coordinates are those of the reference frame, [-1, 1] in x (right) and y (down), and z towards the
viewer. The relief is a cushion over the outline: a disc becomes a ball, and a flat thing becomes a
cushion, too. Multiply heights by a factor for flatter things.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import pixel_centres, pixel_grid, rotation_of, sample

RELIEF_CELLS = 64  # a side of a relief
BACK = 0.8  # depth of the side that cannot be seen, as a share of the height in front

_STEEPER = 1 / BACK**2 - 1  # so much more counts the square of a height behind z = 0
_THICKNESS = 2 / 3  # greatest height over half the side of a square of the same area: a third
_ROUNDEST = math.sqrt(2)  # a long thing becomes as deep as it is wide, no thing deeper
_FAINT, _SOLID = 0.1, 0.5  # opacities up to which a cell is outside, and from which it is inside
_SWEEPS = ((16, 24, 0.98), (32, 12, 0.96), (64, 12, 0.96))  # cells, sweeps, spectral radius

_PLANES = 9  # heights at which a ray looks for the subject before the hit is refined
_CORRECTIONS = 2  # steps from the last plane outside to the surface
_WIDER = 1.1875  # sides of the frame within which the field falls on around the subject
_FALL = 0.07  # fall per cell as a share of the squared peak, as at the rim of a ball
_CELLS_OF_COLOUR = 32  # a side of the colours that continue those of the frame past its rim

_BENT_WIDTH = 0.8  # greatest half width of a bent subject, in radii of the bow
_STRAIGHTEST = 5e-4  # half sides in the radius of a bow, inverted
_REACH = 0.95  # what is stretched or bent ends here, in half sides
_SMALLEST = 1e-2  # half sides: an empty frame has no width and height

Deformation = Callable[[Tensor], Tensor]
"""Maps places (B, 2, ...) in stretched or bent frames to places in the frames."""


class Turned(NamedTuple):
    """A reference frame seen from elsewhere, and the relief that is visible from there."""

    frame: Tensor  # (B, 4, H, W) premultiplied
    height: Tensor  # (B, 1, h, w) of the visible surface; 0 outside, may be negative on the back
    normals: Tensor  # (B, 3, h, w)


def height(alpha: Tensor) -> Tensor:
    """Return how far the subject in `alpha` (B, 1, H, W) stands out, (B, 1, 64, 64).

    The height is the square root of u, where laplace(u) = -1 inside of the outline and u = 0
    outside, scaled to a third of the root of the subject's area, in half sides of the frame. What
    is long and thin stays round: it is no deeper than wide.
    """
    cover = _means(alpha.float(), RELIEF_CELLS)
    inside = ((cover - _FAINT) / (_SOLID - _FAINT)).clamp(0, 1)
    bump = _bump(inside)
    share = inside.mean((1, 2, 3), keepdim=True)
    peak = bump.amax((1, 2, 3), keepdim=True).clamp_min(1e-8)
    return bump.sqrt() * (_THICKNESS * (share / peak).sqrt()).clamp_max(_ROUNDEST)


def normals(height: Tensor) -> Tensor:
    """Return unit normals (B, 3, h, w) of a relief (B, 1, h, w); x right, y down, z to the viewer.

    They lie in the plane of the picture at the rim and point at the viewer outside.
    """
    # Of z^2 = u rather than z = sqrt(u), which is infinitely steep at the rim.
    return _unit(torch.cat([-_slopes(height.square()), 2 * height], dim=1))


def mesh(frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the body of a premultiplied reference frame (1, 4, H, W), for a renderer.

    Returns:
        Corners (N, 3), x right, y away from the viewer and z up; faces (M, 4), their numbers,
        and the colours of corners (N, 3).
    """
    relief, small = height(frame[:, 3:]), _means(frame, RELIEF_CELLS)
    # A corner takes the mean of the cells around it, and has no depth at the rim.
    near = F.avg_pool2d(torch.cat([relief, small], 1), 2, 1, 1)[0]
    is_rim = F.max_pool2d(F.pad((relief <= 0).float(), (1, 1, 1, 1), value=1.0), 2, 1)[0, 0]
    deep, line = near[0] * (1 - is_rim), torch.linspace(-1, 1, RELIEF_CELLS + 1)
    up, right = torch.meshgrid(-line, line, indexing="ij")
    sides = [torch.stack([right, away, up], -1).flatten(0, 1) for away in (-deep, BACK * deep)]
    corner = torch.arange(up.numel()).view_as(up)
    square = corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]
    front = torch.stack(square, -1)[relief[0, 0] > 0]
    colours = (near[1:4] / near[4].clamp_min(0.02)).flatten(1).T.clamp(0, 1)
    faces = torch.cat([front, front.flip(-1) + up.numel()])
    return torch.cat(sides), faces, colours.repeat(2, 1)


def turn(frame: Tensor, height: Tensor, pose: Tensor) -> Turned:
    """Show subjects from elsewhere, or stretched or bent.

    Args:
        frame: Premultiplied reference frames (B, 4, H, W); colours may have any range. Or their
            opacity alone, (B, 1, H, W).
        height: Their relief (B, 1, h, w).
        pose: Yaw, pitch, stretch and bend, (B, 4). Yaw and pitch are radians below a right angle.
            A subject that faces us faces right at a positive yaw, and is seen from above at a
            positive pitch. Stretch in [-0.4, 0.4] is the logarithm of the factor of width over
            height, at the same area: squashed above 0, tall and thin below. Bend in [-0.5, 0.5]
            bows the subject by twice as many radians, to the right above 0. Both leave the feet
            where they are and shrink what would not fit into the frame. Rows of zeros stay as
            they are, and nothing is computed for them. A trace follows all poses, if its sample
            has one.
    """
    turned = Turned(frame, height, normals(height))
    if _is_traced() and bool(pose.any()):  # a graph computes all rows, and then picks
        moved = _turn(frame, height.float(), pose.float())
        return Turned(*(_where_posed(pose, *both) for both in zip(moved, turned, strict=True)))
    is_moved, is_deformed = pose.any(dim=1), pose[:, 2:].any(dim=1)
    for chosen in (is_moved & ~is_deformed, is_deformed):
        rows = chosen.nonzero().flatten()
        if len(rows) > 0:
            moved = _turn(frame[rows], height[rows].float(), pose[rows].float())
            both = zip(turned, moved, strict=True)
            turned = Turned(*(old.index_copy(0, rows, new.to(old)) for old, new in both))
    return turned


def _bump(inside: Tensor) -> Tensor:
    """Solve laplace(u) = -1 where `inside` (B, 1, 64, 64) is 1, and u = 0 where it is 0.

    Jacobi sweeps with Chebyshev's weights, from coarse to fine: each grid begins where the coarser
    one ended, so it has only to smooth what that could not resolve.
    """
    solution = inside.new_zeros(len(inside), 1, 1, 1)
    for cells, sweeps, radius in _SWEEPS:
        weight = _means(inside, cells)
        before = solution = F.interpolate(solution, size=cells, mode="bilinear") * weight
        omega = 1.0
        for sweep in range(sweeps):
            relaxed = (_neighbours(solution) + (2 / cells) ** 2) * (weight / 4)
            solution, before = torch.lerp(before, relaxed, omega), solution
            omega = 1 / (1 - radius**2 * (0.5 if sweep == 0 else omega / 4))
        solution = solution.clamp_min(0)
    return solution


def _turn(frame: Tensor, height: Tensor, pose: Tensor) -> Turned:
    """Look along a ray from each pixel for the first point of the solid."""
    may_be_deformed = _is_traced() or bool(pose[:, 2:].any())
    deform = _deformation(height, pose) if may_be_deformed else None
    squared = height.square()
    if deform is not None:
        cells = pixel_grid(*height.shape[-2:], like=height).movedim(-1, 0)
        squared = _sample(squared, deform(cells[None]))
    rotation = rotation_of(pose[:, 0], pose[:, 1])
    peak = squared.amax((1, 2, 3), keepdim=True).clamp_min(1e-8).sqrt()
    solid = _lowered(squared, peak), peak
    coarse = _rays(height.shape[-2:], *solid, rotation)
    z, deepest = _search(coarse)
    drawn = _paint(frame, _rays(frame.shape[-2:], *solid, rotation), z, deepest, deform)

    place = coarse.at(z)
    is_seen = coarse.surplus(deepest) > 0
    slope_in_z = 2 * (z + _STEEPER * z.clamp_max(0))
    outward = torch.cat([-_sample(_slopes(squared), place), slope_in_z], dim=1)
    facing = _unit(_rotated(rotation, outward) * is_seen)
    towards = _rotated(rotation[:, 2:], torch.cat([place, z], dim=1))
    return Turned(drawn, towards * is_seen, facing)


class _Rays(NamedTuple):
    """Lines of sight through a solid.

    The solid is u - z^2 > 0, u being the squared relief, and shallower by `BACK` behind z = 0. At
    the rim u is no steeper than elsewhere, as the relief itself is.
    """

    field: Tensor  # (B, 1, h, w) u, and below 0 outside of the rim; `_WIDER` than the frame
    peak: Tensor  # (B, 1, 1, 1) greatest height
    base: Tensor  # (B, 2, H, W) where each ray crosses z = 0
    slant: Tensor  # (B, 2, 1, 1) how far it moves in x and y for each z

    def at(self, z: Tensor) -> Tensor:
        """Return where the rays are at heights `z` (B, 1, ...), as (B, 2, H, W)."""
        return self.base + self.slant * z

    def surplus(self, z: Tensor) -> Tensor:
        """Return how deep in the solid the rays are at heights `z`; negative outside."""
        squared = z.square() + _STEEPER * z.clamp_max(0).square()  # relief whose surface is there
        return _sample(self.field, self.at(z) / _WIDER, padding="border") - squared


def _rays(size: tuple[int, ...], field: Tensor, peak: Tensor, rotation: Tensor) -> _Rays:
    """Return the rays through the pixels of a picture of `size` (height, width)."""
    slant = rotation[:, 2, :2] / rotation[:, 2, 2:]
    linear = rotation[:, :2, :2] - rotation[:, :2, 2:] * slant[:, None]
    across, down = linear[..., None, None].unbind(1)  # (B, 2, 1, 1) each
    y, x = (pixel_centres(side, like=field) for side in size)
    return _Rays(
        field=field, peak=peak, base=across * x + down * y[:, None], slant=slant[..., None, None]
    )


def _search(rays: _Rays) -> tuple[Tensor, Tensor]:
    """Return where rays enter the solid, and where they are deepest in it, (B, 1, H, W) each.

    A ray that misses the solid is said to enter it where it comes nearest.
    """
    step = 2 / (_PLANES - 1)

    def level(share: Tensor) -> Tensor:
        # Thin parts lie about z = 0: there the planes are dense, and one of them is z = 0 itself.
        return rays.peak * share * share.abs()

    best = torch.zeros_like(rays.base[:, :1])
    entry, depth = best - 1, best - math.inf
    for index in reversed(range(_PLANES)):
        share = torch.full_like(rays.peak, 1 - step * index)
        value = rays.surplus(level(share))
        best = torch.where(value > depth, share, best)
        depth = torch.maximum(depth, value)
        entry = torch.where(value > 0, share, entry)

    # The parabola through the deepest plane and its neighbours: exact for an ellipsoid.
    above, z, below = (level(best + shift * step) for shift in (1, 0, -1))
    up, down = above - z, z - below
    fall_up, fall_down = depth - rays.surplus(above), depth - rays.surplus(below)
    bend = (fall_up * down + fall_down * up).clamp_min(1e-12)
    deepest = z + 0.5 * (fall_down * up.square() - fall_up * down.square()) / bend
    deepest = torch.minimum(torch.maximum(deepest, below), above)

    depth = rays.surplus(deepest)
    z = level(torch.where(entry > -1, entry, best) + step)  # the last plane outside
    for _ in range(_CORRECTIONS):
        z = _nearer(rays, z, deepest, depth)
    return z, deepest


def _nearer(rays: _Rays, z: Tensor, deepest: Tensor, depth: Tensor) -> Tensor:
    """Return heights nearer to the surface than `z`, by a parabola about the deepest point."""
    drop = (depth - rays.surplus(z)).clamp_min(1e-4 * rays.peak.square())
    return deepest + (z - deepest) * (depth.clamp_min(0) / drop).sqrt().clamp_max(2)


def _paint(
    frame: Tensor, rays: _Rays, z: Tensor, deepest: Tensor, deform: Deformation | None
) -> Tensor:
    """Return the picture (B, C, H, W) that rays see which a coarser `_search` found hits for."""
    coarse = torch.cat([z, deepest], dim=1)
    z, deepest = F.interpolate(coarse, size=frame.shape[-2:], mode="bilinear").split(1, dim=1)
    depth, squared_peak = rays.surplus(deepest), rays.peak.square()
    z = _nearer(rays, z, deepest, depth)  # neighbouring rays found it

    def onto(places: Tensor) -> Tensor:
        return (places if deform is None else deform(places)).to(frame.dtype)

    place = onto(rays.at(z))
    sampled = _sample(frame, place)
    # Where front and back meet, the frame fades out, but rays go on into the solid: such a ray is
    # as opaque as the frame is at its deepest point.
    has_colours = _is_traced() or frame.shape[1] > 1
    last = 3 if has_colours else 0
    lacking = (_sample(frame[:, last:], onto(rays.at(deepest))) - sampled[:, last:]).clamp_min(0)
    if has_colours:
        around = _sample(_continued(frame), place, padding="border")
        lacking = lacking * torch.cat([around, torch.ones_like(lacking)], dim=1)
    filled = sampled + lacking
    steepness = _slopes(depth, padding="replicate").norm(dim=1, keepdim=True) / (depth.shape[3] / 2)
    pixels_inside = depth / steepness.clamp_min(1e-3 * squared_peak)
    return filled * (1 + pixels_inside).clamp(0, 1)


def _continued(frame: Tensor) -> Tensor:
    """Return the colours of frames (B, 4, H, W) carried on past the rim, not premultiplied."""
    sums = _means(frame, _CELLS_OF_COLOUR)
    sums = sums + _neighbours(sums)
    sums = sums + 0.01 * _neighbours(sums)  # further out only where there is nothing nearer
    return sums[:, :3] / sums[:, 3:].clamp_min(1e-4)


class BendProfile(NamedTuple):
    """How stretch and bend move the points of each subject, (B,) each."""

    zoom: Tensor  # at most 1, so that it all stays in the frame
    bow: Tensor  # one over the radius, not 0
    factor: Tensor  # factor on the width; heights are divided by it
    feet: Tensor  # the height that stays


def bows(height: Tensor, pose: Tensor) -> BendProfile:
    """Return how subjects of a relief (B, 1, h, w) are bent by a pose of `turn`, (B, 4)."""
    half, top, feet = _extent(height)
    factor = (pose[:, 2] / 2).exp()
    half, tall = half * factor, (feet - top) / factor
    angle = torch.minimum(2 * pose[:, 3].abs(), _BENT_WIDTH * tall / half)
    # A bow of infinite radius is none: the formulas want a little.
    bow = (angle / tall).clamp_min(_STRAIGHTEST)  # 1 / radius
    bow = torch.where(pose[:, 3] < 0, -bow, bow)

    # The sides of the bent box from its feet to its top, to see what does not fit into the frame.
    radii = 1 - bow[:, None] * torch.stack([-half, half], dim=1)
    turns = (bow * tall)[:, None] * torch.linspace(0, 1, 5, device=pose.device)
    x = (1 - radii[:, :, None] * turns.cos()[:, None]) / bow[:, None, None]
    up = radii[:, :, None] * turns.sin()[:, None] / bow[:, None, None]
    zoom = torch.minimum(_REACH / x.abs().amax((1, 2)), (feet + _REACH) / up.amax((1, 2)))
    return BendProfile(zoom.clamp_max(1), bow, factor, feet)


def _deformation(height: Tensor, pose: Tensor) -> Deformation:
    """Return what undoes stretch and bend."""
    zoom, bow, factor, feet = (number[:, None, None] for number in bows(height, pose))

    def deform(places: Tensor) -> Tensor:
        x, y = places.unbind(1)
        across, up = 1 - bow * x / zoom, bow * (feet - y) / zoom
        radius, turned = torch.hypot(across, up), torch.atan2(up, across)
        bent = torch.stack([(1 - radius) / (bow * factor), feet - factor * turned / bow], dim=1)
        return _where_posed(pose[:, 2:], bent, places) if _is_traced() else bent

    return deform


def _is_traced() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _where_posed(pose: Tensor, moved: Tensor, still: Tensor) -> Tensor:
    """Return rows (B, ...) of what is `moved`, and `still` ones where a pose (B, n) is all 0."""
    is_moved = (pose != 0).any(dim=1).view(-1, *[1] * (still.ndim - 1))
    return torch.where(is_moved, moved.to(still), still)


def _extent(height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return half of the width, the top and the feet of each subject, (B,) each."""
    rows, columns = ((height[:, 0] > 0).any(side) for side in (2, 1))
    x, y = (pixel_centres(size, like=height) for size in (columns.shape[1], rows.shape[1]))
    half = (x.abs() * columns).amax(1) + 1 / len(x)
    feet, top = torch.where(rows, y, -1).amax(1), torch.where(rows, y, 1).amin(1)
    return half.clamp_min(_SMALLEST), torch.minimum(top, feet - _SMALLEST), feet


def _rotated(rotation: Tensor, vectors: Tensor) -> Tensor:
    """Return the products of rows of `rotation` (B, n, 3) with vectors (B, 3, h, w)."""
    return (rotation[..., None, None] * vectors[:, None]).sum(2)


def _lowered(squared: Tensor, peak: Tensor) -> Tensor:
    """Return the squared relief, falling on outside of its rim as it does inside.

    Without a fall, rays that pass the subject closely would be nearest to it anywhere outside.
    """
    margin = [round(side * (_WIDER - 1) / 2) for side in squared.shape[-2:] for _ in range(2)]
    wide = F.pad(squared, margin[::-1])
    near = (wide > 0).to(wide)
    far = torch.zeros_like(near)
    for _ in range(margin[0]):
        near = (near + _neighbours(near)).clamp_max(1)
        far = far + 1 - near
    below = _neighbours(wide) / 2 + _FALL * peak.square() * far
    return torch.where(wide > 0, wide, -below)


def _sample(field: Tensor, places: Tensor, *, padding: str = "zeros") -> Tensor:
    """Return `field` (B, C, h, w) at places (B, 2, H, W), as (B, C, H, W)."""
    return sample(field, places.movedim(1, -1), padding=padding)


def _means(field: Tensor, cells: int) -> Tensor:
    """Return the means of a field (B, C, H, W) over as many cells a side."""
    height, width = field.shape[-2:]
    if height % cells == width % cells == 0:  # graphs of fixed sizes can hold this form
        return F.avg_pool2d(field, (height // cells, width // cells))
    return F.interpolate(field, size=cells, mode="area")


def _neighbours(field: Tensor) -> Tensor:
    """Return the sum of the four neighbours of each cell, 0 beyond the border."""
    padded = F.pad(field, (1, 1, 1, 1))
    across = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    return across + padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]


def _slopes(field: Tensor, *, padding: str = "constant") -> Tensor:
    """Return the derivatives (B, 2, h, w) of a field (B, 1, h, w) in x and y, a half side long."""
    padded = F.pad(field, (1, 1, 1, 1), mode=padding)
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    height, width = field.shape[-2:]
    return torch.cat([across * (width / 4), down * (height / 4)], dim=1)


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors (B, 3, h, w) at length 1; what has no length points at the viewer."""
    length = vectors.square().sum(1, keepdim=True).sqrt()
    viewer = vectors.new_tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    return torch.where(length > 1e-6, vectors / length.clamp_min(1e-6), viewer)
