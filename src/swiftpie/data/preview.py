"""Contact sheets: what a batch looks like at a glance."""

import torch
from PIL import Image
from torch import Tensor

from swiftpie.data.stickers import StickerBatch

_GAP_PX = 2


def contact_sheet(batch: StickerBatch, columns: int = 4) -> Image.Image:
    """Show every row of `batch` as reference, picture and mask, `columns` of these a line."""
    views = len(batch.pixels) // len(batch.reference)
    reference = batch.reference.repeat_interleave(views, dim=0)
    mask = (batch.mask * 2 - 1).expand_as(batch.pixels)
    triples = torch.cat([reference, batch.pixels, mask], dim=3).cpu()
    return tile(triples, columns)


def tile(pixels: Tensor, columns: int) -> Image.Image:
    """Lay out pictures (N, 3, H, W) in [-1, 1] on a white sheet, row by row."""
    count, _, height, width = pixels.shape
    lines = -(-count // columns)
    sheet = Image.new(
        "RGB", (columns * (width + _GAP_PX), lines * (height + _GAP_PX)), color="white"
    )
    levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    for index, picture in enumerate(levels):
        corner = (index % columns * (width + _GAP_PX), index // columns * (height + _GAP_PX))
        sheet.paste(Image.fromarray(picture.numpy()), corner)
    return sheet
