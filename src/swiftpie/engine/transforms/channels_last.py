"""Convolutions that keep the channels of a pixel side by side in memory."""

from typing import Any

import torch

from swiftpie.backbones.components import Components
from swiftpie.engine.transform import Transform
from swiftpie.engine.wrappers import with_networks


def apply(components: Components) -> Components:
    """Return components whose convolutions hold their weights channels last.

    What they compute follows their weights, so nothing else has to change. All other weights are
    shared with the given components.
    """
    return with_networks(components, _reordered)


def _reordered(network: Any) -> Any:  # noqa: ANN401 - PyTorch does not declare this keyword
    return network.to(memory_format=torch.channels_last)


TRANSFORM = Transform(
    summary="Convolutions with channels last in memory; quicker on many processors.", apply=apply
)
