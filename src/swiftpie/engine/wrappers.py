"""What transforms build on: copies over the same weights, and networks around others."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from swiftpie.attention.condition import INLINE_MASK, Notes
from swiftpie.backbones.components import Components
from swiftpie.backbones.load.weights import all_here
from swiftpie.models.denoiser import Denoiser, Prediction, SubjectCondition, copy_around
from swiftpie.models.text import HasEncoders, PromptEncoder
from swiftpie.types import Posterior, TextCondition

NETWORKS = ("denoiser", "autoencoder", "image_encoder", "inversion")  # the large ones, besides text

Network = TypeVar("Network", bound=nn.Module)


def shared_copy(network: Network) -> Network:
    """Return a copy of `network` with parameters of its own over the same memory.

    A parameter of the copy may be moved, reordered or replaced; only writing into its values
    would reach the original. Weights that wait in their files are read for the copy alone: what is
    made of them shall be of numbers.
    """
    with all_here(network):
        weights = {
            id(parameter): nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
            for parameter in network.parameters()
        }
        buffers = {id(buffer): buffer.detach() for buffer in network.buffers()}
        return copy_around(network, {**weights, **buffers})


def with_networks(
    components: Components, change: Callable[[Any], Any], names: Sequence[str] = NETWORKS
) -> Components:
    """Return components with what `change` makes of a shared copy of each of these networks."""
    networks = {name: getattr(components, name) for name in names}
    changed = {
        name: change(shared_copy(network))
        for name, network in networks.items()
        if isinstance(network, nn.Module)
    }
    return replace(components, **changed)


def with_text_encoders(text: PromptEncoder, change: Callable[[Any], Any]) -> PromptEncoder:
    """Return `text` with each of its encoders changed; one that is not ours stays as it is."""
    return text.with_encoders(change) if isinstance(text, HasEncoders) else text


def module_of(network: object) -> Any:  # noqa: ANN401 - a module that can do more
    """Return a denoiser, autoencoder or decoder as what they all are."""
    assert isinstance(network, nn.Module), "networks are modules"
    return network


class DenoiserCall(NamedTuple):
    """The arguments of a denoiser, as a graph takes them."""

    latents: Tensor
    timestep: Tensor
    text: TextCondition
    condition: SubjectCondition


class WrappedDenoiser(nn.Module):
    """A denoiser around another that predicts in another way; all else that one does itself."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner: Any = module_of(inner)
        self.installation = inner.installation
        self.encode_reference = inner.encode_reference
        self.place_subjects = inner.place_subjects

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Predict; of the notes only the inline mask is written. See `Denoiser`."""
        number = torch.as_tensor(
            timestep, device=latents.device
        )  # a graph would hold a plain number
        sample, mask, *inline = self._predict(DenoiserCall(latents, number, text, condition))
        if inline:
            notes[INLINE_MASK] = inline[0]
        return Prediction(sample, mask)

    def _predict(self, call: DenoiserCall) -> tuple[Tensor, ...]:
        return predict(self.inner, *call)

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Look at canonical references; see `Denoiser`."""
        return self.inner.read_reference(encoded, text)


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
    return (prediction.sample, prediction.subject_mask, *inline)


class JoinedAutoencoder(nn.Module):
    """Encodes as one autoencoder and decodes as another."""

    def __init__(self, encoder: object, decoder: object) -> None:
        super().__init__()
        self.encoder = module_of(encoder)
        self.decoder = module_of(decoder)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w) of `pixels` (B, 3, H, W)."""
        return self.encoder.encode(pixels)

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents of `pixels` (B, 3, H, W)."""
        return self.encoder.posterior(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""
        return self.decoder.decode(latents)
