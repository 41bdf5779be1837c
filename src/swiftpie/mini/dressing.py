"""What subjects wear and hold in pictures: turned, dyed and lit as they are."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import Layout
from swiftpie.geometry.relief import height
from swiftpie.geometry.shading import Illumination, shaded
from swiftpie.imageio.images import alpha_of, to_tensor
from swiftpie.library import packaged
from swiftpie.mini.accessories import Wardrobe, open_wardrobe, wear
from swiftpie.mini.frames import FRAME_PX
from swiftpie.mini.looks import recolour
from swiftpie.mini.scenes import Worn

SPRITE_PX = 96  # side of accessories


class Dressed(NamedTuple):
    """One thing that a subject wears or holds, with its place."""

    frame: Tensor  # (1, 4, 128, 128) premultiplied, in [0, 1]
    layout: Layout
    is_behind: bool  # the subject


@cache
def wardrobe() -> Wardrobe:
    """Return the accessories, from sprites of the library."""

    def sprite(code: str) -> Tensor:
        image = packaged().sprite(code).convert("RGBA").resize((SPRITE_PX, SPRITE_PX))
        opacity = alpha_of(image)
        assert opacity is not None, "it is RGBA"
        colours = (to_tensor(image) + 1) / 2 * opacity
        return (255 * torch.cat([colours, opacity], dim=1)[0]).round().to(torch.uint8)

    return open_wardrobe(sprite)


def dressed(frame: Tensor, layout: Layout, light: Illumination | None, worn: Worn) -> list[Dressed]:
    """Return what a subject wears or holds.

    Args:
        frame: The subject, (1, 4, S, S), premultiplied in [0, 1].
        layout: Its place and pose.
        light: Of its picture; None: unknown.
        worn: What it is, and its colour.
    """
    small = F.interpolate(frame, (FRAME_PX, FRAME_PX), mode="area")
    found = []
    pieces = wear(small, height(frame[:, 3:]), layout, [worn.name], wardrobe())
    for piece in pieces:
        dyed = recolour(piece.turned.frame, [worn.colour or "none"])
        if light is not None:
            turned = piece.turned._replace(frame=dyed)
            dyed = shaded(turned, light, piece.layout, torch.zeros(1))
        found.append(Dressed(dyed, piece.layout, piece.is_behind))
    return found
