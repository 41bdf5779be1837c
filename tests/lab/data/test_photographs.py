import pytest
import torch
from PIL import Image

from swiftpie_lab.data.photographs import (
    MAX_TEXT_BYTES,
    Augmentation,
    PhotoViews,
    augment,
    caption_of,
    list_folder,
    load_photos,
    open_photos,
    words_of,
)
from tests.lab.data.photos import make_folder, photo

SIDE = 64
STILL = Augmentation(flip=0, rotation_deg=0, smallest=1, largest=1, jitter=0, halo=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("photos"))


def views(folder, **changes):
    return PhotoViews(open_photos(folder, size_px=SIDE), **changes)


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def nearest(pictures, wanted):
    return min(pictures, key=lambda number: float((pictures[number] - wanted).abs().mean()))


def test_a_batch_follows_from_its_number_in_any_order(folder):
    first, second = views(folder), views(folder)
    wanted = [first.batch(3, draw) for draw in range(4)]
    for draw in (2, 0, 3, 1):
        assert_same(second.batch(3, draw), wanted[draw])
    assert not torch.equal(wanted[0].reference, wanted[1].reference)


def test_references_of_another_view_are_another_photo(folder):
    same = views(folder, augmentation=STILL, cross_view=0.0)
    other = views(folder, augmentation=STILL, cross_view=1.0)
    photos = same.photos
    tiles, frames = (
        {n: photos.get(n)[part][:3].float() / 127.5 - 1 for n in range(6)} for part in (0, 1)
    )

    def pairs(chosen):
        batches = [chosen.batch(1, draw) for draw in range(12)]
        return [
            (nearest(tiles, batch.pixels[0]), nearest(frames, batch.reference[0]))
            for batch in batches
        ]

    assert all(target == source for target, source in pairs(same))
    crossing = pairs(other)
    assert all(target != source for target, source in crossing)
    subjects = [[photos.entries[n].subject for n in pair] for pair in crossing]
    assert all(first == second for first, second in subjects)
    assert len({first for first, _ in subjects}) == 2


def test_augmentation_moves_colours_and_places_but_keeps_the_mask_true():
    pixels = torch.zeros(1, 3, SIDE, SIDE)
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 12:52, 20:40] = 1
    pixels[:, 0] = 0.8 * mask[:, 0]
    background = torch.full_like(pixels, -0.5)
    changed = [
        augment(
            pixels,
            mask,
            background,
            settings=Augmentation(halo=1.0),
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in range(4)
    ]
    for picture, region in changed:
        assert (picture * (region == 0)).abs().max() == 0
        assert region.sum() > 0.3 * mask.sum()
    assert not torch.equal(changed[0][0], changed[1][0])
    still = augment(
        pixels, mask, background, settings=STILL, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(still[0], pixels, atol=1e-5, rtol=0)


def test_a_subject_without_a_mask_is_cut_out(tmp_path):
    (tmp_path / "cup").mkdir()
    picture, mask = photo((210, 40, 40))
    picture.save(tmp_path / "cup" / "plain.png")
    clear = picture.convert("RGBA")
    clear.putalpha(mask)
    clear.save(tmp_path / "cup" / "clear.png")
    photos = open_photos(tmp_path, size_px=SIDE)
    found, given = (photos.get(n).tile[3].float() for n in (1, 0))
    assert (found - given).abs().mean() < 10


def test_a_broken_photo_is_named_and_left_out(tmp_path, caplog):
    folder = make_folder(tmp_path / "photos", views=2)
    (folder / "vase2" / "0.png").write_bytes(b"\x89PNG broken")
    chosen = views(folder)
    names = {name for draw in range(6) for name in chosen.batch(2, draw).names}
    assert names == {"red cup", "vase"}
    assert list(chosen.photos.skipped) == ["vase2/0.png"]
    assert caplog.text.count("vase2/0.png' is left out") == 1


def test_each_photo_is_on_one_side_of_the_split_whatever_its_name(tmp_path):
    for number in range(30):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number:02}.png")
    sides = {side: load_photos(tmp_path, side) for side in ("train", "held_out")}
    levels = {side: {int(photo[0, 0, 0]) for photo in photos} for side, photos in sides.items()}
    assert levels["train"] | levels["held_out"] == set(range(30))
    assert not levels["train"] & levels["held_out"]
    assert 1 <= len(levels["held_out"]) <= 12
    kept = tmp_path / f"{min(levels['held_out']):02}.png"
    kept.rename(tmp_path / "other-name.png")
    assert len(load_photos(tmp_path, "held_out")) == len(levels["held_out"])


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
