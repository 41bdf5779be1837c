import json
from dataclasses import asdict

import pytest

from swiftpie.evaluation.compare import compare, read_figures
from swiftpie.evaluation.edits.case import TYPES
from swiftpie.evaluation.edits.metric import EDIT_METRICS
from swiftpie.evaluation.edits.page import describe, render_page, table, table_by_type
from swiftpie.evaluation.edits.report import EditRow, summarise
from swiftpie.evaluation.edits.score import not_computed, score
from swiftpie.evaluation.folder import Run
from tests.evaluation.edits.conftest import NUM_CASES

RUN = Run("edits", "1", preset="exact target", weights="w", data="d", seed=0)


def row(number, type_id, value, **scores):
    return EditRow(f"case-{number}", type_id, "a cat", "a <dog>", {"inside-psnr": value, **scores})


@pytest.fixture
def rows():
    return [
        row(0, 1, {"edit": 10.0, "target": 60.0}, **{"edit-success": {"edit": 1.0}}),
        row(1, 1, {"edit": 30.0, "target": 60.0}, **{"edit-success": {"edit": 0.0}}),
        row(2, 8, {"edit": 20.0, "target": 60.0}),
    ]


def report_on(rows):
    return summarise(
        rows, EDIT_METRICS.all(), run=RUN, types=TYPES, not_computed=not_computed(None)
    )


def test_means_are_taken_over_all_and_by_type(rows):
    report = report_on(rows)
    assert report.metrics["inside-psnr"].candidates["edit"].mean == 20
    assert [one.title for one in report.types] == ["1 change object", "8 change background"]
    assert [one.num_cases for one in report.types] == [2, 1]
    assert report.types[0].metrics["edit-success"].candidates["edit"].mean == 0.5
    assert "edit-success" not in report.types[1].metrics


def test_intervals_hold_the_mean_and_figures_name_the_bound(rows):
    figure = next(one for one in report_on(rows).figures if one.name == "inside-psnr")
    assert 10 <= figure.low < figure.value < figure.high <= 30
    assert figure.truth == 60
    assert json.loads(report_on(rows).to_json())["num_cases"] == 3


def test_two_reports_compare_as_those_of_other_benchmarks(rows, tmp_path):
    (tmp_path / "report.json").write_text(report_on(rows).to_json())
    found = compare(read_figures(tmp_path), report_on(rows))
    ratios = {one.name: one.ratio for one in found.ratios}
    assert ratios["inside-psnr"] == 1


def test_what_is_not_computed_is_said(rows):
    report = report_on(rows)
    assert "--lpips" in report.not_computed["outside-lpips"]
    assert any("outside-lpips" in line for line in describe(report))


def test_tables_have_a_line_a_metric_and_a_line_a_type(rows):
    report = report_on(rows)
    heads, lines = table(report.metrics)
    assert heads == ["", "edit", "exact target"]
    assert [len(line) for line in lines] == [3, 3]
    heads, lines = table_by_type(report)
    assert [line[0] for line in lines] == ["1 change object (2)", "8 change background (1)"]
    assert {len(line) for line in lines} == {len(heads)}


def test_the_page_shows_the_worst_first_and_needs_no_other_file(drawn, edits, panel):
    cases = edits.cases(NUM_CASES)
    rows = list(score(drawn, cases, panel))
    worst = rows[3]
    rows[3] = EditRow(**{**asdict(worst), "scores": {"inside-psnr": {"edit": 1.0}}})
    rows[3].scores["edit-success"] = {"edit": 0.0}
    page = render_page(report_on(rows), rows, folder=drawn, ranked_by="inside-psnr")
    assert page.index(worst.name) < min(page.index(one.name) for one in rows if one != rows[3])
    assert "http" not in page
    assert page.count("<svg") >= NUM_CASES * 5


def test_text_of_users_is_escaped(rows, drawn):
    page = render_page(report_on(rows), rows, folder=drawn, ranked_by="inside-psnr")
    assert "a &lt;dog&gt;" in page
    assert "<dog>" not in page


def test_the_target_is_the_best_edit_and_the_source_preserves_all(drawn, edits, panel):
    rows = list(score(drawn, edits.cases(NUM_CASES), panel))
    assert len(rows) == NUM_CASES
    for one in rows:
        assert one.scores["inside-psnr"]["edit"] == pytest.approx(60)
        assert one.scores["mask-iou"]["edit"] == 1
        for by_kind in (one.scores[name] for name in ("outside-mse",) if name in one.scores):
            assert by_kind["source"] == by_kind["naive"] == 0
