import json

import pytest

from swiftpie.evaluation.metric import METRICS
from swiftpie.evaluation.score import score
from tests.evaluation.conftest import NUM_CASES


@pytest.fixture(scope="module")
def rows(drawn, panel):
    return list(score(drawn, panel))


def test_every_case_is_scored_by_every_metric_that_applies(rows, drawn):
    assert [row.case for row in rows] == drawn.read_cases()
    always = {"mask-iou", "psnr", "scene-accuracy", "subject-psnr", "subject-retrieval"}
    for row in rows[:NUM_CASES]:
        assert always <= row.scores.keys() <= set(METRICS.names())
        assert row.scores["psnr"].keys() == {"model", "truth", "text", "paste"}


def test_attributed_cases_are_judged_by_their_attribute_alone(rows):
    attributed = rows[NUM_CASES:]
    assert [row.case.attribute for row in attributed] == ["tiny", "huge"]
    for row in attributed:
        assert row.scores.keys() == {"attribute-accuracy"}


def test_the_truth_is_perfect_by_every_measure_of_distance(rows):
    for row in rows[:NUM_CASES]:
        assert row.scores["psnr"]["truth"] == pytest.approx(60)
        assert row.scores["mask-iou"]["truth"] == 1
        assert row.scores.get("lighting-error", {"truth": 0})["truth"] == 0


def test_a_pair_is_judged_for_both_subjects(drawn_pairs, panel):
    for row in score(drawn_pairs, panel):
        assert {"leakage", "subject-retrieval", "scene-accuracy"} <= row.scores.keys()
        assert row.scores["subject-retrieval"]["truth"] == 1
        assert row.scores["leakage"]["truth"] == 0
        assert row.scores["subject-retrieval"]["model"] in {0, 0.5, 1}


def test_true_pictures_are_recognised(rows):
    found = [row.scores["subject-retrieval"]["truth"] for row in rows[:NUM_CASES]]
    assert sum(found) == NUM_CASES


def test_rows_are_written_as_json_lines(rows, drawn):
    lines = (drawn.root / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["scores"] for line in lines] == [row.scores for row in rows]
