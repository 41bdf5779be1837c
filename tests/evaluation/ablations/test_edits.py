"""One choice of an edit is changed at a time, and each row is measured on the same cases."""

import json

import pytest

from swiftpie import Session
from swiftpie.data.subjects import sample_subjects
from swiftpie.evaluation.ablations.edits import COLUMNS, cells, headings, measure, to_json, variants
from swiftpie.evaluation.edits.benchmark import EditBenchmark
from swiftpie.evaluation.edits.metric import EDIT_METRICS
from tests.pipelines.tiny_editor import tiny_editor


@pytest.fixture(scope="module")
def edits():
    return EditBenchmark(sample_subjects())


@pytest.fixture(scope="module")
def tiny():
    return Session(tiny_editor())


@pytest.fixture(scope="module")
def rows(tiny):
    return variants(tiny, inversions={"first stage": tiny}, teacher=tiny)


def test_every_row_differs_from_what_is_shipped_in_name_or_network(rows):
    titles = [(row.group, row.title) for row in rows]
    assert len({*titles}) == len(titles)
    shipped, *others = rows
    assert {row.group for row in others} == {"inversion", "mask", "scales", "baseline"}
    same = [row.title for row in others if row.editor.name == shipped.editor.name]
    assert same == ["first stage"]


def test_scales_that_are_the_default_get_no_row(rows):
    assert "text scale 2" not in {row.title for row in rows}
    assert "text scale 1.5" in {row.title for row in rows}


def test_every_column_is_a_metric():
    assert set(COLUMNS) <= set(EDIT_METRICS.names())


def test_rows_are_measured_once_and_told_in_json_and_cells(rows, edits, panel, tmp_path):
    cases = edits.cases(2)
    lines = list(measure(rows[:2], edits, cases, panel=panel, root=tmp_path))
    assert [line.title for line in lines] == ["as shipped", "first stage"]
    first, second = ({**line.figures, "time": None} for line in lines)
    assert first == second
    assert all(line.figures["time"].mean > 0 for line in lines)
    again = list(measure(rows[:2], edits, cases, panel=panel, root=tmp_path))
    assert again == lines  # the very same times: nothing was drawn again
    told = json.loads(to_json(lines, num_cases=2))
    assert [line["title"] for line in told["lines"]] == ["as shipped", "first stage"]
    assert len(cells(lines[0])) == len(headings()) == len(COLUMNS)
