"""What denoisers share that compute another one's prediction in their own way."""

from typing import Any

from torch import Tensor, nn

from swiftpie.attention.condition import Notes
from swiftpie.attention.rescale import INLINE_MASK
from swiftpie.engine.twin import module_of
from swiftpie.layout import Layout
from swiftpie.models.denoiser import Denoiser, SubjectCondition
from swiftpie.types import Autoencoder, TextCondition


class WrappedDenoiser(nn.Module):
    """A denoiser around another that encodes, reads and places references for it."""

    def __init__(self, inner: Denoiser) -> None:
        """Stand for `inner`, with its parameters."""
        super().__init__()
        self.inner: Any = module_of(inner)
        self.installation = inner.installation

    def encode_reference(self, autoencoder: Autoencoder, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return what `read_reference` looks at; see `Denoiser`."""
        encoded: Tensor = self.inner.encode_reference(autoencoder, pixels, mask)
        return encoded

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Look at canonical references; see `Denoiser`."""
        notes: Notes = self.inner.read_reference(encoded, text)
        return notes

    def place_subject(
        self,
        autoencoder: Autoencoder,
        pixels: Tensor,
        mask: Tensor,
        *,
        layout: Layout,
        cells: tuple[int, int],
    ) -> Tensor:
        """Return the aligned subject; see `Denoiser`."""
        placed: Tensor = self.inner.place_subject(
            autoencoder, pixels, mask, layout=layout, cells=cells
        )
        return placed


def predict(
    denoiser: Any,  # noqa: ANN401 - a denoiser, or what stands for it while a graph is made
    latents: Tensor,
    timestep: Tensor,
    text: TextCondition,
    condition: SubjectCondition,
) -> tuple[Tensor, ...]:
    """Return what `denoiser` predicts as tensors alone: sample, mask, the inline mask if any."""
    notes: Notes = {}
    prediction = denoiser(latents, timestep, text, condition, notes)
    inline = (notes[INLINE_MASK],) if INLINE_MASK in notes else ()
    return (prediction.sample, prediction.mask, *inline)


def read_noted(
    denoiser: Any,  # noqa: ANN401 - see `predict`
    encoded: Tensor,
    text: TextCondition,
) -> tuple[Tensor, ...]:
    """Return what `denoiser` notes of references for each of its detail layers, in their order."""
    notes: Notes = denoiser.read_reference(encoded, text)
    return tuple(notes[name] for name in denoiser.installation.detail_layers)
