"""Cases of the search for subjects have known answers, and strangers have none."""

import numpy as np
import pytest
from PIL import Image

from swiftpie.errors import InputError
from swiftpie_lab.evaluation.benchmarks.finding import FindingBenchmark, FindingKind


@pytest.fixture
def folder(tmp_path):
    """Three subjects, two photographs each: a disc of their own colour on another ground."""
    rows, columns = np.mgrid[:96, :96]
    is_disc = (rows - 48) ** 2 + (columns - 48) ** 2 < 30**2
    for name, colour in (("mug", (200, 30, 30)), ("toy", (30, 160, 40)), ("toy2", (40, 40, 200))):
        (tmp_path / name).mkdir()
        for number, ground in enumerate((240, 90)):
            pixels = np.full((96, 96, 3), ground, np.uint8)
            pixels[is_disc] = colour
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_a_longer_list_starts_with_the_shorter_one(subjects, folder):
    benchmark = FindingBenchmark(subjects, folder)
    longer, shorter = benchmark.cases(4), benchmark.cases(2)
    assert [case for case in longer if case in shorter] == shorter
    assert len({case.name for case in longer}) == len(longer) == 4 * len(FindingKind)
    strangers = [case for case in longer if case.kind is FindingKind.STRANGER]
    assert all(case.photo.split("/")[0][:3] != case.reference[:3] for case in strangers)


def test_the_mask_of_a_cut_out_beside_another_covers_it_alone(subjects, folder):
    benchmark = FindingBenchmark(subjects, folder)
    cases = benchmark.cases(1)
    (case,) = (case for case in cases if case.kind is FindingKind.BESIDE)
    scene = benchmark.scene(case)
    solid = np.asarray(scene.mask) > 250
    assert solid.mean() > 0.02
    seen = np.asarray(scene.picture)[solid].astype(int)
    assert np.abs(seen - (200, 30, 30)).max(axis=1).mean() < 20
    (stranger,) = (case for case in cases if case.kind is FindingKind.STRANGER)
    assert benchmark.scene(stranger).mask is None


def test_a_folder_without_pairs_of_photographs_is_refused(subjects, tmp_path):
    with pytest.raises(InputError, match="two photographs"):
        FindingBenchmark(subjects, tmp_path).cases(1)
