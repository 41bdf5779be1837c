"""The pieces of the subject search do what they are named for."""

import numpy as np
import pytest

from swiftpie import cutout


def test_lab_of_known_colours():
    rgb = np.array([[[1, 1, 1], [0, 0, 0], [1, 0, 0]]], dtype=np.float32)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]
    assert np.allclose(cutout.to_lab(rgb)[0], expected, atol=0.1)


def test_connected_parts_follow_a_winding_path_and_not_corners():
    picture = ["#####.", "....#.", "###.#.", "#.###.", ".....#"]
    solid = np.array([[c == "#" for c in row] for row in picture])
    labels = cutout.connected_parts(solid)
    assert len(np.unique(labels[solid])) == 2
    assert (labels[~solid] == 0).all()
    assert labels[0, 0] == labels[3, 0] != labels[4, 5]


def test_close_bridges_a_narrow_gap_and_fills_what_it_encloses():
    solid = np.zeros((40, 40), dtype=bool)
    solid[5:35, 5:35] = True
    solid[17:23, 17:23] = False
    solid[19:21, 20:] = False
    assert cutout.close(solid, radius=2)[20, 20]
    assert not cutout.close(solid, radius=0)[20, 20]
    assert not cutout.close(solid, radius=2)[:5].any()


def test_blur_keeps_constants_and_spreads_a_point_evenly():
    assert np.allclose(cutout.blur(np.full((9, 12), 0.3, np.float32), radius=3), 0.3)
    point = np.zeros((15, 15), np.float32)
    point[7, 7] = 1
    spread = cutout.blur(point, radius=2)
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert np.allclose(spread, spread[::-1])
    assert np.allclose(spread, spread.T)


def test_otsu_splits_two_groups():
    field = np.concatenate([np.full(300, 0.1), np.full(50, 0.8)]).astype(np.float32)[None]
    assert 0.1 < cutout.otsu(field) < 0.8


def test_cut_removes_specks_and_keeps_the_body():
    truth = np.zeros((40, 40), dtype=bool)
    truth[10:30, 12:28] = True
    odds = np.where(truth, 1.5, -1.5).astype(np.float32)
    odds[5, 5], odds[20, 20] = 1.5, -1.5
    share = cutout.cut(odds, np.zeros((40, 40, 3), np.float32))
    assert share[5, 5] < 0.5 < share[20, 20]
    assert ((share > 0.5) == truth).mean() > 0.98


def test_superpixels_are_many_small_and_numbered_without_gaps():
    lab = np.random.default_rng(0).normal(50, 5, (60, 90, 3)).astype(np.float32)
    labels = cutout.superpixels(lab)
    sizes = np.bincount(labels.ravel())
    assert 150 < len(sizes) < 450
    assert sizes.min() > 0
    assert sizes.max() < 10 * sizes.mean()
