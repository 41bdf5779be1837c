"""Scenes of the sky, by day and by night."""

import math

import torch
from torch import Tensor

from swiftpie.data.scenes.drawing import hsv, mix, over, smoothstep
from swiftpie.data.scenes.fields import Fields
from swiftpie.data.scenes.foregrounds import drift
from swiftpie.data.scenes.scene import Light, Scene


def space(f: Fields) -> Tensor:
    """Draw stars, a nebula and a ringed planet."""
    nebula = hsv(0.6 + 0.3 * f.u(6), saturation=0.7, value=0.35)
    picture = mix(f.rgb(8, 6, 24), nebula, smoothstep(-0.2, 1.8, f.soft(7)))
    star, warmth, _, _ = f.dots(32, size=2, place=0, above=1.3, radius=0.42)
    picture = over(picture, mix(f.rgb(255, 255, 255), f.rgb(255, 220, 170), warmth), star)
    x, y = f.x - f.sun_x, f.y - f.planet_y
    radius, edge = 0.08 + 0.05 * f.u(9), 1.5 / f.size_px
    planet = hsv(f.u(10), saturation=0.55, value=0.9)
    shade = 0.55 + 0.45 * smoothstep(1.5 * radius, -radius, x + y)
    disc = smoothstep(radius + edge, radius - edge, torch.hypot(x, y))
    picture = over(picture, planet * shade, disc)
    ellipse = (x / (2 * radius)) ** 2 + ((y + 0.35 * x) / (0.5 * radius)) ** 2
    ring = smoothstep(0.25, 0.1, (ellipse - 0.8).abs())
    return over(picture, f.rgb(235, 215, 180), ring * (1 - disc * (y < 0)))


def night(f: Fields) -> Tensor:
    """Draw a starry sky, a crescent moon and dark hills."""
    picture = mix(f.rgb(10, 16, 60), f.rgb(60, 70, 140), f.depth(0, 0.8))
    star, _, _, _ = f.dots(16, size=2, place=0, above=0.6, radius=0.13)
    picture = over(picture, f.rgb(255, 250, 220), star)
    distance = f.distance(f.sun_x, 0.17)
    picture = picture + 0.18 * torch.exp(-8 * distance) * f.rgb(255, 250, 220)
    bite = smoothstep(0.07, 0.085, f.distance(f.sun_x + 0.04, 0.15))
    crescent = smoothstep(0.095, 0.08, distance) * bite
    picture = over(picture, f.rgb(255, 246, 200), crescent)
    hill = 0.72 + 0.05 * f.ridge(3)
    ground = mix(f.rgb(30, 40, 66), f.rgb(16, 22, 40), f.depth(hill, 0.3))
    return over(picture, ground, f.below(hill))


def clouds(f: Fields) -> Tensor:
    """Draw a blue sky that thickens to clouds below."""
    picture = mix(f.rgb(60, 145, 235), f.rgb(170, 215, 250), f.y)
    thickness = f.soft(7) + 0.5 * f.soft(5) + 0.15 * f.soft(3) + 1.6 * (f.y - 0.5)
    colour = mix(f.rgb(225, 235, 248), f.rgb(255, 255, 255), smoothstep(0, 1.5, thickness))
    return over(picture, colour, smoothstep(0.15, 0.75, thickness))


def aurora(f: Fields) -> Tensor:
    """Draw green curtains of light over a snowy plain."""
    picture = mix(f.rgb(8, 14, 45), f.rgb(25, 50, 85), f.depth(0, 0.8))
    star, _, _, _ = f.dots(32, size=2, place=0, above=1.6, radius=0.35)
    picture = over(picture, f.rgb(235, 240, 255), 0.9 * star)
    for which, hue in enumerate((0.38, 0.47)):
        foot = 0.32 + 0.12 * which + 0.1 * f.ridge(4, which)
        above = (foot - f.y).clamp(0, 1)
        folds = 0.7 + 0.3 * torch.sin(16 * math.pi * f.x + 1.5 * f.ridge(2, which))
        curtain = smoothstep(0.02, -0.02, f.y - foot) * torch.exp(-7 * above) * folds
        picture = picture + curtain * hsv(hue + 0.3 * above, saturation=0.7, value=0.9)
    snow = 0.75 + 0.05 * f.ridge(3)
    plain = mix(f.rgb(190, 210, 230), f.rgb(110, 135, 175), f.depth(snow, 0.3))
    return over(picture, plain, f.below(snow))


SKY = (
    Scene(
        "space",
        ("in space", "in outer space", "among the stars in space", "floating in space"),
        space,
        Light((0.75, 0.75, 0.9), shade=0.3),
        grounded=False,
    ),
    Scene(
        "night",
        ("under a night sky", "at night", "under a starry night sky", "under the moon"),
        night,
        Light((0.45, 0.5, 0.75), shade=0.2),
    ),
    Scene(
        "clouds",
        ("in the sky", "above the clouds", "among the clouds", "in the clouds"),
        clouds,
        Light((0.98, 1.0, 1.04), shade=0.12),
        grounded=False,
    ),
    Scene(
        "aurora",
        ("under the northern lights", "under an aurora", "below the aurora borealis"),
        aurora,
        Light((0.5, 0.75, 0.7), shade=0.12),
        foreground=drift((185, 206, 228), (135, 158, 192)),
    ),
)
