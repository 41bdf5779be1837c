import numpy as np
import pytest

from swiftpie.evaluation.ablations.views import references_of


@pytest.fixture(scope="module")
def views(benchmark):
    return references_of(benchmark, benchmark.cases(1)[0], 3)


def test_the_first_is_the_benchmarks_own(views, benchmark):
    known = benchmark.known(benchmark.cases(1)[0])
    assert views[0].image == known["reference"]
    assert views[0].mask == known["reference-mask"]


def test_the_others_show_the_subject_in_other_poses(views):
    masks = [np.asarray(view.mask, dtype=float) / 255 for view in views]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        common = np.minimum(masks[first], masks[second]).sum()
        union = np.maximum(masks[first], masks[second]).sum()
        assert 0.3 < common / union < 0.98


def test_they_come_out_the_same_again(views, benchmark):
    again = references_of(benchmark, benchmark.cases(1)[0], 3)
    assert all(one.image == other.image for one, other in zip(views, again, strict=True))
