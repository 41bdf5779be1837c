"""A sheet of rendered pictures to look at."""

import torch
from PIL import Image
from torch.nn import functional as F

from swiftpie.imageio.images import to_pil
from swiftpie_lab.world.sampler import WorldBatch

GAP_PX = 2  # between the rows


def contact_sheet(batch: WorldBatch, columns: int = 4) -> Image.Image:
    """Show every row of `batch` as reference, picture and mask, `columns` of these a line."""
    views = len(batch.pixels) // len(batch.reference)
    reference = batch.reference.repeat_interleave(views, dim=0)
    mask = (batch.mask * 2 - 1).expand_as(batch.pixels)
    triples = torch.cat([reference, batch.pixels, mask], dim=3)
    cells = F.pad(triples, (0, GAP_PX, 0, GAP_PX), value=1)  # white
    lines = -(-len(cells) // columns)
    empty = torch.ones_like(cells[:1]).expand(lines * columns - len(cells), -1, -1, -1)
    grid = torch.cat([cells, empty]).unflatten(0, (lines, columns)).permute(2, 0, 3, 1, 4)
    (sheet,) = to_pil(grid.flatten(3, 4).flatten(1, 2)[None])
    return sheet
