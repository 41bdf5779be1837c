"""Things that stand before the lower edge of a subject: drifts, grass, weeds and leaves."""

import math

import torch
from torch import Tensor

from swiftpie.data.scenes.drawing import hsv, mix, smoothstep
from swiftpie.data.scenes.fields import Fields
from swiftpie.data.scenes.scene import Foreground

Colour = tuple[int, int, int]


def drift(crest: Colour, foot: Colour) -> Foreground:
    """Return a wavy bank of sand or snow, `crest` coloured at its upper edge."""

    def draw(fields: Fields, edge: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        line = edge + 0.012 * fields.ridge(3)
        colour = mix(fields.rgb(*crest), fields.rgb(*foot), fields.depth(line, 0.12))
        return colour + 0.015 * fields.soft(3), fields.below(line) * _fade(fields, base)

    return draw


def blades(root: Colour, tip: Colour) -> Foreground:
    """Return a row of pointed grass blades."""

    def draw(fields: Fields, edge: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        count = 32
        height = 0.5 + 0.5 * torch.tanh(fields.columns(count, 1))
        top = edge - 0.01 + 0.05 * (1 - height)
        across = ((fields.x * count) % 1 - 0.5).abs()
        width = 0.1 + 0.5 * fields.depth(top, 0.09)
        coverage = smoothstep(width + 0.1, width - 0.1, across) * fields.below(top)
        colour = mix(fields.rgb(*tip), fields.rgb(*root), fields.depth(top, 0.1))
        return colour * (0.9 + 0.2 * height), coverage * _fade(fields, base)

    return draw


def weeds(fields: Fields, edge: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """Draw swaying seaweed that grows from the bottom of the picture."""
    count = 8
    value = fields.columns(count, 0)
    top = torch.minimum(edge, base - 0.02) + 0.06 * torch.tanh(value)
    sway = (fields.x * count) % 1 - 0.5 + 0.15 * torch.sin(8 * math.pi * fields.y + value)
    coverage = smoothstep(0.15, 0.08, sway.abs()) * fields.below(top)
    return mix(fields.rgb(30, 145, 90), fields.rgb(10, 80, 70), fields.depth(top, 0.3)), coverage


def leaves(fields: Fields, edge: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a heap of fallen leaves."""
    leaf, first, second, _ = fields.dots(16, size=1, place=2, above=-1.0, radius=0.42)
    colour = hsv(0.02 + 0.1 * first, saturation=0.85, value=0.7 + 0.3 * second)
    heap = fields.below(edge + 0.025 + 0.01 * fields.ridge(2))
    coverage = torch.maximum(heap, leaf * fields.below(edge, 0.01))
    return mix(fields.rgb(178, 104, 48), colour, leaf), coverage * _fade(fields, base)


def _fade(fields: Fields, base: Tensor) -> Tensor:
    """Return 1 down to the subject's lowest point and 0 well below it."""
    return 1 - fields.below(base + 0.055, 0.025)
