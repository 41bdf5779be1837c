import pytest
import torch

from swiftpie.errors import ConfigError
from swiftpie.geometry import relief
from swiftpie.geometry.layout import Layout
from swiftpie_world.accessories import NAMES, open_wardrobe, wear
from swiftpie_world.frames import draw_frames, pose_subjects
from swiftpie_world.subjects import Subjects

SHOWN = ("1f439", "1f916", "1f980", "1f995", "1f3e1", "1f687")
COUNT = len(SHOWN)


@pytest.fixture(scope="module")
def wardrobe(subjects):
    return open_wardrobe(subjects.sprite)


@pytest.fixture(scope="module")
def put_on(subjects, wardrobe):
    """Dresses a face, a robot, two animals, a house and a train."""
    still = torch.zeros(COUNT)
    tiles = subjects.tiles[[subjects.index(code) for code in SHOWN]]
    frames = pose_subjects(tiles, rotation=still, flip=still, hue=still)
    height = relief.height(frames[:, 3:])

    def put(names, *, rotation=0.0, flip=0.0):
        centre, pose = torch.full((COUNT, 2), 0.5), torch.zeros(COUNT, 4)
        layout = Layout(centre, still + 0.5, still + rotation, still + flip, pose)
        return wear(frames, height, layout, names, wardrobe)

    return put


def test_a_pack_without_a_sprite_is_refused(subjects):
    kept = [row for row, code in enumerate(subjects.codes) if code != "1f388"]
    texts = (subjects.codes, subjects.names, subjects.synonyms)
    named = (tuple(each[row] for row in kept) for each in texts)
    with pytest.raises(ConfigError, match="1f388"):
        open_wardrobe(Subjects(subjects.tiles[kept], *named, subjects.held_out[kept]).sprite)


def test_each_row_wears_its_own(put_on):
    assert put_on([None] * COUNT) == []
    kinds = ["crown", None, "scarf", "backpack", "balloon", "glasses"]
    pieces = put_on(kinds)
    found = [(piece.rows, piece.is_behind) for piece in pieces]
    assert found == [([3], True), ([2], False), ([0, 4], False), ([5], False)]
    for piece in pieces:
        for place, row in enumerate(piece.rows):
            (alone,) = put_on([kinds[row]] * COUNT)
            assert torch.allclose(piece.turned.frame[place], alone.turned.frame[row], atol=1e-5)
            assert torch.allclose(piece.layout.centre[place], alone.layout.centre[row], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_worn_is_seen_on_all_subjects_and_mirrored_with_them(put_on, name):
    (plain,), (mirrored,) = (put_on([name] * COUNT, flip=flip) for flip in (0.0, 1.0))
    shown, other = (draw_frames(p.turned.frame, p.layout, size_px=64) for p in (plain, mirrored))
    assert shown.min() >= 0
    assert shown.max() <= 1.001
    assert (shown[:, 3].mean(dim=(1, 2)) > 0.002).all()
    if name not in {"balloon", "flag"}:  # held towards the middle of the picture
        assert torch.allclose(shown, other.flip(3), atol=1e-3)


def test_what_is_worn_turns_with_its_wearer(put_on):
    (upright,), (turned,) = (put_on(["crown"] * COUNT, rotation=angle) for angle in (0.0, 0.3))
    cos, sin = torch.cos(torch.tensor(0.3)), torch.sin(torch.tensor(0.3))
    x, y = (upright.layout.centre - 0.5).unbind(1)
    expected = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=1) + 0.5
    assert torch.allclose(turned.layout.centre, expected, atol=1e-5)
