"""A style picture in attention: its tokens in chosen layers, and its features in self-attention.

Blocks: cross-attention of the layers that carry style reads the picture's tokens as well, after
InstantStyle (arXiv:2404.02733), and no other layer does.

Attention: self-attention reads the picture's keys and values beside its own, after its queries and
keys have taken the mean and deviation of the picture's, as StyleAligned has it (arXiv:2312.02133,
Fig. 4): `Attn(AdaIN(q, q_s), [AdaIN(k, k_s), k_s], [v, v_s])`.
Differs from the paper: pictures are not drawn together, because a one-step model shares no way with
a reference that exists already. The features are those that the denoiser has of the noised picture
at the timestep at which it reads references. Only layers with a detail branch note them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.attention.kernels import attend, merge_heads, split_heads

EPSILON = 1e-5  # beside a variance that divides, as released


class StyleTokens(NamedTuple):
    """What one layer of cross-attention reads of a style picture."""

    tokens: Tensor  # (B, K, D)
    scale: Tensor  # (B,)


class SharedFeatures(NamedTuple):
    """What one layer of self-attention reads of a style picture, by its own projections."""

    query: Tensor  # (B, 2, D) mean and deviation of its queries over its tokens
    key: Tensor  # (B, M, D)
    value: Tensor  # (B, M, D)
    scale: Tensor  # (B,), above 0; 1 is the paper's


class Shared(NamedTuple):
    """Queries, keys and values of a layer and a style picture."""

    query: Tensor  # (B, heads, N, d)
    key: Tensor  # (B, heads, N + M, d)
    value: Tensor  # (B, heads, N + M, d)
    bias: Tensor  # (B, N + M), of the logits of each key


def features_of(query: Tensor, key: Tensor, value: Tensor) -> SharedFeatures:
    """Return what a layer reads of the picture of which these (B, M, D) are its projections."""
    statistics = torch.cat(_statistics(query), dim=1)
    return SharedFeatures(statistics, key, value, scale=torch.ones_like(query[:, 0, 0]))


def share(query: Tensor, key: Tensor, value: Tensor, features: SharedFeatures) -> Shared:
    """Return what `features` make of a layer's own query, key and value, (B, heads, N, d).

    A scale s weighs the picture's keys by s, and moves own queries and keys by min(s, 1) of the
    way, so that 0 would change nothing.
    """
    heads = query.shape[1]
    way = features.scale.clamp_max(1)[:, None, None, None].to(query)
    mean, deviation = split_heads(features.query, heads).split(1, dim=2)
    style_key, style_value = (split_heads(x, heads) for x in (features.key, features.value))
    query = torch.lerp(query, _adain(query, mean, deviation), way)
    moved = torch.lerp(key, _adain(key, *_statistics(style_key)), way)
    own = torch.zeros_like(key[:, 0, :, 0])
    theirs = features.scale.log()[:, None].to(own).expand(-1, style_key.shape[2])
    return Shared(
        query,
        torch.cat([moved, style_key], dim=2),
        torch.cat([value, style_value], dim=2),
        torch.cat([own, theirs], dim=1),
    )


def attend_to_style(query: Tensor, key: Tensor, value: Tensor, scale: Tensor) -> Tensor:
    """Return scaled attention to a style picture, (B, N, D).

    Shapes: query (B, heads, N, d), key and value (B, K, D), scale (B,).
    """
    heads = query.shape[1]
    attended = attend(query, split_heads(key, heads), split_heads(value, heads))
    return scale[:, None, None] * merge_heads(attended)


def _adain(values: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return values (B, heads, N, d) with another mean and deviation over tokens."""
    own_mean, own_deviation = _statistics(values)
    return (values - own_mean) / own_deviation * deviation + mean


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over tokens, the last axis but one, in whose place they are 1."""
    variance, mean = torch.var_mean(values, dim=-2, keepdim=True)
    return mean, (variance + EPSILON).sqrt()
