import pytest
import torch

from benchmarks.diversity import Drawn, drawings, spread, truths
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark


def box(left, right):
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., left:right] = 1
    return mask


def test_pictures_that_are_alike_do_not_differ_and_subjects_count_apart():
    grey = torch.zeros(1, 3, 8, 8)
    assert spread([Drawn(grey, box(0, 4))] * 3) == (0, 0)
    moved = spread([Drawn(grey, box(0, 4)), Drawn(grey, box(2, 6))])
    assert moved == (0, pytest.approx(1 - 2 / 6))
    other_subject = torch.where(box(0, 4) > 0, torch.ones(()), grey)
    assert spread([Drawn(grey, box(0, 4)), Drawn(other_subject, box(0, 4))]) == (0, 0)
    other_ground = torch.where(box(0, 4) > 0, grey, torch.full((), 0.2))
    found = spread([Drawn(grey, box(0, 4)), Drawn(other_ground, box(0, 4))])
    assert found == (pytest.approx(0.2 * 127.5), 0)


def test_seeds_decide_ground_and_place_in_both(session, subjects):
    benchmark = WorldBenchmark(subjects, size_px=128)
    case = benchmark.cases(1)[0]
    seeds = [case.seed, case.seed + 1]
    for pictures in truths(benchmark, case, seeds), drawings(session, benchmark, case, seeds):
        found = spread([*pictures])
        assert found.background > 1
        assert 0 < found.place <= 1
