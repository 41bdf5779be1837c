"""What judges say, by judges that say what they are told, and by real ones on rendered edits."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from swiftpie_lab.evaluation.benchmarks.edit_cases import EditKind
from swiftpie_lab.evaluation.benchmarks.edits import expected_of
from swiftpie_lab.evaluation.case import METRICS, Evidence, Expected, Kept
from swiftpie_lab.evaluation.judges import Networks, Reading
from swiftpie_lab.stickers.scenes import SCENES

SUCCESS, KEPT = METRICS.get("edit-success").score, METRICS.get("identity-kept").score


def judges_that_say(code="", scene=0, attributes=()):
    panel = SimpleNamespace(
        nearest=lambda *_: code, scene=lambda *_: scene, attributes=lambda *_: frozenset(attributes)
    )
    return Networks(panel=panel)


def score(name, evidence, **changes):
    return METRICS.get(name).score(dataclasses.replace(evidence, **changes))


def test_retrieval_and_scene_follow_the_judges(evidence):
    night = [scene.name for scene in SCENES].index("night")
    right, wrong = judges_that_say("1f980", night), judges_that_say("1f439", night - 1)
    for name in ("subject-retrieval", "scene-accuracy"):
        assert score(name, evidence, networks=right) == 1
        assert score(name, evidence, networks=wrong) == 0


def test_an_attribute_is_right_if_it_is_among_the_answers(evidence):
    asked = dataclasses.replace(evidence.expected, attribute="top hat")
    for answers, share in ({"tiny", "top hat"}, 1), ({"tiny", "crown"}, 0):
        networks = judges_that_say(attributes=answers)
        assert score("attribute-accuracy", evidence, expected=asked, networks=networks) == share


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


def test_leakage_is_finding_the_other_subject_of_the_pair_and_no_third(evidence):
    pair = dataclasses.replace(evidence.expected, others=frozenset({"1f439"}))
    for seen, share in ("1f439", 1), ("1f980", 0), ("1f600", 0):
        networks = judges_that_say(seen)
        assert score("leakage", evidence, expected=pair, networks=networks) == share


@pytest.mark.parametrize(
    "name",
    [
        *("subject-retrieval", "leakage", "scene-accuracy", "attribute-accuracy"),
        *("edit-success", "scene-attribute-success", "identity-kept"),
    ],
)
def test_judges_say_nothing_where_nothing_is_expected(name, evidence):
    assert score(name, evidence, expected=None, networks=judges_that_say()) is None


def rendered(case, answer, picture, networks):
    return Evidence(
        picture=picture,
        source=answer.source,
        truth=answer.target,
        mask=answer.mask,
        expected=expected_of(case, asked=answer.asked, kept=answer.kept),
        kept=Kept(code=case.code, before=answer.before, after=answer.kept),
        networks=networks,
    )


def test_new_subjects_are_left_out_where_prompts_have_to_tell_everything(
    dealt_edits, answers, networks
):
    judge = METRICS.get("scene-attribute-success").score
    for case in dealt_edits:
        answer = answers[case.name]
        done = judge(rendered(case, answer, answer.target, networks))
        assert (done is None) == (case.kind in {"object", "second"})


def test_judges_see_the_exact_target_as_done_and_the_source_as_not(dealt_edits, answers, networks):
    done, undone = [], []
    for case in dealt_edits:
        answer = answers[case.name]
        done.append(SUCCESS(rendered(case, answer, answer.target, networks)))
        undone.append(SUCCESS(rendered(case, answer, answer.source, networks)))
    assert sum(done) >= 0.8 * len(done)
    assert sum(undone) <= 0.1 * len(undone)


def test_the_subject_is_kept_in_the_target_and_lost_in_noise(dealt_edits, answers, networks):
    kept, lost = [], []
    for case in dealt_edits:
        answer = answers[case.name]
        value = KEPT(rendered(case, answer, answer.target, networks))
        if case.kind in {EditKind.OBJECT, EditKind.DELETE}:
            assert value is None
        elif value is not None:
            kept.append(value)
            noise = torch.rand(answer.source.shape, generator=torch.Generator().manual_seed(0))
            lost.append(KEPT(rendered(case, answer, 2 * noise - 1, networks)))
    assert len(kept) >= 10
    assert sum(kept) >= 0.8 * len(kept)
    assert sum(lost) <= 0.5 * len(lost)


@pytest.mark.parametrize(
    ("name", "value"), [("identity", None), ("face-ratio", None), ("face-shown", 0)]
)
def test_pictures_without_a_face_are_counted_and_not_averaged(name, value, evidence):
    assert score(name, evidence) == value


def test_every_metric_has_a_title_and_a_name_of_its_own():
    metrics = METRICS.all()
    assert len(metrics) == len({*metrics}) >= 40
    assert all(metric.title for metric in metrics.values())


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


def test_where_nothing_can_be_seen_no_edit_succeeds_or_fails(evidence):
    reading = Reading("1f980", {}, view=(0.0, 0.0))
    given = {"expected": Expected(where=evidence.mask), "reading": reading}
    assert score("wish-success", evidence, **given) is None
