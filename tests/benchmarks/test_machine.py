import pytest
import torch

from benchmarks._machine import Sample, interleaved, ratio, row, spread, timed

CPU = torch.device("cpu")


def constant(ms, **stages_ms):
    return lambda _: {"draw": Sample(ms, stages_ms)}


@pytest.fixture
def rounds():
    slowness = (1.0, 3.0, 1.0, 10.0)
    return {
        name: [{"draw": Sample(ms * factor, {"decode": ms})} for factor in slowness]
        for name, ms in (("first", 20.0), ("second", 10.0))
    }


def test_quartiles_and_range_surround_the_median():
    found = spread([5.0, 1.0, 3.0, 2.0, 4.0])
    ordered = (found.least, found.lower_quartile, found.median)
    assert (*ordered, found.upper_quartile, found.most) == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert found.count == 5


def test_a_slow_round_changes_no_interleaved_ratio(rounds):
    found = ratio(rounds, slower=("first", "draw"), quicker=("second", "draw"))
    assert found.times == spread([2.0] * 4)


def test_every_contender_is_called_once_a_round_and_each_begins_in_turn():
    calls = []

    def contender(name):
        def action(number):
            calls.append((number, name))
            return {"draw": Sample(1.0)}

        return action

    found = interleaved({name: contender(name) for name in "abc"}, rounds=3)
    assert {name: len(rounds) for name, rounds in found.items()} == {"a": 3, "b": 3, "c": 3}
    assert [name for _, name in calls] == list("abcbcacab")
    assert [number for number, _ in calls] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_row_holds_medians_of_stages_and_keeps_the_first_call_apart(rounds):
    found = row("first", "draw", rounds["first"], first={"draw": Sample(9000.0)})
    assert (found.ms.median, found.ms.most) == (40.0, 200.0)
    assert found.stages_ms == {"decode": 20.0}
    assert found.first_call_ms == 9000.0


def test_stages_come_from_the_result_if_it_has_any():
    class Result:
        timings_ms = {"decode": 3.0}  # noqa: RUF012 - as results have it

    sample, result = timed(Result, CPU)
    assert isinstance(result, Result)
    assert sample.stages_ms == {"decode": 3.0}
    assert timed(lambda: 5, CPU)[0].stages_ms == {}
    assert sample.ms >= 0
