"""The reference side of both branches: pictures of a subject to what attention reads."""

from typing import NamedTuple

from torch import Tensor, nn

from swiftpie.attention.condition import Notes
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
) -> ReferenceFeatures:
    """Run both encoders over canonical references.

    Args:
        denoiser: Its own features serve the detail branch.
        image_encoder: Maps (pixels, mask) to identity tokens (R, K, D), the first a summary.
        autoencoder: Pixels to latents.
        pixels: Canonical reference frames in [-1, 1], grey (0) outside the subject, (R, 3, H, W).
        mask: The subject in them, (R, 1, H, W).
        empty_text: The empty prompt, one row.
    """
    tokens = image_encoder(pixels, mask)
    notes = read_notes(denoiser, autoencoder, pixels=pixels, mask=mask, empty_text=empty_text)
    layers = denoiser.installation.detail_layers
    projected = {name: layer.project(notes[name]) for name, layer in layers.items()}
    return ReferenceFeatures(
        tokens=tokens,
        pooled=tokens[:, 0],
        keys={name: pair[0] for name, pair in projected.items()},
        values={name: pair[1] for name, pair in projected.items()},
    )


def read_notes(
    denoiser: Denoiser,
    autoencoder: Autoencoder,
    *,
    pixels: Tensor,
    mask: Tensor,
    empty_text: TextCondition,
) -> Notes:
    """Return what the detail branch projects, (R, N, D_layer) by layer; see `read_references`.

    Nothing is computed for denoisers without such a layer.
    """
    if not denoiser.installation.detail_layers:
        return {}
    encoded = denoiser.encode_reference(autoencoder, pixels, mask)
    return denoiser.read_reference(encoded, empty_text.repeat(len(pixels)))
