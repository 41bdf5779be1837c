import json
from dataclasses import replace
from importlib.resources import as_file, files

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from swiftpie.errors import ImageError, InputError
from swiftpie.imageio.decoding import load_image
from swiftpie_lab.evaluation.benchmarks.photos import (
    PhotoSubject,
    PhotoWithoutSubject,
    Portrait,
    compare,
    describe,
    draw_photos,
    draw_sprites,
    find_subjects,
    summarise,
)
from swiftpie_lab.evaluation.benchmarks.sprites import SpritesInPlaces
from swiftpie_lab.evaluation.portraits import SessionPortraitist
from swiftpie_lab.evaluation.run import maker_of

PICTURE = Image.new("RGB", (4, 4))
PLACES_DRAWN = ["beach", "desert"]


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


@pytest.fixture(scope="module")
def dahlia():
    with as_file(files("swiftpie") / "assets" / "photos" / "dahlia.jpg") as path:
        yield PhotoSubject("dahlia", path, None)


@pytest.fixture(scope="module")
def embedder(networks):
    return networks.panel.embedder


def test_a_photograph_gives_a_picture_a_place_that_looks_like_it(session, embedder, dahlia):
    portrait = next(
        draw_photos(SessionPortraitist(session), embedder, [dahlia], places=PLACES_DRAWN, seed=0)
    )
    assert len(portrait.pictures) == len(portrait.seen) == 2
    assert portrait.pictures[0] != portrait.pictures[1]
    assert float((portrait.seen @ portrait.wanted.T).mean()) > 0.4
    torch.testing.assert_close(portrait.seen.norm(dim=1), torch.ones(2))
    assert portrait.cutout.getpixel((0, 0)) == (255, 255, 255)


def test_a_photograph_without_a_subject_is_left_out_and_told(session, embedder, tmp_path, dahlia):
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "grey.png")
    grey = PhotoSubject("grey", tmp_path / "grey.png", None)
    left_out, found = draw_photos(
        SessionPortraitist(session), embedder, [grey, dahlia], places=["desert"], seed=0
    )
    assert isinstance(left_out, PhotoWithoutSubject)
    assert "background" in left_out.reason
    assert found.name == "dahlia"


def test_doubtful_cutouts_are_named_with_their_confidence(session):
    sure, doubtful, masked = (
        replace(one, confidence=confidence)
        for one, confidence in zip(portraits(0.6), (0.97, 0.41, None), strict=True)
    )
    report = summarise(
        maker_of(session), [sure, doubtful, masked], portraits(0.8), places=PLACES_DRAWN, seed=0
    )
    assert [(one.name, one.confidence) for one in report.doubtful] == [(doubtful.name, 0.41)]
    assert json.loads(report.to_json())["doubtful"] == [{"name": doubtful.name, "confidence": 0.41}]


def test_the_confidence_is_that_of_cutouts_that_were_made_here(session, embedder, dahlia, tmp_path):
    mask = tmp_path / "mask.png"
    Image.new("L", load_image(dahlia.photo).size, 255).save(mask)
    given = replace(dahlia, mask=mask)
    found, known = draw_photos(
        SessionPortraitist(session), embedder, [dahlia, given], places=["desert"], seed=0
    )
    assert found.confidence > 0.9
    assert known.confidence is None


def test_sprites_are_held_out_and_as_many_as_there_are(session, embedder, subjects):
    placed = SpritesInPlaces(subjects)
    portraits = list(
        draw_sprites(
            SessionPortraitist(session), embedder, placed, num_subjects=2, places=["desert"]
        )
    )
    rows = placed.rows(2, ["desert"])
    assert [one.name for one in portraits] == [row[0].subject for row in rows]
    for one in portraits:
        assert float(one.seen @ one.wanted.T) > 0.4


def portraits(similarity):
    """Three subjects at right angles, each drawn with this cosine to its own reference."""
    rest = (1 - similarity**2) ** 0.5
    basis = torch.eye(6)
    return [
        Portrait(
            name=str(number),
            reference=PICTURE,
            cutout=PICTURE,
            pictures=(PICTURE,) * 2,
            wanted=basis[number : number + 1],
            seen=(similarity * basis[number] + rest * basis[number + 3]).expand(2, -1),
        )
        for number in range(3)
    ]


def test_a_share_is_what_photographs_keep_of_what_sprites_do():
    found = compare(portraits(0.6), portraits(0.8))
    assert found.photos.same.mean == pytest.approx(0.6)
    assert found.sprites.same.mean == pytest.approx(0.8)
    assert found.photos.other.mean == pytest.approx(0.0)
    for share in (found.share, found.share_above_bound):
        assert (share.mean, share.low, share.high) == pytest.approx((0.75,) * 3)


def test_what_all_subjects_share_does_not_count_above_the_bound():
    common = torch.ones(1, 6)
    shifted = [
        Portrait(
            **{**vars(one), "wanted": F.normalize(one.wanted + common)}
            | {"seen": F.normalize(one.seen + common)}
        )
        for one in portraits(0.6)
    ]
    found = compare(shifted, portraits(0.8))
    assert found.share.mean > 0.9
    assert found.share_above_bound.mean < 0.6


def test_one_subject_has_no_bound():
    found = compare(portraits(0.6)[:1], portraits(0.8))
    assert found.photos.other is None
    assert found.share_above_bound is None
    assert len(describe(found)) == 3


def test_the_report_names_what_was_left_out(session):
    drawn = [PhotoWithoutSubject("grey", "no subject"), *portraits(0.6)]
    report = summarise(maker_of(session), drawn, portraits(0.8), places=["desert"], seed=3)
    stored = json.loads(report.to_json())
    assert stored["left_out"] == [{"name": "grey", "reason": "no subject"}]
    assert stored["subjects"] == ["0", "1", "2"]
    assert stored["num_steps"] == 1
    with pytest.raises(ImageError, match="any of 1 photographs"):
        summarise(maker_of(session), drawn[:1], portraits(0.8), places=["desert"], seed=3)
