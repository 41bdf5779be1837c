"""Layers that compute the same with less: folded upsampling, fewer tokens, and for OpenVINO."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.engine.wrappers import shared_copy, with_networks
from swiftpie.errors import CapabilityError
from swiftpie.models.denoiser import module_of
from swiftpie.models.inversion import UNetInversion
from swiftpie.models.unet import GatedLinear, Upsampling

if TYPE_CHECKING:
    from diffusers.models.activations import GEGLU
    from diffusers.models.upsampling import Upsample2D

TOKEN_STRIDE = 2  # quarters the keys; coarser grids have few tokens and stay whole
# Taps of the convolution (columns) that fall on each of the small pixels which reach a large one,
# by its distance from them, as the kernel of a transposed convolution has it.
TAPS = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
NO_BOUND = torch.finfo(torch.bfloat16).max
FEW_PIXELS = 1024  # fewer are turned over sooner than sums of them are taken


def with_folded_upsampling(components: Components) -> Components:
    """Return components that compute the same pictures with fewer products.

    The decoder of Stable Diffusion saves a sixth of its work, a U-Net a twentieth.
    """
    return with_networks(components, _folded, ("denoiser", "autoencoder", "inversion"))


def with_token_downsampling(components: Components) -> Components:
    """Return components whose U-Nets attend to every second token of every second row.

    From token downsampling (arXiv:2402.13573), on the finest grid of self-attention: neighbours
    say nearly the same, so queries stay and keys and values are thinned. References keep all of
    theirs, because the same done to them costs the subject. Weights are shared with the given
    components.

    Raises:
        CapabilityError: The denoiser keeps its own attention, which cannot be thinned.
    """
    denoiser = shared_copy(module_of(components.denoiser))
    installed = denoiser.installation
    layers = (*installed.detail.values(), *installed.plain.values())
    if not all(hasattr(attention, "stride") for attention in layers):
        raise CapabilityError(
            "'token-downsampling' cannot be combined with preset "
            f"{components.preset.name!r}: its denoiser keeps the attention that it was published "
            "with. Leave it out."
        )
    for attention in layers:
        attention.stride = TOKEN_STRIDE
    inversion = components.inversion
    if isinstance(inversion, UNetInversion):
        inversion = UNetInversion(shared_copy(inversion.unet), stride=TOKEN_STRIDE)
    return replace(components, denoiser=denoiser, inversion=inversion)


def _folded(network: nn.Module) -> nn.Module:
    foldable = [name for name, part in network.named_modules() if can_fold(part)]
    for name in foldable:
        network.set_submodule(name, FoldedUpsampling(network.get_submodule(name)))
    return network


class FoldedUpsampling(nn.Module):
    """Nearest-neighbour doubling and a 3 x 3 convolution as one transposed convolution.

    Two of three taps in a row fall on the same small pixel, so each of the four pixels that
    become of one sees 2 x 2 small ones, with summed weights: the same values from 4 of 9 products.
    `can_fold` says which layers allow it.
    """

    def __init__(self, inner: "Upsample2D | Upsampling") -> None:
        super().__init__()
        self.inner = inner  # the layer for sizes that are not doubled
        self.weight: Tensor
        self.register_buffer("weight", folded(inner.conv.weight.detach()))

    def forward(self, hidden_states: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return (B, O, 2H, 2W) for (B, I, H, W), or what `output_size` says."""
        height, width = hidden_states.shape[2:]
        if output_size is not None and tuple(output_size) != (2 * height, 2 * width):
            return self.inner(hidden_states, output_size)
        bias = self.inner.conv.bias
        return F.conv_transpose2d(hidden_states, self.weight, bias, stride=2, padding=1)


def can_fold(part: nn.Module) -> bool:
    """Whether `part` doubles and convolves and does nothing else."""
    if type(part) is Upsampling:
        return True
    if type(part).__name__ != "Upsample2D" or not part.use_conv or part.use_conv_transpose:
        return False
    conv: Any = part.conv
    is_plain = conv.kernel_size == (3, 3) and conv.stride == (1, 1) and conv.padding == (1, 1)
    return bool(part.interpolate and part.norm is None and is_plain and conv.bias is not None)


def folded(weight: Tensor) -> Tensor:
    """Return the kernel (I, O, 4, 4) of the transposed convolution for `weight` (O, I, 3, 3)."""
    taps = weight.new_tensor(TAPS, dtype=torch.float32)
    return torch.einsum("ar,bc,oirc->ioab", taps, taps, weight.float()).to(weight.dtype)


class HalvedGate(nn.Module):
    """`GEGLU` from two linear layers over its weights: OpenVINO copies what is cut in two."""

    def __init__(self, inner: "GEGLU | GatedLinear") -> None:
        super().__init__()
        self.value, self.gate = _halves(inner.proj)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return (B, T, D') for (B, T, D)."""
        return self.value(hidden_states) * F.gelu(self.gate(hidden_states))


class ChannelwiseNorm(nn.Module):
    """Group normalisation whose sums are taken channel by channel.

    OpenVINO keeps the channels of a pixel together for convolutions, and would turn pictures over
    for a normalisation that looks at some channels of all pixels.
    """

    def __init__(self, inner: nn.GroupNorm) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return normalized states of the same shape, (B, C, ...)."""
        if hidden_states.ndim != 4 or hidden_states[0, 0].numel() < FEW_PIXELS:
            return self.inner(hidden_states)
        centred = hidden_states - self._by_group(hidden_states.mean((2, 3)))
        # The mean is taken off first: the difference of two sums of squares would be inexact.
        # Squares are summed as a length, so that OpenVINO never writes them to memory.
        length = torch.linalg.vector_norm(centred, dim=(2, 3))
        variance = self._by_group(length.square() / hidden_states[0, 0].numel())
        scale, shift = (values[:, None, None] for values in (self.inner.weight, self.inner.bias))
        return centred * (torch.rsqrt(variance + self.inner.eps) * scale) + shift

    def _by_group(self, values: Tensor) -> Tensor:
        """Return the mean of (B, C) over each group, for all of its channels: (B, C, 1, 1)."""
        means = values.unflatten(1, (self.inner.num_groups, -1)).mean(2, keepdim=True)
        width = values.shape[1] // self.inner.num_groups
        return means.expand(-1, -1, width).flatten(1)[:, :, None, None]


class BoundedUpsampling(nn.Module):
    """Folded upsampling with bounds that no number exceeds.

    With an operation after it, OpenVINO writes the transposed convolution in the order and type
    that the next one reads; else it converts all of it once more.
    """

    def __init__(self, inner: FoldedUpsampling) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return (B, O, 2H, 2W) for (B, I, H, W), or what `output_size` says."""
        return self.inner(hidden_states, output_size).clamp(-NO_BOUND, NO_BOUND)


def with_openvino_layers(network: object) -> Any:  # noqa: ANN401 - the same kind of network
    """Return a shared copy of a network with the layers that OpenVINO is quicker with."""
    made: nn.Module = shared_copy(module_of(network))
    for name, part in list(made.named_modules()):
        # By its name: the import of diffusers takes 150 MiB, and `mini` needs none of it.
        if type(part).__name__ in {"GEGLU", "GatedLinear"} and type(part.proj) is nn.Linear:
            made.set_submodule(name, HalvedGate(part))
        elif type(part) is nn.GroupNorm:
            made.set_submodule(name, ChannelwiseNorm(part))
        elif type(part) is FoldedUpsampling:
            made.set_submodule(name, BoundedUpsampling(part))
    return made


def _halves(layer: nn.Linear) -> tuple[nn.Linear, nn.Linear]:
    halves = []
    for weight, bias in zip(layer.weight.chunk(2), layer.bias.chunk(2), strict=True):
        width, inputs = weight.shape
        half = nn.Linear(inputs, width, device="meta")
        half.weight, half.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        halves.append(half.requires_grad_(requires_grad=False))
    return halves[0], halves[1]
