"""Attention to identity tokens through a map that is reshaped on its way, as pure functions.

From arXiv:2505.21144 (FastFace). A map is the softmax over the identity tokens of one subject,
(B, S, heads, N, K). Reshaped rows no longer sum to 1; that is meant.
"""

from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor

CEILING = 10.0  # of a scaled map
FLOOR = 1e-6  # of the level that an adaptive soft mask compares with
EPSILON = 1e-6  # beside a deviation that divides
QUERIES = -2  # the axis of a map that runs over the places of the picture


class Kind(StrEnum):
    """A change of a map."""

    POWER = "power"  # map ** strength
    SCALE = "scale"  # map * strength, at most `CEILING`
    SOFT_MASK = "soft mask"  # a steep step at `level` of the stretched map
    ADAPTIVE_SOFT_MASK = "adaptive soft mask"  # the same at the quantile `level` of the raw map


class Operation(NamedTuple):
    """One change with its numbers, one a row, so that new numbers need no new graph."""

    kind: Kind
    strength: Tensor  # (B,)
    level: Tensor  # (B,)


class Reshaping(NamedTuple):
    """What happens to the maps of one part of the U-Net in one call."""

    operations: tuple[Operation, ...]
    share: Tensor | None  # (B,) of the new map in the stabiliser's mix; None leaves that out
    inverts_first: bool  # whether each reference's first token is reshaped upside down
    spans_batch: bool  # whether soft masks stretch maps over the batch, as the released code does


def attend_reshaped(
    query: Tensor, key: Tensor, value: Tensor, reshaping: Reshaping, *, num_views: int
) -> Tensor:
    """Return attention to S subjects through reshaped maps, (B, S, heads, N, d) in float32.

    Args:
        query: (B, heads, N, d).
        key: (B, S, heads, K, d).
        value: (B, S, heads, K, d).
        reshaping: How.
        num_views: R; the K tokens are those of R references, one after the other.
    """
    logits = query[:, None].float() @ key.float().transpose(-1, -2) * query.shape[-1] ** -0.5
    softmax = logits.softmax(dim=-1)
    changed = reshape_map(softmax, reshaping, num_views=num_views)
    if reshaping.share is None:
        return changed @ value.float()
    share = _by_row(reshaping.share)
    mixed = stabilise(changed, softmax, share)
    return stabilise(mixed @ value.float(), softmax @ value.float(), share)


def reshape_map(weights: Tensor, reshaping: Reshaping, *, num_views: int) -> Tensor:
    """Return `weights` (B, S, heads, N, K) after all operations."""
    if not reshaping.inverts_first:
        return _operate(weights, reshaping)
    places = torch.arange(weights.shape[-1], device=weights.device)
    is_first = places % (weights.shape[-1] // num_views) == 0
    changed = _operate(torch.where(is_first, 1 - weights, weights), reshaping)
    upright = changed.amax(dim=QUERIES, keepdim=True) - changed
    return torch.where(is_first, upright, changed)


def stabilise(changed: Tensor, original: Tensor, share: Tensor) -> Tensor:
    """Mix `changed` with itself at mean and deviation of `original`, both over the last axis.

    From arXiv:1703.06868, Eq. 8, in the mix of arXiv:2505.21144. A single value has no deviation
    and stays as it is.

    Args:
        changed: (B, S, heads, N, n).
        original: The same shape.
        share: Of `changed` itself in the mix, (B, 1, 1, 1, 1) in [0, 1].
    """
    if changed.shape[-1] == 1:
        return changed
    mean, original_mean = (one.mean(dim=-1, keepdim=True) for one in (changed, original))
    spread, original_spread = (one.std(dim=-1, keepdim=True) for one in (changed, original))
    moved = (changed - mean) * (original_spread / (spread + EPSILON)) + original_mean
    return share * changed + (1 - share) * moved


def quantile(weights: Tensor, level: Tensor) -> Tensor:
    """Return a quantile over queries, (B, S, heads, 1, K), between values as NumPy has it.

    Unlike `torch.quantile` it takes one level a row and maps of any size.

    Args:
        weights: (B, S, heads, N, K).
        level: In [0, 1], (B, 1, 1, 1, 1).
    """
    ordered = weights.sort(dim=QUERIES).values
    last = weights.shape[QUERIES] - 1
    place = (level * last).clamp(0, last).expand_as(weights[..., :1, :])
    below = place.floor()
    low = ordered.gather(QUERIES, below.long())
    high = ordered.gather(QUERIES, place.ceil().long())
    return torch.lerp(low, high, place - below)


def _operate(weights: Tensor, reshaping: Reshaping) -> Tensor:
    axes = (0, 2, 3) if reshaping.spans_batch else (2, 3)
    for operation in reshaping.operations:
        strength, level = _by_row(operation.strength), _by_row(operation.level)
        match operation.kind:
            case Kind.POWER:
                weights = weights**strength
            case Kind.SCALE:
                weights = (weights * strength).clamp_max(CEILING)
            case Kind.SOFT_MASK:
                weights = _step_at(level, weights, strength, axes)
            case Kind.ADAPTIVE_SOFT_MASK:
                found = quantile(weights, level).clamp_min(FLOOR)
                weights = _step_at(found, weights, strength, axes)
    return weights


def _step_at(level: Tensor, weights: Tensor, strength: Tensor, axes: tuple[int, ...]) -> Tensor:
    return _stretched(torch.sigmoid(strength * (_stretched(weights, axes) - level)), axes)


def _stretched(weights: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return each token's map of a subject on [0, 1], over heads, queries and perhaps the batch."""
    low, high = weights.amin(dim=axes, keepdim=True), weights.amax(dim=axes, keepdim=True)
    return (weights - low) / (high - low).clamp_min(torch.finfo(weights.dtype).tiny)


def _by_row(values: Tensor) -> Tensor:
    """Return (B,) as (B, 1, 1, 1, 1), to meet a map."""
    return values.float()[:, None, None, None, None]
