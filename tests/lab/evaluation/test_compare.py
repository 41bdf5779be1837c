import dataclasses
import json
import re

import numpy as np
import pytest

from swiftpie.errors import InputError
from swiftpie_lab.evaluation.case import Row
from swiftpie_lab.evaluation.compare import compare, read_run
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import write_report
from swiftpie_lab.evaluation.report import interval, paired_difference
from swiftpie_lab.evaluation.run import Results

GOOD = [18.0, 22.0, 20.0, 30.0]


@pytest.fixture
def run_of(benchmark, case, run, tmp_path):
    def write(name, values, *, metric="psnr", said=None, **changes):
        results = Results(tmp_path / name)
        results.start(dataclasses.replace(run, **changes))
        rows = []
        for number, value in enumerate(values):
            one = dataclasses.replace(case, name=f"case-{number}", **(said or {}))
            scores = {metric: {"model": value, "truth": 60.0}, "mask-iou": {"model": 0.5}}
            rows.append(Row(one, scores))
        results.write_lines("manifest.jsonl", (benchmark.as_json(row.case) for row in rows))
        write_report(benchmark, rows, results, Networks())
        return read_run(results.root)

    return write


def test_a_constant_gain_is_certain_however_far_the_cases_lie_apart():
    second = list(np.random.default_rng(1).normal(20, 9, 40))
    first = [value + 1 for value in second]
    found = paired_difference(first, second)
    assert (found.low, found.mean, found.high) == pytest.approx((1, 1, 1))
    assert interval(first).low < interval(second).mean  # their own intervals overlap
    assert paired_difference([1, 2, 90], [1, 1, 1], is_median=True).mean == 1


def test_figures_are_paired_by_case(run_of):
    first, second = run_of("a", GOOD), run_of("b", [17.0, 21.0, 19.0, 20.0], num_steps=4)
    found = compare(first, second)
    psnr = next(difference for difference in found.differences if difference.name == "psnr")
    assert psnr.difference == paired_difference(GOOD, [17.0, 21.0, 19.0, 20.0])
    assert psnr.ratio == pytest.approx(22.5 / 19.25)
    assert (found.first, found.second) == ("mini, 1 step", "mini, 4 steps")
    assert json.loads(found.to_json())["differences"][0]["name"] == "mask-iou"


@pytest.mark.parametrize(
    ("values", "changes", "words"),
    [
        (GOOD, {"benchmark": "pairs"}, "benchmark, 'world' and 'pairs'"),
        (GOOD, {"seed": 1}, "seed, 0 and 1"),
        (GOOD[:3], {}, "cases, 4 and 3"),
        (GOOD, {"said": {"seed": 7}}, "in case 'case-0': seed is"),
        (GOOD, {"data": "0123456789abcdef"}, "different subjects"),
    ],
)
def test_runs_on_other_cases_are_refused_by_their_first_difference(run_of, values, changes, words):
    with pytest.raises(InputError, match=words) as refused:
        compare(run_of("a", GOOD), run_of("b", values, **changes))
    assert not re.search(r"[0-9a-f]{12}", str(refused.value))  # a hash explains nothing


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("report.json", ""),
        ("report.json", "[]"),
        ("report.json", '{"run": {}}'),
        ("rows.jsonl", '{"name": "case-0", "scores": {"psnr": {"model": NaN}}}'),
        ("rows.jsonl", '{"name": "case-0", "scores": [1]}'),
        ("manifest.jsonl", ""),
        ("manifest.jsonl", "[" * 100_000),
    ],
)
def test_a_folder_of_anything_else_is_an_input_error(run_of, tmp_path, name, text):
    run_of("a", GOOD)
    folder = tmp_path / "a"
    (folder / name).write_text(text)
    with pytest.raises(InputError, match="no evaluation"):
        read_run(folder)
    with pytest.raises(InputError, match="no evaluation"):
        read_run(folder / "nothing.json")
