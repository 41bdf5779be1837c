import pytest

from swiftpie.masks import load_mask
from swiftpie.pipelines.request import WORDS_ALONE
from swiftpie_lab.evaluation.benchmarks.ablations import (
    EVERYTHING,
    TITLES,
    AblationDrawer,
    Ablations,
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
