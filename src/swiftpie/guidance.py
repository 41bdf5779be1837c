"""How the predictions of one denoising step become one: plain, classifier-free or decoupled."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from swiftpie.errors import ConfigError

RESCALE = 0.75  # share of the corrected deviation
EDGE, IDENTITY, TEXT = 1.0, 1.5, 3.0  # scales of the first and last step, and of those between
PIXELS = (1, 2, 3)  # axes of one prediction


class Branch(StrEnum):
    """Which conditions a row of the denoiser's batch reads."""

    UNCONDITIONAL = "unconditional"
    TEXT = "text"
    IDENTITY = "identity"
    BOTH = "both"

    def __init__(self, name: str) -> None:
        self.has_text = name in {"text", "both"}  # it reads the prompt, others the null text
        self.has_identity = name in {"identity", "both"}  # or the adapter's null tokens


ROWS = {  # u, p and q of each type of FastFace's code; the third is its paper's
    1: (Branch.UNCONDITIONAL, Branch.TEXT, Branch.BOTH),
    2: (Branch.UNCONDITIONAL, Branch.TEXT, Branch.IDENTITY),
    3: (Branch.UNCONDITIONAL, Branch.IDENTITY, Branch.BOTH),
}


class Guidance(Protocol):
    """How the predictions of one step become a single prediction. Stateless."""

    def check(self, num_steps: int) -> None:
        """Raise ConfigError unless the guidance fits a schedule of `num_steps`."""

    def branches(self, step: int) -> tuple[Branch, ...]:
        """Return the rows that `step`, counted from 0, needs; at least one, none twice."""

    def combine(self, predictions: Mapping[Branch, Tensor], step: int) -> Tensor:
        """Merge those rows' raw outputs, each (B, C, h, w), into one of the same shape."""


@dataclass(frozen=True)
class Plain:
    """No guidance: `ε = q`, the prediction with text and identity, as distilled models expect."""

    def check(self, num_steps: int) -> None:
        """Accept any number of steps."""

    def branches(self, step: int) -> tuple[Branch, ...]:
        del step
        return (Branch.BOTH,)

    def combine(self, predictions: Mapping[Branch, Tensor], step: int) -> Tensor:
        del step
        return predictions[Branch.BOTH]


@dataclass(frozen=True)
class ClassifierFree:
    """`ε = u + w (q - u)`, u with neither text nor identity, q with both (arXiv:2207.12598).

    A step whose `w` is 1 needs q alone. With `rescale`, the deviation of others is brought near
    that of q (arXiv:2305.08891, §3.4).
    """

    scales: tuple[float, ...]  # w, by step
    rescale: float = 0.0  # in [0, 1]; 0 leaves the deviation alone

    def __post_init__(self) -> None:
        check_scales("The guidance scale", self.scales)
        _check_rescale("classifier-free", self.rescale)

    def check(self, num_steps: int) -> None:
        check_length("Classifier-free guidance", self.scales, num_steps)

    def branches(self, step: int) -> tuple[Branch, ...]:
        """Return the rows with a weight."""
        return needed(self._weights(step))

    def combine(self, predictions: Mapping[Branch, Tensor], step: int) -> Tensor:
        guided = weighted_sum(predictions, self._weights(step))
        if len(predictions) == 1 or not self.rescale:
            return guided
        return _rescaled(guided, _deviation(predictions[Branch.BOTH]), self.rescale)

    def _weights(self, step: int) -> dict[Branch, float]:
        scale = self.scales[step]
        return {Branch.UNCONDITIONAL: 1 - scale, Branch.BOTH: scale}


def _check_rescale(name: str, rescale: float) -> None:
    if not 0 <= rescale <= 1:
        raise ConfigError(
            f"The rescaling of {name} guidance is {rescale}; it must lie between 0 (off) and 1."
        )


def _deviation(prediction: Tensor) -> Tensor:
    return prediction.float().std(PIXELS, keepdim=True)


def _rescaled(guided: Tensor, wanted: Tensor, share: float) -> Tensor:
    """Return `guided` with its deviation brought near the `wanted` one, (B, 1, 1, 1)."""
    factor = wanted / _deviation(guided)
    return guided * (share * factor + 1 - share)


def branches_of(guidance: Guidance, num_steps: int) -> set[Branch]:
    """Return the rows of all `num_steps` steps; ConfigError if there are scales for other steps."""
    guidance.check(num_steps)
    return {branch for step in range(num_steps) for branch in guidance.branches(step)}


def needed(weights: Mapping[Branch, float]) -> tuple[Branch, ...]:
    return tuple(branch for branch, weight in weights.items() if weight)


def weighted_sum(predictions: Mapping[Branch, Tensor], weights: Mapping[Branch, float]) -> Tensor:
    """Return the weighted sum of `predictions`, (B, C, h, w) float32; one of weight 1 unchanged."""
    (first, *others) = predictions
    if not others and weights[first] == 1:
        return predictions[first]
    total = weights[first] * predictions[first].float()
    for branch in others:
        total = total + weights[branch] * predictions[branch].float()
    return total


def check_scales(name: str, scales: Sequence[float]) -> None:
    """Raise ConfigError unless scales are finite numbers, and at least one."""
    if not scales or not all(map(math.isfinite, scales)):
        raise ConfigError(f"{name} is {tuple(scales)}; it needs one finite number a step.")


def check_length(name: str, scales: Sequence[float], num_steps: int) -> None:
    """Raise ConfigError unless there is a scale for each step."""
    if len(scales) != num_steps:
        raise ConfigError(
            f"{name} has {len(scales)} scales, and denoising takes {num_steps} steps. Give one "
            "scale a step, or load the preset with another number of steps."
        )


@dataclass(frozen=True)
class Decoupled:
    """Decoupled guidance (arXiv:2505.21144): one scale for the identity and one for the text.

    `ε = u + a (p - u) + b (q - p)`, then its deviation is brought near that of p and q.
    `a` is the scale of the identity and `b` that of the text. Rows of weight 0 are not computed,
    and the deviation is measured on those of p and q that are. FastFace measures both always, so
    where `a = b` this differs from it by design.

    Its code has two more types: in the first, p reads the text alone; in the second as well, and q
    the identity alone, of which u is taken: `ε = u + a (p - u) + b (q - u)`.
    """

    a: tuple[float, ...]  # scale of the first term, by step
    b: tuple[float, ...]  # scale of the second term, by step
    rescale: float = RESCALE  # in [0, 1]; 0 leaves the deviation alone
    type: int = 3  # The number that FastFace's code gives this form.
    renorm: bool = False  # whether the second term becomes as long as the first
    # Whether that length is of all pictures together, as released: they influence each other.
    spans_batch: bool = False

    def __post_init__(self) -> None:
        if self.type not in ROWS:
            raise ConfigError(f"Decoupled guidance is of type {self.type!r}. Give 1, 2 or 3.")
        check_scales("The first scale of decoupled guidance", self.a)
        check_scales("The second scale of decoupled guidance", self.b)
        check_length("The second term of decoupled guidance", self.b, len(self.a))
        _check_rescale("decoupled", self.rescale)
        if self.spans_batch and not self.renorm:
            raise ConfigError(
                "`spans_batch=True` has no effect without `renorm=True`. Give both or neither."
            )

    def check(self, num_steps: int) -> None:
        check_length("Decoupled guidance", self.a, num_steps)

    def branches(self, step: int) -> tuple[Branch, ...]:
        """Return the rows with a weight; lengths are measured on all three."""
        return ROWS[self.type] if self._renorms(step) else needed(self._weights(step))

    def combine(self, predictions: Mapping[Branch, Tensor], step: int) -> Tensor:
        if self._renorms(step):
            guided = self._renormed(predictions, step)
        else:
            guided = weighted_sum(predictions, self._weights(step))
        if len(predictions) == 1 or not self.rescale:
            return guided
        spreads = [
            _deviation(predictions[row]) for row in ROWS[self.type][1:] if row in predictions
        ]
        return _rescaled(guided, torch.stack(spreads).mean(dim=0), self.rescale)

    def _weights(self, step: int) -> dict[Branch, float]:
        """Return what each of u, p and q counts, in this order; together 1."""
        a, b = self.a[step], self.b[step]
        weights = (1 - a - b, a, b) if self.type == 2 else (1 - a, a - b, b)
        return dict(zip(ROWS[self.type], weights, strict=True))

    def _renorms(self, step: int) -> bool:
        return self.renorm and not self.a[step] == self.b[step] == 1

    def _renormed(self, predictions: Mapping[Branch, Tensor], step: int) -> Tensor:
        u, p, q = (predictions[row].float() for row in ROWS[self.type])
        first, second = p - u, q - (u if self.type == 2 else p)
        axes = (0, *PIXELS) if self.spans_batch else PIXELS
        lengths = [term.square().sum(axes, keepdim=True).sqrt() for term in (first, second)]
        second = second * lengths[0] / lengths[1].clamp(min=torch.finfo(torch.float32).tiny)
        return u + self.a[step] * first + self.b[step] * second


def decoupled_for_steps(num_steps: int) -> Decoupled:
    """Return the paper's scales, (1, 1.5, 1.5, 1) and (1, 3, 3, 1) at four steps.

    Fewer or more steps keep plain first and last ones; at one or two there is no guidance.
    """
    between = max(num_steps - 2, 0)
    edges = (EDGE,) * min(num_steps, 2)
    return Decoupled(
        a=(*edges[:1], *(IDENTITY,) * between, *edges[1:]),
        b=(*edges[:1], *(TEXT,) * between, *edges[1:]),
    )
