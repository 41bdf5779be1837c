"""Two reports side by side: what a student keeps of its teacher."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from swiftpie.config import from_json
from swiftpie.errors import InputError
from swiftpie_lab.evaluation.case import Measure
from swiftpie_lab.evaluation.report import BenchmarkReport, Figure, as_json, format_value
from swiftpie_lab.evaluation.run import BenchmarkRun


@dataclass(frozen=True)
class Figures:
    """The figures of a `report.json`."""

    run: BenchmarkRun
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Ratio(Measure):
    """One metric of both."""

    name: str
    student: float
    teacher: float
    truth: float | None
    ratio: float | None  # student over teacher; None where the teacher has 0

    @classmethod
    def of(cls, student: Figure, teacher: Figure) -> "Ratio":
        """Return student over teacher."""
        measure = (student.title, student.unit, student.higher_is_better)
        ratio = student.value / teacher.value if teacher.value else None
        return cls(*measure, student.name, student.value, teacher.value, student.truth, ratio)

    def cells(self) -> tuple[str, ...]:
        """Return a line of the table."""
        shown = [format_value(value, self.unit) for value in (self.student, self.teacher)]
        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        truth = "" if self.truth is None else format_value(self.truth, self.unit)
        return (self.label, *shown, ratio, truth)


@dataclass(frozen=True)
class Comparison:
    """All metrics that both reports have."""

    student: str  # what tells it from the other
    teacher: str
    ratios: tuple[Ratio, ...]

    def to_json(self) -> str:
        """Return one JSON object."""
        return as_json(asdict(self))

    def to_markdown(self) -> str:
        """Return a table with one line a metric; arrows point to the better side."""
        heads = ("", self.student, self.teacher, "ratio", "truth")
        lines = [heads, ("---",) * len(heads), *(one.cells() for one in self.ratios)]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def compare(student: Figures | BenchmarkReport, teacher: Figures | BenchmarkReport) -> Comparison:
    """Return the ratio of student to teacher for every metric that both reports have.

    Raises:
        InputError: They judged different cases, or no metric is in both.
    """
    _check_same_cases(student, teacher)
    by_name = {figure.name: figure for figure in teacher.figures}
    ratios = tuple(
        Ratio.of(figure, by_name[figure.name])
        for figure in student.figures
        if figure.name in by_name
    )
    if not ratios:
        raise InputError(
            "The two reports have no metric in common. Both must come from the same benchmark. "
            "Evaluate both models again with this version."
        )
    return Comparison(*_names(student.run, teacher.run), ratios)


def read_figures(path: Path) -> Figures:
    """Read what `compare` needs from a `report.json`, or from the folder that holds it.

    Raises:
        InputError: It is no report, or one of an older version.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        kept = {name: found[name] for name in ("run", "figures")}
        return from_json(Figures, json.dumps(kept))  # of which every value has its type
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"'{file}' holds no figures of an evaluation. A report.json that `swiftpie evaluate` "
            "wrote is needed. Run the evaluation again, or check the path."
        ) from error


def _names(student: BenchmarkRun, teacher: BenchmarkRun) -> tuple[str, str]:
    """Return the presets, with what tells two of one name apart."""
    if student.preset != teacher.preset:
        return student.preset, teacher.preset
    if student.num_steps != teacher.num_steps:
        both = (student.num_steps, teacher.num_steps)
        first, second = (f"{student.preset}, {n} step{'s' if n > 1 else ''}" for n in both)
        return first, second
    return f"{student.preset}, student", f"{teacher.preset}, teacher"


def _check_same_cases(
    student: Figures | BenchmarkReport, teacher: Figures | BenchmarkReport
) -> None:
    first, second = student.run, teacher.run
    words = ""
    if first.benchmark != second.benchmark:
        words = f"are of different benchmarks, {first.benchmark!r} and {second.benchmark!r}"
    elif first.data != second.data:
        words = "judged different subjects or pictures: of another pack, dataset or folder"
    elif first.seed != second.seed:
        words = f"drew different cases, by the seeds {first.seed} and {second.seed}"
    counts = {figure.name: figure.num_cases for figure in teacher.figures}
    for figure in student.figures:
        other = counts.get(figure.name, figure.num_cases)
        if not words and other != figure.num_cases:
            words = f"judged {figure.title!r} on {figure.num_cases} and {other} cases"
    if words:
        raise InputError(
            f"The two reports {words}. Only the same cases can be compared. Evaluate both models "
            "with the same options."
        )
