"""From scores to a report: averages with the intervals that chance leaves them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftpie.evaluation.case import Metric, Row
from swiftpie.evaluation.judges import NEEDED, Networks
from swiftpie.evaluation.run import Benchmark, C, Run, metrics_of

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000  # the ends of the interval are then stable to a few percent of its width

FORMATS: Mapping[str, tuple[float, int]] = {"%": (100, 1), "cosine": (1, 4), "ms": (1, 0)}
"""Factor and digits by unit; others are shown as they are, with two digits."""

Values = NDArray[np.float64]
Table = tuple[list[str], list[list[str]]]
"""Headings, and lines of words whose first heads them."""


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
    higher_is_better: bool | None
    candidates: Mapping[str, Interval]

    @property
    def label(self) -> str:
        """How tables call it."""
        return label(self.title, self.unit, higher_is_better=self.higher_is_better)


@dataclass(frozen=True)
class Figure:
    """One number of the candidate under test, what chance leaves it, and what the truth gets."""

    name: str  # of the metric
    title: str
    unit: str
    higher_is_better: bool | None
    value: float
    low: float  # of the 95 % bootstrap interval
    high: float
    num_cases: int
    truth: float | None  # None where the metric does not judge true pictures


@dataclass(frozen=True)
class Group:
    """Some of the cases."""

    title: str
    num_cases: int
    metrics: Mapping[str, MetricSummary]


@dataclass(frozen=True)
class Report:
    """Everything an evaluation tells."""

    run: Run
    num_cases: int
    facts: Mapping[str, object]  # of this benchmark alone
    figures: tuple[Figure, ...]  # to put beside another report's
    metrics: Mapping[str, MetricSummary]
    groups: tuple[Group, ...]
    not_computed: Mapping[str, str]  # why, by metric
    sentences: tuple[str, ...]

    def to_json(self) -> str:
        """Return one JSON object; what is empty is left out."""
        stored: dict[str, Any] = asdict(self)
        del stored["sentences"]
        facts = stored.pop("facts")
        for name in ("groups", "not_computed"):
            if not stored[name]:
                del stored[name]
        return as_json(stored | facts)


def summarise(
    benchmark: Benchmark[C], rows: Sequence[Row[C]], *, run: Run, networks: Networks
) -> Report:
    """Return the report on at least one row."""
    assert rows, "an evaluation has cases"
    metrics = _summaries(benchmark, rows)
    not_computed = {
        name: NEEDED[metric.needs]
        for name, metric in metrics_of(benchmark).items()
        if metric.needs and getattr(networks, metric.needs, None) is None
    }
    facts: Mapping[str, object] = {"num_cases": len(rows), **benchmark.facts(rows)}
    num_cases = facts["num_cases"]
    assert isinstance(num_cases, int)
    return Report(
        run=run,
        num_cases=num_cases,
        facts=facts,
        figures=_figures(benchmark, metrics),
        metrics=metrics,
        groups=tuple(
            Group(title, len(some), _summaries(benchmark, some))
            for title, some in benchmark.groups(rows).items()
        ),
        not_computed=not_computed,
        sentences=(
            *benchmark.sentences(rows),
            *(f"Not computed: {name}; it {why}." for name, why in not_computed.items()),
        ),
    )


def interval(values: Sequence[float], relative_to: Sequence[float] | None = None) -> Interval:
    """Return the mean of at least one value with its bootstrap interval; always the same.

    Ten lines instead of scipy's: the core does without scipy, and figures that were published
    come out again to the last digit.

    Args:
        values: One a case.
        relative_to: As many; the mean is then given as a share of their mean.
    """
    found = np.asarray(values, dtype=np.float64)
    whole = np.ones_like(found) if relative_to is None else np.asarray(relative_to)
    chosen = np.random.default_rng(0).integers(len(found), size=(NUM_RESAMPLES, len(found)))
    low, high = _ends(found[chosen].mean(axis=1) / whole[chosen].mean(axis=1))
    return Interval(float(found.mean() / whole.mean()), low, high, len(found))


def share(part: Values, whole: Values) -> Interval:
    """Return mean over mean of values of different things, each resampled by itself."""
    random = np.random.default_rng(0)
    means = [
        values[random.integers(len(values), size=(NUM_RESAMPLES, len(values)))].mean(axis=1)
        for values in (part, whole)
    ]
    low, high = _ends(means[0] / means[1])
    return Interval(float(part.mean() / whole.mean()), low, high, len(part))


def as_json(value: object) -> str:
    """Return one JSON object as files have it."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def label(title: str, unit: str, *, higher_is_better: bool | None) -> str:
    """Return the name of a metric with its unit and an arrow to the better side."""
    arrow = {True: " ↑", False: " ↓", None: ""}[higher_is_better]
    return (f"{title}, {unit}" if unit else title) + arrow


def format_value(value: float, unit: str = "") -> str:
    """Return a number as people read it; shares in [0, 1], whose unit is "%", times 100."""
    factor, digits = FORMATS.get(unit, (1, 2))
    return f"{factor * value:.{digits}f}"


def format_interval(found: Interval, *, unit: str = "") -> str:
    """Return a mean and its interval as people read them."""
    mean, low, high = (format_value(x, unit) for x in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def table(benchmark: Benchmark[C], metrics: Mapping[str, MetricSummary]) -> Table:
    """Return headings and cells: a line a metric, a column a candidate that any metric has."""
    present = [
        kind
        for kind in benchmark.candidates
        if any(kind in one.candidates for one in metrics.values())
    ]
    lines = [
        [
            one.label,
            *(
                format_interval(one.candidates[kind], unit=one.unit)
                if kind in one.candidates
                else ""
                for kind in present
            ),
        ]
        for one in metrics.values()
    ]
    return ["", *(benchmark.candidates[kind] for kind in present)], lines


def table_by_group(benchmark: Benchmark[C], report: Report) -> Table:
    """Return headings and cells: a line a group, with means of the candidate under test."""
    judged = next(iter(benchmark.candidates))
    names = [
        name
        for name in benchmark.headline
        if name in report.metrics and judged in report.metrics[name].candidates
    ]
    lines = []
    for group in report.groups:
        cells = [f"{group.title} ({group.num_cases})"]
        for name in names:
            one = group.metrics.get(name)
            mine = None if one is None else one.candidates.get(judged)
            cells.append("" if mine is None else format_value(mine.mean, report.metrics[name].unit))
        lines.append(cells)
    return ["", *(report.metrics[name].label for name in names)], lines


def _ends(means: Values) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _summaries(benchmark: Benchmark[C], rows: Sequence[Row[C]]) -> dict[str, MetricSummary]:
    summaries = {
        name: _summary([row.scores[name] for row in rows if name in row.scores], metric, benchmark)
        for name, metric in metrics_of(benchmark).items()
    }
    return {name: one for name, one in summaries.items() if one.candidates}


def _summary(
    scores: Sequence[Mapping[str, float]], metric: Metric, benchmark: Benchmark[C]
) -> MetricSummary:
    """Return what one metric says; a candidate that it never judged is absent."""
    candidates = {}
    for kind in benchmark.candidates:
        some = [one for one in scores if kind in one]
        if some:
            wholes = [one[benchmark.bound] for one in some] if metric.is_relative else None
            candidates[kind] = interval([one[kind] for one in some], wholes)
    return MetricSummary(metric.title, metric.unit, metric.higher_is_better, candidates)


def _figures(benchmark: Benchmark[C], metrics: Mapping[str, MetricSummary]) -> tuple[Figure, ...]:
    judged = next(iter(benchmark.candidates))
    figures = []
    for name, one in metrics.items():
        if judged in one.candidates:
            mine, bound = one.candidates[judged], one.candidates.get(benchmark.bound)
            figures.append(
                Figure(
                    name=name,
                    title=one.title,
                    unit=one.unit,
                    higher_is_better=one.higher_is_better,
                    value=mine.mean,
                    low=mine.low,
                    high=mine.high,
                    num_cases=mine.num_cases,
                    truth=None if bound is None else bound.mean,
                )
            )
    return tuple(figures)
