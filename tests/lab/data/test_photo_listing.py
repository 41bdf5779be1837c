"""Folders of photos are listed by subject, with the captions that lie beside them."""

import pytest

from swiftpie.errors import InputError
from swiftpie_lab.data.photo_listing import (
    MAX_ENCODED_BYTES,
    MAX_TEXT_BYTES,
    caption_of,
    list_folder,
    list_shards,
    words_of,
)
from swiftpie_lab.data.photographs import open_photos
from tests.lab.data.photos import make_folder, make_tar, photo, sample_members


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


def test_subjects_come_from_json_or_from_the_folder(tmp_path):
    members = sample_members("a/1", (200, 0, 0), caption="a red thing")
    members += sample_members("2", (0, 0, 200), subject="vase")
    entries = list_shards(make_tar(tmp_path / "0.tar", members)).entries
    assert [(entry.subject, caption_of(entry)) for entry in entries] == [
        ("vase", "a photo of a vase"),
        ("a", "a red thing"),
    ]


def test_members_are_read_at_their_place(tmp_path):
    for number, colour in enumerate([(200, 0, 0), (0, 0, 200)]):
        make_tar(tmp_path / f"{number}.tar", sample_members("x/1", colour))
    photos = open_photos(tmp_path, size_px=64)
    colours = [photos.get(number).frame[:3].float().mean((1, 2)) for number in range(2)]
    assert [int(colour.argmax()) for colour in colours] == [0, 2]
    assert not photos.cut


def test_what_cannot_be_used_is_named_and_the_rest_is_used(tmp_path):
    members = sample_members("x/good", (200, 0, 0))
    members += [("x/only.txt", b"no picture"), ("loose.png", b"?"), ("x/bad.png", b"no png")]
    whole = make_tar(tmp_path / "0.tar", members).read_bytes()
    (tmp_path / "1.tar").write_bytes(b"\x1f\x8b" + whole)
    photos = open_photos(tmp_path, size_px=64)
    report = photos.check()
    assert set(photos.skipped) == {"1.tar", "0.tar:x/only", "0.tar:loose", "0.tar:x/bad"}
    assert "4 left out" in report
    assert [entry.name for entry in photos.entries] == ["0.tar:x/bad", "0.tar:x/good"]


def test_a_tar_cut_off_in_the_middle_keeps_what_came_before(tmp_path):
    members = sample_members("x/1", (200, 0, 0)) + sample_members("x/2", (0, 0, 200))
    path = make_tar(tmp_path / "0.tar", members)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"x/2.png") + 600])
    photos = open_photos(path, size_px=64)
    photos.check()
    assert "0.tar:x/1" not in photos.skipped
    assert photos.get(0) is not None
    assert "0.tar" in photos.skipped


def test_an_empty_tar_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="no usable photo"):
        open_photos(make_tar(tmp_path / "0.tar", []), size_px=64)


def test_members_over_the_limits_of_size_are_left_out(tmp_path):
    members = [*sample_members("x/1", (200, 0, 0)), *sample_members("x/2", (0, 0, 200))]
    members += [("x/1.txt", bytes(MAX_TEXT_BYTES + 1)), ("x/2.txt", b"y" * MAX_TEXT_BYTES)]
    members += [("x/3.png", bytes(MAX_ENCODED_BYTES + 1))]
    listing = list_shards(make_tar(tmp_path / "0.tar", members))
    assert listing.skipped == dict.fromkeys(("0.tar:x/1.txt", "0.tar:x/3.png"), "it is too large")
    assert [caption_of(entry) for entry in listing.entries] == [
        "a photo of a x",
        "y" * MAX_TEXT_BYTES,
    ]
