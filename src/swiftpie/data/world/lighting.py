"""Lights a subject by its relief, and throws its shadow on the ground."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.data.scene import smoothstep
from swiftpie.layout import Layout, warp, whole_frame
from swiftpie.relief import Turned
from swiftpie.shading import LEVEL, WRAP, Illumination, brightness, gains, in_frame, soften

REFERENCE_NUMBERS = 6  # what `relight_reference` reads for each reference

_SHINE = 24  # exponent of the highlight
_CONTACT = 1.5  # the shadow that touches the feet is darker than the one that is thrown
_CONTACT_WIDTH, _CONTACT_HEIGHT = 0.36, 0.065  # of the frame's side
_FLATTEN = 0.45  # a length along the line of sight, on ground seen from a standing height
_THIN = 0.2  # a shadow thrown sideways keeps this height: what casts it is not flat
_FADE = 0.6  # share of the darkness that the far end of the shadow has lost
_LIT_SHARE = 0.75  # of the references; the others come as they are
_WEAK, _STRONG = 0.3, 0.8  # share of a reference's light that comes from one side
_TINT = 0.12  # of that light: warm or cold


class Light(NamedTuple):
    """What lights the subjects of pictures, one row a picture."""

    direction: Tensor  # (B, 3) unit, towards the light: x right, y down, z to the viewer
    colour: Tensor  # (B, 3) of the light that has a direction
    ambient: Tensor  # (B, 3) light from everywhere
    strength: Tensor  # (B,) factor of `colour`; about 1 with the ambient light by day
    shadow: Tensor  # (B,) darkness of the cast shadow, 0 to 0.5
    length: Tensor  # (B,) of the shadow over the height of what casts it

    def illumination(self) -> Illumination:
        """Return how subjects are lit, without their shadows."""
        return Illumination(self.ambient, self.colour * self.strength[:, None], self.direction)


def shade(turned: Turned, light: Light, layout: Layout, gloss: Tensor) -> Tensor:
    """Return the frames (B, 4, H, W) as the light of their pictures shows them.

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
    shown = light.illumination()._replace(direction=direction)
    halfway = F.normalize(direction + direction.new_tensor([0.0, 0.0, 1.0]), dim=1)
    facing = (normals * halfway[..., None, None]).sum(dim=1, keepdim=True).clamp_min(0)
    highlight = facing**_SHINE * gloss.view(-1, 1, 1, 1) * shown.colour[..., None, None]
    # Both maps are smooth: a quarter of the size, enlarged at the end, shows all of them.
    maps = torch.cat(gains(brightness(normals, shown), highlight), dim=1)
    maps = F.interpolate(maps, size=turned.frame.shape[-2:], mode="bilinear")
    colours, alpha = turned.frame[:, :3], turned.frame[:, 3:]
    return torch.cat([torch.addcmul(colours * maps[:, :3], alpha, maps[:, 3:]), alpha], dim=1)


def cast_shadow(alpha: Tensor, layout: Layout, base: Tensor, light: Light) -> Tensor:
    """Return how much of the ground's light the subject takes, (B, 1, R, R) in [0, 0.75].

    A dark patch where it stands, and its outline laid on the ground away from the light.

    Args:
        alpha: Coverage of what stands there, in the picture, (B, 1, R, R).
        layout: Of the subject, which tells where it stands and how wide.
        base: Height of its lowest point, (B, 1, 1, 1) in sides of the picture.
        light: Its direction, and the darkness and length of the shadow.
    """
    half = alpha.shape[-1] // 2  # shadows are soft: half the size shows all of them
    centres = (torch.arange(half, device=alpha.device) + 0.5) / half
    x, y = centres.view(1, 1, 1, -1), centres.view(1, 1, -1, 1)
    wide = layout.scale.view(-1, 1, 1, 1)
    across = ((x - layout.centre[:, 0].view(-1, 1, 1, 1)) / (_CONTACT_WIDTH * wide)).square()
    down = ((y - base) / (_CONTACT_HEIGHT * wide)).square()
    contact = torch.exp(-((across + down) ** 1.5))
    shadow = torch.maximum(_CONTACT * contact, _thrown(alpha, base, light, wide, y))
    return F.interpolate(
        shadow * light.shadow.view(-1, 1, 1, 1), size=alpha.shape[-2:], mode="bilinear"
    )


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
        numbers: See `light_of_reference`; the last tells how glossy the subject is.
    """
    light = light_of_reference(numbers)
    return shade(turned, light, whole_frame(turned.frame), 0.3 * numbers[:, 5])


def opposite_numbers(light: Light, layout: Layout) -> Tensor:
    """Return numbers (B, 6) for `relight_reference`: strong light from where `light` is not.

    It comes from the other side of subjects that will stand as `layout` says.
    """
    x, y, _ = in_frame(light.direction, layout).unbind(1)
    angle = (torch.atan2(y, x) / (2 * math.pi) + 0.5) % 1
    none, half = torch.zeros_like(angle), torch.full_like(angle, 0.5)
    return torch.stack([none, angle, half, torch.ones_like(angle), half, none], dim=1)


def _thrown(alpha: Tensor, base: Tensor, light: Light, wide: Tensor, y: Tensor) -> Tensor:
    """Lay the outline on the ground: a height above the feet is a way along the ground."""
    x_way, _, z_way = (-light.direction).unbind(1)
    ground = torch.hypot(x_way, z_way).clamp_min(1e-3)
    across = light.length * x_way / ground
    down = light.length * z_way / ground * _FLATTEN
    down = torch.where(down > 0, down.clamp_min(_THIN), down.clamp_max(-_THIN))
    # Of a point of the ground as far below the feet as `down` times the height it is shaded by.
    lean = across / down
    foot = 2 * base.view(-1) - 1
    one, nil = torch.ones_like(down), torch.zeros_like(down)
    rows = [one, -lean, lean * foot, nil, -1 / down, foot + foot / down]
    affine = torch.stack(rows, dim=1).unflatten(1, (2, 3))
    sharp = F.avg_pool2d(alpha, 2)
    soft = F.avg_pool2d(F.avg_pool2d(sharp, 4), 3, stride=1, padding=1)
    soft = F.interpolate(soft, size=sharp.shape[-2:], mode="bilinear")
    outlines = warp(torch.cat([sharp, soft], dim=1), affine, (len(y[0, 0]), len(y[0, 0])))
    height = (y - base) / down.view(-1, 1, 1, 1)
    on_ground = smoothstep(-0.03, 0.03, height)
    share = (height / wide).clamp(0, 1)
    outline = torch.lerp(outlines[:, :1], outlines[:, 1:], smoothstep(0, 0.5, share))
    return outline * on_ground * (1 - _FADE * share)
