import dataclasses

import pytest
from PIL import Image

from swiftpie.errors import InputError
from swiftpie.evaluation.folder import KINDS, OTHER_KINDS, Folder


def filled(root, run, case):
    folder = Folder(root)
    folder.start(run)
    for kind in KINDS:
        folder.write(case, kind, Image.new("RGB", (4, 4)))
    return folder


def test_what_was_written_is_no_longer_missing(tmp_path, run, case):
    folder = Folder(tmp_path / "deep" / "er")
    folder.start(run)
    assert folder.missing(case) == set(KINDS)
    folder.write(case, "truth-mask", Image.new("L", (4, 4), 200))
    assert folder.missing(case) == set(KINDS) - {"truth-mask"}
    assert folder.read(case, "truth-mask").getpixel((0, 0)) == 200


def test_the_same_run_goes_on(tmp_path, run, case):
    folder = filled(tmp_path, run, case)
    folder.start(run)
    assert folder.missing(case) == set()
    assert folder.read_run() == run


def test_another_run_is_refused_unless_forced(tmp_path, run, case):
    folder = filled(tmp_path, run, case)
    other = type(run)(**{**vars(run), "weights": "others"})
    with pytest.raises(InputError, match="--force"):
        folder.start(other)
    assert folder.missing(case) == set()
    folder.start(other, force=True)
    assert folder.missing(case) == set(KINDS)
    assert folder.read_run() == other


def test_pictures_of_unknown_origin_are_refused_and_never_removed(tmp_path, run):
    (tmp_path / "images").mkdir()
    holiday = tmp_path / "images" / "holiday.png"
    holiday.write_bytes(b"dear")
    with pytest.raises(InputError, match="holds pictures"):
        Folder(tmp_path).start(run)
    Folder(tmp_path).start(run, force=True)
    assert holiday.read_bytes() == b"dear"


def test_a_pair_also_needs_the_pictures_of_its_second_subject(tmp_path, run, case):
    folder = filled(tmp_path, run, case)
    pair = dataclasses.replace(case, other_code="1f439")
    assert folder.missing(case) == set()
    assert folder.missing(pair) == set(OTHER_KINDS)
    folder.write(pair, "other-reference", Image.new("RGB", (4, 4)))
    folder.start(run, force=True)
    assert not list((tmp_path / "images").iterdir())


def test_a_damaged_run_file_counts_as_another_run(tmp_path, run, case):
    folder = filled(tmp_path, run, case)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="one run"):
        folder.start(run)


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path, run):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be created"):
        Folder(tmp_path / "file" / "out").start(run)
