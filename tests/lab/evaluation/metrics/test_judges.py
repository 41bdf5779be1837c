import dataclasses
from types import SimpleNamespace

import pytest
import torch

from swiftpie_lab.evaluation.case import METRICS, Evidence, Expected
from swiftpie_lab.evaluation.judges import Networks, Reading


def judges_that_say(code=""):
    return Networks(panel=SimpleNamespace(nearest=lambda *_: code))


def score(name, evidence, **changes):
    return METRICS.get(name).score(dataclasses.replace(evidence, **changes))


def test_retrieval_follows_the_judges(evidence):
    assert score("subject-retrieval", evidence, networks=judges_that_say("1f980")) == 1
    assert score("subject-retrieval", evidence, networks=judges_that_say("1f439")) == 0


def test_what_is_read_of_the_larger_world_is_right_where_it_is_what_was_asked(evidence):
    asked = {"place": "park", "time": "night", "colour": "red"}
    expected = Expected(where=evidence.mask, subject="1f980", answers=asked, view=(30.0, -5.0))
    seen = {"place": "park", "time": "day", "colour": "red", "pose": "lying"}
    reading = Reading(subject="1f980", answers=seen, view=(24.0, 5.0))
    scores = {
        "subject-recognition": 1,
        "place-accuracy": 1,
        "time-accuracy": 0,
        "setting-accuracy": 0,
        "wish-accuracy": 1,
        "pose-accuracy": None,
        "yaw-error": 6,
        "pitch-error": 10,
    }
    given = {"expected": expected, "reading": reading}
    assert {name: score(name, evidence, **given) for name in scores} == scores
    nothing = Expected(where=evidence.mask)
    for name in scores:
        assert score(name, evidence, expected=nothing, reading=reading) is None
        assert score(name, evidence, expected=expected) is None


def test_a_metric_without_what_it_reads_has_no_score():
    nothing = Evidence(picture=torch.zeros(1, 3, 8, 8))
    scores = {name: metric.score(nothing) for name, metric in METRICS.all().items()}
    assert {name for name, score in scores.items() if score is not None} == {"face-shown"}


@pytest.mark.parametrize(
    ("name", "value"), [("identity", None), ("face-ratio", None), ("face-shown", 0)]
)
def test_pictures_without_a_face_are_counted_and_not_averaged(name, value, evidence):
    assert score(name, evidence) == value


@pytest.mark.parametrize(
    ("asked", "right", "wrong"),
    [
        ({"subject": "1f980"}, {}, {"subject": "1f439"}),
        ({"gone": "1f439"}, {}, {"subject": "1f439"}),
        ({"answers": {"material": "glass"}}, {}, {"answers": {"material": "wood"}}),
        ({"view": (26.0, 5.0)}, {"view": (38.0, -6.0)}, {"view": (8.0, 1.0)}),
        ({"view": (0.0, 16.0)}, {"view": (3.0, 12.0)}, {"view": (3.0, -12.0)}),
        ({"gone": "1f439", "answers": {"place": "park"}}, {}, {"answers": {"place": "beach"}}),
    ],
)
def test_an_edit_of_the_larger_world_succeeds_where_all_that_is_asked_is_read(
    evidence, asked, right, wrong
):
    plain = Reading("1f980", {"material": "glass", "place": "park"}, view=(0.0, 0.0))
    expected = Expected(where=evidence.mask, **asked)
    for seen, share in (right, 1), (wrong, 0):
        given = {"expected": expected, "reading": dataclasses.replace(plain, **seen)}
        assert score("wish-success", evidence, **given) == share
        in_words = None if "subject" in asked else share
        assert score("wish-success-in-words", evidence, **given) == in_words
