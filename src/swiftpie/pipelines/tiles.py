"""Redraws a large region at a higher resolution, in tiles of the model's own size.

Tiles start from the enlarged drawing with a little noise (SDEdit, arXiv:2108.01073), so that they
add detail and no new subjects. They overlap, fade into each other and share their noise, as in
MultiDiffusion (arXiv:2302.08113). The model must be trained on a late step, which has little noise;
drawings of other models are only enlarged.
"""

import math
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.choices import schedule_of, with_steps
from swiftpie.backbones.components import Components
from swiftpie.masks import resize_mask
from swiftpie.noise import Schedule, add_noise, draw_noise
from swiftpie.pipelines.denoise import Prepared, decode, denoise

MOST_TILES = 4  # a side
STRIDE = 0.75  # sides of a tile from one to the next


def num_tiles(components: Components, *, times: float) -> int:
    """Return the tiles a side of a drawing that is shown `times` as large; 1 means no tiles."""
    if late_schedule(components) is None:
        return 1
    return min(MOST_TILES, max(1, math.ceil((times - 1) / STRIDE) + 1))


def late_schedule(components: Components) -> Schedule | None:
    """Return the last step of the longest schedule of the weights; None if they take one step."""
    preset = components.preset
    most = max(preset.step_counts)
    if most < 2:
        return None
    whole = schedule_of(with_steps(preset, most))
    return replace(whole, steps=whole.steps[-1:])


@torch.no_grad()
def in_tiles(start: Prepared, drawing: Tensor, regions: Tensor, *, count: int, seed: int) -> Tensor:
    """Return a `drawing` as large as `count` x `count` tiles, with detail.

    Args:
        start: The inputs of the drawing, one row; tiles have the same prompt and subject.
        drawing: Pixels (1, 3, h, w) in [-1, 1], of the model's own size.
        regions: Where tiles are needed, (1, 1, h, w) in [0, 1].
        count: Tiles a side, at least 2.
        seed: Decides their noise.

    Returns:
        Pixels (1, 3, H, W) in [-1, 1], on the device of the drawing.
    """
    schedule, cell_px = late_schedule(start.components), start.components.preset.latent_cell_px
    assert schedule is not None, "there is more than one tile"
    components = replace(start.components, schedule=schedule)
    rows, columns = drawing.shape[2] // cell_px, drawing.shape[3] // cell_px
    down, across = round(STRIDE * rows), round(STRIDE * columns)
    cells = (rows + (count - 1) * down, columns + (count - 1) * across)
    size = (cell_px * cells[0], cell_px * cells[1])
    pixels = F.interpolate(drawing, size, mode="bicubic", align_corners=False).clamp(-1, 1)
    counts = resize_mask(regions, cells)
    noise = draw_noise([seed], (components.preset.latent_channels, *cells))
    shares = fade(drawing.shape[2], drawing.shape[3]).to(pixels)
    total, weights = torch.zeros_like(pixels), torch.zeros_like(pixels[:, :1])
    for row, column in product(range(count), repeat=2):
        top, left = row * down, column * across
        here = (..., slice(top, top + rows), slice(left, left + columns))
        there = (
            ...,
            slice(cell_px * top, cell_px * (top + rows)),
            slice(cell_px * left, cell_px * (left + columns)),
        )
        tile = pixels[there]
        if bool(counts[here].any()):
            known = components.autoencoder.encode(tile.to(start.latents))
            attention = start.condition.attention
            attention = attention._replace(region=counts[here].to(attention.region))
            entering = start._replace(
                components=components,
                latents=add_noise(known, noise[here].to(known), schedule.steps[0]),
                condition=start.condition._replace(attention=attention),
                fresh=start.fresh[:0],
            )
            tile = decode(components, denoise(entering).latents).to(pixels)
        total[there] += shares * tile
        weights[there] += shares
    return total / weights


def fade(height: int, width: int) -> Tensor:
    """Return how much each pixel of a tile counts, (1, 1, H, W): less towards its edges."""
    rows, columns = (
        1 - (2 * (torch.arange(side) + 0.5) / side - 1).abs() for side in (height, width)
    )
    return (rows[:, None] * columns)[None, None]
