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
    for row in rows:
        assert always <= row.scores.keys() <= set(METRICS.names())
        assert row.scores["psnr"].keys() == {"model", "text", "paste"}


def test_true_pictures_are_recognised(rows):
    found = [row.scores["subject-retrieval"]["truth"] for row in rows]
    assert sum(found) == NUM_CASES


def test_rows_are_written_as_json_lines(rows, drawn):
    lines = (drawn.root / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["scores"] for line in lines] == [row.scores for row in rows]
