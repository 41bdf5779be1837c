"""What a method of tuning trains, one file a method, each bound to `METHOD`.

It is a change of one subject's features that begins as no change.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from swiftpie.attention.install import Installation
from swiftpie.attention.processors import DetailAttention
from swiftpie.tuning import TuneSettings
from swiftpie.types import Identity


class Features(NamedTuple):
    """What of an identity is trained; the shapes are those of `Identity`."""

    tokens: Tensor
    pooled: Tensor
    keys: Mapping[str, Tensor]
    values: Mapping[str, Tensor]


def features_of(identity: Identity) -> Features:
    """Return the features of an identity, as they are."""
    return Features(identity.tokens, identity.pooled, identity.keys, identity.values)


class Start(NamedTuple):
    """A subject before it is tuned."""

    identity: Identity
    notes: Mapping[str, Tensor]  # what the detail branch projects, (R, N, D_layer) by layer
    installation: Installation  # the layers that read it; their weights stay as they are

    @property
    def layers(self) -> Mapping[str, DetailAttention]:
        """The layers of the detail branch, by module path."""
        return self.installation.detail


class Change(nn.Module, ABC):
    """What a method trains; before the first step it changes nothing."""

    @abstractmethod
    def forward(self) -> Features:
        """Return the features of the subject as they are now, with gradients."""


class Method(NamedTuple):
    """A way to tune."""

    learning_rate: float
    make: Callable[[Start, TuneSettings], Change]
