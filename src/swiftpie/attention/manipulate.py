"""Attention to identity tokens through a map that is reshaped on its way: settings and functions.

From arXiv:2505.21144 (FastFace). A map is the softmax over the identity tokens of one subject,
(B, S, heads, N, K). Reshaped rows no longer sum to 1; that is meant.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from swiftpie.attention.condition import Block, Kind, Operation, Reshaping
from swiftpie.errors import ConfigError

STABILISER_SHARE = 0.7  # the new map's share in the mix, at every step (arXiv:2505.21144)
CEILING = 10.0  # greatest value in a scaled map
FLOOR = 1e-6  # least level that a soft mask compares with
EPSILON = 1e-6  # added to a deviation that divides
QUERIES = -2  # the axis of a map that runs over the places of the picture


@dataclass(frozen=True)
class MapTransform:
    """One change of a map; the last strength also serves all later steps."""

    kind: Kind
    strengths: tuple[float, ...]  # by step
    level: float = 0.0  # threshold of a soft mask, by its kind a quantile or a value

    def __post_init__(self) -> None:
        if not self.strengths or not all(0 <= strength < math.inf for strength in self.strengths):
            raise ConfigError(
                f"The strengths of {self.kind.value!r} are {self.strengths}; one or more numbers "
                "from 0 up are needed. Pass one a step, or one for all."
            )
        if not 0 <= self.level <= 1:
            raise ConfigError(
                f"The level of {self.kind.value!r} is {self.level}; it must lie between 0 and 1."
            )

    def at(self, step: int, *, like: Tensor) -> Operation:
        """Return the numbers of `step` for as many rows as `like` (B,) has."""
        strength = self.strengths[min(step, len(self.strengths) - 1)]
        return Operation(
            self.kind,
            strength=torch.full_like(like, strength),
            level=torch.full_like(like, self.level),
        )


def power(*exponents: float) -> MapTransform:
    """Return the change `map ** exponent`."""
    return MapTransform(Kind.POWER, exponents)


def scale(*factors: float) -> MapTransform:
    """Return the change `min(map * factor, 10)`."""
    return MapTransform(Kind.SCALE, factors)


def soft_mask(*steepness: float, quantile: float = 0.65) -> MapTransform:
    """Return a soft step where the stretched map passes that `quantile` of the raw one."""
    return MapTransform(Kind.SOFT_MASK, steepness, quantile)


def fixed_soft_mask(*steepness: float, level: float = 0.5) -> MapTransform:
    """Return a soft step where the stretched map passes `level`, FastFace's first soft mask."""
    return MapTransform(Kind.FIXED_SOFT_MASK, steepness, level)


@dataclass(frozen=True)
class Shaping:
    """How the semantic branch's maps are reshaped during one drawing (arXiv:2505.21144)."""

    parts: Mapping[Block, tuple[MapTransform, ...]]  # what is left out stays unchanged
    inverts_first: bool = False  # reshape each reference's first token upside down
    share: float = 1.0  # the new map's share in the stabiliser's mix; 1 turns that off
    # Soft masks measure a map against all of the call, as released: pictures influence each other.
    spans_batch: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(
                f"The stabiliser's share is {self.share}; it must lie between 0 and 1 (off)."
            )
        object.__setattr__(self, "parts", MappingProxyType(dict(self.parts)))

    def at(self, step: int, *, like: Tensor) -> dict[str, Reshaping]:
        """Return what attention does at `step`, from 0, by part of the U-Net; `like` is (B,)."""
        share = torch.full_like(like, self.share) if self.share < 1 else None
        return {
            part.value: Reshaping(
                tuple(transform.at(step, like=like) for transform in transforms),
                share=share,
                inverts_first=self.inverts_first,
                spans_batch=self.spans_batch,
            )
            for part, transforms in self.parts.items()
            if transforms
        }


AM1 = Shaping({Block.DOWN: (power(1.3), scale(1.55)), Block.UP: (power(1.3), scale(1.45))})
"""Sharper and stronger attention to the identity, the same at every step."""

_MASKED = (soft_mask(7.5, 5.0), scale(1.0, 1.55))
AM2 = Shaping({Block.DOWN: _MASKED, Block.UP: _MASKED}, inverts_first=True)
"""Attention to the identity in some places and not in others, weaker at the first step."""

STABLE_AM2 = replace(AM2, share=STABILISER_SHARE)
"""The same, held near the statistics of plain attention; made to go with decoupled guidance."""


def attend_reshaped(
    query: Tensor, key: Tensor, value: Tensor, reshaping: Reshaping, *, num_views: int
) -> Tensor:
    """Return attention to S subjects through reshaped maps, (B, S, heads, N, d) in float32.

    Shapes: query (B, heads, N, d), key and value (B, S, heads, K, d). The K tokens are those of
    `num_views` references, one after the other.
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
    and stays unchanged. Shapes: maps (B, S, heads, N, n), share (B, 1, 1, 1, 1) in [0, 1].
    """
    if changed.shape[-1] == 1:
        return changed
    mean, original_mean = (maps.mean(dim=-1, keepdim=True) for maps in (changed, original))
    spread, original_spread = (maps.std(dim=-1, keepdim=True) for maps in (changed, original))
    moved = (changed - mean) * (original_spread / (spread + EPSILON)) + original_mean
    return share * changed + (1 - share) * moved


def quantile(weights: Tensor, level: Tensor) -> Tensor:
    """Return a quantile over queries, (B, S, heads, 1, K), between values as NumPy has it.

    Unlike `torch.quantile` it takes one level a row, (B, 1, 1, 1, 1) in [0, 1], and maps of any
    size, (B, S, heads, N, K).
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
            case Kind.SOFT_MASK | Kind.FIXED_SOFT_MASK:
                if operation.kind is Kind.SOFT_MASK:
                    level = quantile(weights, level).clamp_min(FLOOR)
                steep = torch.sigmoid(strength * (_stretched(weights, axes) - level))
                weights = _stretched(steep, axes)
    return weights


def _stretched(weights: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return each token's map of a subject on [0, 1], over heads, queries and perhaps the batch."""
    low, high = weights.amin(dim=axes, keepdim=True), weights.amax(dim=axes, keepdim=True)
    return (weights - low) / (high - low).clamp_min(torch.finfo(weights.dtype).tiny)


def _by_row(values: Tensor) -> Tensor:
    """Return (B,) as (B, 1, 1, 1, 1), to meet a map."""
    return values.float()[:, None, None, None, None]
