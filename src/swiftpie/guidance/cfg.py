"""Classifier-free guidance: away from the prediction without conditions."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from swiftpie.guidance import Branch, check_length, check_scales, needed, weighted_sum

SCALE = 1.5  # distilled models saturate above; 1 is no guidance


@dataclass(frozen=True)
class ClassifierFree:
    """`ε = u + w (q - u)`, u with neither text nor identity, q with both (arXiv:2207.12598).

    A step whose `w` is 1 needs q alone.
    """

    scales: tuple[float, ...]  # w, by step

    def __post_init__(self) -> None:
        check_scales("The guidance scale", self.scales)

    def check(self, num_steps: int) -> None:
        """Check the number of scales."""
        check_length("Classifier-free guidance", self.scales, num_steps)

    def branches(self, step: int) -> tuple[Branch, ...]:
        """Return the rows with a weight."""
        return needed(self._weights(step))

    def combine(self, predictions: Mapping[Branch, Tensor], step: int) -> Tensor:
        """Return the guided prediction, (B, C, h, w)."""
        return weighted_sum(predictions, self._weights(step))

    def _weights(self, step: int) -> dict[Branch, float]:
        scale = self.scales[step]
        return {Branch.UNCONDITIONAL: 1 - scale, Branch.BOTH: scale}


def for_steps(num_steps: int) -> ClassifierFree:
    """Return the same scale for every step; a single step has no guidance."""
    return ClassifierFree((SCALE if num_steps > 1 else 1.0,) * num_steps)


METHOD = for_steps
