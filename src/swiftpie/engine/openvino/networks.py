"""The networks of a preset with their computations in OpenVINO."""

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from swiftpie.attention.condition import Notes
from swiftpie.attention.rescale import INLINE_MASK
from swiftpie.engine.openvino.export import Function, digest_of
from swiftpie.engine.openvino.workshop import Workshop
from swiftpie.engine.twin import module_of
from swiftpie.engine.wrapped import WrappedDenoiser, predict, read_noted
from swiftpie.models.denoiser import Denoiser, Prediction, SubjectCondition
from swiftpie.models.inversion import Call, Difference, Inversion, Reading, ReadsEdits
from swiftpie.types import Autoencoder, Posterior, TextCondition

DENOISER, INVERSION = "denoiser", "inversion"  # what a quantizer looks for
ENCODER, DECODER = "encoder", "decoder"


class OpenvinoDenoiser(WrappedDenoiser):
    """A denoiser that predicts and reads references in OpenVINO; torch places them."""

    def __init__(self, inner: Denoiser, workshop: Workshop, *, weights: str) -> None:
        """Serve `inner`, whose weights have the digest `weights`."""
        super().__init__(inner)
        self._workshop = workshop
        self._function = Function(DENOISER, self.inner, compute=predict, weights=weights)
        self._reader = Function("reader", self.inner, compute=read_noted, weights=weights)

    def forward(
        self,
        latents: Tensor,
        timestep: int,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Predict; of the notes only the inline mask is written. See `Denoiser`."""
        told = torch.tensor(timestep)
        found = self._workshop.call(self._function, latents, told, text, condition)
        sample, mask, *inline = found
        if inline:
            notes[INLINE_MASK] = inline[0]
        return Prediction(sample, mask)

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Look at canonical references; see `Denoiser`."""
        noted = self._workshop.call(self._reader, encoded, text)
        return dict(zip(self.installation.detail_layers, noted, strict=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a twin whose attention may be changed; it finds graphs in the same workshop."""
        inner = copy.deepcopy(self.inner, memo)
        return type(self)(inner, self._workshop, weights=self._function.weights)


class OpenvinoAutoencoder:
    """An autoencoder that computes in OpenVINO."""

    def __init__(self, inner: Autoencoder, workshop: Workshop) -> None:
        network, self._workshop = module_of(inner), workshop
        weights = digest_of(network)
        self._encoder = Function(ENCODER, network, compute=_encode, weights=weights)
        self._decoder = Function(DECODER, network, compute=_decode, weights=weights)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents; see `Autoencoder`."""
        return self.posterior(pixels).mean

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents; see `Autoencoder`."""
        return Posterior(*self._workshop.call(self._encoder, pixels))

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels; see `Autoencoder`."""
        return self._workshop.call(self._decoder, latents)[0]


class OpenvinoInversion:
    """An inversion network that computes in OpenVINO."""

    def __init__(self, inner: Inversion, workshop: Workshop) -> None:
        network, self._workshop = module_of(inner), workshop
        weights = digest_of(network)
        self._inversion = Function(INVERSION, network, compute=_invert, weights=weights)

    def __call__(self, latents: Tensor, text: TextCondition) -> Tensor:
        """Return noise; see `Inversion`."""
        return self._workshop.call(self._inversion, latents, text)[0]

    def each(self, calls: Sequence[Call]) -> list[Any]:
        """Return noise for each call; see `InvertsEach`."""
        return [noise for (noise,) in self._workshop.call_each(self._inversion, calls)]


class OpenvinoReader(OpenvinoInversion):
    """An inversion network that also reads edits, in OpenVINO but for its last small layers."""

    def __init__(self, inner: ReadsEdits, workshop: Workshop) -> None:
        super().__init__(inner, workshop)  # type: ignore[arg-type]  # both protocols, one network
        self._inner = inner

    def read(self, latents: Tensor, text: TextCondition) -> Reading:
        """Return everything that is found; see `ReadsEdits`."""
        return Reading(*self._workshop.call(self._inversion, latents, text))

    def each(self, calls: Sequence[Call]) -> list[Any]:
        """Return everything that is found for each call; see `InvertsEach`."""
        return [Reading(*found) for found in self._workshop.call_each(self._inversion, calls)]

    def compare(self, source: Reading, target: Reading) -> Difference:
        """Return what changes, in torch; see `ReadsEdits`."""
        return self._inner.compare(source, target)


def openvino_autoencoder(inner: Autoencoder, workshop: Workshop) -> OpenvinoAutoencoder:
    """Return `inner` in OpenVINO."""
    return OpenvinoAutoencoder(inner, workshop)


def openvino_inversion(inner: Inversion, workshop: Workshop) -> OpenvinoInversion:
    """Return `inner` in OpenVINO, reading edits if it does."""
    if isinstance(inner, ReadsEdits):
        return OpenvinoReader(inner, workshop)
    return OpenvinoInversion(inner, workshop)


def _encode(autoencoder: Autoencoder, pixels: Tensor) -> tuple[Tensor, ...]:
    return tuple(autoencoder.posterior(pixels))


def _decode(autoencoder: Autoencoder, latents: Tensor) -> tuple[Tensor, ...]:
    return (autoencoder.decode(latents),)


def _invert(inversion: Inversion, latents: Tensor, text: TextCondition) -> tuple[Tensor, ...]:
    if isinstance(inversion, ReadsEdits):
        return tuple(inversion.read(latents, text))
    return (inversion(latents, text),)
