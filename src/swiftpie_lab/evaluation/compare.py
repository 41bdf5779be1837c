"""Two evaluations of the same cases side by side: figures with paired intervals."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swiftpie.config import decode, read_fields
from swiftpie.errors import InputError, short_reason
from swiftpie_lab.evaluation.case import METRICS, Measure
from swiftpie_lab.evaluation.report import (
    Interval,
    Table,
    as_json,
    format_interval,
    format_value,
    interval,
    paired_difference,
)
from swiftpie_lab.evaluation.run import BenchmarkRun

MAX_BYTES = 256 << 20  # limit of a file of scores; a thousand cases have 3 MB


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A folder of results, as far as it can be compared."""

    run: BenchmarkRun
    measures: Mapping[str, Measure]  # by metric
    truths: Mapping[str, float]  # by metric that judges exact answers, too
    judged: str  # the candidate under test
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]  # by case, metric and candidate
    requests: Mapping[str, Mapping[str, object]]  # by case, as the manifest has it

    def score(self, case: str, name: str) -> float | None:
        """Return a score of the candidate under test."""
        return self.scores[case].get(name, {}).get(self.judged)


@dataclass(frozen=True)
class Difference(Measure):
    """One figure of both, over the cases that both have a score of."""

    name: str
    first: float
    second: float
    difference: Interval  # first minus second, paired by case
    ratio: float | None  # first over second; None where the second has 0
    truth: float | None

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.difference.low <= 0 <= self.difference.high

    def cells(self) -> tuple[str, ...]:
        values = [format_value(value, self.unit) for value in (self.first, self.second)]
        apart = format_interval(self.difference, unit=self.unit) + (" *" if self.is_clear else "")
        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        truth = "" if self.truth is None else format_value(self.truth, self.unit)
        return (self.label, *values, apart, ratio, truth)


@dataclass(frozen=True)
class Comparison:
    """All figures that both have."""

    first: str  # its preset, with the steps where these differ
    second: str
    num_cases: int
    differences: tuple[Difference, ...]

    @property
    def sentences(self) -> list[str]:
        return [
            f"{self.num_cases} cases. A is {self.first}, B is {self.second}. Brackets hold 95 % "
            "bootstrap intervals of the difference, paired by case; * marks those without 0. "
            "Arrows point to the better side."
        ]

    @property
    def table(self) -> Table:
        heads = ["", "A", "B", "A less B", "A / B", "truth"]
        return heads, [[*difference.cells()] for difference in self.differences]

    def to_json(self) -> str:
        return as_json(asdict(self))


def compare(first: FinishedRun, second: FinishedRun) -> Comparison:
    """Return how far two runs are apart in the figures of both; InputError if cases differ."""
    if unlike := _first_difference(first, second):
        raise InputError(
            f"The two runs {unlike}. Only the same cases can be compared. Evaluate both models "
            "with the same options."
        )
    shared = [name for name in first.measures if name in second.measures]
    differences = tuple(one for name in shared if (one := _difference(name, first, second)))
    if not differences:
        raise InputError(
            "The two runs have no figure in common. Both must come from the same benchmark. "
            "Evaluate both models again with this version."
        )
    names = _names(first.run, second.run)
    return Comparison(*names, len(first.scores), differences)


def read_run(path: Path) -> FinishedRun:
    """Read what `compare` needs from the folder or report of an evaluation, or raise InputError."""
    folder = path if path.is_dir() else path.parent
    try:
        return _read_run(folder, path / "report.json" if path.is_dir() else path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"'{path}' holds no evaluation that can be compared ({short_reason(error)}). A folder "
            "with report.json, rows.jsonl and manifest.jsonl is needed, as `swiftpie evaluate` "
            "writes it. Run the evaluation again, or check the path."
        ) from error


def _read_run(folder: Path, file: Path) -> FinishedRun:
    found = json.loads(_text_of(file))
    run = decode(found["run"], BenchmarkRun, "BenchmarkRun")  # every value of it has its type
    judged, bound, metrics = str(found["judged"]), found["bound"], found["metrics"].items()
    measures = {name: Measure(**read_fields(Measure, metric)) for name, metric in metrics}
    truths = {
        name: float(metric["candidates"][bound]["mean"])
        for name, metric in metrics
        if bound in metric["candidates"]
    }
    scores = dict(_scores(folder / "rows.jsonl"))
    requests = {str(line["name"]): line for line in _lines(folder / "manifest.jsonl")}
    if scores.keys() != requests.keys():
        raise ValueError("its manifest lists other cases than those that have scores")
    return FinishedRun(run, measures, truths, judged, scores, requests)


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_BYTES} bytes")
    return data.decode("utf-8")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in _text_of(path).splitlines():
        yield dict(json.loads(line))


def _scores(path: Path) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    for line in _lines(path):
        by_metric = {
            str(metric): {str(kind): float(value) for kind, value in some.items()}
            for metric, some in line["scores"].items()
        }
        if not all(math.isfinite(x) for some in by_metric.values() for x in some.values()):
            raise ValueError("a score is no finite number")
        yield str(line["name"]), by_metric


def _first_difference(first: FinishedRun, second: FinishedRun) -> str:
    """Return in words what first makes the cases of two runs unlike; empty if nothing does."""
    facts = {
        "benchmark": (first.run.benchmark, second.run.benchmark),
        "candidate": (first.judged, second.judged),
        "seed": (first.run.seed, second.run.seed),
        "number of cases": (len(first.scores), len(second.scores)),
    }
    for name, (one, other) in facts.items():
        if one != other:
            return f"differ in the {name}, {one!r} and {other!r}"
    for ours, theirs in zip(sorted(first.scores), sorted(second.scores), strict=True):
        if ours != theirs:
            return f"judged different cases, first {ours!r} and {theirs!r}"
        one, other = first.requests[ours], second.requests[ours]
        for field in sorted({*one, *other}):
            if one.get(field) != other.get(field):
                values = f"{one.get(field)!r} and {other.get(field)!r}"
                return f"requested different things in case {ours!r}: {field} is {values}"
    if first.run.data != second.run.data:
        return "judged different subjects or sizes: of another pack, dataset or folder"
    return ""


def _difference(name: str, first: FinishedRun, second: FinishedRun) -> Difference | None:
    metric = METRICS.get(name) if name in METRICS.names() else None
    pairs = [
        (mine, theirs)
        for case in sorted(first.scores)
        if (mine := first.score(case, name)) is not None
        and (theirs := second.score(case, name)) is not None
    ]
    if not pairs:
        return None
    values = [[pair[side] for pair in pairs] for side in (0, 1)]
    is_median = metric is not None and metric.is_median
    ours, others = (interval(some, is_median=is_median).mean for some in values)
    return Difference(
        **vars(first.measures[name]),
        name=name,
        first=ours,
        second=others,
        difference=paired_difference(*values, is_median=is_median),
        ratio=ours / others if others else None,
        truth=first.truths.get(name),
    )


def _names(first: BenchmarkRun, second: BenchmarkRun) -> tuple[str, str]:
    """Return the presets, with the number of steps where that tells two of one name apart."""
    if first.preset == second.preset and first.num_steps != second.num_steps:
        both = (first.num_steps, second.num_steps)
        one, other = (f"{first.preset}, {n} step{'s' if n > 1 else ''}" for n in both)
        return one, other
    return first.preset, second.preset
