from swiftpie_lab.data.photo_listing import MAX_TEXT_BYTES, caption_of, list_folder, words_of
from tests.lab.data.photos import make_folder, photo


def test_subjects_photos_and_masks_are_found(tmp_path):
    entries = list_folder(make_folder(tmp_path))
    assert [entry.name for entry in entries][:2] == ["red_cup/0.png", "red_cup/1.png"]
    assert {entry.subject for entry in entries} == {"red_cup", "vase2"}
    assert len(entries) == 6
    assert all(entry.mask is not None for entry in entries)


def test_photos_right_in_the_folder_show_one_subject(tmp_path):
    folder = tmp_path / "my_dog"
    folder.mkdir()
    photo((200, 0, 0))[0].save(folder / "a.jpg")
    (entry,) = list_folder(folder)
    assert (entry.subject, caption_of(entry)) == ("my_dog", "a photo of a my dog")


def test_captions_come_from_texts_or_from_the_name(tmp_path):
    folder = make_folder(tmp_path)
    (folder / "red_cup" / "0.txt").write_text("a cup\n on a table")
    (folder / "red_cup" / "1.txt").write_bytes(b"y" * (MAX_TEXT_BYTES + 1))
    captions = [caption_of(entry) for entry in list_folder(folder) if entry.subject == "red_cup"]
    assert captions == ["a cup on a table", "y" * MAX_TEXT_BYTES, "a photo of a red cup"]


def test_words_of_a_name_have_no_signs_or_numbers():
    assert words_of("red_vase-2") == "red vase"
    assert words_of("007") == "thing"
