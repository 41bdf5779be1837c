"""What a metric of edits is, and what it may look at."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from swiftpie.evaluation.edits.case import EditCase
from swiftpie.evaluation.edits.pie.lpips import Lpips
from swiftpie.evaluation.judges import Panel
from swiftpie.registry import Registry

CANDIDATES = ("edit", "naive", "target", "source")
MIN_SHARE = 0.01  # of the pixels: less is too little to compare


@dataclass(frozen=True, eq=False)
class EditEvidence:
    """A candidate beside what the case knows; pixels are in [-1, 1], masks in [0, 1]."""

    case: EditCase
    picture: Tensor  # (1, 3, H, W) the candidate
    source: Tensor  # (1, 3, H, W)
    target: Tensor  # (1, 3, H, W) the exact answer
    mask: Tensor  # (1, 1, H, W) where the answer differs from the source
    before: Tensor  # (1, 1, H, W) the first subject in the source
    kept: Tensor  # (1, 1, H, W) and in the target; 0 where it is gone
    asked: Tensor  # (1, 1, H, W) where to look for what was asked
    used: Tensor | None  # (1, 1, H, W) the mask the editor says it kept to
    reconstruction: Tensor | None  # (1, 3, H, W) the source, inverted and generated
    from_noise: Tensor | None  # (1, 3, H, W) the same by noise and prompt alone
    uncomposed: Tensor | None  # (1, 3, H, W) the edit before the source was put back around it
    time_ms: float | None
    panel: Panel
    lpips: Lpips | None  # only with the user's weights

    @property
    def outside(self) -> Tensor | None:
        """Where nothing should change, 0 or 1; None if that is next to nothing."""
        return _large_enough((self.mask <= 0).to(self.mask))

    @property
    def inside(self) -> Tensor | None:
        """Where the picture should change, 0 or 1; None if that is next to nothing."""
        return _large_enough((self.mask > 0).to(self.mask))


@dataclass(frozen=True)
class EditMetric:
    """One number a candidate; averages belong to the report."""

    title: str
    unit: str  # "%" for shares in [0, 1], which are shown times 100
    higher_is_better: bool
    candidates: tuple[str, ...]
    score: Callable[[EditEvidence], float | None]  # None where the case does not apply


EDIT_METRICS: Registry[EditMetric] = Registry(
    package="swiftpie.evaluation.edits.metrics",
    attribute="METRIC",
    family_attribute="METRICS",
    entry_point_group="swiftpie.edit_metrics",
)


def _large_enough(region: Tensor) -> Tensor | None:
    return region if float(region.mean()) >= MIN_SHARE else None
