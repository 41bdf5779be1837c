"""What transforms build on: copies over the same weights, and joined autoencoders."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor, nn

from swiftpie.backbones.components import Components
from swiftpie.backbones.load.weights import all_here
from swiftpie.models.denoiser import copy_around, module_of
from swiftpie.models.text import HasEncoders, PromptEncoder
from swiftpie.types import Posterior

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
    """Return `text` with each of its encoders changed; one that is not ours stays unchanged."""
    return text.with_encoders(change) if isinstance(text, HasEncoders) else text


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
