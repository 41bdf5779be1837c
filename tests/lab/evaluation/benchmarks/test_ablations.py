import numpy as np
import pytest

from swiftpie.masks import load_mask
from swiftpie.pipelines.request import WORDS_ALONE
from swiftpie.pipelines.settings import Scales
from swiftpie_lab.evaluation.benchmarks.ablations import (
    EVERYTHING,
    GUIDED_STEPS,
    TITLES,
    AblationDrawer,
    Ablations,
    setups,
)
from swiftpie_lab.evaluation.run import Results, draw, score


@pytest.fixture(scope="module")
def ablations(benchmark):
    return Ablations(benchmark.subjects, size_px=benchmark.size_px)


@pytest.fixture(scope="module")
def case(ablations):
    return ablations.cases(1)[0]


@pytest.fixture(scope="module")
def drawer(session, ablations):
    return AblationDrawer(session, ablations)


@pytest.fixture(scope="module")
def drawn(drawer, ablations, case, tmp_path_factory):
    """A folder with one case; do not change it."""
    results = Results(tmp_path_factory.mktemp("ablations"))
    list(draw(ablations, [case], drawer, results=results))
    return results


def test_rows_that_need_four_steps_are_left_out_without_them():
    base = Scales(identity_scale=0.8, detail_scale=0.6)
    assert {*setups(base, (1, GUIDED_STEPS))} == {*TITLES}
    assert {setup.num_steps for setup in setups(base, (1, 2)).values()} == {None}


def test_everything_is_what_the_session_draws(session, ablations, drawer, case):
    known = ablations.known(case)
    subject = session.encode_identity(known["reference"], masks=known["reference-mask"])
    expected = session.personalize(
        subject, case.prompt, seed=case.seed, scene=WORDS_ALONE, **ablations.posture(case)
    )
    region = load_mask(known["truth-mask"], known["truth-mask"].size)
    drawn = session.draw(drawer.request(session, case, drawer.setups[EVERYTHING], region))
    assert drawn.images[0].tobytes() == expected.images[0].tobytes()


@pytest.mark.thorough
def test_every_row_is_judged_with_its_own_mask(ablations, drawn, case, networks):
    (row,) = score(ablations, [case], drawn, networks)
    for metric in ("subject-recognition", "subject-psnr", "mask-iou"):
        assert row.scores[metric].keys() == TITLES.keys()
    iou = row.scores["mask-iou"]
    assert iou[EVERYTHING] > 0.6 > iou["no-prior-branches"]
    psnr = row.scores["subject-psnr"]
    assert psnr[EVERYTHING] > psnr["text-only"] + 2


def test_the_first_view_is_the_benchmarks_own_and_others_show_other_poses(ablations, case):
    known, views = ablations.known(case), ablations.views(case, 3)
    assert views[0] == (known["reference"], known["reference-mask"])
    masks = [np.asarray(mask, dtype=float) / 255 for _, mask in views]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        common = np.minimum(masks[first], masks[second]).sum()
        union = np.maximum(masks[first], masks[second]).sum()
        assert 0.3 < common / union < 0.98
