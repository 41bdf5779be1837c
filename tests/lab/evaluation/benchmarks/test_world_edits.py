from collections import Counter

import pytest
import torch

from swiftpie.imageio.images import to_tensor
from swiftpie_lab.data.subjects import is_held_out as is_subject_held_out
from swiftpie_lab.evaluation.benchmarks.world_edits import TITLES, WorldEditBenchmark
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import write_report
from swiftpie_lab.evaluation.run import score
from swiftpie_world.air import Setting
from swiftpie_world.changes import WorldChange
from swiftpie_world.places import is_held_out
from tests.lab.evaluation.conftest import TargetDrawer

MANY = 24  # of each kind, dealt and not drawn
DRAWN = (WorldChange.VIEW, WorldChange.MATERIAL, WorldChange.REMOVAL, WorldChange.SUBJECT)
GONE = {WorldChange.REMOVAL, WorldChange.SUBJECT}
COME = {WorldChange.SUBJECT, WorldChange.SECOND}


@pytest.fixture(scope="module")
def dealt(edits):
    cases = edits.cases(MANY)
    return {kind: [case for case in cases if case.kind is kind] for kind in TITLES}


def test_cases_are_dealt_evenly_of_held_out_subjects_in_known_settings(edits, dealt):
    few = edits.cases(3)
    assert all([case for case in few if case.kind is kind] == dealt[kind][:3] for kind in dealt)
    every = [case for cases in dealt.values() for case in cases]
    assert len({case.name for case in every}) == len(every) == MANY * len(TITLES)
    assert WorldEditBenchmark(edits.subjects, seed=1).cases(3) != few
    for kind, cases in dealt.items():
        codes = [code for case in cases for code in (case.code, case.other_code) if code]
        assert all(map(is_subject_held_out, codes))
        settings = [s for case in cases for s in (case.requested.setting, case.wanted.setting)]
        assert not any(map(is_held_out, settings))
        shares = Counter(case.code for case in cases).values()
        assert max(shares) - min(shares) <= 2
        if kind not in {WorldChange.PLACE, WorldChange.WEATHER}:  # not every place has each
            shares = Counter(case.after for case in cases).values()
            assert max(shares) - min(shares) <= 3, kind


def test_afterwards_one_thing_is_otherwise_and_both_prompts_say_so(dealt):
    for kind, cases in dealt.items():
        for case in cases:
            first, second = case.requested, case.wanted
            pairs = [(first, second, vars(first)), (first.setting, second.setting, Setting._fields)]
            names = {n for a, b, every in pairs for n in every if getattr(a, n) != getattr(b, n)}
            assert names - {"setting"} == ({case.question} if case.question else set())
            assert case.source_prompt != case.target_prompt
            assert bool(case.other_code) == (kind in COME)
            assert (case.view is not None) == (kind is WorldChange.VIEW)


def test_an_answer_repeats_and_a_newcomer_is_shown_before_a_wall(edits, dealt):
    case = dealt[WorldChange.SUBJECT][1]  # the second replacement is given a reference
    first, again = (edits.answer(case) for _ in range(2))
    assert all(torch.equal(value, other) for value, other in zip(first, again, strict=True))
    task = edits.task(case)
    assert case.has_reference
    assert task.reference.size == task.source.size == task.reference_mask.size
    assert not torch.equal(to_tensor(task.reference), to_tensor(task.known["target"]))
    assert edits.task(dealt[WorldChange.VIEW][1]).reference is None


@pytest.mark.parametrize("kind", DRAWN)
def test_what_stays_and_what_is_asked_for_are_marked(edits, dealt, kind):
    answer = edits.answer(dealt[kind][0])
    assert answer.kept.any() == (kind not in GONE)
    assert answer.requested.any()


def test_what_no_picture_shows_is_not_judged(edits, dealt):
    seen, hidden = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)

    def expected(kind, mask):
        return edits.expected(dealt[kind][0], requested=mask)

    made = dealt[WorldChange.MATERIAL][0]
    assert expected(WorldChange.MATERIAL, seen).answers == {"material": made.after}
    assert expected(WorldChange.MATERIAL, hidden).answers == {}
    assert "time" in expected(WorldChange.TIME, hidden).answers
    assert expected(WorldChange.VIEW, seen).view == dealt[WorldChange.VIEW][0].view
    assert expected(WorldChange.VIEW, hidden).view is None
    assert expected(WorldChange.REMOVAL, seen).gone == dealt[WorldChange.REMOVAL][0].code
    assert expected(WorldChange.SECOND, seen).subject == dealt[WorldChange.SECOND][0].other_code
    assert expected(WorldChange.SECOND, hidden).subject == ""


@pytest.mark.thorough
def test_the_report_judges_the_exact_target_and_the_untouched_source(
    edits, world_judges, dealt, drawn
):
    tried = [dealt[kind][1] for kind in DRAWN]
    results = drawn(edits, tried, TargetDrawer(edits))
    networks = Networks(panel=edits.plain.panel(world_judges))
    rows = list(score(edits, tried, results, networks))
    report = write_report(edits, rows, results, networks)
    assert {group.title for group in report.groups} == {TITLES[kind] for kind in DRAWN}
    metrics = report.metrics
    assert metrics["mask-iou"].candidates["edit"].mean == 1
    assert metrics["inside-psnr"].candidates["edit"].mean == 60
    assert metrics["outside-psnr"].candidates["source"].mean == 60
    assert metrics["outside-psnr"].candidates["edit"].mean > 32
    assert {"edit", "target", "source"} <= metrics["wish-success"].candidates.keys()
    for case, row in zip(tried, rows, strict=True):
        expected = edits.expected(case, requested=results.read_mask(case, "requested-mask"))
        assert ("wish-success-in-words" in row.scores) == (not expected.subject)
