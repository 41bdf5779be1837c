"""Scenes of water, land and sky."""

import math

import torch
from torch import Tensor

from swiftpie_lab.world.fields import (
    Fields,
    Light,
    blades,
    drift,
    hsv,
    leaves,
    mix,
    over,
    scene,
    smoothstep,
    weeds,
)


@scene(
    ("on a beach", "at the beach", "on a sandy beach", "by the sea", "on the seashore"),
    light=Light((1.04, 1.02, 0.96), shade=0.15),
    foreground=drift((244, 220, 160), (220, 184, 118)),
)
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


@scene(
    ("under water", "underwater", "in the deep sea", "in the ocean", "at the bottom of the sea"),
    light=Light((0.55, 0.85, 0.95), shade=0.15),
    grounded=False,
    foreground=weeds,
)
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


@scene(
    ("at sunset", "in front of a sunset", "at sunset by the sea", "at dusk by the sea"),
    light=Light((1.05, 0.8, 0.65), shade=0.25),
)
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


WATER = (beach, underwater, sunset)


@scene(
    ("in the snow", "on a snowy hill", "on snow", "in a snowstorm", "in winter"),
    light=Light((0.96, 1.0, 1.06), shade=0.08),
    foreground=drift((246, 249, 255), (220, 231, 246)),
)
def snow(f: Fields) -> Tensor:
    """Draw falling snow over two white hills."""
    horizon = f.horizon
    picture = mix(f.rgb(150, 185, 220), f.rgb(225, 235, 245), f.depth(0, horizon))
    hill = horizon + 0.03 * f.ridge(3)
    picture = over(picture, f.rgb(195, 210, 228), f.below(hill - 0.08))
    near = mix(f.rgb(250, 252, 255), f.rgb(205, 220, 240), f.depth(hill, 0.5))
    picture = over(picture, near + 0.012 * f.soft(5), f.below(hill))
    flake, _, _, _ = f.dots(16, size=0, place=1, above=0.5, radius=0.22)
    return over(picture, f.rgb(255, 255, 255), 0.95 * flake)


@scene(
    ("in a desert", "in the desert", "on a sand dune", "among the dunes"),
    light=Light((1.06, 1.0, 0.88), shade=0.2),
    foreground=drift((248, 196, 112), (226, 158, 78)),
)
def desert(f: Fields) -> Tensor:
    """Draw two rows of dunes under a hazy sun."""
    horizon = f.horizon
    picture = mix(f.rgb(90, 175, 235), f.rgb(250, 225, 180), f.depth(0, horizon))
    sun = smoothstep(0.07, 0.055, f.distance(f.sun_x, 0.14))
    picture = over(picture, f.rgb(255, 250, 210), sun)
    far = horizon + 0.05 * f.ridge(5)
    dune = mix(f.rgb(230, 165, 85), f.rgb(205, 130, 60), f.depth(far, 0.3))
    picture = over(picture, dune, f.below(far))
    near = far + 0.13 + 0.05 * f.ridge(4, 1)
    dune = mix(f.rgb(245, 190, 105), f.rgb(220, 150, 70), f.depth(near, 0.4))
    ripples = 0.03 * torch.sin(40 * (f.y - near) + f.soft(7))
    return over(picture, dune + ripples, f.below(near))


@scene(
    ("in a forest", "in the woods", "among the trees", "in front of fir trees"),
    light=Light((0.85, 0.95, 0.85), shade=0.12),
    foreground=blades((62, 118, 46), (120, 180, 80)),
)
def forest(f: Fields) -> Tensor:
    """Draw two rows of fir trees behind a clearing."""
    picture = mix(f.rgb(165, 215, 200), f.rgb(215, 240, 200), f.depth(0, 0.5))
    rows = ((8, 0.5, f.rgb(90, 150, 110), 0.6, 0.42), (8, 0.0, f.rgb(40, 105, 65), 0.72, 0.5))
    for which, (count, shift, colour, foot, tall) in enumerate(rows):
        across = (f.x * count + shift) % 1 - 0.5
        top = foot - tall * (0.75 + 0.25 * torch.tanh(f.columns(count, which)))
        down = (f.y - top) / tall
        width = (0.06 + 0.5 * down.clamp(0, 1)) * (0.75 + 0.25 * ((4 * down) % 1))
        tree = smoothstep(width + 0.04, width - 0.04, across.abs())
        tree = tree * ((f.y > top) & (f.y < foot + 0.02))
        picture = over(picture, colour * (1 - 0.25 * across), tree)
        trunk = (across.abs() < 0.07) & (f.y > foot) & (f.y < foot + 0.07)
        picture = over(picture, f.rgb(80, 55, 35), trunk.to(picture.dtype))
    ground = 0.7 + 0.02 * f.ridge(3)
    grass = mix(f.rgb(105, 165, 70), f.rgb(60, 115, 45), f.depth(ground, 0.3))
    return over(picture, grass + 0.04 * f.soft(3), f.below(ground))


@scene(
    ("in a field of flowers", "in a flower meadow", "among flowers", "in a garden"),
    light=Light((1.02, 1.02, 0.97), shade=0.15),
    foreground=blades((58, 132, 50), (140, 205, 90)),
)
def flowers(f: Fields) -> Tensor:
    """Draw a meadow with flowers that grow larger towards the viewer."""
    horizon = f.horizon
    picture = mix(f.rgb(110, 190, 245), f.rgb(215, 238, 250), f.depth(0, horizon))
    cloud = smoothstep(0.3, 1.2, f.soft(7) + 0.2 - f.y)
    picture = over(picture, f.rgb(255, 255, 255), 0.7 * cloud)
    ground = horizon + 0.03 * f.ridge(4)
    grass = mix(f.rgb(120, 190, 80), f.rgb(55, 130, 50), f.depth(ground, 0.4))
    picture = over(picture, grass + 0.04 * f.soft(3), f.below(ground))
    for count, size, above, radius, start in ((16, 0, -0.1, 0.36, 0.02), (8, 2, -0.2, 0.26, 0.3)):
        flower, kind, _, distance = f.dots(count, size=size, place=1, above=above, radius=radius)
        flower = flower * f.below(ground + start)
        hue = 0.93 - 0.80 * (kind > 0.33) * (kind < 0.66) - 0.15 * (kind >= 0.66)
        picture = over(picture, hsv(hue, saturation=0.6, value=1.0), flower)
        centre = flower * smoothstep(0.13, 0.08, distance)
        picture = over(picture, f.rgb(255, 225, 90), centre)
    return picture


@scene(
    (
        "in the mountains",
        "in front of mountains",
        "with mountains in the background",
        "in the Alps",
    ),
    light=Light((1.0, 1.0, 1.0), shade=0.15),
    foreground=blades((78, 138, 58), (140, 195, 92)),
)
def mountain(f: Fields) -> Tensor:
    """Draw snow-capped peaks behind green hills."""
    picture = mix(f.rgb(95, 165, 230), f.rgb(215, 232, 245), f.depth(0, 0.6))
    peak = 0.3 + 0.1 * f.ridge(1)
    picture = over(picture, f.rgb(105, 120, 150) * (1 + 0.12 * f.soft(5)), f.below(peak))
    snow_line = peak + 0.09 + 0.03 * f.soft(3)
    cap = f.below(peak) * (1 - f.below(snow_line, 0.01))
    picture = over(picture, f.rgb(248, 250, 255), cap)
    hill = 0.58 + 0.05 * f.ridge(3, 1)
    picture = over(picture, f.rgb(80, 125, 95), f.below(hill - 0.08))
    meadow = mix(f.rgb(125, 180, 85), f.rgb(80, 140, 60), f.depth(hill, 0.4))
    return over(picture, meadow + 0.03 * f.soft(3), f.below(hill))


@scene(
    ("in autumn leaves", "in an autumn park", "among autumn leaves", "in a park in fall"),
    light=Light((1.05, 0.93, 0.8), shade=0.15),
    foreground=leaves,
)
def autumn(f: Fields) -> Tensor:
    """Draw golden treetops and a floor of fallen leaves."""
    picture = mix(f.rgb(245, 225, 190), f.rgb(250, 200, 130), f.depth(0, 0.6))
    trunk = smoothstep(0.075, 0.055, ((f.x * 4) % 1 - 0.5).abs())
    picture = over(picture, f.rgb(95, 65, 45), trunk * (f.y > 0.1))
    fine = f.soft(3)
    crown = mix(f.rgb(215, 100, 40), f.rgb(240, 170, 50), smoothstep(-0.5, 1.2, fine))
    density = smoothstep(0.1, 0.4, f.soft(5) + (0.35 - f.y) * 2)
    picture = over(picture, crown, density)
    picture = over(picture, f.rgb(190, 125, 60) + 0.05 * fine, f.below(0.55))
    for count, size, place, above, radius in ((16, 2, 0, -0.2, 0.42), (8, 0, 1, 0.6, 0.2)):
        leaf, first, second, _ = f.dots(count, size=size, place=place, above=above, radius=radius)
        lying = leaf * f.below(0.53) if count == 16 else leaf
        colour = hsv(0.02 + 0.1 * first, saturation=0.8, value=0.75 + 0.25 * second)
        picture = over(picture, colour, lying)
    return picture


@scene(
    ("on a volcano", "on lava", "on molten lava", "by a volcano"),
    light=Light((1.0, 0.7, 0.6), shade=0.15),
)
def lava(f: Fields) -> Tensor:
    """Draw glowing cracks in black rock before a volcano that spits sparks."""
    picture = mix(f.rgb(45, 20, 30), f.rgb(130, 45, 30), f.depth(0, 0.5))
    fine = f.soft(3)
    peak = 0.25 + 0.11 * f.ridge(2)
    picture = over(picture, f.rgb(45, 32, 36) * (1 + 0.15 * fine), f.below(peak))
    shore = 0.5 + 0.03 * f.ridge(3, 1)
    crack = smoothstep(0.35, 0.0, (f.soft(5) + 0.4 * fine).abs())
    melt = mix(f.rgb(255, 90, 20), f.rgb(255, 225, 90), smoothstep(0.5, 1, crack))
    picture = over(picture, mix(f.rgb(60, 35, 32), melt, crack), f.below(shore))
    spark, _, _, _ = f.dots(16, size=2, place=0, above=1.0, radius=0.2)
    return over(picture, f.rgb(255, 170, 60), spark * (1 - f.below(shore)))


LAND = (snow, desert, forest, flowers, mountain, autumn, lava)


@scene(
    ("in space", "in outer space", "among the stars in space", "floating in space"),
    light=Light((0.75, 0.75, 0.9), shade=0.3),
    grounded=False,
)
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


@scene(
    ("under a night sky", "at night", "under a starry night sky", "under the moon"),
    light=Light((0.45, 0.5, 0.75), shade=0.2),
)
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


@scene(
    ("in the sky", "above the clouds", "among the clouds", "in the clouds"),
    light=Light((0.98, 1.0, 1.04), shade=0.12),
    grounded=False,
)
def clouds(f: Fields) -> Tensor:
    """Draw a blue sky that thickens to clouds below."""
    picture = mix(f.rgb(60, 145, 235), f.rgb(170, 215, 250), f.y)
    thickness = f.soft(7) + 0.5 * f.soft(5) + 0.15 * f.soft(3) + 1.6 * (f.y - 0.5)
    colour = mix(f.rgb(225, 235, 248), f.rgb(255, 255, 255), smoothstep(0, 1.5, thickness))
    return over(picture, colour, smoothstep(0.15, 0.75, thickness))


@scene(
    ("under the northern lights", "under an aurora", "below the aurora borealis"),
    light=Light((0.5, 0.75, 0.7), shade=0.12),
    foreground=drift((185, 206, 228), (135, 158, 192)),
)
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


SKY = (space, night, clouds, aurora)
