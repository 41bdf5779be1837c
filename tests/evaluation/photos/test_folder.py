import pytest
from PIL import Image

from swiftpie.errors import InputError
from swiftpie.evaluation.photos.folder import PhotoSubject, find_subjects


@pytest.fixture
def folder(tmp_path):
    for name in (
        "dog2/b.jpg",
        "dog2/a.png",
        "dog2/a.mask.png",
        "bear_plushie/1.JPG",
        "notes/x.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no picture")
        else:
            Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "loose.jpg").write_bytes(b"")
    return tmp_path


def test_the_first_picture_of_each_folder_by_name_with_its_mask(folder):
    assert find_subjects(folder, limit=9) == [
        PhotoSubject("bear_plushie", folder / "bear_plushie" / "1.JPG", None),
        PhotoSubject("dog2", folder / "dog2" / "a.png", folder / "dog2" / "a.mask.png"),
    ]
    assert len(find_subjects(folder, limit=1)) == 1


def test_prompts_call_a_subject_by_its_folder(folder):
    assert [one.words for one in find_subjects(folder, limit=9)] == ["bear plushie", "dog"]
    assert PhotoSubject("007", folder, None).words == "object"


def test_folders_without_photographs_are_refused(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        find_subjects(tmp_path / "nowhere", limit=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photograph"):
        find_subjects(tmp_path, limit=1)
