"""Finds what a subject wears in its picture, by the sprite that it was drawn from.

The sprite is put on the subject as a new one would be, in the light of the picture. How well it
fits at other places, sizes and angles is a normalised cross-correlation over all three colours
together, so that hue counts and exposure does not.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.fields import smoothstep
from swiftpie.imageio.cutout import shrunk_to
from swiftpie.imageio.images import extent_of, to_tensor
from swiftpie.masks import resize_mask
from swiftpie.pipelines.photographs.figures import WHOLE, Figure, Layer, worn_layers

COARSE_PX, FINE_PX = 96, 192  # longer side of the picture in the first and the second search
ZOOMS = (0.55, 0.65, 0.75, 0.85, 0.95, 1.05, 1.2, 1.4)  # of the size that a new one would have
TURNS = (-0.2, 0.0, 0.2)  # radians
FINER_ZOOMS, FINER_TURNS = (0.88, 0.94, 1.0, 1.06, 1.12), (-0.12, -0.06, 0.0, 0.06, 0.12)
AWAY = 0.75  # of the subject's frame: how far from the expected place the first search goes
NEAR = 3 / COARSE_PX  # of the picture: how far the second search goes from the first result
FAR = 2.0  # how much less likely it is at a distance of one frame of the subject, as a logarithm
CHANCE = 0.6  # share of a part's squares that must be explained; what exceeds it counts
ALIKE = 0.8  # correlation from which it is the sprite and not something else
SOFT = 1e-3  # opacity below which a sprite says nothing
OTHER = (0.2, 0.1)  # differences from the sprite, in [0, 1], that hide it and that do not
FLAT = 1e-6  # of squared differences: less is no pattern
SMOOTH_PX = 3  # in the second search: over which differences are averaged


class _Match(NamedTuple):
    """A sprite in its place."""

    score: float  # what it explains of the picture, less far from where it would be put
    correlation: float  # in [-1, 1]
    layer: Layer


class _Search(NamedTuple):
    """Where a sprite is looked for."""

    pixels: Tensor  # (1, 3, h, w) in [0, 1]
    centre: Tensor  # (1, 2) the likeliest place
    reach: float  # how far from it is looked, in shares of the picture
    frame: float  # side of the subject's frame, likewise

    def best(self, candidates: Iterable[Layer]) -> _Match:
        """Return the best of `candidates`, each at its best place."""
        return max((_match(self, layer) for layer in candidates), key=lambda match: match.score)


@torch.no_grad()
def find_worn(picture: Image.Image, figure: Figure) -> Tensor | None:
    """Return where `picture` shows what a figure wears, (1, 1, H, W) in [0, 1]; None if nowhere.

    Args:
        picture: RGB, without rain, flakes and fog.
        figure: The subject of the picture, in its light. `worn` is what is looked for.
    """
    worn, frame = worn_layers(figure)[0], float(figure.layout.scale.max())
    wide = _Search(_shrunk(picture, COARSE_PX), worn.layout.centre, AWAY * frame, frame)
    coarse = wide.best(_varied(worn, ZOOMS, TURNS, (0, 1))).layer
    pixels = _shrunk(picture, FINE_PX)
    close = _Search(pixels, coarse.layout.centre, NEAR, frame)
    fine = close.best(_varied(coarse, FINER_ZOOMS, FINER_TURNS, (0,)))
    if fine.correlation < ALIKE:
        return None
    size = (picture.height, picture.width)
    opacity = fine.layer.at(size, WHOLE)[:, 3:]
    return opacity * resize_mask(_seen(pixels, fine.layer), size) if worn.is_behind else opacity


def _shrunk(picture: Image.Image, side_px: int) -> Tensor:
    height, width = shrunk_to(side_px, (picture.height, picture.width))
    return to_tensor(picture.resize((width, height), Image.Resampling.BOX)) / 2 + 0.5


def _varied(
    layer: Layer, zooms: Iterable[float], turns: Iterable[float], mirrors: Iterable[int]
) -> Iterator[Layer]:
    """Yield a layer in other sizes, at other angles, and mirrored."""
    layout = layer.layout
    for zoom, turn, mirror in product(zooms, turns, mirrors):
        yield layer._replace(
            layout=layout._replace(
                scale=layout.scale * zoom,
                rotation=layout.rotation + turn,
                flip=(layout.flip - mirror).abs(),
            )
        )


def _match(search: _Search, layer: Layer) -> _Match:
    """Return a layer at its best place."""
    height, width = search.pixels.shape[2:]
    in_middle = layer.layout._replace(centre=torch.tensor([[0.5, 0.5]]))
    sprite = layer._replace(layout=in_middle).at((height, width), WHOLE)
    extent = extent_of((sprite[:, 3:] > SOFT).float())
    if extent is None:
        return _Match(-1.0, -1.0, layer)
    left, top, right, bottom = extent
    wide, tall = right - left, bottom - top
    x, y = search.centre[0].tolist()
    column, xs = _steps(left, wide, width, near=x, reach=search.reach)
    row, ys = _steps(top, tall, height, near=y, reach=search.reach)
    room = F.pad(search.pixels, (wide, wide, tall, tall), mode="replicate")
    window = room[..., row : row + len(ys) + tall - 1, column : column + len(xs) + wide - 1]
    alike, spread = _compared(window, sprite[..., top:bottom, left:right])
    away = ((xs - x).square() + (ys - y).square()[:, None]) / search.frame**2
    score = spread * (alike.clamp_min(0).square() - CHANCE) * torch.exp(-FAR * away)
    best_row, best_column = divmod(int(score.argmax()), len(xs))
    place = torch.stack([xs[best_column], ys[best_row]])[None]
    return _Match(
        float(score[best_row, best_column]),
        float(alike[best_row, best_column]),
        layer._replace(layout=layer.layout._replace(centre=place)),
    )


def _steps(start: int, length: int, side: int, *, near: float, reach: float) -> tuple[int, Tensor]:
    """Return the first place of a sprite that is tried along an axis, and the centres of all.

    Args:
        start: Where the sprite begins if its frame is in the middle of the picture.
        length: Of the sprite.
        side: Of the picture.
        near: The centre around which places are tried.
        reach: How far from it, as a share of the picture.
    """
    centres = (torch.arange(side + length + 1) - length - start) / side + 0.5
    steps, middle = math.ceil(reach * side), int((centres - near).abs().argmin())
    first = max(0, middle - steps)
    return first, centres[first : middle + steps + 1]


def _compared(window: Tensor, sprite: Tensor) -> tuple[Tensor, Tensor]:
    """Return how alike a sprite (1, 4, h, w) and all parts of a window (1, 3, H, W) are.

    Returns:
        Correlations, and the sums of squares that each part has to explain, (n, m) each.
    """
    alpha = sprite[:, 3:].expand(-1, 3, -1, -1)
    total = alpha.sum()
    centred = sprite[:, :3] - alpha * sprite[:, :3].sum() / total
    variance = (centred.square() / alpha.clamp_min(SOFT)).sum()
    means, squares = F.conv2d(window, alpha), F.conv2d(window.square(), alpha)
    spread = (squares - means.square() / total).clamp_min(0)
    alike = F.conv2d(window, centred) / (variance * spread).clamp_min(FLAT).sqrt()
    return alike[0, 0], spread[0, 0]


def _seen(pixels: Tensor, layer: Layer) -> Tensor:
    """Return which part of a sprite a picture (1, 3, h, w) shows before all else, (1, 1, h, w)."""
    sprite = layer.at((pixels.shape[2], pixels.shape[3]), WHOLE)
    alpha = sprite[:, 3:].clamp_min(SOFT)
    colours, total = sprite[:, :3] / alpha, 3 * alpha.sum()
    mean, shown = (alpha * colours).sum() / total, (alpha * pixels).sum() / total
    gain = (alpha * (colours - mean) * (pixels - shown)).sum()
    gain = gain / (alpha * (colours - mean).square()).sum().clamp_min(FLAT)
    error = (pixels - shown - gain * (colours - mean)).abs().mean(dim=1, keepdim=True)
    return smoothstep(*OTHER, F.avg_pool2d(error, SMOOTH_PX, 1, SMOOTH_PX // 2))
