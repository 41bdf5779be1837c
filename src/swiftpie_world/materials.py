"""What subjects of training pictures may be made of, beside the materials of edits."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.places import looks
from swiftpie.places.looks import Form, Material, hashed, smoothstep, solid


def wood(form: Form) -> Tensor:
    """Draw long fibres that bend about a knot."""
    away = torch.hypot(form.x - 0.6, (form.y - 0.38) * 2.4)
    bend = 0.16 * torch.exp(-(away * 3.2).square()) * torch.sign(form.y - 0.38)
    wavy = form.y + bend + 0.05 * form.lattice(4, 8, 1)
    rings = torch.sin(88 * wavy + 5 * form.lattice(3, 12, 2))
    knot = smoothstep(0.1, 0.05, away)
    fibre = form.lattice(12, 96, 3) - 0.5
    grain = 0.34 * rings + 0.5 * fibre - 0.7 * knot
    return solid(
        form,
        grain + 0.6 * form.tone + 1.2 * form.carving,
        ((74, 38, 14), (176, 112, 56), (226, 174, 112)),
    )


def glass(form: Form) -> Tensor:
    """Let the background through, except at the rim, in highlights and along features."""
    rim = smoothstep(0.9, 0.3, form.normals[:, 2:])
    window = smoothstep(0.9, 0.96, form.facing(-0.5, -0.5, 0.7))
    back = 0.6 * smoothstep(0.8, 0.95, form.facing(0.6, 0.55, 0.6))
    shine = form.enlarge(torch.maximum(rim, torch.maximum(window, back)))
    line = (2.5 * form.carving).clamp(-1, 1)
    cover = form.alpha * (0.26 + 0.6 * shine + 0.5 * line.abs()).clamp(0, 0.95)
    clear = solid(
        form,
        1.6 * shine - 0.5 + line + 0.3 * form.tone,
        ((60, 120, 125), (175, 222, 226), (255, 255, 255)),
        cover,
    )
    own = form.colour * cover  # a tint of its own colours
    return torch.cat([torch.lerp(clear[:, :3], own, 0.22).minimum(cover), cover], dim=1)


def ice(form: Form) -> Tensor:
    """Draw pale blue blocks with white cracks, somewhat see-through."""
    crack = cracks(form, 8, 10)
    frost = form.lattice(5, 5, 12) - 0.5
    rim = form.enlarge(smoothstep(0.85, 0.35, form.normals[:, 2:]))
    glint = form.enlarge(smoothstep(0.88, 0.96, form.facing(-0.45, -0.55, 0.7)))
    tone = crack + 0.8 * frost + 0.8 * rim + glint + 0.6 * form.tone + 1.4 * form.carving - 0.1
    cover = form.alpha * (0.66 + 0.3 * (rim + crack + 0.4 * form.tone.abs())).clamp(0, 0.96)
    return solid(form, tone, ((38, 110, 175), (138, 200, 238), (244, 252, 255)), cover)


def cracks(form: Form, count: int, salt: int) -> Tensor:
    """Return straight thin lines (1, 1, H, W) in [0, 1] that taper towards their ends."""
    number = hashed(count, 4, salt, form.frame).view(4, count, 1, 1)
    turn = 2 * torch.pi * number[0]
    across, down = form.x[0] - 0.15 - 0.7 * number[1], form.y[0] - 0.15 - 0.7 * number[2]
    along = torch.cos(turn) * across + torch.sin(turn) * down
    beside = (torch.cos(turn) * down - torch.sin(turn) * across).abs()
    width = 0.011 * (1 - along.abs() / (0.2 + 0.3 * number[3])).clamp_min(0)
    sharp = 0.5 / form.frame.shape[3]
    line = smoothstep(width + sharp, width - sharp, beside) * (width > 0)
    return line.amax(dim=0)[None, None]


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
    "gold": looks.gold,
    "silver": looks.silver,
    "wood": wood,
    "stone": looks.stone,
    "marble": looks.marble,
    "glass": glass,
    "ice": ice,
    "chocolate": looks.chocolate,
    "wool": wool,
    "toy bricks": toy_bricks,
}
"""What subjects of training pictures may be made of, by name: an order that seeds draw from."""
GLOSS: Mapping[str, float] = dict(
    zip(("none", *MATERIALS), (0, 0.9, 0.9, 0.15, 0.05, 0.5, 1, 0.8, 0.7, 0, 0.6), strict=True)
)
"""Strength of the highlight that lighting adds, in [0, 1]."""
