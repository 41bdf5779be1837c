import dataclasses
import json

import pytest

from swiftpie_lab.evaluation.benchmarks.world_edits import WorldEditCase
from swiftpie_lab.evaluation.case import Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.report import (
    Interval,
    format_interval,
    interval,
    summarise,
    table,
    table_by_group,
)
from swiftpie_world.changes import WorldChange

ART = WorldChange.RENDITION


def rows_of(case, pairs):
    return [
        Row(
            dataclasses.replace(case, name=str(number)),
            {"lighting-error": {"model": a, "paste": b}},
        )
        for number, (a, b) in enumerate(pairs)
    ]


@pytest.fixture
def report_on(benchmark, run):
    """Summarises scores of cases."""
    return lambda rows: summarise(benchmark, rows, run=run, networks=Networks())


def test_the_interval_of_equal_values_is_a_point():
    found = interval([3.0] * 5)
    assert (found.mean, found.low, found.high, found.num_cases) == (3, 3, 3, 5)


def test_the_interval_holds_the_mean_and_shrinks_with_more_cases():
    few, many = interval([0.0, 1.0] * 5), interval([0.0, 1.0] * 500)
    assert few.low < few.mean == many.mean < few.high
    assert many.high - many.low < (few.high - few.low) / 5
    # A mean of 1000 coin throws has a deviation of 0.0158.
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.0158, rel=0.1)


def test_a_median_ignores_what_is_far_off():
    found = interval([1.0, 2.0, 3.0, 4.0, 900.0], is_median=True)
    assert found.mean == 3
    assert 1 <= found.low < 3 < found.high <= 900
    assert interval([1.0, 2.0, 900.0]).mean == 301


def test_the_same_values_give_the_same_interval():
    assert interval([1.0, 5.0, 2.0]) == interval([1.0, 5.0, 2.0])


def test_numbers_are_shown_as_their_unit_asks():
    found = Interval(mean=0.5, low=0.25, high=0.75, num_cases=4)
    assert format_interval(found, unit="%") == "50.0 [25.0, 75.0]"
    assert format_interval(found) == "0.50 [0.25, 0.75]"
    assert format_interval(found, unit="cosine") == "0.5000 [0.2500, 0.7500]"


def test_the_json_has_all_metrics_and_counts(case, report_on):
    found = json.loads(report_on(rows_of(case, [(2.0, 5.0)])).to_json())
    assert found.keys() == {
        "run",
        "num_cases",
        "num_subjects",
        "num_places",
        "gallery_size",
        "provenance",
        "figures",
        "metrics",
        "groups",
    }
    assert found["run"]["preset"] == "mini"
    assert list(found["metrics"]) == ["lighting-error"]  # no other has a value
    summary = found["metrics"]["lighting-error"]
    assert summary["candidates"]["model"] == {"mean": 2, "low": 2, "high": 2, "num_cases": 1}


def test_figures_are_the_models_numbers_beside_the_truths_own(case, report_on):
    scores = [{"psnr": {"model": 20.0, "truth": 60.0, "text": 9.0}}, {"mask-iou": {"truth": 1.0}}]
    (figure,) = report_on([Row(case, one) for one in scores]).figures  # the other has no model
    assert (figure.name, figure.unit, figure.value, figure.truth) == ("psnr", "dB", 20, 60)
    assert (figure.low, figure.high, figure.num_cases) == (20, 20, 1)


def test_a_relative_metric_is_a_ratio_of_means_and_not_a_mean_of_ratios(case, report_on):
    pairs = [(1.0, 1.0), (1.0, 3.0)]  # mean of the ratios: 2 / 3
    scores = [{"sharpness": {"model": a, "truth": b}} for a, b in pairs]
    rows = [Row(dataclasses.replace(case, name=str(n)), one) for n, one in enumerate(scores)]
    sharpness = report_on(rows).metrics["sharpness"].candidates
    assert sharpness["model"].mean == pytest.approx(0.5)
    assert (sharpness["model"].low, sharpness["model"].high) == pytest.approx((1 / 3, 1))
    assert (sharpness["truth"].low, sharpness["truth"].high) == (1, 1)


def edit_row(number, kind, value, **scores):
    case = WorldEditCase(
        name=f"case-{number}",
        kind=kind,
        code="1f980",
        seed=0,
        source_prompt="a cat",
        target_prompt="a <dog>",
        keyword="",
        place="park",
        time="night",
        weather="clear",
        season="summer",
    )
    return Row(case, {"inside-psnr": value, **scores})


@pytest.fixture
def edit_report(edits, run):
    rows = [
        edit_row(
            0,
            WorldChange.RENDITION,
            {"edit": 10.0, "target": 60.0},
            **{"wish-success": {"edit": 1.0}},
        ),
        edit_row(
            1,
            WorldChange.RENDITION,
            {"edit": 30.0, "target": 60.0},
            **{"wish-success": {"edit": 0.0}},
        ),
        edit_row(2, WorldChange.PLACE, {"edit": 20.0, "target": 60.0}),
    ]
    return summarise(edits, rows, run=run, networks=Networks())


def test_means_are_taken_over_all_and_by_type(edit_report):
    assert edit_report.metrics["inside-psnr"].candidates["edit"].mean == 20
    first, second = edit_report.groups
    assert (first.title, second.title) == ("restyle", "change place")
    assert (first.num_cases, second.num_cases) == (2, 1)
    assert first.metrics["wish-success"].candidates["edit"].mean == 0.5
    assert "wish-success" not in second.metrics


def test_intervals_hold_the_mean_and_figures_name_the_bound(edit_report):
    figure = next(one for one in edit_report.figures if one.name == "inside-psnr")
    assert 10 <= figure.low < figure.value < figure.high <= 30
    assert figure.truth == 60
    assert json.loads(edit_report.to_json())["num_cases"] == 3


def test_what_is_not_computed_is_said(edit_report):
    assert "--lpips" in edit_report.not_computed["outside-lpips"]
    assert any("outside-lpips" in line for line in edit_report.sentences)


def test_tables_have_a_line_a_metric_and_a_line_a_group(edits, edit_report):
    heads, lines = table(edits, edit_report.metrics)
    assert heads == ["", "edit", "exact target"]
    assert [len(line) for line in lines] == [3, 3]
    heads, lines = table_by_group(edits, edit_report)
    assert [line[0] for line in lines] == ["restyle (2)", "change place (1)"]
    assert {len(line) for line in lines} == {len(heads)}
