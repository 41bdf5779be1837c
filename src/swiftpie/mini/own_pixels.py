"""A subject's own pixels and outline, in the light of its new place.

What a picture shows of a subject is its photograph, to the last opaque pixel. The light of the
photograph is taken off by the relief of its outline, and that of the place is put on. What the
denoiser's small drawing shows beyond that comes as a soft field of gains.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.geometry.layout import Layout, to_affine, warp
from swiftpie.geometry.relief import height, normals, turn
from swiftpie.geometry.shading import (
    Gains,
    Illumination,
    brightness,
    gains,
    in_frame,
    soften,
    without_light,
)
from swiftpie.imageio.images import SURE, halved
from swiftpie.mini.looks import MATERIALS, Tones, remake
from swiftpie.pipelines.filling import Area, OnBand
from swiftpie.types import Identity

WHOLE: Area = (0.0, 0.0, 1.0, 1.0)
# A look without colours, which the drawing then gives.
GREY = "grey scale"
# More pixels of a frame in one of a picture would be skipped.
SHARPEST = 1.5
# Light is so soft that one of so many pixels across and down tells it.
COARSER = 4
# A level below this side shows nothing that a picture needs.
SMALLEST_PX = 64
# These four were chosen by eye on 8 cut-outs and 40 photographs: cells of the field along the
# longer side of a drawing, cells around one that share a gain, what is added to dark colours,
# whose ratios say nothing, and the least and greatest gain.
CELLS, RADIUS, FLOOR, GAINS = 32, 2, 0.01, (0.15, 3.0)


class OwnPixels(NamedTuple):
    """A reference frame without its light, the same for all pictures."""

    relief: Tensor  # (1, 1, h, w)
    # Premultiplied (1, 4, S, S) of bytes: as large as the photograph shows it, then halved.
    levels: tuple[Tensor, ...]
    normal: Tensor  # (1, 3, h, w) of the relief, as light sees it

    @classmethod
    def of(cls, relief: Tensor, levels: tuple[Tensor, ...]) -> Self:
        """Return pixels with the normals of their relief."""
        return cls(relief, levels, soften(normals(relief)))

    def standing(
        self, layout: Layout, scene: Illumination, *, picture_px: int
    ) -> "StandingSubject":
        """Return the subject in its place in a picture with that longer side, and its light."""
        levels, normal = _from_size(self.levels, to_affine(layout), picture_px), self.normal
        if layout.pose.any():
            frame = levels[0].float().div_(255)
            frame, _, normal = turn(frame, self.relief, layout.pose)
            levels, normal = (frame,), soften(normal)
        return StandingSubject(levels, normal, layout, scene)


class StandingSubject(NamedTuple):
    """A subject turned for its place in a picture, and the light there; one row, on the CPU."""

    # Premultiplied (1, 4, S, S) without light: bytes, or in [0, 1]; each half of the one before.
    levels: Sequence[Tensor]
    normal: Tensor  # (1, 3, h, w) of what is seen, as light sees it
    layout: Layout
    scene: Illumination
    grey: float = 0.0  # share of its colours that eyes do not see, as at night

    def opacity(self, size: tuple[int, int]) -> Tensor:
        """Return where the subject is in its picture of this height and width, (1, 1, H, W)."""
        return in_patch([level[:, 3:] for level in self.levels], self.layout, size)

    def at(
        self,
        size: tuple[int, int],
        place: Area = WHOLE,
        *,
        drawn: Tensor | None = None,
        on_band: OnBand = int,
    ) -> Tensor:
        """Return the subject in its light in a patch of the picture, premultiplied (1, 4, h, w).

        Args:
            size: Height and width of the patch in pixels.
            place: Where it lies in the picture.
            drawn: Further factors of colour for all of the patch, (1, 3, n, m).
            on_band: Called after each part of the work; may raise to stop.
        """
        coarse = (math.ceil(size[0] / COARSER), math.ceil(size[1] / COARSER))
        light = torch.cat(self._gains(), dim=1)
        light = warp(light, within(to_affine(self.layout), place), coarse, padding="border")
        if drawn is not None:
            light = light * F.interpolate(drawn, coarse, mode="bilinear").repeat(1, 2, 1, 1)
        factor, lift = F.interpolate(light, size, mode="bilinear").split(3, dim=1)
        on_band()
        plain, alpha = in_patch(self.levels, self.layout, size, place).split((3, 1), dim=1)
        if self.grey:
            plain = plain.lerp(plain.mean(dim=1, keepdim=True), self.grey)
        on_band()
        lit = torch.minimum(torch.addcmul(plain * factor, alpha, lift), alpha)
        on_band()
        return torch.cat([lit, alpha], dim=1)

    def _gains(self) -> Gains:
        direction = in_frame(self.scene.direction, self.layout)
        return gains(brightness(self.normal, self.scene._replace(direction=direction)))


def own_pixels(
    components: Components, identity: Identity, own: Illumination, *, look: str = ""
) -> OwnPixels:
    """Return the first frame of a subject without its `own` light, as sharp as it is known.

    With a `look`, it is made of one of `MATERIALS`, or has no colours by `GREY`.
    """
    plain = components.keep("own pixels", identity, lambda: without_own_light(identity, own))
    if not look:
        return plain
    return components.keep(f"own pixels, {look}", identity, lambda: _with_look(plain, look))


def _with_look(own: OwnPixels, look: str) -> OwnPixels:
    """Return the pixels of a subject of another material, or without colours."""

    def changed(level: Tensor) -> Tensor:
        frame = level.float().div_(255)
        if look == GREY:
            frame[:, :3] = Tones(frame).luminance * frame[:, 3:]
        else:
            frame = remake(frame, normals(own.relief), [look], MATERIALS)
        return frame.mul_(255).round_().to(torch.uint8)

    return own._replace(levels=tuple(map(changed, own.levels)))


def without_own_light(identity: Identity, own: Illumination) -> OwnPixels:
    """Return what `own_pixels` does, made anew."""
    mask = identity.mask[:1].float().cpu()
    if identity.large is None:
        frame = (identity.pixels[:1].float().cpu(), mask)
    else:
        large = identity.large.float() / 255
        frame = (2 * large[:, :3] - large[:, 3:], large[:, 3:])
    plain = without_light(*frame, own.on_cpu())
    levels = [torch.cat([plain.plain, plain.mask], dim=1)]
    while levels[-1].shape[-1] >= 2 * SMALLEST_PX:
        levels.append(halved(levels[-1]))
    stored = [level.mul_(255).round_().to(torch.uint8) for level in levels]
    return OwnPixels.of(height(mask), tuple(stored))


def in_patch(
    levels: Sequence[Tensor], layout: Layout, size: tuple[int, int], place: Area = WHOLE
) -> Tensor:
    """Return a frame (1, C, S, S) in the part of a picture at `place`, (1, C, h, w) of `size`.

    It may have `levels`, each half of the one before. Where it shrinks, no pixel is skipped.
    """
    affine = within(to_affine(layout), place)
    frame = _from_size(levels, affine, max(size))[0]
    if not frame.is_floating_point():
        frame = frame.float().div_(255)
    while frame.shape[-1] > 1 and _pixels(frame, affine, max(size)) > SHARPEST:
        frame = halved(frame)
    return warp(frame, affine, size)


def _from_size(levels: Sequence[Tensor], affine: Tensor, picture_px: int) -> Sequence[Tensor]:
    """Return levels from the one that a picture with that longer side shows, or the last."""
    first = (n for n, each in enumerate(levels) if _pixels(each, affine, picture_px) <= SHARPEST)
    return levels[next(first, len(levels) - 1) :]


def gains_between(own: Tensor, drawing: Tensor, drawn_mask: Tensor) -> Tensor:
    """Return by how much a drawing is lighter than the subjects in it, as a soft field.

    Args:
        own: The subjects as their own pixels show them there, premultiplied, (1, 4, h, w).
        drawing: What the denoiser drew, (1, 3, h, w) in [-1, 1].
        drawn_mask: Where it drew subjects, (1, 1, h, w).

    Returns:
        (1, 3, n, m): factors of colour, for all of the drawing. Where both do not agree that there
        is a subject, those from around it.
    """
    weight = (torch.minimum(own[:, 3:], drawn_mask) - 0.5).clamp_min(0) * 2
    before = _soft(own[:, :3] / own[:, 3:].clamp_min(SURE) * weight)
    after = _soft((drawing + 1) / 2 * weight)
    whole = [each.sum((2, 3), keepdim=True) + SURE for each in (after, before)]
    return ((after + FLOOR * whole[0] / whole[1]) / (before + FLOOR)).clamp(*GAINS)


def _soft(values: Tensor) -> Tensor:
    cell = max(1, round(max(values.shape[2:]) / CELLS))
    values = F.avg_pool2d(values, cell, ceil_mode=True, count_include_pad=False)
    for _ in range(2):
        values = F.avg_pool2d(values, 2 * RADIUS + 1, 1, RADIUS)
    return values


def within(affine: Tensor, place: Area) -> Tensor:
    """Return the map from a patch at `place` for that from the whole picture, (1, 2, 3)."""
    if place == WHOLE:
        return affine
    left, top, right, bottom = place
    scale = affine.new_tensor([right - left, bottom - top])
    offset = affine.new_tensor([left + right - 1, top + bottom - 1])
    moved = affine[..., 2] + (affine[..., :2] * offset).sum(dim=-1)
    return torch.cat([affine[..., :2] * scale, moved[..., None]], dim=-1)


def _pixels(frame: Tensor, affine: Tensor, picture_px: int) -> float:
    """Return how many pixels of a frame are in one of a picture with that longer side."""
    return float(affine[0, :, :2].norm(dim=0).amax()) * frame.shape[-1] / picture_px
