"""What a scene is: words for it, a drawing, its light and what may stand before the subject."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from swiftpie.data.scenes.fields import Fields

Draw = Callable[[Fields], Tensor]
"""Draws backgrounds (B, 3, R, R) in [0, 1], or a shape that broadcasts to it."""

Foreground = Callable[[Fields, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Draws (colour, coverage) before the subject, from the heights (B, 1, 1, 1) of edge and base.

The edge is where the foreground should begin, the base is the lowest point of the subject.
"""


@dataclass(frozen=True)
class Light:
    """How a scene lights its subject."""

    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factors of red, green and blue
    shade: float = 0.12  # how much brighter the side towards the light is, as a share


@dataclass(frozen=True)
class Scene:
    """One kind of place a subject can be put in."""

    name: str
    phrases: tuple[str, ...]  # ways to say it that follow the subject in a caption
    draw: Draw
    light: Light = Light()
    grounded: bool = True  # the subject stands and casts a shadow; otherwise it floats
    foreground: Foreground | None = None
