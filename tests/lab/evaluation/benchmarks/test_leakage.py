import dataclasses

import pytest
import torch

from swiftpie.imageio.images import to_tensor
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.leakage import LeakageBenchmark, Slice, boxes
from swiftpie_lab.evaluation.case import METRICS, Evidence, Expected


@pytest.fixture(scope="module")
def leaks():
    return LeakageBenchmark(sample_subjects())


def test_cases_hold_different_subjects_of_one_slice(leaks):
    for case in leaks.cases(2):
        assert len({*case.codes}) == len(case.codes)
        assert {*case.codes} < {*leaks.slices[case.slice]}
    assert Slice.PHOTOS not in leaks.slices


def test_what_seeps_from_one_subject_into_another_counts_and_nothing_else(leaks, networks):
    case = leaks.cases(1)[0]
    size_px = leaks.world.size_px
    places = leaks.places(case)
    shown = torch.zeros(1, 3, size_px, size_px)
    panel = networks.panel
    crops = [code for code in panel.codes if code not in case.codes]
    expected = Expected(
        where=places[0],
        subject=case.codes[0],
        others=frozenset(case.codes[1:]),
        unrelated=frozenset(crops),
    )
    leak = METRICS.get("leakage")
    evidence = Evidence(picture=shown, alone=shown, expected=expected, networks=networks)
    assert leak.score(evidence) == 0
    given = leaks.given(case.codes[1])
    left, top, right, bottom = (round(size_px * edge) for edge in boxes(len(case.codes))[0])
    other = torch.nn.functional.interpolate(
        to_tensor(given.image), size=(bottom - top, right - left), mode="area"
    )
    seeped = shown.clone()
    seeped[..., top:bottom, left:right] = other
    assert leak.score(dataclasses.replace(evidence, picture=seeped)) > 0.1
