"""Self-attention that is shared with a style picture, after StyleAligned (arXiv:2312.02133).

Queries and keys of the drawing take mean and deviation of those of the style picture, channel by
channel, and the keys and values of the style picture stand beside its own. Differs from the paper:
the style picture is read once, a little noised, and a strength weighs both.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swiftpie.attention.kernels import MASKED, OwnAttention, StyleTokens, split_heads

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

EPSILON = 1e-5  # added to variances, as in the code of StyleAligned


def shared_with(style: StyleTokens, attn: "Attention", own: OwnAttention) -> OwnAttention:
    """Return what a layer reads of itself and of a style picture, whose `tokens` are its inputs.

    At a scale of 1 that is StyleAligned. Below, statistics are mixed by the scale; it weighs the
    keys of the style as a factor, so that 0 leaves the layer unchanged.
    """
    tokens, scale = style
    query, key, value = (
        split_heads(project(tokens), attn.heads) for project in (attn.to_q, attn.to_k, attn.to_v)
    )
    share = scale.clamp(max=1)[:, None, None, None].to(query.dtype)
    own_query = torch.lerp(own.query, aligned(own.query, query), share)
    own_key = torch.lerp(own.key, aligned(own.key, key), share)
    # All of the style weighs as much as all of the drawing, whatever their sizes are.
    weight = scale * own.key.shape[2] / key.shape[2]
    offset = torch.where(scale > 0, weight.clamp_min(1e-6).log(), MASKED)[:, None]
    zeros = torch.zeros_like(offset).expand(-1, own.key.shape[2])
    return OwnAttention(
        own_query,
        torch.cat([own_key, key], dim=2),
        torch.cat([own.value, value], dim=2),
        torch.cat([zeros, offset.expand(-1, key.shape[2])], dim=1),
    )


def aligned(values: Tensor, like: Tensor) -> Tensor:
    """Return `values` (B, heads, N, d) with mean and deviation of `like` over its tokens."""
    mean, deviation = _statistics(values)
    its_mean, its_deviation = _statistics(like)
    return (values - mean) / deviation * its_deviation + its_mean


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    variance = values.var(dim=2, correction=0, keepdim=True)
    return values.mean(dim=2, keepdim=True), (variance + EPSILON).sqrt()
