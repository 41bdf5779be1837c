import pytest
import torch

from swiftpie.errors import ConfigError
from swiftpie_world.accessories import NAMES, open_wardrobe, wear
from swiftpie_world.frames import draw_frames
from swiftpie_world.subjects import Subjects


@pytest.fixture(scope="module")
def wardrobe(subjects):
    return open_wardrobe(subjects.sprite)


@pytest.fixture
def put_on(frames, turned, wardrobe):
    def put(name, layout):
        (piece,) = wear(frames, turned.height, layout, [name] * len(frames), wardrobe)
        assert piece.rows == list(range(len(frames)))
        return piece

    return put


def picture_of(piece):
    return draw_frames(piece.turned.frame, piece.layout, size_px=64)


def middle(piece):
    """Return x of what is seen of each accessory, as a share of the picture."""
    alpha = picture_of(piece)[:, 3].sum(dim=1)
    return (alpha * torch.linspace(0, 1, 64)).sum(dim=1) / alpha.sum(dim=1)


def test_a_pack_without_a_sprite_is_refused(subjects):
    kept = [row for row, code in enumerate(subjects.codes) if code != "1f388"]
    fewer = Subjects(
        subjects.tiles[kept],
        *(tuple(each[row] for row in kept) for each in (subjects.codes, subjects.names)),
        tuple(subjects.synonyms[row] for row in kept),
        subjects.held_out[kept],
    )
    with pytest.raises(ConfigError, match="1f388"):
        open_wardrobe(fewer.sprite)


def test_nothing_is_worn_without_an_accessory(frames, turned, make_layout, wardrobe):
    assert wear(frames, turned.height, make_layout(), [None] * len(frames), wardrobe) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "pose", [(0.0, 0.0, 0.0, 0.0), (0.5, 0.3, 0.0, 0.0), (0.0, 0.0, 0.3, -0.4)]
)
def test_accessories_are_seen_on_all_subjects(put_on, make_layout, name, pose):
    shown = picture_of(put_on(name, make_layout(x=0.45, pose=pose)))
    assert shown.isfinite().all()
    assert shown.min() >= 0
    assert shown.max() <= 1.001
    assert (shown[:, 3].mean(dim=(1, 2)) > 0.002).all()


def test_each_row_wears_its_own(frames, turned, make_layout, wardrobe, put_on):
    kinds = ["crown", None, "scarf", "backpack", "balloon", "glasses"]
    layout = make_layout()
    pieces = wear(frames, turned.height, layout, kinds, wardrobe)
    assert [(piece.rows, piece.is_behind) for piece in pieces] == [
        ([3], True),
        ([2], False),
        ([0, 4], False),
        ([5], False),
    ]
    for piece in pieces:
        for place, row in enumerate(piece.rows):
            alone = put_on(kinds[row], layout)
            assert torch.allclose(piece.turned.frame[place], alone.turned.frame[row], atol=1e-5)
            assert torch.allclose(piece.layout.centre[place], alone.layout.centre[row], atol=1e-5)


@pytest.mark.parametrize("name", ["glasses", "bow"])
def test_what_is_worn_in_front_turns_to_where_the_subject_faces(put_on, make_layout, name):
    left, right = (middle(put_on(name, make_layout(pose=(yaw, 0, 0, 0)))) for yaw in (-0.5, 0.5))
    assert (right - left > 0.02).all()


def test_backpacks_are_on_the_side_away_from_the_face(put_on, make_layout):
    layouts = [make_layout(pose=(yaw, 0.0, 0.0, 0.0)) for yaw in (-0.5, 0.5)]
    left, right = (middle(put_on("backpack", layout)) for layout in layouts)
    assert (left - right > 0.1).all()


def test_hats_are_on_top_and_lean_with_a_bend(put_on, make_layout):
    still = put_on("top hat", make_layout()).layout
    bent = put_on("top hat", make_layout(pose=(0.0, 0.0, 0.0, 0.3))).layout
    assert (still.centre[:, 1] < 0.42).all()
    assert torch.allclose(still.rotation, torch.zeros(6), atol=1e-3)
    assert (bent.rotation > 0.2).all()
    assert (bent.centre[:, 0] > still.centre[:, 0] + 0.02).all()


@pytest.mark.parametrize("name", ["crown", "glasses", "scarf", "flower", "backpack"])
def test_what_is_worn_is_mirrored_with_its_wearer(put_on, make_layout, name):
    plain, mirrored = (picture_of(put_on(name, make_layout(flip=flip))) for flip in (0.0, 1.0))
    assert torch.allclose(plain, mirrored.flip(3), atol=1e-3)


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("name", ["balloon", "flag"])
def test_things_are_held_towards_the_middle_of_the_picture(put_on, make_layout, name, flip):
    assert (middle(put_on(name, make_layout(x=0.3, flip=flip))) > 0.35).all()
    assert (middle(put_on(name, make_layout(x=0.7, flip=flip))) < 0.65).all()


def test_wearing_a_turned_layout_keeps_the_accessory_in_place(put_on, make_layout):
    upright = put_on("crown", make_layout()).layout
    turned = put_on("crown", make_layout(rotation=0.3)).layout
    cos, sin = torch.cos(torch.tensor(0.3)), torch.sin(torch.tensor(0.3))
    x, y = (upright.centre - 0.5).unbind(1)
    expected = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=1) + 0.5
    assert torch.allclose(turned.centre, expected, atol=1e-5)
