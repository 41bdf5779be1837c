"""Wool and toy bricks, which training pictures show and no network learnt to draw."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.mini import looks
from swiftpie.mini.fields import mix, smoothstep
from swiftpie.mini.looks import Form, Material


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
    own = mix(colours[:, :3] / colours[:, 3:].clamp_min(1 / 255), form.colour, form.alpha * 0.45)
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
    own = mix(colours[:, :3] / colours[:, 3:].clamp_min(1 / 255), form.colour, form.alpha * 0.25)
    shaded = own * (0.84 + 0.16 * stud - 0.3 * seam + rim.clamp_max(0)) + 0.8 * rim.clamp_min(0)
    built = form.alpha * (colours[:, 3:] > 0.2)
    return torch.cat([shaded.clamp(0, 1) * built, built], dim=1)


MATERIALS: Mapping[str, Material] = {
    **looks.MATERIALS,
    "wool": Material(0.0, wool),
    "toy bricks": Material(0.6, toy_bricks),
}
"""What subjects of training pictures may be made of, by name."""
