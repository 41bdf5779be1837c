"""From rows to a report: averages with the intervals that chance leaves them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.folder import Run
from swiftpie.evaluation.metric import METRICS, Metric
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
class Figure:
    """One number of the model, what chance leaves it, and what the truth itself gets."""

    name: str  # of the metric
    title: str
    unit: str
    higher_is_better: bool
    value: float
    low: float  # of the 95 % bootstrap interval
    high: float
    num_cases: int
    truth: float | None  # None where the metric does not judge true pictures


@dataclass(frozen=True)
class Lighting:
    """Whether the model lights its subject better than pasting would."""

    advantage: Interval | None  # error of the paste minus that of the model; None: no such case
    beats_paste: bool  # the whole interval is above zero


@dataclass(frozen=True)
class Report:
    """Everything an evaluation found."""

    run: Run
    num_cases: int  # without those that ask for an attribute
    num_attributed: int
    num_subjects: int
    num_scenes: int
    gallery_size: int  # subjects that retrieval chooses from
    figures: tuple[Figure, ...]  # the model's own numbers, to put beside another report's
    metrics: Mapping[str, MetricSummary]
    lighting: Lighting

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def summarise(rows: Sequence[Row], *, run: Run, gallery_size: int) -> Report:
    """Return the report on at least one row."""
    assert rows, "an evaluation has cases"
    found = {name: _summary(rows, name, metric) for name, metric in METRICS.all().items()}
    metrics = {name: summary for name, summary in found.items() if summary.candidates}
    num_attributed = sum(row.case.kind is CaseKind.ATTRIBUTED for row in rows)
    return Report(
        run=run,
        num_cases=len(rows) - num_attributed,
        num_attributed=num_attributed,
        num_subjects=len({code for row in rows for code in row.case.codes}),
        num_scenes=len({row.case.scene for row in rows}),
        gallery_size=gallery_size,
        figures=tuple(
            _figure(name, summary)
            for name, summary in metrics.items()
            if "model" in summary.candidates
        ),
        metrics=metrics,
        lighting=_lighting(rows),
    )


def interval(values: Sequence[float], relative_to: Sequence[float] | None = None) -> Interval:
    """Return the mean of at least one value with its bootstrap interval; always the same.

    Args:
        values: One a case.
        relative_to: As many; the mean is then given as a share of their mean.
    """
    found = np.asarray(values, dtype=np.float64)
    whole = np.ones_like(found) if relative_to is None else np.asarray(relative_to)
    chosen = np.random.default_rng(0).integers(len(found), size=(NUM_RESAMPLES, len(found)))
    tail = (1 - CONFIDENCE) / 2
    means = found[chosen].mean(axis=1) / whole[chosen].mean(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(found.mean() / whole.mean()), float(low), float(high), len(found))


def _summary(rows: Sequence[Row], name: str, metric: Metric) -> MetricSummary:
    candidates = {}
    for kind in metric.candidates:
        pairs = [row.scores[name] for row in rows if kind in row.scores.get(name, {})]
        if pairs:
            wholes = [pair["truth"] for pair in pairs] if metric.is_relative else None
            candidates[kind] = interval([pair[kind] for pair in pairs], wholes)
    return MetricSummary(metric.title, metric.unit, metric.higher_is_better, candidates)


def _figure(name: str, summary: MetricSummary) -> Figure:
    model, truth = summary.candidates["model"], summary.candidates.get("truth")
    return Figure(
        name=name,
        title=summary.title,
        unit=summary.unit,
        higher_is_better=summary.higher_is_better,
        value=model.mean,
        low=model.low,
        high=model.high,
        num_cases=model.num_cases,
        truth=None if truth is None else truth.mean,
    )


def _lighting(rows: Sequence[Row]) -> Lighting:
    pairs = [row.scores["lighting-error"] for row in rows if "lighting-error" in row.scores]
    if not pairs:
        return Lighting(advantage=None, beats_paste=False)
    advantage = interval([pair["paste"] - pair["model"] for pair in pairs])
    return Lighting(advantage=advantage, beats_paste=advantage.low > 0)
