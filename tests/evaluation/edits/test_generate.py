import shutil

import pytest

from swiftpie.errors import InputError
from swiftpie.evaluation.edits.editor import SourceEditor, TargetEditor
from swiftpie.evaluation.edits.folder import EditFolder
from swiftpie.evaluation.edits.generate import generate
from tests.evaluation.edits.conftest import NUM_CASES


@pytest.fixture
def copy(drawn, tmp_path):
    shutil.copytree(drawn.root, tmp_path / "copy")
    return EditFolder(tmp_path / "copy")


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder.root / "images").iterdir()}


def again(edits, folder, *, editor=None, count=NUM_CASES, **options):
    options = {"baseline": SourceEditor(), **options}
    return list(
        generate(editor or TargetEditor(), edits, edits.cases(count), folder=folder, **options)
    )


def test_every_case_has_its_pictures_and_a_line_in_the_manifest(drawn, edits):
    cases = edits.cases(NUM_CASES)
    assert len((drawn.root / "manifest.jsonl").read_text().splitlines()) == NUM_CASES
    for case in cases:
        assert drawn.read_facts(case) == {}
        for kind in ("source", "target", "mask", "edit", "edit-mask", "naive"):
            assert drawn.has(case, kind), kind
        assert drawn.has(case, "reference") == case.has_reference


def test_a_complete_folder_is_left_as_it_is_and_a_longer_list_goes_on(edits, copy):
    before = stamps(copy)
    again(edits, copy, count=NUM_CASES + 1)
    after = stamps(copy)
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before)


def test_a_case_whose_facts_are_missing_is_drawn_again(edits, copy):
    before, case = stamps(copy), edits.cases(2)[1]
    (copy.root / "images" / f"{case.name}.facts.json").write_text("{}")
    again(edits, copy)
    after = stamps(copy)
    assert {name.split(".")[0] for name in before if before[name] != after[name]} == {case.name}


def test_another_editor_needs_another_folder_or_force(edits, copy):
    with pytest.raises(InputError, match="--force"):
        again(edits, copy, editor=SourceEditor())
    before = stamps(copy)
    again(edits, copy, editor=SourceEditor(), force=True)
    after = stamps(copy)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


def test_a_file_in_the_place_of_the_folder_is_refused(edits, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        again(edits, EditFolder(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"
