"""Folders of photos are listed by subject, with the captions that lie beside them."""

from swiftpie.data.photo_listing import caption_of, list_folder, words_of
from tests.data.real.photos import make_folder, photo


def test_subjects_photos_and_masks_are_found(tmp_path):
    entries = list_folder(make_folder(tmp_path)).entries
    assert [entry.name for entry in entries][:2] == ["red_cup/0.png", "red_cup/1.png"]
    assert {entry.subject for entry in entries} == {"red_cup", "vase2"}
    assert len(entries) == 6
    assert all(entry.mask is not None for entry in entries)


def test_photos_right_in_the_folder_show_one_subject(tmp_path):
    folder = tmp_path / "my_dog"
    folder.mkdir()
    photo((200, 0, 0))[0].save(folder / "a.jpg")
    (entry,) = list_folder(folder).entries
    assert (entry.subject, caption_of(entry)) == ("my_dog", "a photo of a my dog")


def test_captions_come_from_texts_then_from_the_list_then_from_the_name(tmp_path):
    folder = make_folder(tmp_path)
    (folder / "red_cup" / "0.txt").write_text("a cup\n on a table")
    (folder / "captions.jsonl").write_text(
        '{"file": "red_cup/1.png", "caption": "a cup at sea"}\n'
        '{"file": "red_cup/0.png", "caption": "not this"}\nnonsense\n'
    )
    listing = list_folder(folder)
    captions = [caption_of(entry) for entry in listing.entries if entry.subject == "red_cup"]
    assert captions == ["a cup on a table", "a cup at sea", "a photo of a red cup"]
    assert list(listing.skipped) == ["captions.jsonl:3"]


def test_words_of_a_name_have_no_signs_or_numbers():
    assert words_of("red_vase-2") == "red vase"
    assert words_of("007") == "thing"
