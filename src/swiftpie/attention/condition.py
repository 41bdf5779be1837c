"""What attention needs to know about one call; tensors only, so one graph serves all calls."""

from typing import NamedTuple

import torch
from torch import Tensor

# What the layers of one call tell each other: self-attention inputs by module path, and the
# identity maps from which an inline mask is made. Made anew for each call and then dropped.
Notes = dict[str, Tensor]


class AttentionCondition(NamedTuple):
    """The one channel from a pipeline to every attention layer.

    The six scales are the factors of mask-guided rescaling (arXiv:2605.01510): each branch has
    one factor inside the mask and one outside. A scale of 0 turns a branch off exactly.
    """

    identity_tokens: Tensor  # (B, K, D)
    keys: dict[str, Tensor]  # detail branch, by module path, each (B, R*N, D_layer)
    values: dict[str, Tensor]  # the same shapes
    coverage: Tensor  # (B, R, h, w) subject share of each reference cell in [0, 1]
    affine: Tensor  # (B, 2, 3) picture to reference frame, see swiftpie.layout
    has_layout: Tensor  # (B,) 1 = `affine` is known and guides the detail branch, else 0
    mask: Tensor  # (B, 1, h, w) where the subject goes in [0, 1]
    is_inline: Tensor  # (B,) 1 = replace `mask` by the one found during the call, else 0
    identity_scale: Tensor  # (B,) semantic branch inside the mask
    identity_leak: Tensor  # (B,) semantic branch outside
    detail_scale: Tensor  # (B,) detail branch inside the mask
    detail_leak: Tensor  # (B,) detail branch outside
    text_scale: Tensor  # (B,) text inside the mask
    context_scale: Tensor  # (B,) text outside


def silent_condition(latents: Tensor, *, width: int, num_tokens: int = 1) -> AttentionCondition:
    """Return the condition that leaves every layer exactly as it is without identity.

    Args:
        latents: Any (B, C, h, w); gives batch, grid, device and dtype.
        width: Size of an identity token.
        num_tokens: Number of identity tokens; keep it equal to that of real calls, so that a
            compiled denoiser needs one graph.
    """
    batch, _, height, breadth = latents.shape
    zeros, ones = latents.new_zeros(batch), latents.new_ones(batch)
    return AttentionCondition(
        identity_tokens=latents.new_zeros(batch, num_tokens, width),
        keys={},
        values={},
        coverage=latents.new_zeros(batch, 1, height, breadth),
        affine=torch.eye(2, 3, dtype=latents.dtype, device=latents.device).expand(batch, 2, 3),
        has_layout=zeros,
        mask=latents.new_ones(batch, 1, height, breadth),
        is_inline=zeros,
        identity_scale=zeros,
        identity_leak=zeros,
        detail_scale=zeros,
        detail_leak=zeros,
        text_scale=ones,
        context_scale=ones,
    )
