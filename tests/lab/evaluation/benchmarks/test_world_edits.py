from collections import Counter

import pytest
import torch

from swiftpie.imageio.images import to_tensor
from swiftpie_lab.data.subjects import is_held_out as is_subject_held_out
from swiftpie_lab.evaluation.benchmarks.world_edits import TITLES, EditAnswer, WorldEditBenchmark
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import write_report
from swiftpie_lab.evaluation.run import Results, draw, score
from swiftpie_world.air import Setting
from swiftpie_world.changes import MIN_CHANGE_LEVELS, WorldChange
from swiftpie_world.places import is_held_out
from tests.lab.evaluation.conftest import TargetDrawer

MANY = 24  # of each kind, dealt and not drawn
LEVEL = 2 / 255
DRAWN = (WorldChange.VIEW, WorldChange.MATERIAL, WorldChange.REMOVAL, WorldChange.SUBJECT)
GONE = {WorldChange.REMOVAL, WorldChange.SUBJECT}
COME = {WorldChange.SUBJECT, WorldChange.SECOND}


@pytest.fixture(scope="module")
def benchmark(subjects):
    return WorldEditBenchmark(subjects)


@pytest.fixture(scope="module")
def dealt(benchmark):
    cases = benchmark.cases(MANY)
    return {kind: [case for case in cases if case.kind is kind] for kind in TITLES}


@pytest.fixture(scope="module")
def answers(benchmark, dealt):
    return {kind: (cases[0], benchmark.answer(cases[0])) for kind, cases in dealt.items()}


@pytest.fixture(scope="module")
def tried(dealt):
    return [dealt[kind][1] for kind in DRAWN]  # the second replacement is given a reference


@pytest.fixture(scope="module")
def drawn(benchmark, tried, tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("world-edits"))
    list(draw(benchmark, tried, TargetDrawer(benchmark), results=results))
    return results


def test_a_longer_list_of_a_kind_starts_with_the_shorter_one(benchmark, dealt):
    few = benchmark.cases(3)
    assert all([case for case in few if case.kind is kind] == dealt[kind][:3] for kind in dealt)
    every = [case for cases in dealt.values() for case in cases]
    assert len({case.name for case in every}) == len(every) == MANY * len(TITLES)
    assert WorldEditBenchmark(benchmark.subjects, seed=1).cases(3) != few


def test_subjects_and_answers_come_evenly_and_only_held_out_subjects_in_known_settings(dealt):
    for kind, cases in dealt.items():
        every = [code for case in cases for code in (case.code, case.other_code) if code]
        assert all(map(is_subject_held_out, every))
        assert not any(is_held_out(case.requested.setting) for case in cases)
        assert not any(is_held_out(case.wanted.setting) for case in cases)
        shares = Counter(case.code for case in cases).values()
        assert max(shares) - min(shares) <= 2
        if kind not in {WorldChange.PLACE, WorldChange.WEATHER}:  # not every place has each
            shares = Counter(case.after for case in cases).values()
            assert max(shares) - min(shares) <= 3, kind


def test_afterwards_one_thing_is_otherwise_and_both_prompts_say_so(dealt):
    for kind, cases in dealt.items():
        for case in cases:
            first, second = case.requested, case.wanted
            names = {name for name in vars(first) if getattr(first, name) != getattr(second, name)}
            names |= {
                name
                for name in Setting._fields
                if getattr(first.setting, name) != getattr(second.setting, name)
            }
            assert names - {"setting"} == ({case.question} if case.question else set())
            assert case.source_prompt != case.target_prompt
            assert bool(case.other_code) == (kind in COME)
            assert (case.view is not None) == (kind is WorldChange.VIEW)


@pytest.mark.parametrize("kind", TITLES)
def test_answers_are_exact(answers, kind):
    case, answer = answers[kind]
    assert answer.mask.any()
    apart = (answer.source - answer.target).abs()
    assert float((apart * (answer.mask <= 0)).max()) <= (MIN_CHANGE_LEVELS + 1) * LEVEL
    assert apart.max() > 10 * LEVEL
    assert answer.kept.any() == (kind not in GONE), case
    assert answer.requested.any()
    if kind in {WorldChange.PUT_ON, WorldChange.TAKE_OFF, WorldChange.SECOND}:
        assert float(answer.mask.mean()) < 0.5


def test_an_answer_repeats_and_a_newcomer_is_shown_before_a_wall(benchmark, tried):
    case = tried[-1]
    first, again = (benchmark.answer(case) for _ in range(2))
    assert isinstance(first, EditAnswer)
    assert all(torch.equal(value, other) for value, other in zip(first, again, strict=True))
    task = benchmark.task(case)
    assert case.has_reference
    assert task.reference.size == task.source.size == task.reference_mask.size
    assert not torch.equal(to_tensor(task.reference), to_tensor(task.known["target"]))
    assert benchmark.task(tried[0]).reference is None


def test_what_no_picture_shows_is_not_judged(benchmark, dealt):
    seen, hidden = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)

    def expected(kind, mask):
        return benchmark.expected(dealt[kind][0], requested=mask)

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
    benchmark, world_judges, tried, drawn
):
    networks = Networks(panel=benchmark.plain.panel(world_judges))
    rows = list(score(benchmark, tried, drawn, networks))
    report = write_report(benchmark, rows, drawn, networks)
    kinds = {TITLES[kind] for kind in DRAWN}
    assert {group.title for group in report.groups} == kinds
    metrics = report.metrics
    assert metrics["mask-iou"].candidates["edit"].mean == 1
    assert metrics["inside-psnr"].candidates["edit"].mean == 60
    assert metrics["outside-psnr"].candidates["source"].mean == 60
    assert metrics["outside-psnr"].candidates["edit"].mean > 32
    assert {"edit", "target", "source"} <= metrics["wish-success"].candidates.keys()
    assert (drawn.root / "index.html").stat().st_size > 0
    for case, row in zip(tried, rows, strict=True):
        expected = benchmark.expected(case, requested=drawn.read_mask(case, "requested-mask"))
        assert ("wish-success-in-words" in row.scores) == (not expected.subject)
