"""What a metric is, and what it may look at."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from swiftpie.evaluation.case import Case, CaseKind
from swiftpie.evaluation.judges import Panel
from swiftpie.registry import Registry


@dataclass(frozen=True, eq=False)
class Evidence:
    """One subject in a candidate picture beside the true one; pixels are in [-1, 1]."""

    case: Case
    code: str  # the subject of the case that is judged
    picture: Tensor  # (1, 3, H, W) the candidate
    truth: Tensor  # (1, 3, H, W) the exact rendering
    mask: Tensor  # (1, 1, H, W) the subject in the truth
    found: Tensor | None  # (1, 1, H, W) where the candidate's maker says its subject is
    panel: Panel


@dataclass(frozen=True)
class Metric:
    """One number a candidate; averages belong to the report."""

    title: str
    unit: str  # "%" for shares in [0, 1], which are shown times 100
    higher_is_better: bool
    candidates: tuple[str, ...]  # kinds of pictures it makes sense for
    score: Callable[[Evidence], float | None]  # None where the case does not apply
    applies_to: tuple[CaseKind, ...] = (CaseKind.PLAIN,)
    is_relative: bool = False  # the report gives the mean as a share of the truth's mean


METRICS: Registry[Metric] = Registry(
    package="swiftpie.evaluation.metrics",
    attribute="METRIC",
    entry_point_group="swiftpie.metrics",
)
