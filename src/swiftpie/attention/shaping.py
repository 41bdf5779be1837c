"""Settings of attention manipulation: which maps are reshaped, how, and at which steps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

import torch
from torch import Tensor

from swiftpie.attention.install import Block
from swiftpie.attention.manipulate import Kind, Operation, Reshaping
from swiftpie.errors import ConfigError

STABILISER_SHARE = 0.7  # of the new map, at every step (arXiv:2505.21144)


class Statistics(StrEnum):
    """What soft masks measure a map against."""

    SAMPLE = "sample"  # the map of the same picture and subject
    BATCH = "batch"  # all maps of the call, as released: pictures of a batch influence each other


@dataclass(frozen=True)
class Transform:
    """One change of a map; the last strength also serves all later steps."""

    kind: Kind
    strengths: tuple[float, ...]  # by step
    level: float = 0.0  # where soft masks step; others ignore it

    def __post_init__(self) -> None:
        if not self.strengths or not all(0 <= one < math.inf for one in self.strengths):
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


def power(*exponents: float) -> Transform:
    """Return the change `map ** exponent`."""
    return Transform(Kind.POWER, exponents)


def scale(*factors: float) -> Transform:
    """Return the change `min(map * factor, 10)`."""
    return Transform(Kind.SCALE, factors)


def soft_mask(*steepness: float, level: float = 0.5) -> Transform:
    """Return a soft step where the stretched map passes `level`."""
    return Transform(Kind.SOFT_MASK, steepness, level)


def adaptive_soft_mask(*steepness: float, quantile: float = 0.65) -> Transform:
    """Return a soft step where the stretched map passes that `quantile` of the raw one."""
    return Transform(Kind.ADAPTIVE_SOFT_MASK, steepness, quantile)


@dataclass(frozen=True)
class Shaping:
    """How the semantic branch's maps are reshaped during one drawing (arXiv:2505.21144)."""

    parts: Mapping[Block, tuple[Transform, ...]]  # what is left out stays as it is
    steps: frozenset[int] | None = None  # at which it happens; None = at all
    inverts_first: bool = False  # reshape each reference's first token upside down
    share: float = 1.0  # of the new map in the stabiliser's mix; 1 leaves the stabiliser out
    statistics: Statistics = Statistics.SAMPLE

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(
                f"The stabiliser's share is {self.share}; it must lie between 0 and 1 (off)."
            )
        object.__setattr__(self, "parts", MappingProxyType(dict(self.parts)))

    def at(self, step: int, *, like: Tensor) -> dict[str, Reshaping]:
        """Return what attention does at `step`, by part of the U-Net.

        Args:
            step: Counted from 0.
            like: Any (B,); gives rows, device and dtype.
        """
        if self.steps is not None and step not in self.steps:
            return {}
        share = torch.full_like(like, self.share) if self.share < 1 else None
        return {
            part.value: Reshaping(
                tuple(transform.at(step, like=like) for transform in transforms),
                share=share,
                inverts_first=self.inverts_first,
                spans_batch=self.statistics is Statistics.BATCH,
            )
            for part, transforms in self.parts.items()
            if transforms
        }


AM1 = Shaping({Block.DOWN: (power(1.3), scale(1.55)), Block.UP: (power(1.3), scale(1.45))})
"""Sharper and stronger attention to the identity, the same at every step."""

_MASKED = (adaptive_soft_mask(7.5, 5.0), scale(1.0, 1.55))
AM2 = Shaping({Block.DOWN: _MASKED, Block.UP: _MASKED}, inverts_first=True)
"""Attention to the identity in some places and not in others, weaker at the first step."""

STABLE_AM2 = replace(AM2, share=STABILISER_SHARE)
"""The same, held near the statistics of plain attention; made to go with decoupled guidance."""
