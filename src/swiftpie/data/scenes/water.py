"""Scenes by and under the sea."""

import math

import torch
from torch import Tensor

from swiftpie.data.scenes.drawing import mix, over, smoothstep
from swiftpie.data.scenes.fields import Fields
from swiftpie.data.scenes.foregrounds import drift, weeds
from swiftpie.data.scenes.scene import Light, Scene


def beach(f: Fields) -> Tensor:
    """Draw sky with clouds and sun, a turquoise sea, surf and sand."""
    horizon = f.horizon
    drifting = f.soft(7)
    picture = mix(f.rgb(70, 160, 235), f.rgb(190, 228, 250), f.depth(0, horizon))
    cloud = smoothstep(0.2, 1.2, drifting + 0.25 - 1.5 * f.y)
    picture = over(picture, f.rgb(255, 255, 255), 0.75 * cloud)
    disc = smoothstep(0.075, 0.06, f.distance(f.sun_x, 0.13))
    picture = over(picture, f.rgb(255, 240, 140), disc)
    sea = mix(f.rgb(20, 120, 170), f.rgb(90, 205, 210), f.depth(horizon, 0.2))
    picture = over(
        picture, sea + 0.05 * torch.sin(32 * math.pi * f.y + 1.5 * drifting), f.below(horizon)
    )
    shore = horizon + 0.16 + 0.03 * torch.sin(f.x * 6 + 6 * f.u(6)) + 0.015 * f.ridge(2)
    picture = over(picture, f.rgb(250, 250, 245), f.below(shore - 0.012))
    sand = mix(f.rgb(240, 214, 150), f.rgb(215, 178, 110), f.depth(shore, 0.4))
    return over(picture, sand + 0.035 * f.soft(3), f.below(shore))


def underwater(f: Fields) -> Tensor:
    """Draw deep water with light rays, bubbles and seaweed on a sandy floor."""
    picture = mix(f.rgb(80, 200, 225), f.rgb(8, 60, 120), f.depth(0, 0.95))
    slant = f.x - 0.35 * f.y
    rays = torch.sin(slant * 14 + 8 * f.u(6)) + torch.sin(slant * 23 + 9 * f.u(7))
    picture = picture + 0.07 * rays.clamp(0, 2) * (1 - f.y)
    floor = 0.84 + 0.03 * f.ridge(3)
    picture = over(picture, f.rgb(190, 175, 125) + 0.04 * f.soft(3), f.below(floor))
    value = f.columns(8, 1)
    sway = (f.x * 8) % 1 - 0.5 + 0.14 * torch.sin(8 * math.pi * f.y + value)
    top = 0.86 - 0.16 * (value + 0.3).clamp(0, 2)
    plant = smoothstep(0.13, 0.07, sway.abs()) * f.below(top) * (1 - f.below(0.93))
    colour = mix(f.rgb(25, 130, 80), f.rgb(220, 95, 110), (value > 1).to(value.dtype))
    picture = over(picture, colour, plant)
    bubble, _, _, distance = f.dots(8, size=2, place=0, above=0.75, radius=0.2)
    rim = 0.35 + 0.5 * smoothstep(0.08, 0.17, distance)
    return over(picture, f.rgb(215, 245, 255), bubble * rim)


def sunset(f: Fields) -> Tensor:
    """Draw a glowing evening sky and the sun's path on the sea."""
    horizon = f.horizon
    dusk = mix(f.rgb(70, 45, 120), f.rgb(250, 110, 90), f.depth(0, 0.7 * horizon))
    glow = ((f.y / horizon - 0.6) / 0.4).clamp(0, 1)
    picture = mix(dusk, f.rgb(255, 205, 110), glow)
    bands = smoothstep(0.3, 1.4, f.soft(7) + 0.4 * torch.sin(f.y * 18))
    picture = over(picture, f.rgb(255, 150, 140), 0.5 * bands)
    distance = f.distance(f.sun_x, horizon)
    picture = picture + 0.25 * torch.exp(-5 * distance) * f.rgb(255, 220, 140)
    picture = over(picture, f.rgb(255, 245, 190), smoothstep(0.12, 0.105, distance))
    sea = mix(f.rgb(215, 105, 95), f.rgb(50, 35, 95), f.depth(horizon, 0.5))
    path = smoothstep(0.1, 0.02, (f.x - f.sun_x).abs() - 0.12 * (f.y - horizon))
    ripple = smoothstep(-0.1, 0.3, torch.sin(24 * math.pi * f.y + f.soft(5)))
    sea = over(sea, f.rgb(255, 220, 150), 0.75 * path * ripple)
    return over(picture, sea, f.below(horizon))


WATER = (
    Scene(
        "beach",
        ("on a beach", "at the beach", "on a sandy beach", "by the sea", "on the seashore"),
        beach,
        Light((1.04, 1.02, 0.96), shade=0.15),
        foreground=drift((244, 220, 160), (220, 184, 118)),
    ),
    Scene(
        "underwater",
        (
            "under water",
            "underwater",
            "in the deep sea",
            "in the ocean",
            "at the bottom of the sea",
        ),
        underwater,
        Light((0.55, 0.85, 0.95), shade=0.15),
        grounded=False,
        foreground=weeds,
    ),
    Scene(
        "sunset",
        ("at sunset", "in front of a sunset", "at sunset by the sea", "at dusk by the sea"),
        sunset,
        Light((1.05, 0.8, 0.65), shade=0.25),
    ),
)
