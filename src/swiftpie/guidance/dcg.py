"""Decoupled guidance: one scale for the identity and one for the text (arXiv:2505.21144)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from swiftpie.errors import ConfigError
from swiftpie.guidance import Branch, check_length, check_scales, needed, weighted_sum

RESCALE = 0.75  # share of the corrected deviation
EDGE, IDENTITY, TEXT = 1.0, 1.5, 3.0  # scales of the first and last step, and of those between
PIXELS = (1, 2, 3)  # axes of one prediction


# u has no conditions, p the identity alone, q text and identity.
ROWS = (Branch.UNCONDITIONAL, Branch.IDENTITY, Branch.BOTH)


@dataclass(frozen=True)
class Decoupled:
    """`ε = u + a (p - u) + b (q - p)`, then its deviation is brought near that of p and q.

    `a` is the scale of the identity and `b` that of the text. Rows of weight 0 are not computed,
    and the deviation is measured on those of p and q that are. FastFace measures both always, so
    where `a = b` this differs from it by design.
    """

    a: tuple[float, ...]  # scale of the first term, by step
    b: tuple[float, ...]  # scale of the second term, by step
    rescale: float = RESCALE  # in [0, 1]; 0 leaves the deviation as it is

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
        """Return the rows with a weight."""
        return needed(self._weights(step))

    def combine(self, predictions: Mapping[Branch, Tensor], step: int) -> Tensor:
        """Return the guided prediction, (B, C, h, w)."""
        guided = weighted_sum(predictions, self._weights(step))
        if len(predictions) == 1 or not self.rescale:
            return guided
        spreads = [
            predictions[row].float().std(PIXELS, keepdim=True)
            for row in ROWS[1:]
            if row in predictions
        ]
        mean = torch.stack(spreads).mean(dim=0)
        factor = mean / guided.std(PIXELS, keepdim=True)
        return guided * (self.rescale * factor + 1 - self.rescale)

    def _weights(self, step: int) -> dict[Branch, float]:
        """Return what each of u, p and q counts, in this order; together 1."""
        a, b = self.a[step], self.b[step]
        return dict(zip(ROWS, (1 - a, a - b, b), strict=True))


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
