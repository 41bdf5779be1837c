import json

import pytest

from swiftpie.evaluation.ablations.table import Sweep, describe_sweep, tabulate, to_markdown


@pytest.fixture(scope="module")
def found(study):
    return tabulate(study)


def test_every_row_has_a_line_with_the_mean_over_cases(found, study):
    assert [(one.group, one.title) for one in found.lines] == [
        (row.setting.group, row.setting.title) for row in study.rows
    ]
    for row, line in zip(study.rows, found.lines, strict=True):
        values = [study.scores(case)[study.key(row)]["psnr"] for case in study.cases]
        assert line.figures["psnr"].mean == pytest.approx(sum(values) / len(values))
        assert line.figures["psnr"].num_cases == len(study.cases)


def test_changes_are_counted_from_everything(found):
    assert {one.mean for one in found.lines[0].change.values()} == {0.0}
    text_only = next(line for line in found.lines if line.title == "text only")
    assert text_only.change["subject-psnr"].mean < -2


def test_a_scale_that_raises_the_subject_is_told(found):
    sweeps = {(sweep.group, sweep.metric): sweep for sweep in found.sweeps}
    means = sweeps["detail scale", "subject-psnr"].means
    assert means[-1] > means[0] + 2
    for sweep in sweeps.values():
        assert sweep.is_monotone is (sorted(sweep.means) == list(sweep.means))


def test_a_fall_is_told_in_the_metrics_own_unit():
    sweep = Sweep("detail scale", "subject-retrieval", (0.5, 0.25), False, 0.25)
    assert "50.0, 25.0; it falls by up to 25.00" in describe_sweep(sweep)


def test_markdown_and_json_hold_every_row(found):
    text, stored = to_markdown(found), json.loads(found.to_json())
    for line in found.lines:
        assert f"| {line.title} | " in text
    assert len(stored["lines"]) == len(found.lines)
    assert "own training" in text
