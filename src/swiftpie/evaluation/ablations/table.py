"""From scores on disk to the ablation table, as values, JSON and Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from swiftpie.evaluation.ablations.measure import REGION_IOU, Scores, Study
from swiftpie.evaluation.ablations.setting import Untried
from swiftpie.evaluation.ablations.settings import (
    BRANCH_SWEEP,
    DETAIL_SWEEP,
    EVERYTHING,
    IDENTITY_SWEEP,
    UNTRIED,
)
from swiftpie.evaluation.report import Interval, interval

COLUMNS = {  # metric, and its title with unit
    "subject-retrieval": ("subject found", "%"),
    "scene-accuracy": ("scene right", "%"),
    "subject-psnr": ("PSNR of the subject", "dB"),
    "psnr": ("PSNR", "dB"),
    "mask-iou": ("mask IoU", ""),
    REGION_IOU: ("IoU of the found region", ""),
}
SMOOTH = ("subject-retrieval", "subject-psnr")  # what a scale should raise steadily


@dataclass(frozen=True)
class Line:
    """One row of the table: means over cases with their intervals."""

    group: str
    title: str
    key: str  # of what decides about the scores
    figures: Mapping[str, Interval]
    change: Mapping[str, Interval]  # case by case, from the row `everything`


@dataclass(frozen=True)
class Sweep:
    """Whether a metric rises with every step of a scale."""

    group: str
    metric: str
    means: tuple[float, ...]
    is_monotone: bool
    largest_fall: float  # between neighbours, 0 or more


@dataclass(frozen=True)
class Ablations:
    """Everything an ablation found."""

    preset: str
    weights: str
    num_cases: int
    num_subjects: int
    gallery_size: int
    seed: int
    facts: Mapping[str, str]
    lines: tuple[Line, ...]
    untried: tuple[Untried, ...]
    sweeps: tuple[Sweep, ...]

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def tabulate(study: Study) -> Ablations:
    """Return the table of a study whose cases are all measured."""
    known = [study.scores(case) for case in study.cases]
    first = study.rows[0]
    assert first.setting.title == EVERYTHING
    whole = [scores[study.key(first)] for scores in known]
    lines = []
    for row in study.rows:
        found = [scores[study.key(row)] for scores in known]
        lines.append(
            Line(
                group=row.setting.group,
                title=row.setting.title,
                key=study.key(row),
                figures=_figures(found),
                change=_figures(
                    [_minus(one, all_) for one, all_ in zip(found, whole, strict=True)]
                ),
            )
        )
    return Ablations(
        preset=first.components.preset.name,
        weights=first.components.fingerprint,
        num_cases=len(study.cases),
        num_subjects=len({case.code for case in study.cases}),
        gallery_size=len(study.benchmark.codes),
        seed=study.benchmark.seed,
        facts=study.facts,
        lines=tuple(lines),
        untried=UNTRIED,
        sweeps=tuple(_sweeps(lines)),
    )


def cells(line: Line) -> list[str]:
    """Return the figures of a row as people read them; empty where there is none."""
    return [
        _cell(line.figures[name], unit) if name in line.figures else ""
        for name, (_, unit) in COLUMNS.items()
    ]


def headings() -> list[str]:
    """Return the titles of the columns that `cells` fills."""
    return [f"{title}, {unit}" if unit else title for title, unit in COLUMNS.values()]


def describe_sweep(sweep: Sweep) -> str:
    """Return what one scale does to one metric, in one sentence."""
    title, unit = COLUMNS[sweep.metric]
    factor = 100 if unit == "%" else 1
    means = ", ".join(f"{factor * mean:.1f}" for mean in sweep.means)
    verdict = (
        "rises or stays at every step"
        if sweep.is_monotone
        else f"falls by up to {factor * sweep.largest_fall:.2f} between neighbours"
    )
    return f"{sweep.group}: {title} ({unit}) is {means}; it {verdict}."


def to_markdown(found: Ablations) -> str:
    """Return the table as Markdown, a section a group."""
    parts = [describe(found), ""]
    for group in dict.fromkeys(line.group for line in found.lines):
        parts += [f"## {group.capitalize()}", "", f"| | {' | '.join(headings())} |"]
        parts.append("|---|" + "---:|" * len(COLUMNS))
        parts += [
            f"| {line.title} | {' | '.join(cells(line))} |"
            for line in found.lines
            if line.group == group
        ]
        parts += [f"\n{describe_sweep(sweep)}" for sweep in found.sweeps if sweep.group == group]
        parts.append("")
    for one in found.untried:
        parts += [f"## {one.group.capitalize()}", "", f"{one.title}: {one.reason}", ""]
    return "\n".join(parts)


def describe(found: Ablations) -> str:
    """Return what was measured, in a few sentences."""
    return (
        f"{found.num_cases} cases with {found.num_subjects} subjects held out from training; the "
        f"right subject is one of {found.gallery_size}. All rows draw the same cases. Brackets "
        "hold 95 % bootstrap intervals over cases."
    )


def _cell(found: Interval, unit: str) -> str:
    factor, digits = (100, 1) if unit == "%" else (1, 2)
    mean, low, high = (f"{factor * x:.{digits}f}" for x in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def _figures(rows: Sequence[Scores]) -> dict[str, Interval]:
    """Return the mean of every metric over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: interval([row[name] for row in rows if name in row]) for name in names}


def _minus(scores: Scores, other: Scores) -> Scores:
    return {name: value - other[name] for name, value in scores.items() if name in other}


def _sweeps(lines: Sequence[Line]) -> list[Sweep]:
    found = []
    for group in (IDENTITY_SWEEP, DETAIL_SWEEP, BRANCH_SWEEP):
        steps = [line.figures for line in lines if line.group == group]
        for metric in SMOOTH:
            means = tuple(figures[metric].mean for figures in steps if metric in figures)
            fall = max((max(0.0, before - after) for before, after in pairwise(means)), default=0.0)
            found.append(Sweep(group, metric, means, is_monotone=fall == 0, largest_fall=fall))
    return found
