"""Which rendition a style picture is made like, read from its colours, tones and edges.

Nothing is trained: places of the library are drawn in every rendition, and the picture's statistics
are compared with theirs. The distance is that of linear discriminant analysis, whose covariance is
drawn towards a diagonal one, because there are few examples.
"""

from functools import cache
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import to_tensor
from swiftpie.mini.relight import NOISE_SHAPE
from swiftpie.mini.renditions import ARTS, render_picture
from swiftpie.mini.scenes import cut_to, packaged
from swiftpie.noise import draw_noise

SIDE_PX = 256  # of the pictures that are compared
NUM_PLACES, STRIDE = 8, 7  # of the library that are drawn in each rendition, far from each other
SHRINKAGE = 0.05  # share of the diagonal covariance
LEVELS = 5  # scales at which edges are looked at
FLAT, SHARP = 0.004, 0.15  # differences of neighbours below which nothing changes, above which much
TONES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
SATURATIONS = (0.1, 0.5, 0.9)


class _Examples(NamedTuple):
    """What a picture is compared with."""

    means: Tensor  # (A, F) of each of `ARTS`, and last of plain pictures
    spread: Tensor  # (F,) within a rendition
    precision: Tensor  # (F, F) of features over their spread


@torch.no_grad()
def rendition_like(picture: Image.Image) -> str | None:
    """Return the one of `ARTS` that a picture is most like; None if that is a plain picture."""
    means, spread, precision = _examples()
    pixels = to_tensor(cut_to(picture.convert("RGB"), (SIDE_PX, SIDE_PX)))
    offsets = (_features(pixels) - means) / spread
    distances = torch.einsum("af,fg,ag->a", offsets, precision, offsets)
    return (*ARTS, None)[int(distances.argmin())]


@cache
def _examples() -> _Examples:
    library, rows = packaged(), []
    names = sorted(library.names())
    for number in range(NUM_PLACES):
        name = names[number * STRIDE % len(names)]
        place = to_tensor(library.dealt(name, number / NUM_PLACES, (SIDE_PX, SIDE_PX)))
        noise = draw_noise([number], NOISE_SHAPE)
        drawn = [*(render_picture(place, noise, art) for art in ARTS), place]
        rows.append(torch.stack([_features(picture) for picture in drawn]))
    features = torch.stack(rows)  # (places, A, F)
    means = features.mean(dim=0)
    within = (features - means).flatten(0, 1)
    spread = within.std(dim=0) + 1e-3
    within = within / spread
    covariance = within.T @ within / len(within)
    steady = torch.lerp(covariance, torch.eye(len(covariance)), SHRINKAGE)
    return _Examples(means, spread, torch.linalg.inv(steady))


def _features(picture: Tensor) -> Tensor:
    """Return the statistics (F,) of a picture (1, 3, H, W) in [-1, 1]."""
    colours = (picture + 1) / 2
    weights = colours.new_tensor([0.3, 0.59, 0.11])[None, :, None, None]
    tone = (colours * weights).sum(dim=1, keepdim=True)
    saturation = colours.amax(dim=1) - colours.amin(dim=1)
    warmth = colours[:, 0] - colours[:, 2]
    parts = [
        *(colours.mean(dim=(0, 2, 3)), colours.std(dim=(0, 2, 3))),
        torch.quantile(tone.flatten(), tone.new_tensor(TONES)),
        torch.quantile(saturation.flatten(), tone.new_tensor(SATURATIONS)),
        torch.stack([warmth.mean(), warmth.std()]),
    ]
    for _ in range(LEVELS):
        across, down = tone.diff(dim=3).abs(), tone.diff(dim=2).abs()
        strengths = [(edges.mean() + 1e-4).log() for edges in (across, down)]
        shares = [(across < FLAT), (across > SHARP), (down > SHARP)]
        parts.append(torch.stack([*strengths, *(share.float().mean() for share in shares)]))
        tone = F.avg_pool2d(tone, 2)
    return torch.cat(parts)
