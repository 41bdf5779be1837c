from importlib.resources import as_file, files

import pytest
import torch
from PIL import Image

from swiftpie.errors import ConfigError
from swiftpie.evaluation.photos.draw import Lost, check_scenes, draw_photos, draw_sprites
from swiftpie.evaluation.photos.folder import PhotoSubject

SCENES = ["beach", "snow"]


@pytest.fixture(scope="module")
def dahlia():
    with as_file(files("swiftpie") / "assets" / "photos" / "dahlia.jpg") as path:
        yield PhotoSubject("dahlia", path, None)


@pytest.fixture(scope="module")
def embedder(panel):
    return panel.judges.embedder


def test_a_photograph_gives_a_picture_a_scene_that_looks_like_it(session, embedder, dahlia):
    portrait = next(draw_photos(session, embedder, [dahlia], scenes=SCENES, seed=0))
    assert len(portrait.pictures) == len(portrait.found) == 2
    assert portrait.pictures[0] != portrait.pictures[1]
    assert float((portrait.found @ portrait.wanted.T).mean()) > 0.4
    torch.testing.assert_close(portrait.found.norm(dim=1), torch.ones(2))
    assert portrait.cutout.getpixel((0, 0)) == (255, 255, 255)


def test_a_photograph_without_a_subject_is_left_out_and_told(session, embedder, tmp_path, dahlia):
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "grey.png")
    grey = PhotoSubject("grey", tmp_path / "grey.png", None)
    lost, found = draw_photos(session, embedder, [grey, dahlia], scenes=["snow"], seed=0)
    assert isinstance(lost, Lost)
    assert "background" in lost.reason
    assert found.name == "dahlia"


def test_sprites_are_held_out_and_as_many_as_there_are(session, embedder, benchmark):
    portraits = list(draw_sprites(session, embedder, benchmark, num_subjects=2, scenes=["snow"]))
    assert [one.name for one in portraits] == [case.subject for case in benchmark.cases(2)]
    for one in portraits:
        assert float(one.found @ one.wanted.T) > 0.4


def test_unknown_scenes_are_refused():
    check_scenes(SCENES)
    with pytest.raises(ConfigError, match=r"no scene 'moon'.*beach"):
        check_scenes(["beach", "moon"])
