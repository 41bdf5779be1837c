import dataclasses
import shutil

import pytest

from swiftpie.errors import CapabilityError
from swiftpie.evaluation.folder import KINDS, OTHER_KINDS, Folder
from swiftpie.evaluation.generate import generate
from swiftpie.images import to_tensor
from tests.evaluation.conftest import NUM_ATTRIBUTED, NUM_CASES, NUM_PAIRS


@pytest.fixture
def copy(drawn, tmp_path):
    """The drawn cases again, to change."""
    shutil.copytree(drawn.root, tmp_path / "copy")
    return Folder(tmp_path / "copy")


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder.root / "images").iterdir()}


def dealt(benchmark):
    return [*benchmark.cases(NUM_CASES), *benchmark.attributed_cases(NUM_ATTRIBUTED)]


def again(session, benchmark, folder, **options):
    return list(generate(session, benchmark, dealt(benchmark), folder=folder, **options))


def test_every_case_has_every_picture_and_a_line_in_the_manifest(drawn, benchmark):
    cases = dealt(benchmark)
    assert drawn.read_cases() == cases
    assert len(stamps(drawn)) == len(cases) * len(KINDS)


def test_a_pair_has_the_pictures_of_both_subjects(drawn_pairs, pairs):
    assert drawn_pairs.read_cases() == pairs.cases(NUM_PAIRS)
    assert len(stamps(drawn_pairs)) == NUM_PAIRS * (len(KINDS) + len(OTHER_KINDS))
    assert drawn_pairs.read_run().benchmark == "pairs"


def test_the_paste_of_a_pair_shows_both_subjects_in_their_own_places(drawn_pairs, pairs, panel):
    for case in drawn_pairs.read_cases():
        pasted = to_tensor(drawn_pairs.read(case, "paste"))
        truth = pairs.truth(case)
        seen = [panel.nearest(pasted, mask) for mask in (truth.mask, truth.companion_mask)]
        assert tuple(seen) == case.codes


def test_a_complete_folder_is_left_as_it_is(session, benchmark, copy):
    before = stamps(copy)
    assert again(session, benchmark, copy) == dealt(benchmark)
    assert stamps(copy) == before


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_missing_picture_is_drawn_again_and_comes_out_the_same(
    session, benchmark, copy, drawn, kind
):
    case = benchmark.cases(2)[1]
    path, before = copy.picture(case, kind), stamps(copy)
    path.unlink()
    again(session, benchmark, copy)
    after = stamps(copy)
    assert {name for name in before if before[name] != after[name]} == {path.name}
    assert path.read_bytes() == drawn.picture(case, kind).read_bytes()


def test_force_draws_everything_again(session, benchmark, copy):
    before = stamps(copy)
    again(session, benchmark, copy, force=True)
    after = stamps(copy)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


def test_a_stopped_run_has_complete_cases_and_no_manifest(session, benchmark, tmp_path):
    folder = Folder(tmp_path)
    first = next(generate(session, benchmark, benchmark.cases(2), folder=folder))
    assert folder.missing(first) == set()
    assert not (tmp_path / "manifest.jsonl").exists()


def test_a_preset_with_other_noise_is_refused(session, benchmark, tmp_path):
    components = session.components
    preset = dataclasses.replace(components.preset, latent_channels=4)
    other = type(session)(dataclasses.replace(components, preset=preset))
    with pytest.raises(CapabilityError, match=r"\(4, 16, 16\)"):
        next(generate(other, benchmark, benchmark.cases(1), folder=Folder(tmp_path)))
    assert not list(tmp_path.iterdir())
