"""From rows of edits to a report: figures by type and over all, with what chance leaves them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from swiftpie.evaluation.folder import Run
from swiftpie.evaluation.report import Column, Figure, MetricSummary, figures_of, summary_of

JUDGED = "edit"  # the candidate under test; all others are bounds


@dataclass(frozen=True)
class EditRow:
    """All numbers of one case; a metric that does not apply to it is absent."""

    name: str
    type_id: int
    source_prompt: str
    target_prompt: str
    scores: Mapping[str, Mapping[str, float]]  # by metric, then by candidate


@dataclass(frozen=True)
class TypeSummary:
    """The cases of one type."""

    title: str
    num_cases: int
    metrics: Mapping[str, MetricSummary]


@dataclass(frozen=True)
class EditReport:
    """Everything an evaluation of edits found."""

    run: Run
    num_cases: int
    figures: tuple[Figure, ...]  # the editor's own numbers, to put beside another report's
    metrics: Mapping[str, MetricSummary]
    types: tuple[TypeSummary, ...]
    not_computed: Mapping[str, str]  # why, by metric

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def summarise(
    rows: Sequence[EditRow],
    columns: Mapping[str, Column],
    *,
    run: Run,
    types: Mapping[int, str],
    not_computed: Mapping[str, str],
) -> EditReport:
    """Return the report on at least one row.

    Args:
        rows: The cases.
        columns: Their metrics, in the order of the tables.
        run: What all have in common.
        types: Titles of the types.
        not_computed: Why metrics are missing.
    """
    assert rows, "an evaluation has cases"
    metrics = _summaries(rows, columns)
    by_type = {
        number: [row for row in rows if row.type_id == number]
        for number in sorted({row.type_id for row in rows})
    }
    return EditReport(
        run=run,
        num_cases=len(rows),
        figures=figures_of(metrics, judged=JUDGED, truth="target"),
        metrics=metrics,
        types=tuple(
            TypeSummary(f"{number} {types[number]}", len(some), _summaries(some, columns))
            for number, some in by_type.items()
        ),
        not_computed=not_computed,
    )


def _summaries(rows: Sequence[EditRow], columns: Mapping[str, Column]) -> dict[str, MetricSummary]:
    found = {
        name: summary_of([row.scores[name] for row in rows if name in row.scores], column)
        for name, column in columns.items()
    }
    return {name: summary for name, summary in found.items() if summary.candidates}
