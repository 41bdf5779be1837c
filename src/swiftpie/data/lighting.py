"""How a scene touches its subject: tint and shade, contact shadow, things in front of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from swiftpie.data.scenes import SCENES
from swiftpie.data.scenes.drawing import smoothstep
from swiftpie.data.scenes.fields import Fields
from swiftpie.layout import Layout

FOREGROUND_SHARE = 0.35  # of the pictures whose scene has a foreground

_LIGHT_NUMBER = 7  # the layout number that places the sun or the moon
_GATE_NUMBER, _COVER_NUMBER = 11, 12
_COVER, _COVER_RANGE = 0.08, 0.06  # share of the subject's height behind the foreground
_SHADOW = 0.45


def light(sprite: Tensor, fields: Fields, scenes: Sequence[int], *, layout: Layout) -> Tensor:
    """Return the premultiplied `sprite` (B, 4, R, R) in the light of its scene."""
    lights = [SCENES[i].light for i in scenes]
    tint = sprite.new_tensor([light.tint for light in lights]).view(-1, 3, 1, 1)
    shade = sprite.new_tensor([light.shade for light in lights]).view(-1, 1, 1, 1)
    x, scale = layout.centre[:, 0].view(-1, 1, 1, 1), layout.scale.view(-1, 1, 1, 1)
    beside = ((fields.x - x) / (scale / 2)).clamp(-1, 1)
    side = 2 * fields.u(_LIGHT_NUMBER) - 1
    alpha = sprite[:, 3:]
    colours = sprite[:, :3] * (tint * (1 + shade * side * beside))
    return torch.cat([colours.minimum(alpha), alpha], dim=1)


def contact_shadow(
    fields: Fields, scenes: Sequence[int], *, layout: Layout, base: Tensor
) -> Tensor:
    """Return how much of the ground's light is lost, (B, 1, R, R) in [0, 0.45]."""
    strength = fields.x.new_tensor([_SHADOW * SCENES[i].grounded for i in scenes])
    x, scale = layout.centre[:, 0].view(-1, 1, 1, 1), layout.scale.view(-1, 1, 1, 1)
    across = ((fields.x - x) / (0.42 * scale)).square()
    down = ((fields.y - base) / (0.09 * scale)).square()
    return strength.view(-1, 1, 1, 1) * torch.exp(-((across + down) ** 1.5))


def foregrounds(
    fields: Fields, scenes: Sequence[int], *, layout: Layout, base: Tensor
) -> tuple[Tensor, Tensor]:
    """Return colour (B, 3, R, R) and coverage (B, 1, R, R) of what stands before the subjects.

    Args:
        fields: Noise of the pictures; one layout number decides whether there is anything.
        scenes: Index into `SCENES` for each row.
        layout: Where the subjects are.
        base: Height of their lowest point, (B, 1, 1, 1).
    """
    side = fields.size_px
    colour = fields.noise.new_zeros(len(scenes), 3, side, side)
    coverage = fields.noise.new_zeros(len(scenes), 1, side, side)
    has_one = (fields.uniforms[:, _GATE_NUMBER] < FOREGROUND_SHARE).tolist()
    scale = layout.scale.view(-1, 1, 1, 1)
    edge = base - (_COVER + _COVER_RANGE * fields.u(_COVER_NUMBER)) * scale
    away = (fields.x - layout.centre[:, 0].view(-1, 1, 1, 1)).abs() / scale
    window = smoothstep(0.75, 0.55, away)  # the foreground ends a little beside the subject
    for index in sorted(set(scenes)):
        draw = SCENES[index].foreground
        rows = [row for row, scene in enumerate(scenes) if scene == index and has_one[row]]
        if draw is None or not rows:
            continue
        paint, shape = draw(fields.select(rows), edge[rows], base[rows])
        colour[rows] = paint.clamp(0, 1).expand(len(rows), 3, side, side)
        coverage[rows] = shape * window[rows]
    return colour, coverage
