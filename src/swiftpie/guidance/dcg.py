"""Decoupled guidance: one scale for the identity and one for the text (arXiv:2505.21144)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import torch
from torch import Tensor

from swiftpie.errors import ConfigError
from swiftpie.guidance import Branch, check_length, check_scales, needed, weighted_sum

RESCALE = 0.75  # share of the corrected deviation
EDGE, IDENTITY, TEXT = 1.0, 1.5, 3.0  # scales of the first and last step, and of those between
PIXELS = (1, 2, 3)  # axes of one prediction


class GuidancePath(IntEnum):
    """The way from nothing to text and identity, numbered as the released code does."""

    TEXT_FIRST = 1
    APART = 2
    IDENTITY_FIRST = 3  # the paper's


class Renorm(StrEnum):
    """Whether the second term gets the length of the first."""

    OFF = "off"
    SAMPLE = "sample"
    BATCH = "batch"  # measured over the whole batch, as released, so pictures influence each other


# The rows p and q of each path; u has no conditions.
ROWS = {
    GuidancePath.TEXT_FIRST: (Branch.TEXT, Branch.BOTH),
    GuidancePath.APART: (Branch.TEXT, Branch.IDENTITY),
    GuidancePath.IDENTITY_FIRST: (Branch.IDENTITY, Branch.BOTH),
}


@dataclass(frozen=True)
class Decoupled:
    """`ε = u + a (p - u) + b (q - p)`, then its deviation is brought near that of p and q.

    `APART` has `b (q - u)` as its last term. On the paper's path `a` is the scale of the identity
    and `b` that of the text; on the others `a` belongs to the text. Rows of weight 0 are not
    computed. The deviation is then measured on those of p and q that are; the released code
    computes all rows, as `computes_all` does.
    """

    a: tuple[float, ...]  # scale of the first term, by step
    b: tuple[float, ...]  # scale of the second term, by step
    path: GuidancePath = GuidancePath.IDENTITY_FIRST
    rescale: float = RESCALE  # in [0, 1]; 0 leaves the deviation as it is
    renorm: Renorm = Renorm.OFF
    computes_all: bool = False

    def __post_init__(self) -> None:
        check_scales("The first scale of decoupled guidance", self.a)
        check_scales("The second scale of decoupled guidance", self.b)
        check_length("The second term of decoupled guidance", self.b, len(self.a))
        if not 0 <= self.rescale <= 1:
            raise ConfigError(
                f"The rescaling of decoupled guidance is {self.rescale}; it must lie between 0 "
                "(off) and 1."
            )

    def check(self, num_steps: int) -> None:
        """Check the number of scales."""
        check_length("Decoupled guidance", self.a, num_steps)

    def branches(self, step: int) -> tuple[Branch, ...]:
        """Return the rows with a weight, or all three if renormalisation needs them."""
        weights = self._weights(step)
        compares = self.renorm is not Renorm.OFF and self.b[step] != 0
        return tuple(weights) if compares or self.computes_all else needed(weights)

    def combine(self, predictions: Mapping[Branch, Tensor], step: int) -> Tensor:
        """Return the guided prediction, (B, C, h, w)."""
        if len(predictions) == 1 or self.renorm is Renorm.OFF or self.b[step] == 0:
            guided = weighted_sum(predictions, self._weights(step))
        else:
            guided = self._renormed(predictions, step)
        if len(predictions) == 1 or not self.rescale:
            return guided
        spreads = [
            predictions[row].float().std(PIXELS, keepdim=True)
            for row in ROWS[self.path]
            if row in predictions
        ]
        mean = torch.stack(spreads).mean(dim=0)
        factor = mean / guided.std(PIXELS, keepdim=True)
        return guided * (self.rescale * factor + 1 - self.rescale)

    def _weights(self, step: int) -> dict[Branch, float]:
        """Return what each of u, p and q counts, in this order; together 1."""
        a, b = self.a[step], self.b[step]
        p, q = ROWS[self.path]
        if self.path is GuidancePath.APART:
            return {Branch.UNCONDITIONAL: 1 - a - b, p: a, q: b}
        return {Branch.UNCONDITIONAL: 1 - a, p: a - b, q: b}

    def _renormed(self, predictions: Mapping[Branch, Tensor], step: int) -> Tensor:
        u, p, q = (predictions[row].float() for row in self._weights(step))
        first, second = p - u, q - (u if self.path is GuidancePath.APART else p)
        axes = (0, *PIXELS) if self.renorm is Renorm.BATCH else PIXELS
        lengths = [term.square().sum(axes, keepdim=True).sqrt() for term in (first, second)]
        longer = lengths[0] / lengths[1].clamp_min(torch.finfo(second.dtype).tiny)
        return u + self.a[step] * first + self.b[step] * longer * second


def for_steps(num_steps: int) -> Decoupled:
    """Return the paper's scales, (1, 1.5, 1.5, 1) and (1, 3, 3, 1) at four steps.

    Fewer or more steps keep plain first and last ones; at one or two there is no guidance.
    """
    between = max(num_steps - 2, 0)
    edges = (EDGE,) * min(num_steps, 2)
    return Decoupled(
        a=(*edges[:1], *(IDENTITY,) * between, *edges[1:]),
        b=(*edges[:1], *(TEXT,) * between, *edges[1:]),
    )


METHOD = for_steps
