import numpy as np
import pytest
from PIL import Image, ImageDraw

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.copies import CopyBenchmark, CopyDrawer, CopyKind
from swiftpie_lab.evaluation.case import METRICS
from swiftpie_lab.evaluation.copies import CopyVerdict, judge_copy
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import Results, draw, score
from swiftpie_lab.world.captions import VIEWS

SIDE_PX = 96


def disc(draw_inside):
    """Return a disc with something on it, RGBA on white."""
    image, cover = (
        Image.new("RGB", (SIDE_PX, SIDE_PX), "white"),
        Image.new("L", (SIDE_PX, SIDE_PX)),
    )
    ImageDraw.Draw(cover).ellipse((6, 6, SIDE_PX - 7, SIDE_PX - 7), fill=255)
    draw_inside(ImageDraw.Draw(image))
    image.putalpha(cover)
    return image


def spots(drawing):
    for x, y in np.random.default_rng(0).integers(12, SIDE_PX - 12, (40, 2)):
        drawing.ellipse((int(x), int(y), int(x) + 7, int(y) + 7), fill="black")


def one_spot(drawing):
    drawing.ellipse((40, 40, 55, 55), fill="black")


def test_a_subject_is_a_copy_of_itself_if_a_turn_would_move_its_details():
    turned = disc(spots).rotate(12, Image.Resampling.BICUBIC)
    assert judge_copy(disc(spots), turned) is CopyVerdict.COPIED


def test_other_details_are_no_copy():
    assert judge_copy(disc(spots), disc(one_spot)) is CopyVerdict.DIFFERENT


@pytest.fixture(scope="module")
def copies():
    return CopyBenchmark(sample_subjects())


def test_every_subject_is_pasted_once_and_seen_from_everywhere(copies):
    cases = copies.cases(4)
    assert len({case.name for case in cases}) == 4 * (len(VIEWS) + 1)
    for code in {case.rendering.code for case in cases}:
        kinds = [case.kind for case in cases if case.rendering.code == code]
        assert sorted(kinds) == sorted(
            [CopyKind.PASTED, CopyKind.SAME, *2 * [CopyKind.SIDE, CopyKind.UPRIGHT]]
        )


@pytest.mark.thorough
def test_pastes_are_found_and_views_from_a_side_pass(copies, tmp_path):
    wanted = {CopyKind.PASTED, CopyKind.SIDE}
    cases = [case for case in copies.cases(3) if case.kind in wanted]
    results = Results(tmp_path)
    list(draw(copies, cases, CopyDrawer(copies), results=results))
    rows = list(score(copies, cases, results, Networks()))
    found = {kind: [] for kind in wanted}
    for row in rows:
        found[row.case.kind].append(row.scores["copied"]["drawn"])
    assert np.mean(found[CopyKind.PASTED]) > 0.6
    assert not any(found[CopyKind.SIDE])


def test_without_photographs_there_is_no_verdict(edit_evidence):
    assert METRICS.get("copied").score(edit_evidence) is None
    assert METRICS.get("copy-unclear").score(edit_evidence) is None
