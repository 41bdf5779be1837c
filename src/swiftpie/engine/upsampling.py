"""Doubling a picture and the convolution after it, in one."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional as F

# Taps of the convolution (columns) that fall on each of the small pixels which reach a large one,
# by its distance from them, as the kernel of a transposed convolution has it.
TAPS = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


class FoldedUpsampling(nn.Module):
    """Nearest-neighbour doubling and a 3 x 3 convolution as one transposed convolution.

    Two of three taps in a row fall on the same small pixel, so each of the four pixels that
    become of one sees 2 x 2 small ones, with summed weights: the same values from 4 of 9 products.
    """

    def __init__(self, inner: Upsample2D) -> None:
        """Fold `inner`, for which `can_fold` holds."""
        super().__init__()
        self.inner = inner  # for sizes that are not doubled
        self.weight: Tensor
        self.register_buffer("weight", folded(inner.conv.weight.detach()))

    def forward(self, hidden_states: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return (B, O, 2H, 2W) for (B, I, H, W), or what `output_size` says."""
        height, width = hidden_states.shape[2:]
        if output_size is not None and tuple(output_size) != (2 * height, 2 * width):
            other: Tensor = self.inner(hidden_states, output_size)
            return other
        bias = self.inner.conv.bias
        return F.conv_transpose2d(hidden_states, self.weight, bias, stride=2, padding=1)


def can_fold(part: nn.Module) -> bool:
    """Tell whether `part` doubles and convolves and does nothing else."""
    if type(part) is not Upsample2D or not part.use_conv or part.use_conv_transpose:
        return False
    conv: Any = part.conv
    is_plain = conv.kernel_size == (3, 3) and conv.stride == (1, 1) and conv.padding == (1, 1)
    return bool(part.interpolate and part.norm is None and is_plain and conv.bias is not None)


def folded(weight: Tensor) -> Tensor:
    """Return the kernel (I, O, 4, 4) of the transposed convolution for `weight` (O, I, 3, 3)."""
    taps = weight.new_tensor(TAPS, dtype=torch.float32)
    return torch.einsum("ar,bc,oirc->ioab", taps, taps, weight.float()).to(weight.dtype)
