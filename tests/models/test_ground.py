from pathlib import Path

import pytest
import torch

import swiftpie
from swiftpie.geometry.ground import LEAST
from swiftpie.imageio.decoding import load_image
from swiftpie.mini.scenes import PHOTOGRAPH_PX, scene_library
from swiftpie.models.ground import CAMERA_M, CELLS, FLOOR, box_on_ground, free_middle, placed

FLAT = torch.zeros(3, CELLS, CELLS)  # a horizon at half of the height, ground below, no thing
FLAT[:2] = -1.0
FLAT[:2, CELLS // 2 :] = 1.0


@pytest.mark.parametrize("height_m", [0.6, 1.0, 1.75])
def test_a_camera_held_by_people_sees_a_subject_at_its_usual_height(height_m):
    (left, top, right, foot), doubt = placed(FLAT, (1.0, 2.0), height_m)
    assert not doubt
    assert foot > 0.5
    assert (foot - top) / (foot - 0.5) * CAMERA_M == pytest.approx(height_m, rel=0.01)
    assert (right - left) / (foot - top) == pytest.approx(0.5)


def test_what_lies_is_as_wide_as_it_is_and_less_tall():
    (left, top, right, foot), doubt = placed(FLAT, (1.0, 1.0), 2.0, lies=True)
    assert not doubt
    assert (right - left) / (foot - 0.5) * CAMERA_M == pytest.approx(2.0, rel=0.01)
    assert foot - top < 0.5 * (right - left)


def test_what_is_doubtful_is_said():
    tiny, doubt = placed(FLAT, (1.0, 1.0), 0.03)
    assert tiny[3] - tiny[1] == pytest.approx(LEAST)
    assert "larger" in doubt
    box, doubt = placed(-FLAT.abs(), (3.0, 1.0), 0.6)
    assert min(box) >= 0
    assert max(box) <= 1
    assert "unsure" in doubt


@pytest.mark.parametrize(("beside", "is_sure"), [(-1.9, True), (-2.1, False)])
def test_ground_is_sure_where_its_mean_score_under_the_feet_is_above_zero(beside, is_sure):
    strip = FLAT.clone()
    strip[0, CELLS // 2 :] = beside  # and 1 in a strip that is narrower than the subject
    strip[0, CELLS // 2 :, 4:12] = 1.0
    (*_, foot), doubt = placed(strip, (4.0, 1.0), 0.6)
    assert ("unsure" not in doubt, foot > FLOOR) == (is_sure, is_sure)


def test_a_subject_stands_beside_what_is_far_away():
    full = FLAT.clone()
    full[2, 8:10, 4:10] = 1.0
    (left, *_), doubt = placed(full, (1.0, 1.0), 0.6)
    assert not doubt
    assert left > 10 / CELLS


@pytest.mark.parametrize(
    ("columns", "height_m", "height"),
    [((2, 8), None, 0.4), ((2, 8), 0.1, 0.28), ((4, 15), 1.0, 0.25)],
)
def test_beside_a_thing_seen_from_near_a_subject_is_on_its_line(columns, height_m, height):
    near = -FLAT.abs()  # there is no ground
    near[2, 4:12, slice(*columns)] = 1.0
    (left, top, right, foot), doubt = placed(near, (1.0, 1.0), height_m)
    assert not doubt
    assert foot == 12 / CELLS
    assert foot - top == pytest.approx(height)
    assert left >= columns[1] / CELLS or right <= columns[0] / CELLS + 0.03  # a margin


def test_a_portrait_comes_to_the_wider_side_of_what_is_seen_from_near():
    sheep = load_image(Path(swiftpie.__file__).parent / "assets" / "photos" / "sheep.jpg")
    width, height = sheep.size
    assert free_middle(sheep) > 0.6
    assert free_middle(sheep.crop((width // 4, 0, width, height))) > 0.6
    assert free_middle(sheep.crop((0, 0, round(0.75 * width), height))) < 0.4
    assert free_middle(sheep.crop((0, 0, width // 6, height))) == 0.5  # meadow


def test_feet_are_on_the_ground_of_the_packaged_photographs():
    known, on = scene_library(), []
    for name in known.names():
        ground = known.ground(name, 0)
        if ground is not None and not ground.is_near:
            left, _, right, foot = box_on_ground(known.image(name), PHOTOGRAPH_PX, 1.0)
            first, last = ground.span_at(foot)
            rows = [y for _, y in ground.corners]
            on.append(min(rows) < foot < max(rows) + 0.03 and first < (left + right) / 2 < last)
    assert sum(on) > 0.8 * len(on)
