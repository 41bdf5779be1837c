import dataclasses
import json

import pytest

from swiftpie.evaluation.report import interval, summarise
from swiftpie.evaluation.score import Row


def rows_of(case, pairs):
    return [
        Row(
            dataclasses.replace(case, name=str(number)),
            {"lighting-error": {"model": a, "paste": b}},
        )
        for number, (a, b) in enumerate(pairs)
    ]


def test_the_interval_of_equal_values_is_a_point():
    found = interval([3.0] * 5)
    assert (found.mean, found.low, found.high, found.num_cases) == (3, 3, 3, 5)


def test_the_interval_holds_the_mean_and_shrinks_with_more_cases():
    few, many = interval([0.0, 1.0] * 5), interval([0.0, 1.0] * 500)
    assert few.low < few.mean == many.mean < few.high
    assert many.high - many.low < (few.high - few.low) / 5
    # A mean of 1000 coin throws has a deviation of 0.0158.
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.0158, rel=0.1)


def test_the_same_values_give_the_same_interval():
    assert interval([1.0, 5.0, 2.0]) == interval([1.0, 5.0, 2.0])


def test_a_model_that_is_always_closer_beats_the_paste(case, run):
    rows = rows_of(case, [(2.0, 5.0), (3.0, 5.0), (1.0, 4.0)])
    lighting = summarise(rows, run=run, gallery_size=9).lighting
    assert lighting.beats_paste
    assert lighting.advantage.mean == pytest.approx(8 / 3)


def test_a_model_that_is_closer_by_chance_does_not_beat_the_paste(case, run):
    rows = rows_of(case, [(2.0, 12.0), (9.0, 5.0), (8.0, 4.0)])
    lighting = summarise(rows, run=run, gallery_size=9).lighting
    assert lighting.advantage.mean > 0
    assert not lighting.beats_paste


def test_without_coloured_light_there_is_no_verdict(case, run):
    lighting = summarise([Row(case, {})], run=run, gallery_size=9).lighting
    assert lighting.advantage is None
    assert not lighting.beats_paste


def test_the_json_has_all_metrics_and_counts(case, run):
    report = summarise(rows_of(case, [(2.0, 5.0)]), run=run, gallery_size=9)
    found = json.loads(report.to_json())
    assert found.keys() == {
        "run",
        "num_cases",
        "num_attributed",
        "num_subjects",
        "num_scenes",
        "gallery_size",
        "figures",
        "metrics",
        "lighting",
    }
    assert found["run"]["preset"] == "mini"
    assert list(found["metrics"]) == ["lighting-error"]  # no other has a value
    summary = found["metrics"]["lighting-error"]
    assert summary["candidates"]["model"] == {"mean": 2, "low": 2, "high": 2, "num_cases": 1}


def test_figures_are_the_models_numbers_beside_the_truths_own(case, run):
    scores = [{"psnr": {"model": 20.0, "truth": 60.0, "text": 9.0}}, {"mask-iou": {"truth": 1.0}}]
    report = summarise([Row(case, one) for one in scores], run=run, gallery_size=9)
    (figure,) = report.figures  # nothing of the model in the other
    assert (figure.name, figure.unit, figure.value, figure.truth) == ("psnr", "dB", 20, 60)
    assert (figure.low, figure.high, figure.num_cases) == (20, 20, 1)


def test_attributed_cases_are_counted_apart(case, run):
    asked = dataclasses.replace(case, attribute="tiny")
    report = summarise([Row(case, {}), Row(asked, {}), Row(asked, {})], run=run, gallery_size=9)
    assert (report.num_cases, report.num_attributed) == (1, 2)


def test_a_relative_metric_is_a_ratio_of_means_and_not_a_mean_of_ratios(case, run):
    pairs = [(1.0, 1.0), (1.0, 3.0)]  # mean of the ratios: 2 / 3
    scores = [{"sharpness": {"model": a, "truth": b}} for a, b in pairs]
    report = summarise([Row(case, one) for one in scores], run=run, gallery_size=9)
    sharpness = report.metrics["sharpness"].candidates
    assert sharpness["model"].mean == pytest.approx(0.5)
    assert (sharpness["model"].low, sharpness["model"].high) == pytest.approx((1 / 3, 1))
    assert (sharpness["truth"].low, sharpness["truth"].high) == (1, 1)
