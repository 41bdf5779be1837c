"""Convolutions that keep the channels of a pixel side by side in memory."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from swiftpie.backbones.components import Components
from swiftpie.engine.transform import Transform
from swiftpie.engine.twin import module_of, twin


def apply(components: Components) -> Components:
    """Return components whose convolutions hold their weights channels last.

    What they compute follows their weights, so nothing else has to change. All other weights are
    shared with the given components.
    """
    encoder, inversion = components.image_encoder, components.inversion
    return replace(
        components,
        denoiser=_reordered(module_of(components.denoiser)),
        autoencoder=_reordered(module_of(components.autoencoder)),
        image_encoder=None if encoder is None else _reordered(encoder),
        inversion=_reordered(inversion) if isinstance(inversion, nn.Module) else inversion,
    )


def _reordered(network: nn.Module) -> Any:  # noqa: ANN401 - the same kind of network
    made: Any = twin(network)  # PyTorch does not declare this keyword
    return made.to(memory_format=torch.channels_last)


TRANSFORM = Transform(
    summary="Convolutions with channels last in memory; quicker on many processors.",
    apply=apply,
)
