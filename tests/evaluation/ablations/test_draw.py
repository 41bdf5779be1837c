from dataclasses import replace

import numpy as np
import pytest
import torch

from swiftpie.evaluation.ablations.draw import draw
from swiftpie.evaluation.ablations.setting import Region, Setting
from swiftpie.pipelines.request import Scales

PLAIN = Setting("", "", Scales())
SILENT = Setting("", "", Scales(identity_scale=0.0, detail_scale=0.0))


@pytest.fixture(scope="module")
def case(benchmark):
    return benchmark.cases(1)[0]


@pytest.fixture(scope="module")
def subject(session, benchmark, case):
    known = benchmark.known(case)
    return session.encode_identity(known["reference"], masks=known["reference-mask"])


@pytest.fixture
def drawn(session, benchmark, case, subject):
    """Draws the case in a setting, as numbers."""
    truth = benchmark.truth(case).mask

    def draw_one(setting):
        result = draw(session.components, setting, subject, case=case, truth=truth)
        return np.asarray(result.images[0], dtype=int)

    return draw_one


def test_everything_is_what_the_session_draws(session, drawn, case, subject):
    expected = session.personalize(subject, case.prompt, seed=case.seed).images[0]
    assert np.array_equal(drawn(PLAIN), np.asarray(expected))


def test_without_all_parts_nothing_of_the_subject_is_left(drawn):
    bare = replace(PLAIN, scales=Scales(identity_scale=0.0), has_detail=False, has_skip=False)
    assert np.array_equal(drawn(bare), drawn(SILENT))


def test_rescaling_that_is_off_ignores_the_mask(drawn):
    off = replace(PLAIN, scales=Scales(background_scale=1.0), region=Region.TRUE)
    assert np.abs(drawn(off) - drawn(PLAIN)).max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"has_detail": False},
        {"has_skip": False},
        {"knows_place": False},
        *({"region": region} for region in Region if region is not Region.NONE),
    ],
)
def test_every_switch_changes_the_picture(drawn, change):
    assert np.abs(drawn(replace(PLAIN, **change)) - drawn(PLAIN)).max() > 2


def test_an_empty_predicted_mask_takes_the_subject_away(session, case, subject):
    silent = replace(SILENT, region=Region.PREDICTED)
    nothing = torch.zeros(1, 1, 128, 128)
    for setting in (silent, replace(PLAIN, region=Region.TRUE)):
        draw(session.components, setting, subject, case=case, truth=nothing)
