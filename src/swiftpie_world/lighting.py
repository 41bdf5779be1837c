"""The lights that pictures and references are drawn in, and what they do to subjects."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import Layout, whole_frame
from swiftpie.geometry.relief import Turned
from swiftpie.geometry.shading import (
    LEVEL,
    WRAP,
    Illumination,
    Shadow,
    brightness,
    gains,
    in_frame,
    soften,
)

SHINE = 24  # exponent of the highlight
REFERENCE_NUMBERS = 6  # what `relight_reference` reads for each reference

_LIT_SHARE = 0.75  # share of references that are lit anew
_WEAK, _STRONG = 0.3, 0.8  # share of a reference's light that comes from one side
_TINT = 0.12  # greatest tint of that light, warm or cold


class Light(NamedTuple):
    """What lights the subjects of pictures, one row a picture."""

    direction: Tensor  # (B, 3) unit, towards the light: x right, y down, z to the viewer
    colour: Tensor  # (B, 3) of the light that has a direction
    ambient: Tensor  # (B, 3) light from everywhere
    strength: Tensor  # (B,) factor of `colour`; about 1 with the ambient light by day
    shadow: Tensor  # (B,) darkness of the cast shadow, 0 to 0.5
    length: Tensor  # (B,) of the shadow over the height of what casts it

    def cast(self) -> Shadow:
        """Return how shadows look."""
        return Shadow(self.shadow, self.length, self.direction)

    def illumination(self) -> Illumination:
        """Return how subjects are lit, without their shadows."""
        return Illumination(self.ambient, self.colour * self.strength[:, None], self.direction)


def light_of_reference(numbers: Tensor) -> Light:
    """Return the light that references are photographed in: from anywhere in front, or none.

    References are photographed in all sorts of light, which a model must learn to take off.
    `numbers` are uniform in [0, 1], (G, 6), of which the last is for `relight_reference`.
    """
    lit, angle, height, strength, warmth, _ = numbers.unbind(1)
    strength = (_WEAK + (_STRONG - _WEAK) * strength) * (lit < _LIT_SHARE)
    angle, depth = 2 * math.pi * angle, 0.15 + 0.75 * height
    flat = (1 - depth.square()).sqrt()
    direction = torch.stack([flat * torch.cos(angle), flat * torch.sin(angle), depth], dim=1)
    tint = numbers.new_tensor([1.0, 0.0, -1.0]) * (_TINT * (2 * warmth[:, None] - 1))
    # A front keeps its brightness: what the ambient light loses, the other gives back.
    ambient = 1 - strength * (depth + WRAP) / (LEVEL + WRAP)
    none = torch.zeros_like(strength)
    return Light(direction, 1 + tint, ambient[:, None].expand(-1, 3), strength, none, none)


def relight_reference(turned: Turned, numbers: Tensor) -> Tensor:
    """Return reference frames (G, 4, H, W) in the light of `numbers` (G, 6).

    Args:
        turned: Reference frames with their normals; not turned, as a rule.
        numbers: See `light_of_reference`; the last is how glossy the subject is.
    """
    light = light_of_reference(numbers)
    return shaded(turned, light.illumination(), whole_frame(turned.frame), 0.3 * numbers[:, 5])


def opposite_numbers(light: Light, layout: Layout) -> Tensor:
    """Return numbers (B, 6) for `relight_reference`: strong light from where `light` is not.

    It comes from the other side of subjects that will stand as `layout` says.
    """
    x, y, _ = in_frame(light.direction, layout).unbind(1)
    angle = (torch.atan2(y, x) / (2 * math.pi) + 0.5) % 1
    none, half = torch.zeros_like(angle), torch.full_like(angle, 0.5)
    return torch.stack([none, angle, half, torch.ones_like(angle), half, none], dim=1)


def shaded(turned: Turned, light: Illumination, layout: Layout, gloss: Tensor) -> Tensor:
    """Return frames (B, 4, H, W) as the light of their pictures shows them.

    A front that faces the light by half is as bright as in the frame; what turns to it is lifted
    towards white, what turns away falls to the ambient light.

    Args:
        turned: The subjects, premultiplied RGBA in [0, 1], with their normals.
        light: In the coordinates of the picture.
        layout: Where the frames will stand; its rotation and flip turn the light.
        gloss: Strength of the highlight, (B,).
    """
    direction = in_frame(light.direction, layout)
    normals = soften(turned.normals)
    shown = light._replace(direction=direction)
    halfway = F.normalize(direction + direction.new_tensor([0.0, 0.0, 1.0]), dim=1)
    facing = (normals * halfway[..., None, None]).sum(dim=1, keepdim=True).clamp_min(0)
    highlight = facing**SHINE * gloss.view(-1, 1, 1, 1) * shown.colour[..., None, None]
    # Both maps are smooth: a quarter of the size, enlarged at the end, shows all of them.
    maps = torch.cat(gains(brightness(normals, shown), highlight), dim=1)
    maps = F.interpolate(maps, size=turned.frame.shape[-2:], mode="bilinear")
    colours, alpha = turned.frame[:, :3], turned.frame[:, 3:]
    return torch.cat([torch.addcmul(colours * maps[:, :3], alpha, maps[:, 3:]), alpha], dim=1)
