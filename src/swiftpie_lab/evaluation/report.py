"""From scores to a report: averages with the intervals that chance leaves them."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftpie.backbones.machine import processor_name
from swiftpie_lab.evaluation.case import Measure, Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import Benchmark, BenchmarkRun, C, metrics_of

PACKAGES = ("swiftpie", "swiftpie-lab", "torch", "diffusers", "transformers", "numpy", "pillow")


@dataclass(frozen=True)
class Provenance:
    """All that figures may depend on besides weights and data, which the run names."""

    command: str  # without options that say where results go; paths by their last part
    versions: Mapping[str, str]  # versions of packages and Python
    judges: Mapping[str, str]  # sha256 by file of the networks that the user gave
    processor: str
    num_cores: int

    @property
    def lines(self) -> list[str]:
        """The same for people."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        judges = [f"{name} {digest}" for name, digest in self.judges.items()]
        command = [self.command] if self.command else []
        return [*command, versions, *judges, f"{self.processor}, {self.num_cores} cores"]


def provenance_of(command: str, judges: Mapping[str, str]) -> Provenance:
    """Return what this process computes with, for a command, and judges with their sha256."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # one that runs from its sources
            continue
    return Provenance(command, versions, judges, processor_name(), os.cpu_count() or 1)


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

    mean: float  # the median, for a metric of medians
    low: float
    high: float
    num_cases: int


@dataclass(frozen=True)
class MetricSummary(Measure):
    """One metric for all candidates."""

    candidates: Mapping[str, Interval]


@dataclass(frozen=True)
class Group:
    """Some of the cases."""

    title: str
    num_cases: int
    metrics: Mapping[str, MetricSummary]


@dataclass(frozen=True)
class BenchmarkReport:
    """Everything that an evaluation found."""

    run: BenchmarkRun
    num_cases: int
    facts: Mapping[str, object]  # facts of this benchmark alone
    judged: str  # the candidate under test
    bound: str  # the candidate that is the exact answer; empty where none is
    metrics: Mapping[str, MetricSummary]
    groups: tuple[Group, ...]
    not_computed: Mapping[str, str]  # why, by metric
    sentences: tuple[str, ...]
    provenance: Provenance

    def to_json(self) -> str:
        stored: dict[str, Any] = asdict(self)
        del stored["sentences"]
        facts = stored.pop("facts")
        for name in ("groups", "not_computed"):
            if not stored[name]:
                del stored[name]
        return as_json(stored | facts)


def summarise(
    benchmark: Benchmark[C],
    rows: Sequence[Row[C]],
    *,
    run: BenchmarkRun,
    networks: Networks,
    command: str = "",
) -> BenchmarkReport:
    """Return the report on at least one row, and name the `command` behind it, if one is."""
    assert rows, "an evaluation has cases"
    metrics = _summaries(benchmark, rows)
    facts: Mapping[str, object] = {"num_cases": len(rows), **benchmark.facts(rows)}
    num_cases = facts["num_cases"]
    assert isinstance(num_cases, int)
    not_computed = lacking_networks(benchmark, networks)
    missing = [f"Not computed: {name}; it {why}." for name, why in not_computed.items()]
    groups = benchmark.groups(rows).items()
    return BenchmarkReport(
        run=run,
        num_cases=num_cases,
        facts=facts,
        judged=next(iter(benchmark.candidates)),
        bound=benchmark.bound,
        metrics=metrics,
        groups=tuple(
            Group(title, len(some), _summaries(benchmark, some)) for title, some in groups
        ),
        not_computed=not_computed,
        sentences=(*benchmark.sentences(rows), *missing),
        provenance=provenance_of(command, networks.digests),
    )


def lacking_networks(benchmark: Benchmark[C], networks: Networks) -> dict[str, str]:
    """Return the metrics of a benchmark whose network is not given, and what each needs."""
    return {
        name: lacking
        for name, metric in metrics_of(benchmark).items()
        if metric.needs and (lacking := networks.lacks(metric.needs)) is not None
    }


def interval(values: Sequence[float], *, is_median: bool = False) -> Interval:
    """Return mean or median of at least one value with its bootstrap interval; always the same.

    A few lines instead of scipy's: the core does without scipy, and figures that were published
    come out again to the last digit.
    """
    average = np.median if is_median else np.mean
    found = np.asarray(values, dtype=np.float64)
    chosen = np.random.default_rng(0).integers(len(found), size=(NUM_RESAMPLES, len(found)))
    low, high = _ends(average(found[chosen], axis=1))
    return Interval(float(average(found)), low, high, len(found))


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, is_median: bool = False
) -> Interval:
    """Return mean or median of `first` minus that of `second`, of the same cases.

    Both are redrawn alike: cases that are hard for both then widen the interval less than they
    would the intervals of each.
    """
    average = np.median if is_median else np.mean
    values = np.asarray([first, second], dtype=np.float64)
    count = values.shape[1]
    chosen = np.random.default_rng(0).integers(count, size=(NUM_RESAMPLES, count))
    redrawn = average(values[:, chosen], axis=2)
    mine, theirs = average(values, axis=1)
    low, high = _ends(redrawn[0] - redrawn[1])
    return Interval(float(mine - theirs), low, high, count)


def as_json(value: object) -> str:
    """Return one JSON object as files have it."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def format_value(value: float, unit: str = "") -> str:
    """Return a number as people read it; shares in [0, 1], whose unit is "%", times 100."""
    factor, digits = FORMATS.get(unit, (1, 2))
    return f"{factor * value:.{digits}f}"


def format_interval(found: Interval | None, *, unit: str = "") -> str:
    """Return a mean and its interval as people read them; nothing for None."""
    if found is None:
        return ""
    mean, low, high = (format_value(x, unit) for x in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def table(benchmark: Benchmark[C], metrics: Mapping[str, MetricSummary]) -> Table:
    """Return headings and cells: a line a metric, a column a candidate that any metric has."""
    judged = {kind for value in metrics.values() for kind in value.candidates}
    titles = {kind: title for kind, title in benchmark.candidates.items() if kind in judged}
    lines = []
    for value in metrics.values():
        found = (value.candidates.get(kind) for kind in titles)
        lines.append([value.label, *(format_interval(each, unit=value.unit) for each in found)])
    return ["", *titles.values()], lines


def _ends(means: Values) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _summaries(benchmark: Benchmark[C], rows: Sequence[Row[C]]) -> dict[str, MetricSummary]:
    summaries = {}
    for name, metric in metrics_of(benchmark).items():
        scored = [row for row in rows if name in row.scores]
        candidates = {}
        for kind in benchmark.candidates:
            some = [row for row in scored if kind in row.scores[name]]
            if some:
                values = _averages(benchmark, some, name, kind)
                found = interval(values, is_median=metric.is_median)
                candidates[kind] = replace(found, num_cases=len(some))
        if candidates:
            measure = (metric.title, metric.unit, metric.higher_is_better)
            summaries[name] = MetricSummary(*measure, candidates)
    return summaries


def _averages(
    benchmark: Benchmark[C], rows: Sequence[Row[C]], metric: str, candidate: str
) -> list[float]:
    """Return the mean of the scores of each unit of the benchmark."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(benchmark.unit(row.case), []).append(row.scores[metric][candidate])
    return [fmean(scores) for scores in found.values()]
