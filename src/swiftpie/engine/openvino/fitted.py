"""Layers that compute what others do in operations that OpenVINO is quicker with."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.engine.twin import twin
from swiftpie.engine.upsampling import FoldedUpsampling

NO_BOUND = torch.finfo(torch.bfloat16).max
FEW_PIXELS = 1024  # fewer are turned over sooner than sums of them are taken


class HalvedGate(nn.Module):
    """`GEGLU` from two linear layers over its weights: OpenVINO copies what is cut in two."""

    def __init__(self, inner: GEGLU) -> None:
        """Share the weights of `inner`."""
        super().__init__()
        self.value, self.gate = _halves(inner.proj)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return (B, T, D') for (B, T, D)."""
        value: Tensor = self.value(hidden_states)
        return value * F.gelu(self.gate(hidden_states))


class ChannelwiseNorm(nn.Module):
    """Group normalisation whose sums are taken channel by channel.

    OpenVINO keeps the channels of a pixel together for convolutions, and would turn pictures over
    for a normalisation that looks at some channels of all pixels.
    """

    def __init__(self, inner: nn.GroupNorm) -> None:
        """Share the weights of `inner`."""
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return (B, C, ...) for the same."""
        if hidden_states.ndim != 4 or hidden_states[0, 0].numel() < FEW_PIXELS:
            normalised: Tensor = self.inner(hidden_states)
            return normalised
        centred = hidden_states - self._by_group(hidden_states)
        # The mean is taken off first: the difference of two sums of squares would be inexact.
        deviation = torch.rsqrt(self._by_group(centred * centred) + self.inner.eps)
        return (
            centred * (deviation * self.inner.weight[:, None, None])
            + self.inner.bias[:, None, None]
        )

    def _by_group(self, values: Tensor) -> Tensor:
        """Return the mean over a group's pixels for each of its channels, (B, C, 1, 1)."""
        batch, channels = values.shape[:2]
        means = values.mean((2, 3)).view(batch, self.inner.num_groups, -1).mean(2, keepdim=True)
        width = channels // self.inner.num_groups
        return means.expand(-1, -1, width).reshape(batch, channels, 1, 1)


class BoundedUpsampling(nn.Module):
    """Folded upsampling with bounds that no number exceeds.

    With an operation after it, OpenVINO writes the transposed convolution in the order and type
    that the next one reads; else it converts all of it once more.
    """

    def __init__(self, inner: FoldedUpsampling) -> None:
        """Share the weights of `inner`."""
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return (B, O, 2H, 2W) for (B, I, H, W), or what `output_size` says."""
        doubled: Tensor = self.inner(hidden_states, output_size)
        return doubled.clamp(-NO_BOUND, NO_BOUND)


def fitted(network: nn.Module) -> Any:  # noqa: ANN401 - the same kind of network
    """Return a twin of `network` with all such layers exchanged."""
    made = twin(network)
    for name, part in list(made.named_modules()):
        if type(part) is GEGLU and type(part.proj) is nn.Linear:
            made.set_submodule(name, HalvedGate(part))
        elif type(part) is nn.GroupNorm:
            made.set_submodule(name, ChannelwiseNorm(part))
        elif type(part) is FoldedUpsampling:
            made.set_submodule(name, BoundedUpsampling(part))
    return made


def _halves(layer: nn.Linear) -> tuple[nn.Linear, nn.Linear]:
    made = []
    for weight, bias in zip(layer.weight.chunk(2), layer.bias.chunk(2), strict=True):
        width, inputs = weight.shape
        half = nn.Linear(inputs, width, device="meta")
        half.weight, half.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        made.append(half.requires_grad_(requires_grad=False))
    return made[0], made[1]
