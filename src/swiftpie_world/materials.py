"""What subjects of training pictures may be made of, drawn by fixed rules on their frames."""

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


def remake(frame: Tensor, normals: Tensor, materials: Sequence[str]) -> MadeOf:
    """Return `frame` (B, 4, H, W), premultiplied, as if it were made of something.

    The textures are fixed functions of frame coordinates, so they stay on a subject that moves.

    Args:
        frame: Reference frames.
        normals: Unit vectors (B, 3, h, w) of the relief: x right, y down, z to the viewer.
        materials: A name of `MATERIALS` for each row, or "none", which changes nothing.
    """
    glosses = {"none": 0.0} | {name: material.gloss for name, material in MATERIALS.items()}
    gloss = frame.new_tensor([glosses[name] for name in materials])
    made = frame.clone()
    for name in sorted({*materials} - {"none"}):
        rows = [row for row, material in enumerate(materials) if material == name]
        made[rows] = MATERIALS[name].draw(Form(frame[rows], normals[rows]))
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
        return self.enlarge(_hashed(columns, rows, salt, self.frame), "bicubic").clamp(0, 1)

    def cracks(self, count: int, salt: int) -> Tensor:
        """Return straight thin lines (1, 1, H, W) in [0, 1] that taper towards their ends."""
        number = _hashed(count, 4, salt, self.frame).view(4, count, 1, 1)
        turn = 2 * torch.pi * number[0]
        across, down = self.x[0] - 0.15 - 0.7 * number[1], self.y[0] - 0.15 - 0.7 * number[2]
        along = torch.cos(turn) * across + torch.sin(turn) * down
        beside = (torch.cos(turn) * down - torch.sin(turn) * across).abs()
        width = 0.011 * (1 - along.abs() / (0.2 + 0.3 * number[3])).clamp_min(0)
        sharp = 0.5 / self.frame.shape[3]
        line = smoothstep(width + sharp, width - sharp, beside) * (width > 0)
        return line.amax(dim=0)[None, None]


def _centres(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def _hashed(columns: int, rows: int, salt: int, like: Tensor) -> Tensor:
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


def _solid(form: Form, tone: Tensor, ramp: Ramp, alpha: Tensor | None = None) -> Tensor:
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
    return _solid(form, mirrored + 0.4 * form.tone + 0.9 * form.carving, ramp)


def gold(form: Form) -> Tensor:
    """Polish yellow metal."""
    return _metal(form, ((104, 54, 4), (232, 174, 34), (255, 250, 196)))


def silver(form: Form) -> Tensor:
    """Polish white metal."""
    return _metal(form, ((50, 54, 66), (176, 182, 192), (255, 255, 255)))


def wood(form: Form) -> Tensor:
    """Draw long fibres that bend about a knot."""
    away = torch.hypot(form.x - 0.6, (form.y - 0.38) * 2.4)
    bend = 0.16 * torch.exp(-(away * 3.2).square()) * torch.sign(form.y - 0.38)
    wavy = form.y + bend + 0.05 * form.lattice(4, 8, 1)
    rings = torch.sin(88 * wavy + 5 * form.lattice(3, 12, 2))
    knot = smoothstep(0.1, 0.05, away)
    fibre = form.lattice(12, 96, 3) - 0.5
    grain = 0.34 * rings + 0.5 * fibre - 0.7 * knot
    return _solid(
        form,
        grain + 0.6 * form.tone + 1.2 * form.carving,
        ((74, 38, 14), (176, 112, 56), (226, 174, 112)),
    )


def stone(form: Form) -> Tensor:
    """Draw rough grey speckle with pits."""
    rough = form.lattice(64, 64, 4) - 0.5
    patch = form.lattice(10, 10, 5) - 0.5
    pits = smoothstep(0.8, 0.92, form.lattice(48, 48, 6))
    chips = rough - rough.roll((1, 1), (2, 3))
    speckle = 0.5 * rough + 0.5 * patch + 0.45 * chips - 0.5 * pits
    return _solid(
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
    return _solid(form, tone, ((88, 92, 102), (214, 214, 216), (255, 254, 250)))


def glass(form: Form) -> Tensor:
    """Let the background through, except at the rim, in highlights and along features."""
    rim = smoothstep(0.9, 0.3, form.normals[:, 2:])
    window = smoothstep(0.9, 0.96, form.facing(-0.5, -0.5, 0.7))
    back = 0.6 * smoothstep(0.8, 0.95, form.facing(0.6, 0.55, 0.6))
    shine = form.enlarge(torch.maximum(rim, torch.maximum(window, back)))
    line = (2.5 * form.carving).clamp(-1, 1)
    cover = form.alpha * (0.26 + 0.6 * shine + 0.5 * line.abs()).clamp(0, 0.95)
    clear = _solid(
        form,
        1.6 * shine - 0.5 + line + 0.3 * form.tone,
        ((60, 120, 125), (175, 222, 226), (255, 255, 255)),
        cover,
    )
    own = form.colour * cover  # a tint of its own colours
    return torch.cat([torch.lerp(clear[:, :3], own, 0.22).minimum(cover), cover], dim=1)


def ice(form: Form) -> Tensor:
    """Draw pale blue blocks with white cracks, somewhat see-through."""
    crack = form.cracks(8, 10)
    frost = form.lattice(5, 5, 12) - 0.5
    rim = form.enlarge(smoothstep(0.85, 0.35, form.normals[:, 2:]))
    glint = form.enlarge(smoothstep(0.88, 0.96, form.facing(-0.45, -0.55, 0.7)))
    tone = crack + 0.8 * frost + 0.8 * rim + glint + 0.6 * form.tone + 1.4 * form.carving - 0.1
    cover = form.alpha * (0.66 + 0.3 * (rim + crack + 0.4 * form.tone.abs())).clamp(0, 0.96)
    return _solid(form, tone, ((38, 110, 175), (138, 200, 238), (244, 252, 255)), cover)


def chocolate(form: Form) -> Tensor:
    """Draw smooth brown with soft highlights."""
    soft = 0.9 * form.facing(-0.4, -0.6, 0.6) - 0.75
    glint = smoothstep(0.93, 0.99, form.facing(-0.45, -0.6, 0.65))
    light = form.enlarge(soft + 0.9 * glint)
    return _solid(
        form,
        light + 0.3 * form.tone + 1.6 * form.carving,
        ((38, 16, 8), (96, 50, 26), (214, 160, 122)),
    )


def wool(form: Form) -> Tensor:
    """Knit the subject in its own colours: one colour a stitch, each a V of two strands."""
    columns, rows = 14, 18
    colours = form.enlarge(F.interpolate(form.frame, size=(rows, columns), mode="area"), "nearest")
    across = ((form.x * columns) % 1 - 0.5).abs() * 2  # 0 in the middle of a stitch
    down = (form.y * rows - 0.55 * across) % 1
    strand = torch.sin(torch.pi * down)
    strand = strand * smoothstep(0.0, 0.25, across) * smoothstep(1.0, 0.75, across)
    twist = 0.12 * torch.sin(40 * (across + 0.9 * down))
    light = form.enlarge(0.25 * form.facing(-0.4, -0.6, 0.6) - 0.12)
    own = torch.lerp(
        colours[:, :3] / colours[:, 3:].clamp_min(1 / 255), form.colour, form.alpha * 0.45
    )
    shaded = own * (0.6 + 0.7 * strand + twist * strand + light) + 0.06 * strand
    return torch.cat([shaded.clamp(0, 1) * form.alpha, form.alpha], dim=1)


def toy_bricks(form: Form) -> Tensor:
    """Build the subject of plastic bricks in its own colours, a round stud on each."""
    count = 12
    colours = form.enlarge(F.interpolate(form.frame, size=(count, count), mode="area"), "nearest")
    across, down = (form.x * count) % 1 - 0.5, (form.y * count) % 1 - 0.5
    away = torch.hypot(across, down)
    stud = smoothstep(0.33, 0.27, away)
    rim = smoothstep(0.11, 0.04, (away - 0.3).abs()) * (-across - down) * 1.3
    seam = smoothstep(0.41, 0.47, torch.maximum(across.abs(), down.abs()))
    own = torch.lerp(
        colours[:, :3] / colours[:, 3:].clamp_min(1 / 255), form.colour, form.alpha * 0.25
    )
    shaded = own * (0.84 + 0.16 * stud - 0.3 * seam + rim.clamp_max(0)) + 0.8 * rim.clamp_min(0)
    built = form.alpha * (colours[:, 3:] > 0.2)
    return torch.cat([shaded.clamp(0, 1) * built, built], dim=1)


MATERIALS: Mapping[str, Material] = {
    "gold": Material(0.9, gold),
    "silver": Material(0.9, silver),
    "wood": Material(0.15, wood),
    "stone": Material(0.05, stone),
    "marble": Material(0.5, marble),
    "glass": Material(1.0, glass),
    "ice": Material(0.8, ice),
    "chocolate": Material(0.7, chocolate),
    "wool": Material(0.0, wool),
    "toy bricks": Material(0.6, toy_bricks),
}
"""What subjects of training pictures may be made of, by name."""
