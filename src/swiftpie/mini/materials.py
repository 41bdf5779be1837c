"""What subjects may be made of, by fixed rules on their frames: metals, stones and chocolate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.mini.fields import smoothstep
from swiftpie.mini.looks import Ramp, Tones, dye


class MadeOf(NamedTuple):
    """Subjects made of something."""

    frame: Tensor  # (B, 4, H, W) premultiplied RGBA
    gloss: Tensor  # (B,) strength of the highlight that lighting adds, in [0, 1]


def remake(
    frame: Tensor, normals: Tensor, materials: Sequence[str], known: "Mapping[str, Material]"
) -> MadeOf:
    """Return `frame` (B, 4, H, W), premultiplied, as if it were made of something.

    The textures are fixed functions of frame coordinates, so they stay on a subject that moves.

    Args:
        frame: Reference frames.
        normals: Unit vectors (B, 3, h, w) of the relief: x right, y down, z to the viewer.
        materials: A name of the `known` ones for each row, or "none", which changes nothing.
        known: By name.
    """
    glosses = {"none": 0.0} | {name: material.gloss for name, material in known.items()}
    gloss = frame.new_tensor([glosses[name] for name in materials])
    made = frame.clone()
    for name in sorted({*materials} - {"none"}):
        rows = [row for row, material in enumerate(materials) if material == name]
        made[rows] = known[name].draw(Form(frame[rows], normals[rows]))
    return MadeOf(made, gloss)


@dataclass(frozen=True)
class Form(Tones):
    """What a material is drawn on."""

    normals: Tensor  # (B, 3, h, w)

    @cached_property
    def x(self) -> Tensor:
        """Pixel centres (1, 1, 1, W) in [0, 1], rightwards."""
        return _centres(self.frame.shape[3], self.frame).view(1, 1, 1, -1)

    @cached_property
    def y(self) -> Tensor:
        """Pixel centres (1, 1, H, 1) in [0, 1], downwards."""
        return _centres(self.frame.shape[2], self.frame).view(1, 1, -1, 1)

    def enlarge(self, plane: Tensor, mode: str = "bilinear") -> Tensor:
        """Return a plane (B, C, h, w) at the size of the frame."""
        return F.interpolate(plane, size=self.frame.shape[2:], mode=mode)

    @cached_property
    def carving(self) -> Tensor:
        """Luminance as height, lit from above left: positive on edges that face the light."""
        height = self.tone * self.alpha
        step = max(1, round(self.frame.shape[3] / 128))
        return height - height.roll((step, step), (2, 3))

    def facing(self, x: float, y: float, z: float) -> Tensor:
        """Return the cosine (B, 1, h, w) between the normals and a direction."""
        direction = F.normalize(self.normals.new_tensor([x, y, z]), dim=0).view(1, 1, 3)
        return (direction @ self.normals.flatten(2)).view_as(self.normals[:, :1])

    def lattice(self, columns: int, rows: int, salt: int) -> Tensor:
        """Return smooth numbers (1, 1, H, W) in (0, 1), fixed once and for all."""
        return self.enlarge(hashed(columns, rows, salt, self.frame), "bicubic").clamp(0, 1)


def _centres(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def hashed(columns: int, rows: int, salt: int, like: Tensor) -> Tensor:
    """Return numbers (1, 1, rows, columns) in [0, 1) that look random, the same anywhere."""
    cell = torch.arange(rows * columns, device=like.device) + 7919 * salt
    for _ in range(2):  # integers below 2 ** 31, so no product overflows
        cell = (cell * 1103515245 + 12345) % 2**31
        cell = cell ^ (cell >> 13)
    return (cell % 2**16 / 2**16).to(like.dtype).view(1, 1, rows, columns)


class Material(NamedTuple):
    """How something looks that a subject is made of."""

    gloss: float  # strength of the highlight that lighting adds, in [0, 1]
    draw: "Callable[[Form], Tensor]"
    """Draws frames (B, 4, H, W), premultiplied, whose alpha is at most that of the form."""


def solid(form: Form, tone: Tensor, ramp: Ramp, alpha: Tensor | None = None) -> Tensor:
    """Return the frame of a form in the colours of `ramp`; it may be thinned by `alpha`."""
    cover = form.alpha if alpha is None else alpha
    ramps = form.frame.new_tensor(ramp)[None] / 255
    dyed = dye(cover, tone.clamp(-1, 1), ramps)
    return torch.cat([dyed.minimum(cover), cover], dim=1)


def _metal(form: Form, ramp: Ramp) -> Tensor:
    """Mirror a bright sky, a dark horizon and a lit ground, as polished metal does."""
    up = -form.normals[:, 1:2] - 0.35 * form.normals[:, :1]
    sky = smoothstep(0.0, 0.5, up) - 0.9 * smoothstep(-0.45, -0.1, up) * smoothstep(0.2, 0.0, up)
    ground = 0.5 * smoothstep(-0.35, -0.75, up)
    glint = smoothstep(0.93, 0.985, form.facing(-0.45, -0.55, 0.7))
    mirrored = form.enlarge(0.6 * sky + ground - 0.02 + glint)
    return solid(form, mirrored + 0.4 * form.tone + 0.9 * form.carving, ramp)


def gold(form: Form) -> Tensor:
    """Polish yellow metal."""
    return _metal(form, ((104, 54, 4), (232, 174, 34), (255, 250, 196)))


def silver(form: Form) -> Tensor:
    """Polish white metal."""
    return _metal(form, ((50, 54, 66), (176, 182, 192), (255, 255, 255)))


def stone(form: Form) -> Tensor:
    """Draw rough grey speckle with pits."""
    rough = form.lattice(64, 64, 4) - 0.5
    patch = form.lattice(10, 10, 5) - 0.5
    pits = smoothstep(0.8, 0.92, form.lattice(48, 48, 6))
    chips = rough - rough.roll((1, 1), (2, 3))
    speckle = 0.5 * rough + 0.5 * patch + 0.45 * chips - 0.5 * pits
    return solid(
        form,
        speckle + 0.75 * form.tone + 1.8 * form.carving,
        ((48, 47, 46), (134, 131, 126), (206, 203, 196)),
    )


def marble(form: Form) -> Tensor:
    """Draw grey veins in white stone."""
    slant = form.x + 0.6 * form.y
    warp = form.lattice(4, 4, 107) + 0.35 * form.lattice(12, 12, 108)
    wide = torch.sin(7 * slant + 3.2 * warp).abs()
    thin = torch.sin(16 * slant - 9 * form.y + 4 * form.lattice(6, 6, 109)).abs()
    veins = 0.8 * smoothstep(0.2, 0.0, wide) + 0.3 * smoothstep(0.14, 0.0, thin)
    cloud = smoothstep(0.8, 0.0, wide)
    tone = 0.5 - veins - 0.4 * cloud + 0.7 * form.tone + 1.4 * form.carving
    return solid(form, tone, ((88, 92, 102), (214, 214, 216), (255, 254, 250)))


def chocolate(form: Form) -> Tensor:
    """Draw smooth brown with soft highlights."""
    soft = 0.9 * form.facing(-0.4, -0.6, 0.6) - 0.75
    glint = smoothstep(0.93, 0.99, form.facing(-0.45, -0.6, 0.65))
    light = form.enlarge(soft + 0.9 * glint)
    return solid(
        form,
        light + 0.3 * form.tone + 1.6 * form.carving,
        ((38, 16, 8), (96, 50, 26), (214, 160, 122)),
    )


MATERIALS: Mapping[str, Material] = {
    "gold": Material(0.9, gold),
    "silver": Material(0.9, silver),
    "stone": Material(0.05, stone),
    "marble": Material(0.5, marble),
    "chocolate": Material(0.7, chocolate),
}
"""What edits make subjects of photographs of, by name."""
