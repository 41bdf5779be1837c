import dataclasses
import json
import re

import pytest

from swiftpie.errors import InputError
from swiftpie_lab.evaluation.case import Row
from swiftpie_lab.evaluation.compare import compare, read_figures
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.report import summarise

STUDENT = {
    "psnr": {"model": 18.0, "truth": 60.0},
    "subject-recognition": {"model": 0.9, "truth": 1.0},
    "lighting-error": {"model": 6.0, "truth": 0.0, "paste": 20.0},
}
TEACHER = {
    "psnr": {"model": 20.0, "truth": 60.0},
    "subject-recognition": {"model": 1.0, "truth": 1.0},
    "lighting-error": {"model": 0.0, "truth": 0.0, "paste": 20.0},
}


@pytest.fixture
def report_of(benchmark, case, run):
    """Reports scores of one case, or of as many equal ones."""

    def summarise_one(scores, *, count=1, **changes):
        changed = dataclasses.replace(run, **changes)
        rows = [Row(case, scores)] * count
        return summarise(benchmark, rows, run=changed, networks=Networks())

    return summarise_one


@pytest.fixture
def student(report_of):
    return report_of(STUDENT, weights="s", num_steps=1)


@pytest.fixture
def teacher(report_of):
    return report_of(TEACHER, weights="t", num_steps=8, preset="mini-teacher")


def test_the_ratio_is_student_over_teacher(student, teacher):
    ratios = {row.name: row.ratio for row in compare(student, teacher).ratios}
    assert ratios["psnr"] == pytest.approx(0.9)
    assert ratios["subject-recognition"] == pytest.approx(0.9)
    assert ratios["lighting-error"] is None  # nothing is a share of zero


def test_a_report_is_its_own_equal(student):
    assert all(row.ratio == 1 for row in compare(student, student).ratios)


def test_metrics_of_one_report_alone_are_left_out(student, report_of):
    fewer = report_of({"psnr": {"model": 20.0}})
    assert [row.name for row in compare(student, fewer).ratios] == ["psnr"]


def test_the_table_has_a_line_a_metric_and_names_both(student, teacher):
    lines = compare(student, teacher).to_markdown().splitlines()
    assert lines[0] == "|  | mini | mini-teacher | ratio | truth |"
    assert lines[1] == "| --- | --- | --- | --- | --- |"
    assert "| PSNR, dB ↑ | 18.00 | 20.00 | 0.900 | 60.00 |" in lines
    assert "| subject found, % ↑ | 90.0 | 100.0 | 0.900 | 100.0 |" in lines
    assert "| lighting error, levels ↓ | 6.00 | 0.00 |  | 0.00 |" in lines
    assert len(lines) == 5


def test_a_comparison_is_json_too(student, teacher):
    found = json.loads(compare(student, teacher).to_json())
    assert (found["student"], found["teacher"]) == ("mini", "mini-teacher")
    ratios = {one["name"]: one["ratio"] for one in found["ratios"]}
    assert ratios["lighting-error"] is None


def test_saved_figures_are_those_of_the_report(student, tmp_path):
    file = tmp_path / "report.json"
    file.write_text(student.to_json())
    for path in (file, tmp_path):
        saved = read_figures(path)
        assert (saved.run, saved.figures) == (student.run, student.figures)
    assert compare(read_figures(file), student) == compare(student, student)


@pytest.mark.parametrize("text", ["", "[]", '{"run": {}}', '{"figures": [{"name": "psnr"}]}'])
def test_what_is_no_report_is_an_input_error(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError, match="no figures"):
        read_figures(tmp_path)


def test_a_report_whose_values_have_other_types_is_none(tmp_path, student):
    stored = json.loads(student.to_json())
    for name, value in (("value", "high"), ("unit", 3), ("num_cases", None), ("title", ["x"])):
        figures = [stored["figures"][0] | {name: value}, *stored["figures"][1:]]
        (tmp_path / "report.json").write_text(json.dumps(stored | {"figures": figures}))
        with pytest.raises(InputError, match="no figures"):
            read_figures(tmp_path)


def test_a_missing_report_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no figures"):
        read_figures(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seeds 0 and 1"),
        ({"data": "0123456789abcdef"}, "different subjects"),
        ({"benchmark": "pairs"}, "different benchmarks"),
    ],
)
def test_reports_on_other_cases_are_refused_in_words(report_of, student, change, words):
    with pytest.raises(InputError, match=words) as refused:
        compare(student, report_of(TEACHER, **change))
    assert not re.search(r"[0-9a-f]{12}", str(refused.value))  # a hash tells nobody anything


def test_two_reports_on_one_preset_are_told_apart(student, report_of):
    slower = report_of(TEACHER, num_steps=8)
    found = compare(student, slower)
    assert (found.student, found.teacher) == ("mini, 1 step", "mini, 8 steps")
    again = compare(student, student)
    assert (again.student, again.teacher) == ("mini, student", "mini, teacher")


def test_reports_on_more_cases_are_not_compared(report_of, student):
    twice = report_of(TEACHER, count=2)
    with pytest.raises(InputError, match="on 1 and 2 cases"):
        compare(student, twice)


def test_reports_without_a_common_metric_are_not_compared(report_of, student):
    other = report_of({"mask-iou": {"model": 0.9}})
    with pytest.raises(InputError, match="in common"):
        compare(student, other)
