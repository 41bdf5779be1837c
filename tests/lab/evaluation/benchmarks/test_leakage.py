import dataclasses

import pytest
import torch
from PIL.Image import Resampling

import swiftpie
from swiftpie.imageio.images import to_tensor
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.leakage import LeakageBenchmark, LeakageDrawer, Slice, boxes
from swiftpie_lab.evaluation.case import METRICS, Evidence, Expected
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import write_report
from swiftpie_lab.evaluation.run import score


@pytest.fixture(scope="module")
def leaks():
    return LeakageBenchmark(sample_subjects())


def test_cases_hold_different_subjects_of_one_slice(leaks):
    for case in leaks.cases(2):
        assert len({*case.codes}) == len(case.codes)
        assert {*case.codes} < {*leaks.slices[case.slice]}
    assert Slice.PHOTOS not in leaks.slices


def clean_and_seeped(leaks, networks):
    """Return a place without any look of a neighbour, and with one in place of its subject."""
    case, size_px, panel = leaks.cases(1)[0], leaks.world.size_px, networks.panel
    shown = torch.zeros(1, 3, size_px, size_px)
    expected = Expected(
        where=leaks.places(case)[0],
        subject=case.codes[0],
        others=frozenset(case.codes[1:]),
        unrelated=frozenset(panel.codes) - {*case.codes},
    )
    clean = Evidence(picture=shown, alone=shown, expected=expected, networks=networks)
    left, top, right, bottom = (round(size_px * edge) for edge in boxes(len(case.codes))[0])
    other = leaks.given(case.codes[1]).image.resize((right - left, bottom - top), Resampling.BOX)
    seeped = shown.clone()
    seeped[..., top:bottom, left:right] = to_tensor(other)
    return clean, dataclasses.replace(clean, picture=seeped)


def test_what_seeps_from_one_subject_into_another_counts_and_nothing_else(leaks, networks):
    none, some = map(METRICS.get("leakage").score, clean_and_seeped(leaks, networks))
    assert none == 0
    assert some > 0.1


@pytest.mark.thorough
def test_subjects_are_drawn_together_and_alone_and_judged(leaks, drawn):
    case, networks = leaks.cases(1)[0], Networks(panel=leaks.panel())
    results = drawn(leaks, [case], LeakageDrawer(swiftpie.load("mini"), leaks))
    rows = list(score(leaks, [case], results, networks))
    report = write_report(leaks, rows, results, networks)
    assert abs(report.metrics["leakage"].candidates["model"].mean) < 0.1
    assert report.metrics["subject-nearest"].candidates["alone"].mean == 1
    assert "Worst are any subjects" in report.sentences[-1]
