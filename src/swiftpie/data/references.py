"""The pictures a user would give: the posed subject alone, on some background."""

from random import Random

import torch
from torch import Tensor

from swiftpie.data.renderer import draw_frames
from swiftpie.data.scenes.drawing import mix, paste
from swiftpie.layout import Layout

_JITTER = 0.008  # of the side, one pixel: cut-outs are centred, but no mask is exact
_BRIGHTNESS = 0.10
_WARMTH = 0.04
_BACKGROUNDS = ("white", "colour", "gradient", "scene")
_SHARES = (0.40, 0.25, 0.10, 0.25)


def draw_references(
    frames: Tensor, scenery: Tensor, *, random: Random, generator: torch.Generator, size_px: int
) -> tuple[Tensor, Tensor]:
    """Return references (G, 3, R, R) in [-1, 1] and their exact masks (G, 1, R, R).

    Args:
        frames: Reference frames (G, 4, 128, 128).
        scenery: Pictures (G, 3, R, R) in [-1, 1] to use as background now and then.
        random: Chooses backgrounds.
        generator: On the CPU; draws colours, light and place.
        size_px: Side R of the references.
    """
    number = torch.rand(len(frames), 12, generator=generator).to(frames)
    signed = 2 * number - 1
    layout = Layout(
        centre=0.5 + _JITTER * signed[:, :2],
        scale=1 + _JITTER * signed[:, 2],
        rotation=torch.zeros_like(number[:, 0]),
        flip=torch.zeros_like(number[:, 0]),
    )
    sprite = draw_frames(frames, layout, size_px=size_px)
    alpha = sprite[:, 3:]
    warm = _WARMTH * signed[:, 4]
    tint = torch.stack([1 + warm, torch.ones_like(warm), 1 - warm], dim=1)
    gain = (tint * (1 + _BRIGHTNESS * signed[:, 3:4]))[:, :, None, None]
    lit = torch.cat([(sprite[:, :3] * gain).minimum(alpha), alpha], dim=1)
    kinds = random.choices(_BACKGROUNDS, _SHARES, k=len(frames))
    first, second = number[:, 6:9, None, None], number[:, 9:12, None, None]
    background = torch.ones_like(lit[:, :3])
    height = torch.linspace(0, 1, size_px, device=frames.device).view(1, 1, -1, 1)
    for row, kind in enumerate(kinds):
        if kind == "colour":
            background[row] = first[row]
        elif kind == "gradient":
            # Half way to white, as studio backdrops are.
            background[row] = (1 + mix(first[row], second[row], height[0])) / 2
        elif kind == "scene":
            background[row] = (scenery[row] + 1) / 2
    return paste(background, lit).clamp(0, 1) * 2 - 1, alpha
