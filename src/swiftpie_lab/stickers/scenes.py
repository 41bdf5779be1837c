"""Scenes of streets and rooms, plain backgrounds, and the catalogue of all scenes."""

import math

import torch
from torch import Tensor

from swiftpie_lab.stickers.nature import LAND, SKY, WATER
from swiftpie_lab.world.fields import Draw, Fields, Light, Scene, hsv, mix, over, scene, smoothstep


@scene(
    ("in a city", "in front of a city skyline", "in front of skyscrapers", "on a city street"),
    light=Light((0.97, 0.97, 1.0), shade=0.15),
)
def city(f: Fields) -> Tensor:
    """Draw two rows of skyscrapers with lit windows behind a road."""
    sky = hsv(0.55 + 0.1 * f.u(6), saturation=0.45, value=0.95)
    picture = mix(sky, f.rgb(245, 235, 225), f.depth(0, 0.7))
    dark = smoothstep(0.4, 0.2, f.cells(32, 2))
    for which, (count, colour, top) in enumerate(
        ((8, f.rgb(150, 165, 190), 0.2), (4, f.rgb(85, 100, 130), 0.34))
    ):
        roof = top + 0.14 * torch.tanh(f.columns(count, which))
        across = (f.x * count) % 1
        house = f.below(roof) * ((across > 0.04) & (across < 0.96))
        picture = over(picture, colour * (1.04 - 0.12 * across), house)
        column, row = (across * 4) % 1, (f.y * 4 * count) % 1
        pane = (column > 0.3) & (column < 0.75) & (row > 0.3) & (row < 0.75) & (f.y > roof + 0.03)
        picture = over(picture, mix(f.rgb(250, 225, 140), colour * 0.75, dark), 0.9 * house * pane)
    picture = over(picture, f.rgb(95, 98, 105) * (1.05 - 0.15 * f.depth(0.8, 0.2)), f.below(0.8))
    stripe = f.below(0.885) * (1 - f.below(0.9)) * ((f.x * 4) % 1 < 0.5)
    return over(picture, f.rgb(240, 240, 230), stripe)


@scene(
    ("in front of a brick wall", "by a brick wall", "against a brick wall"),
    light=Light((1.02, 0.97, 0.92), shade=0.15),
)
def brick_wall(f: Fields) -> Tensor:
    """Draw a brick wall above a pavement."""
    course = (f.y * 8).floor()
    across = (f.x * 4 + 0.5 * (course % 2)) % 1
    down = (f.y * 8) % 1
    tone = smoothstep(-1, 1, f.cells(8, 0))
    stone = mix(f.rgb(180, 85, 65), f.rgb(205, 120, 90), tone) * (1 + 0.05 * f.soft(3))
    sides = smoothstep(0.0, 0.05, across - 0.02) * smoothstep(0.0, 0.05, 0.98 - across)
    face = sides * smoothstep(0.0, 0.1, down - 0.04) * smoothstep(0.0, 0.1, 0.96 - down)
    picture = over(f.rgb(220, 210, 200), stone, face)
    return over(picture, f.rgb(150, 150, 155) + 0.02 * f.soft(3), f.below(0.8))


@scene(
    ("on a wooden table", "on a wooden floor", "on a table made of wood", "on a wooden desk"),
    light=Light((1.03, 0.98, 0.9), shade=0.12),
)
def wooden_table(f: Fields) -> Tensor:
    """Draw the planks of a table or floor before a softly coloured wall."""
    tint = hsv(0.05 + 0.9 * f.u(6), saturation=0.25, value=0.9)
    wall = mix(f.rgb(250, 240, 225), tint, f.u(6).new_tensor(0.7))
    edge = f.horizon
    plank = (f.y - edge) / (1.02 - edge) * 4
    gap = smoothstep(0.07, 0.0, plank % 1)
    tones = f.rows(4).gather(1, plank.floor().long().clamp(0, 3).flatten(1))
    streaks = torch.sin(32 * math.pi * f.y + 1.5 * f.soft(7) + 3 * f.x)
    timber = f.rgb(176, 116, 62) * (1 + 0.05 * tones[:, None, :, None]) + 0.035 * streaks
    timber = (timber + 0.02 * f.soft(3)) * (1 - 0.45 * gap)
    return over(wall, timber, f.below(edge))


@scene(
    ("at a party", "with confetti", "at a birthday party", "surrounded by confetti"),
    light=Light((1.03, 1.0, 1.02), shade=0.1),
)
def party(f: Fields) -> Tensor:
    """Draw confetti of two sizes on a bright gradient."""
    top = hsv(f.u(6), saturation=0.35, value=1.0)
    picture = mix(top, hsv(f.u(6) + 0.15, saturation=0.5, value=0.85), f.y)
    for count, size, above, radius, turn in ((8, 0, -0.5, 0.26, 0.0), (16, 2, 0.0, 0.3, 0.3)):
        place = 1 if count == 8 else 0
        piece, hue, _, _ = f.dots(count, size=size, place=place, above=above, radius=radius)
        picture = over(picture, hsv(1.6 * hue + turn, saturation=0.75, value=1.0), piece)
    return picture


@scene(
    ("on a checkered floor", "on a chess board", "on a checkerboard", "on a tiled floor"),
    light=Light((1.0, 0.98, 0.97), shade=0.12),
)
def checkered_floor(f: Fields) -> Tensor:
    """Draw a checkered floor in perspective before a gradient wall."""
    horizon = 0.5
    wall = hsv(f.u(6), saturation=0.3, value=0.85)
    picture = mix(wall, f.rgb(250, 250, 250), 0.6 * f.depth(0, horizon))
    near = ((f.y - horizon) / (1 - horizon)).clamp(0.02, 1) + 0.35
    column = ((f.x - 0.5) / near * 2.2).floor()
    row = (1.8 / near).floor()
    dark = hsv(f.u(9), saturation=0.55, value=0.35)
    floor = mix(f.rgb(245, 240, 235), dark, (column + row) % 2)
    return over(picture, floor, f.below(horizon))


TOWN = (city, brick_wall, wooden_table, party, checkered_floor)


_STUDIO = Light(shade=0.08)


def _backdrop(red: int, green: int, blue: int) -> Draw:
    def draw(fields: Fields) -> Tensor:
        glow = 1.04 - 0.16 * fields.distance(0.5, 0.45) + 0.08 * (fields.u(6) - 0.5)
        return fields.rgb(red, green, blue) * glow

    return draw


def _plain(name: str, draw: Draw) -> Scene:
    phrases = (
        f"on a {name} background",
        f"in front of a {name} wall",
        f"on a plain {name} background",
        f"with a {name} background",
        f"on {name}",
    )
    return Scene(name, phrases, draw, _STUDIO)


PLAIN = (
    _plain("pink", _backdrop(250, 150, 190)),
    _plain("blue", _backdrop(90, 150, 240)),
    _plain("yellow", _backdrop(250, 215, 80)),
    _plain("white", _backdrop(245, 245, 246)),
    _plain("green", _backdrop(110, 200, 120)),
)


SCENES: tuple[Scene, ...] = (*WATER, *LAND, *SKY, *TOWN, *PLAIN)
