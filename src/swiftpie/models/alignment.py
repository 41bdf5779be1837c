"""Aligned detail: the subject drawn where it will stand, as input for a denoiser that takes it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.layout import Layout, to_affine, warp
from swiftpie.types import Autoencoder


@torch.no_grad()
def align(
    autoencoder: Autoencoder,
    pixels: Tensor,
    mask: Tensor,
    *,
    layout: Layout,
    cells: tuple[int, int],
) -> Tensor:
    """Return the subject's latents and its exact shape in place, (B, C + f*f, h, w).

    Pixels are warped and then encoded, because shifts within a latent cell are not linear in the
    latents. The shape keeps every pixel: `f` is the number of pixels a side of a latent cell.

    Args:
        autoencoder: Maps (B, 3, H, W) to (B, C, h, w).
        pixels: Reference frame in [-1, 1], grey (0) outside the subject, (B, 3, H, W).
        mask: The subject in it, (B, 1, H, W).
        layout: Where the frame goes, B rows.
        cells: Latent rows and columns of the picture.
    """
    factor = pixels.shape[-1] // cells[1]
    size = (cells[0] * factor, cells[1] * factor)
    frame = torch.cat([pixels, mask], dim=1)
    placed = warp(frame, to_affine(layout), size)
    shape = placed[:, 3:]
    latents = autoencoder.encode(placed[:, :3])
    is_covered = F.max_pool2d(shape, factor) > 0
    return torch.cat([latents * is_covered, F.pixel_unshuffle(shape, factor)], dim=1)
