import json

from swiftpie.evaluation.fastface.generate import Lost
from swiftpie.evaluation.fastface.page import describe, table
from swiftpie.evaluation.fastface.report import ALL, PLAIN, STYLED, Setting, summarise
from swiftpie.evaluation.fastface.score import FaceRow
from swiftpie.evaluation.folder import Run

RUN = Run("fastface", "0", "tiny", "w", "d", 50)
SETTING = Setting(RUN, "opencv", "arcface", {"aesthetic": "needs a file"})


def row(number, *, style="", has_face=True, **scores):
    named = {name.replace("_", "-"): value for name, value in scores.items()}
    return FaceRow(f"000-{number:03d}", "a.jpg", "a person", style, has_face, named)


ROWS = [
    row(0, identity=0.5, clip_large=0.2, face_ratio=0.1),
    row(1, identity=0.7, clip_large=0.3, face_ratio=0.3),
    row(2, style="oil", has_face=False, clip_large=0.4),
]
LOST = [Lost("c.png", "No face was found.", 3)]


def test_each_aspect_is_averaged_over_the_cases_that_it_applies_to():
    whole, plain, styled = summarise(ROWS, LOST, SETTING).groups
    assert [one.title for one in (whole, plain, styled)] == [ALL, PLAIN, STYLED]
    assert whole.figures["identity"].value.mean == 0.6
    assert whole.figures["identity"].value.num_cases == 2
    assert round(whole.figures["clip-large"].value.mean, 6) == 0.3
    assert "identity" not in styled.figures
    assert {one.about for one in whole.figures.values()} == {"identity", "prompt", "face ratio"}


def test_failures_are_counted_and_no_score_stands_for_them():
    report = summarise(ROWS, LOST, SETTING)
    assert report.num_failed == 1 + 3
    assert [one.num_without_face for one in report.groups] == [1, 0, 1]
    assert table(report.groups[2])[-1][2] == "1"
    told = " ".join(describe(report))
    assert "4 cases failed" in told
    assert "c.png" in told
    assert "Not computed: aesthetic" in told


def test_prompts_of_one_kind_make_one_group():
    assert [one.title for one in summarise(ROWS[:2], [], SETTING).groups] == [ALL]


def test_the_report_is_json():
    stored = json.loads(summarise(ROWS, LOST, SETTING).to_json())
    assert stored["groups"][0]["figures"]["identity"]["value"]["num_cases"] == 2
    assert stored["lost"][0]["name"] == "c.png"
