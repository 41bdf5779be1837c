"""From rows to a report: averages with the intervals that chance leaves them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.folder import Run
from swiftpie.evaluation.metric import METRICS
from swiftpie.evaluation.score import Row

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000  # the ends of the interval are then stable to a few percent of its width


class Labelled(Protocol):
    """Whatever tables give a name to."""

    @property
    def title(self) -> str:
        """How tables call it."""

    @property
    def unit(self) -> str:
        """What values are counted in; "%" for shares in [0, 1]."""

    @property
    def higher_is_better(self) -> bool:
        """The better side."""


class Column(Labelled, Protocol):
    """What a report needs to know of a metric."""

    @property
    def candidates(self) -> tuple[str, ...]:
        """The pictures that it judges, in the order of the columns."""


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
    found = {
        name: summary_of(
            [row.scores[name] for row in rows if name in row.scores],
            metric,
            is_relative=metric.is_relative,
        )
        for name, metric in METRICS.all().items()
    }
    metrics = {name: summary for name, summary in found.items() if summary.candidates}
    num_attributed = sum(row.case.kind is CaseKind.ATTRIBUTED for row in rows)
    return Report(
        run=run,
        num_cases=len(rows) - num_attributed,
        num_attributed=num_attributed,
        num_subjects=len({code for row in rows for code in row.case.codes}),
        num_scenes=len({row.case.scene for row in rows}),
        gallery_size=gallery_size,
        figures=figures_of(metrics, judged="model", truth="truth"),
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


def summary_of(
    scores: Sequence[Mapping[str, float]], column: Column, *, is_relative: bool = False
) -> MetricSummary:
    """Return what one metric found; a candidate that it never judged is absent.

    Args:
        scores: By candidate, one a case.
        column: The metric.
        is_relative: Give means as shares of the truth's mean.
    """
    candidates = {}
    for kind in column.candidates:
        found = [one for one in scores if kind in one]
        if found:
            wholes = [one["truth"] for one in found] if is_relative else None
            candidates[kind] = interval([one[kind] for one in found], wholes)
    return MetricSummary(column.title, column.unit, column.higher_is_better, candidates)


def figures_of(
    metrics: Mapping[str, MetricSummary], *, judged: str, truth: str
) -> tuple[Figure, ...]:
    """Return the numbers of the candidate `judged`, beside those of `truth` where there are any."""
    return tuple(
        _figure(name, summary, judged=judged, truth=truth)
        for name, summary in metrics.items()
        if judged in summary.candidates
    )


def label(one: Labelled) -> str:
    """Return the name with its unit and an arrow to the better side."""
    name = f"{one.title}, {one.unit}" if one.unit else one.title
    return f"{name} {'↑' if one.higher_is_better else '↓'}"


def format_value(value: float, unit: str = "") -> str:
    """Return a number as people read it; shares in [0, 1], whose unit is "%", times 100."""
    factor, digits = (100, 1) if unit == "%" else (1, 2)
    return f"{factor * value:.{digits}f}"


def _figure(name: str, summary: MetricSummary, *, judged: str, truth: str) -> Figure:
    found, bound = summary.candidates[judged], summary.candidates.get(truth)
    return Figure(
        name=name,
        title=summary.title,
        unit=summary.unit,
        higher_is_better=summary.higher_is_better,
        value=found.mean,
        low=found.low,
        high=found.high,
        num_cases=found.num_cases,
        truth=None if bound is None else bound.mean,
    )


def _lighting(rows: Sequence[Row]) -> Lighting:
    pairs = [row.scores["lighting-error"] for row in rows if "lighting-error" in row.scores]
    if not pairs:
        return Lighting(advantage=None, beats_paste=False)
    advantage = interval([pair["paste"] - pair["model"] for pair in pairs])
    return Lighting(advantage=advantage, beats_paste=advantage.low > 0)
