"""The reference side of both branches: pictures of a subject to what attention reads."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from swiftpie.layout import Layout
from swiftpie.models.alignment import align
from swiftpie.models.denoiser import Denoiser
from swiftpie.types import Autoencoder, TextCondition


class ReferenceFeatures(NamedTuple):
    """Features of R reference pictures, each on its own row."""

    tokens: Tensor  # (R, K, D) semantic branch
    pooled: Tensor  # (R, D)
    keys: dict[str, Tensor]  # detail branch, by module path, each (R, N, D_layer)
    values: dict[str, Tensor]  # the same shapes


def read_references(
    denoiser: Denoiser,
    image_encoder: nn.Module,
    autoencoder: Autoencoder,
    *,
    pixels: Tensor,
    mask: Tensor,
    empty_text: TextCondition,
    cells: tuple[int, int],
) -> ReferenceFeatures:
    """Run both encoders over canonical references.

    Args:
        denoiser: Its own features serve the detail branch.
        image_encoder: Maps (pixels, mask) to identity tokens (R, K, D), the first a summary.
        autoencoder: Pixels to latents.
        pixels: Canonical reference frames in [-1, 1], grey (0) outside the subject, (R, 3, H, W).
        mask: The subject in them, (R, 1, H, W).
        empty_text: The empty prompt, one row.
        cells: Latent rows and columns of a picture.
    """
    count = len(pixels)
    tokens = image_encoder(pixels, mask)
    in_place = align(autoencoder, pixels, mask, layout=_whole_frame(pixels), cells=cells)
    text = TextCondition(*(one.expand(count, *one.shape[1:]) for one in empty_text))
    notes = denoiser.read_reference(in_place, text)
    projected = {n: p.project(notes[n]) for n, p in denoiser.installation.detail.items()}
    return ReferenceFeatures(
        tokens=tokens,
        pooled=tokens[:, 0],
        keys={name: pair[0] for name, pair in projected.items()},
        values={name: pair[1] for name, pair in projected.items()},
    )


def _whole_frame(pixels: Tensor) -> Layout:
    """Return the layout that fills the picture with the frame."""
    rows = pixels.new_zeros(len(pixels))
    return Layout(
        centre=torch.full((len(pixels), 2), 0.5, device=pixels.device),
        scale=rows + 1,
        rotation=rows,
        flip=rows,
    )
