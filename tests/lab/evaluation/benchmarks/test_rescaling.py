import pytest

from swiftpie_lab.evaluation.benchmarks.ablations import AblationDrawer
from swiftpie_lab.evaluation.benchmarks.rescaling import TITLES, Rescaling
from swiftpie_lab.evaluation.run import Results, draw, score


@pytest.mark.thorough
def test_every_form_is_drawn_judged_and_changes_the_picture(
    session, benchmark, networks, tmp_path_factory
):
    rescaling = Rescaling(benchmark.subjects, size_px=benchmark.size_px)
    (case,) = rescaling.cases(1)
    results = Results(tmp_path_factory.mktemp("rescaling"))
    list(draw(rescaling, [case], AblationDrawer(session, rescaling), results=results))
    assert len({results.read(case, form).tobytes() for form in TITLES}) == len(TITLES)
    (row,) = score(rescaling, [case], results, networks)
    for metric in ("subject-psnr", "mask-iou"):
        assert row.scores[metric].keys() == TITLES.keys()
