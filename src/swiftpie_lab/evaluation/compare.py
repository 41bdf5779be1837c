"""Two evaluations of the same cases side by side: figures with paired intervals."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swiftpie.config import from_json
from swiftpie.errors import InputError, short_reason
from swiftpie_lab.evaluation.case import METRICS, Measure
from swiftpie_lab.evaluation.report import (
    Figure,
    Interval,
    Table,
    as_json,
    format_interval,
    format_value,
    interval,
    paired_difference,
)
from swiftpie_lab.evaluation.run import BenchmarkRun, Results

MAX_BYTES = 256 << 20  # of a file of scores; a thousand cases have 3 MB
_NAME = re.compile(r"[\w-]{1,200}")  # of a case, which is also a part of the names of its files


@dataclass(frozen=True)
class Figures:
    """The figures of a `report.json`."""

    run: BenchmarkRun
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class NamedCase:
    """What is compared, as its pictures' files find it."""

    name: str


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A folder of results, as far as it can be compared."""

    results: Results
    run: BenchmarkRun
    figures: tuple[Figure, ...]
    judged: str  # the candidate under test
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]  # by case, metric and candidate
    requests: Mapping[str, Mapping[str, object]]  # by case, as the manifest has it

    def side_px(self) -> tuple[int, int] | None:
        """Return width and height of the first picture; None without pictures."""
        for name in self.scores:
            if self.results.has(NamedCase(name), self.judged):
                return self.results.read(NamedCase(name), self.judged).size
        return None


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
        """Return a line of the table."""
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
        """What the table says."""
        return [
            f"{self.num_cases} cases. A is {self.first}, B is {self.second}. Brackets hold 95 % "
            "bootstrap intervals of the difference, paired by case; * marks those without 0. "
            "Arrows point to the better side."
        ]

    @property
    def table(self) -> Table:
        """A line a figure."""
        heads = ["", "A", "B", "A less B", "A / B", "truth"]
        return heads, [[*difference.cells()] for difference in self.differences]

    def to_json(self) -> str:
        """Return one JSON object."""
        return as_json(asdict(self))


def compare(first: FinishedRun, second: FinishedRun) -> Comparison:
    """Return how far two runs are apart in every figure that both have.

    Raises:
        InputError: They judged different cases, or no figure is in both.
    """
    if unlike := _first_difference(first, second):
        raise InputError(
            f"The two runs {unlike}. Only the same cases can be compared. Evaluate both models "
            "with the same options."
        )
    of_second = {figure.name: figure for figure in second.figures}
    shared = [figure for figure in first.figures if figure.name in of_second]
    differences = tuple(one for figure in shared if (one := _difference(figure, first, second)))
    if not differences:
        raise InputError(
            "The two runs have no figure in common. Both must come from the same benchmark. "
            "Evaluate both models again with this version."
        )
    names = _names(first.run, second.run)
    return Comparison(*names, len(first.scores), differences)


def read_run(path: Path) -> FinishedRun:
    """Read what `compare` needs from the folder of an evaluation, or from its `report.json`.

    Raises:
        InputError: It holds no report, or no scores of single cases.
    """
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
    kept = {name: found[name] for name in ("run", "figures")}
    report = from_json(Figures, json.dumps(kept))  # of which every value has its type
    # Reports list the candidate under test before all others.
    judged = next(iter(found["metrics"][report.figures[0].name]["candidates"]))
    if not _NAME.fullmatch(judged):
        raise ValueError(f"there are no pictures of {judged!r}")
    scores = dict(_scores(folder / "rows.jsonl"))
    requests = {_name_of(line): line for line in _lines(folder / "manifest.jsonl")}
    if scores.keys() != requests.keys():
        raise ValueError("its manifest lists other cases than those that have scores")
    return FinishedRun(Results(folder), report.run, report.figures, judged, scores, requests)


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_BYTES} bytes")
    return data.decode("utf-8")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in _text_of(path).splitlines():
        yield dict(json.loads(line))


def _name_of(line: Mapping[str, Any]) -> str:
    if not _NAME.fullmatch(line["name"]):
        raise ValueError("a case has a name that is no plain word")
    return str(line["name"])


def _scores(path: Path) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    for line in _lines(path):
        by_metric = {
            str(metric): {str(kind): float(value) for kind, value in some.items()}
            for metric, some in line["scores"].items()
        }
        if not all(math.isfinite(x) for some in by_metric.values() for x in some.values()):
            raise ValueError("a score is no finite number")
        yield _name_of(line), by_metric


def _first_difference(first: FinishedRun, second: FinishedRun) -> str:
    """Return in words what first makes the cases of two runs unlike; empty if nothing does."""
    one, other = first.run, second.run
    if one.benchmark != other.benchmark:
        return f"are of different benchmarks, {one.benchmark!r} and {other.benchmark!r}"
    if first.judged != second.judged:
        return f"judged different pictures, {first.judged!r} and {second.judged!r}"
    if one.seed != other.seed:
        return f"drew different cases, by the seeds {one.seed} and {other.seed}"
    if len(first.scores) != len(second.scores):
        return f"judged {len(first.scores)} and {len(second.scores)} cases"
    for ours, theirs in zip(sorted(first.scores), sorted(second.scores), strict=True):
        if ours != theirs:
            return f"judged different cases, first {ours!r} and {theirs!r}"
        if unlike := _unlike_fields(first.requests[ours], second.requests[ours]):
            return f"requested different things in case {ours!r}: {unlike}"
    sides = (first.side_px(), second.side_px())
    if None not in sides and sides[0] != sides[1]:
        shown = [f"{side[0]} x {side[1]} px" for side in sides if side]
        return f"judged pictures of different sizes, {shown[0]} and {shown[1]}"
    if one.data != other.data:
        return "judged different subjects or pictures: of another pack, dataset or folder"
    return ""


def _unlike_fields(one: Mapping[str, object], other: Mapping[str, object]) -> str:
    for field in sorted({*one, *other}):
        if one.get(field) != other.get(field):
            return f"{field} is {one.get(field)!r} and {other.get(field)!r}"
    return ""


def _difference(figure: Figure, first: FinishedRun, second: FinishedRun) -> Difference | None:
    metric = METRICS.get(figure.name) if figure.name in METRICS.names() else None
    scores = [
        _judged_in_both(figure.name, first, second),
        _judged_in_both(figure.name, second, first),
    ]
    if not scores[0]:
        return None
    values = [
        [score[run.judged] for score in some]
        for some, run in zip(scores, (first, second), strict=True)
    ]
    is_median = metric is not None and metric.is_median
    ours, theirs = (interval(mine, is_median=is_median).mean for mine in values)
    return Difference(
        *(figure.title, figure.unit, figure.higher_is_better),
        name=figure.name,
        first=ours,
        second=theirs,
        difference=paired_difference(*values, is_median=is_median),
        ratio=ours / theirs if theirs else None,
        truth=figure.truth,
    )


def _judged_in_both(name: str, run: FinishedRun, other: FinishedRun) -> list[Mapping[str, float]]:
    """Return the scores of `run` for all cases in which both have one, in one order for both."""
    both = [run.scores, other.scores]
    return [
        run.scores[case][name]
        for case in sorted(run.scores)
        if all(run.judged in scores[case].get(name, {}) for scores in both)
    ]


def _names(first: BenchmarkRun, second: BenchmarkRun) -> tuple[str, str]:
    """Return the presets, with the number of steps where that tells two of one name apart."""
    if first.preset == second.preset and first.num_steps != second.num_steps:
        both = (first.num_steps, second.num_steps)
        one, other = (f"{first.preset}, {n} step{'s' if n > 1 else ''}" for n in both)
        return one, other
    return first.preset, second.preset
