"""From rows to a report: averages with the intervals that chance leaves them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from swiftpie.evaluation.folder import Run
from swiftpie.evaluation.metric import METRICS
from swiftpie.evaluation.score import Row

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000  # the ends of the interval are then stable to a few percent of its width


@dataclass(frozen=True)
class Interval:
    """A mean over cases and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    num_cases: int


@dataclass(frozen=True)
class MetricSummary:
    """One metric for all candidates."""

    title: str
    unit: str
    higher_is_better: bool
    candidates: Mapping[str, Interval]


@dataclass(frozen=True)
class Lighting:
    """Whether the model lights its subject better than pasting would."""

    advantage: Interval | None  # error of the paste minus that of the model; None: no such case
    beats_paste: bool  # the whole interval is above zero


@dataclass(frozen=True)
class Report:
    """Everything an evaluation found."""

    run: Run
    num_cases: int
    num_subjects: int
    num_scenes: int
    gallery_size: int  # subjects that retrieval chooses from
    metrics: Mapping[str, MetricSummary]
    lighting: Lighting

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def summarise(rows: Sequence[Row], *, run: Run, gallery_size: int) -> Report:
    """Return the report on at least one row."""
    assert rows, "an evaluation has cases"
    metrics = {}
    for name, metric in METRICS.all().items():
        values = {kind: _values(rows, name, kind) for kind in metric.candidates}
        metrics[name] = MetricSummary(
            title=metric.title,
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            candidates={kind: interval(found) for kind, found in values.items() if found},
        )
    return Report(
        run=run,
        num_cases=len(rows),
        num_subjects=len({row.case.code for row in rows}),
        num_scenes=len({row.case.scene for row in rows}),
        gallery_size=gallery_size,
        metrics=metrics,
        lighting=_lighting(rows),
    )


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of at least one value with its bootstrap interval; always the same."""
    found = np.asarray(values, dtype=np.float64)
    chosen = np.random.default_rng(0).integers(len(found), size=(NUM_RESAMPLES, len(found)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found[chosen].mean(axis=1), [tail, 1 - tail])
    return Interval(float(found.mean()), float(low), float(high), len(found))


def _lighting(rows: Sequence[Row]) -> Lighting:
    pairs = [row.scores["lighting-error"] for row in rows if "lighting-error" in row.scores]
    if not pairs:
        return Lighting(advantage=None, beats_paste=False)
    advantage = interval([pair["paste"] - pair["model"] for pair in pairs])
    return Lighting(advantage=advantage, beats_paste=advantage.low > 0)


def _values(rows: Sequence[Row], metric: str, kind: str) -> list[float]:
    return [row.scores[metric][kind] for row in rows if kind in row.scores.get(metric, {})]
