import pytest

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.graded import (
    MASKED,
    SHARES,
    WHOLE,
    Grade,
    GradedBenchmark,
    agreement,
    kendall_tau,
)
from swiftpie_lab.evaluation.case import Row


@pytest.fixture(scope="module")
def graded():
    return GradedBenchmark(sample_subjects())


@pytest.fixture(scope="module")
def cases(graded):
    found = graded.cases(2)
    assert found
    return found


def test_tau_is_one_in_order_minus_one_reversed_and_counts_swaps():
    order = [(i, float(i)) for i in range(8)]
    assert kendall_tau(order) == 1
    assert kendall_tau([(i, -value) for i, value in order]) == -1
    assert kendall_tau([(0, 1.0), (1, 0.0), (2, 2.0)]) == pytest.approx(1 / 3)
    assert kendall_tau([(0, 1.0), (1, 1.0)]) == 0


def test_each_grade_moves_the_sprite_further_from_the_subject(graded, cases):
    frames = {case.grade: graded.frame(case) for case in cases[: len(Grade)]}
    assert list(frames) == list(Grade)
    mixed = [Grade.EXACT, *SHARES, Grade.SIBLING]
    apart = [float((frames[grade] - frames[Grade.EXACT]).abs().mean()) for grade in mixed]
    assert apart == sorted(apart)
    assert apart[0] == 0 < float((frames[Grade.RECOLOURED] - frames[Grade.EXACT]).abs().mean())


def test_siblings_share_words_and_strangers_none(graded, cases):
    words = dict(zip(graded.subjects.codes, map(set, graded.subjects.synonyms), strict=True))
    for case in cases:
        assert len(words[case.scene.code] & words[case.sibling]) > 1
        assert not words[case.scene.code] & words[case.other]


def test_agreement_reads_scores_as_falling_with_the_grade(cases):
    falling = {grade: 1 - 0.1 * number for number, grade in enumerate(Grade)}
    rows = [
        Row(case, {MASKED: {"drawn": falling[case.grade]}, WHOLE: {"drawn": -falling[case.grade]}})
        for case in cases
    ]
    assert set(agreement(rows, MASKED)) == {1}
    assert set(agreement(rows, WHOLE)) == {-1}
