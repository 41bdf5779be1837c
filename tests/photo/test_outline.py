import numpy as np
from PIL import Image

from swiftpie.photo import outline


def test_lab_of_known_colours():
    rgb = np.array([[[1, 1, 1], [0, 0, 0], [1, 0, 0]]], dtype=np.float32)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]
    assert np.allclose(outline.to_lab(rgb)[0], expected, atol=0.1)


def test_connected_parts_follow_a_winding_path_and_not_corners():
    picture = ["#####.", "....#.", "###.#.", "#.###.", ".....#"]
    solid = np.array([[c == "#" for c in row] for row in picture])
    labels = outline.connected_parts(solid)
    assert len(np.unique(labels[solid])) == 2
    assert (labels[~solid] == 0).all()
    assert labels[0, 0] == labels[3, 0] != labels[4, 5]


def test_cut_removes_specks_and_keeps_the_body():
    truth = np.zeros((40, 40), dtype=bool)
    truth[10:30, 12:28] = True
    odds = np.where(truth, 1.5, -1.5).astype(np.float32)
    odds[5, 5], odds[20, 20] = 1.5, -1.5
    share = outline.cut(odds, outline.edge_costs(np.zeros((40, 40, 3), np.float32)))
    assert share[5, 5] < 0.5 < share[20, 20]
    assert ((share > 0.5) == truth).mean() > 0.98


def test_small_holes_are_filled_and_wide_openings_stay():
    solid = np.zeros((40, 40), dtype=bool)
    solid[5:35, 5:35] = True
    solid[8:10, 8:10] = solid[15:30, 15:30] = False
    filled = outline.main_parts(solid.astype(np.float32))
    assert filled[8, 8] == 1
    assert filled[20, 20] == 0
    assert filled[0, 0] == 0


def guess(low, high, side=48):
    logits = np.full((side, side), -2.0, np.float32)
    logits[low:high, low:high] = 2.0
    return logits


def test_colours_correct_a_guess_that_misses_a_part():
    truth = np.zeros((48, 48), dtype=bool)
    truth[10:38, 10:38] = True
    rgb = np.where(truth[..., None], [0.8, 0.2, 0.1], [0.2, 0.4, 0.5]).astype(np.float32)
    share = outline.sharpen(guess(15, 38), rgb)
    assert ((guess(15, 38) > 0) != truth).sum() > 10 * ((share > 0.5) != truth).sum()


def test_a_flat_picture_leaves_the_guess_as_it_is():
    share = outline.sharpen(guess(12, 36), np.full((48, 48, 3), 0.5, np.float32))
    assert ((share > 0.5) == (guess(12, 36) > 0)).mean() > 0.98


def test_nothing_guessed_stays_nothing():
    share = outline.sharpen(np.full((20, 30), -9.0, np.float32), np.zeros((20, 30, 3), np.float32))
    assert share.max() < 0.5


def test_guesses_that_agree_are_what_they_agree_on():
    views = [(0, 0, 80, 60), (20, 10, 60, 50), (30, 20, 50, 40)]
    mean = outline.averaged(np.full((3, 16, 16), 2.5, np.float32), views)
    np.testing.assert_allclose(mean, 2.5, rtol=1e-6)


def ring_with_a_bay(ground):
    """Share and colours of a ring with a hole, whose left side opens to the ground as well."""
    apart = np.maximum(*np.abs(np.mgrid[-1:1:60j, -1:1:60j]))
    share = (apart < 0.8).astype(np.float32)
    lab = np.zeros((60, 60, 3), np.float32)
    lab[:] = ground
    lab[(apart < 0.8) & (apart > 0.4)] = (40, 50, 20)
    lab[22:38, 2:15] = ground  # of the colour of the ground, and beside it
    return share, lab


def test_openings_do_not_depend_on_which_side_is_up():
    share, lab = ring_with_a_bay((60, 0, 0))
    opened = outline.openings(share, lab)
    assert opened[30, 30]
    assert not opened[30, :15].any()  # it reaches the outside
    for axes in ((0,), (1,), (0, 1)):
        turned = outline.openings(np.flip(share, axes), np.flip(lab, axes))
        assert np.array_equal(turned, np.flip(opened, axes))


def test_specks_beside_a_body_are_dropped_and_gaps_at_the_border_stay():
    share = np.zeros((40, 40), np.float32)
    share[5:, 5:30] = 0.9
    share[2, 36], share[38:, 14:17] = 0.9, 0  # a speck, and a gap that reaches the border
    kept = outline.main_parts(share)
    assert kept[2, 36] == 0
    assert kept[39, 15] == kept[38, 15] == 0
    assert kept[20, 20] == np.float32(0.9)


def test_what_is_named_as_an_opening_is_one_on_any_ground():
    share, lab = ring_with_a_bay((99, 0, 0))
    seeds = np.zeros_like(share)
    seeds[30, 30] = -1
    opened = outline.openings(share, lab, seeds)
    assert opened[20:40, 20:40].all()
    assert opened.sum() < 600  # and nothing of the ring, and no bay


def test_nothing_opens_on_ground_as_white_as_paper():
    assert not outline.openings(*ring_with_a_bay((99, 0, 0))).any()


def test_an_outline_lies_where_colours_change():
    odds = np.zeros((40, 40), np.float32)
    odds[:, :8], odds[:, 30:] = 2, -2
    lab = np.zeros((40, 40, 3), np.float32)
    lab[:, :22] = 60
    share = outline.cut(odds, outline.edge_costs(lab)) > 0.5
    assert share[:, :21].mean() > 0.95
    assert share[:, 23:].mean() < 0.05


def test_what_reaches_the_border_is_whole_there():
    mask = outline.outlined(Image.new("RGB", (60, 40), "grey"), np.full((16, 16), 9, np.float32))
    assert mask.shape == (1, 1, 40, 60)
    assert mask.min() > 0.9
