"""Second networks around the same weights: what is done to one of them leaves the other alone."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from swiftpie.models.text import HasEncoders, PromptEncoder

Network = TypeVar("Network", bound=nn.Module)


def twin(network: Network) -> Network:
    """Return a copy of `network` with parameters of its own over the same memory.

    A parameter of the copy may be moved, reordered or replaced; only writing into its values
    would reach the original.
    """
    weights = {
        id(one): nn.Parameter(one.detach(), requires_grad=one.requires_grad)
        for one in network.parameters()
    }
    buffers = {id(one): one for one in network.buffers()}
    return copy.deepcopy(network, {**weights, **buffers})


def module_of(network: object) -> Any:  # noqa: ANN401 - a module that can do more
    """Return a denoiser, autoencoder or decoder as what they all are."""
    assert isinstance(network, nn.Module), "networks are modules"
    return network


def with_encoders(text: PromptEncoder, change: Callable[[Any], Any]) -> PromptEncoder:
    """Return `text` with each of its encoders changed; one that is not ours stays as it is."""
    return text.with_encoders(change) if isinstance(text, HasEncoders) else text
