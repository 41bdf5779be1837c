import dataclasses
import json

import pytest

from swiftpie.evaluation.metric import METRICS
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
        "num_subjects",
        "num_scenes",
        "gallery_size",
        "metrics",
        "lighting",
    }
    assert found["run"]["preset"] == "mini"
    assert list(found["metrics"]) == list(METRICS.names())
    summary = found["metrics"]["lighting-error"]
    assert summary["candidates"]["model"] == {"mean": 2, "low": 2, "high": 2, "num_cases": 1}
    assert found["metrics"]["psnr"]["candidates"] == {}
