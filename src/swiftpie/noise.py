"""Noise: how it is drawn by seeds, and the statistics that carry layout and texture.

Mini is trained on pictures that are a deterministic function of their noise. The renderer that
draws them and the network that imitates it take the same numbers from this module.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.validation import MAX_IMAGES as MAX_IMAGES
from swiftpie.validation import MAX_SEED as MAX_SEED
from swiftpie.validation import check_count as check_count
from swiftpie.validation import check_seeds as check_seeds
from swiftpie.validation import seeds_from as seeds_from

COUPLED_CHANNELS = 16  # latent channels that are unfolded into four fields of twice the side
LAYOUT_FIELD = 3  # the fields before it are texture; this one only places things
NUM_STATISTICS = 48  # 16 block means of the noise, each through erf, and sine and cosine of that
_BLOCKS_A_SIDE = 4
_ANCHOR_NUMBERS = [5, 7, 8]  # which layout numbers place the horizon, the sun and a planet
_ANCHORS = [(0.42, 0.16), (0.15, 0.70), (0.10, 0.25)]  # smallest value, and what the number adds


def grain(noise: Tensor) -> Tensor:
    """Unfold the first half of latent `noise` (B, 32, h, w) into four fields (B, 4, 2h, 2w)."""
    return F.pixel_shuffle(noise[:, :COUPLED_CHANNELS], 2)


def share_of(noise: Tensor, channel: int = 0) -> float:
    """Return a uniform number in [0, 1] of `noise` (1, C, h, w)."""
    return float(torch.special.ndtr(noise[0, channel].sum() / noise[0, channel].numel() ** 0.5))


def block_normals(noise: Tensor) -> Tensor:
    """Return (B, 16) independent standard normals that decide the layout.

    Args:
        noise: Standard normal latents, (B, 32, h, w) with h and w even.
    """
    field = grain(noise)[:, LAYOUT_FIELD]
    height, width = (side // _BLOCKS_A_SIDE for side in field.shape[1:])
    blocks = field.reshape(-1, _BLOCKS_A_SIDE, height, _BLOCKS_A_SIDE, width)
    means = blocks.mean(dim=(2, 4)).flatten(1)
    # A mean of n normals has deviation 1 / sqrt(n).
    return means * math.sqrt(height * width)


def layout_uniforms(noise: Tensor) -> Tensor:
    """Return (B, 16) numbers in (0, 1), uniform and independent when `noise` is normal."""
    uniforms: Tensor = torch.special.ndtr(block_normals(noise))
    return uniforms


def noise_statistics(noise: Tensor) -> Tensor:
    """Return what the layout depends on in `noise` (B, C, h, w), as (B, 48) in [-1, 1]."""
    uniform = torch.erf(block_normals(noise) / math.sqrt(2))
    return torch.cat([uniform, torch.sin(math.pi * uniform), torch.cos(math.pi * uniform)], dim=1)


def anchors(uniforms: Tensor) -> Tensor:
    """Return positions of horizon, sun and planet (B, 3) as shares of the picture's side.

    Horizon and planet are measured from the top, the sun from the left.

    Args:
        uniforms: The numbers of `layout_uniforms`, (B, 16).
    """
    first, span = uniforms.new_tensor(_ANCHORS).unbind(1)
    return first + span * uniforms[:, _ANCHOR_NUMBERS]


def draw_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """Return standard normal noise (B, *shape), drawn on the CPU with one generator a seed.

    A row depends on its own seed alone, so a picture is the same in every batch and on each device.
    """
    return draw_step_noise(seeds, shape, count=1)[0]


def draw_step_noise(seeds: Sequence[int], shape: tuple[int, int, int], *, count: int) -> Tensor:
    """Return `count` draws (count, B, *shape) for a schedule that adds fresh noise.

    The first draw is that of `draw_noise`.
    """
    generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
    draws = [
        [torch.randn(shape, generator=generator) for generator in generators] for _ in range(count)
    ]
    return torch.stack([torch.stack(rows) for rows in draws])
