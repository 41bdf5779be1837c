"""From rows to a report: each aspect apart, failures counted and never averaged away."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from swiftpie.evaluation.fastface.generate import Lost
from swiftpie.evaluation.fastface.score import FIGURES, FaceRow
from swiftpie.evaluation.folder import Run
from swiftpie.evaluation.report import Interval, interval

ALL, PLAIN, STYLED = "all prompts", "prompts without style", "prompts with style"


@dataclass(frozen=True)
class Aspect:
    """One figure over the cases it applies to."""

    title: str
    about: str
    higher_is_better: bool | None
    value: Interval


@dataclass(frozen=True)
class Group:
    """The figures of some of the prompts."""

    title: str
    num_cases: int
    num_without_face: int
    figures: Mapping[str, Aspect]


@dataclass(frozen=True)
class FaceReport:
    """Everything an evaluation of faces found."""

    run: Run
    encoder: str  # that the generator read
    judge: str | None  # that did not help to draw
    num_people: int
    num_drawn: int
    num_failed: int  # pictures without a face, and cases of photographs without one
    lost: tuple[Lost, ...]
    groups: tuple[Group, ...]
    not_computed: Mapping[str, str]  # why, by figure

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Setting:
    """What an evaluation was made with."""

    run: Run
    encoder: str
    judge: str | None
    not_computed: Mapping[str, str]


def summarise(rows: Sequence[FaceRow], lost: Sequence[Lost], setting: Setting) -> FaceReport:
    """Return the report on at least one row."""
    assert rows, "an evaluation has cases"
    parts = {
        ALL: list(rows),
        PLAIN: [row for row in rows if not row.style],
        STYLED: [row for row in rows if row.style],
    }
    groups = [_group(title, some) for title, some in parts.items() if some]
    if len(groups) == 2:  # all prompts are of one kind, which `ALL` tells already
        groups = groups[:1]
    without_face = sum(not row.has_face for row in rows)
    return FaceReport(
        run=setting.run,
        encoder=setting.encoder,
        judge=setting.judge,
        num_people=len({row.person for row in rows}),
        num_drawn=len(rows),
        num_failed=without_face + sum(one.num_cases for one in lost),
        lost=tuple(lost),
        groups=tuple(groups),
        not_computed=setting.not_computed,
    )


def _group(title: str, rows: Sequence[FaceRow]) -> Group:
    figures = {}
    for name, figure in FIGURES.items():
        values = [row.scores[name] for row in rows if name in row.scores]
        if values:
            figures[name] = Aspect(*figure, interval(values))
    return Group(title, len(rows), sum(not row.has_face for row in rows), figures)
