from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import swiftpie
from swiftpie.errors import InputError
from swiftpie.imageio.decoding import load_image
from swiftpie.photo.ground import (
    CAMERA_M,
    CELLS,
    LARGE,
    LEAST_SEEN,
    SHOWN_M,
    GroundEstimate,
    box_on_ground,
    find_box,
    ground_in,
)
from swiftpie.scenes import PHOTOGRAPH_PX, scene_library

FLAT = -torch.ones(3, CELLS, CELLS)  # a horizon at half of the height, and ground below
FLAT[:2, CELLS // 2 :] = 1.0
PHOTOS = Path(swiftpie.__file__).parent / "assets" / "photos"


def estimate(scores=FLAT, *, rows=(0, 0), columns=(0, 0), thing_m=0.5):
    """Return what a photograph shows, with a thing in some of 16 rows and columns."""
    thing = torch.zeros(CELLS, CELLS)
    thing[slice(*rows), slice(*columns)] = 1.0
    return GroundEstimate(scores, thing.repeat_interleave(8, 0).repeat_interleave(8, 1), thing_m)


@pytest.mark.parametrize("height_m", [0.8, 1.0, 1.75])
def test_a_camera_held_by_people_sees_a_subject_at_its_usual_height(height_m):
    (left, top, right, foot), doubt, _ = find_box(estimate(), (1.0, 2.0), height_m)
    assert not doubt
    assert foot > 0.5
    assert (foot - top) / (foot - 0.5) * CAMERA_M == pytest.approx(height_m, rel=0.01)
    assert (right - left) / (foot - top) == pytest.approx(0.5)


def test_what_lies_is_as_wide_as_it_is_and_less_tall():
    (left, top, right, foot), doubt, _ = find_box(estimate(), (1.0, 1.0), 2.0, lean=0.0)
    assert not doubt
    assert (right - left) / (foot - 0.5) * CAMERA_M == pytest.approx(2.0, rel=0.01)
    assert foot - top < 0.5 * (right - left)


@pytest.mark.parametrize(
    ("shown", "height_m", "doubt", "is_hopeless"),
    [
        (estimate(), 0.5, "", False),
        (estimate(), 0.07, "too little", False),
        (estimate(), 0.03, "too little", True),
        (estimate(-FLAT.abs()), 0.6, "no certain ground", True),
        (estimate(rows=(4, 12), columns=(2, 8)), 1.3, "too much", False),
        (estimate(rows=(4, 12), columns=(2, 8)), 3.0, "too much", True),
        (estimate(rows=(4, 12), columns=(2, 8)), 0.003, "too little", True),
        (estimate(rows=(4, 15), columns=(1, 15)), 0.2, "no free ground", True),
        (estimate(-FLAT.abs(), rows=(4, 12), columns=(2, 8)), 0.5, "no certain ground", True),
    ],
)
def test_a_subject_is_large_enough_to_be_seen_and_a_doubt_is_said(
    shown, height_m, doubt, is_hopeless
):
    box, why, *refused = find_box(shown, (1.0, 1.0), height_m)
    assert (doubt in why, bool(doubt)) == (True, bool(why))
    assert refused == [is_hopeless]
    assert (min(box) >= 0, max(box) <= 1) == (True, True)
    assert box[3] - box[1] >= LEAST_SEEN - 1e-6


def test_a_portrait_needs_ground_at_the_lower_border():
    assert not find_box(estimate(), (1.0, 2.0), 0.6, is_cut=True)[1]
    assert "no certain ground" in find_box(estimate(-FLAT.abs()), (1.0, 2.0), 0.6, is_cut=True)[1]


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_photograph_without_ground_is_refused_and_the_message_names_the_box(is_cut):
    meadow = scene_library().image("meadow")
    sky = meadow.crop((0, 0, meadow.width, meadow.height // 4))
    with pytest.raises(InputError, match=r"box=\("):
        box_on_ground(sky, (1.0, 2.0), 0.6, is_cut=is_cut)


@pytest.mark.parametrize(("beside", "is_sure"), [(-0.9, True), (-3.0, False)])
def test_ground_is_sure_where_its_mean_score_under_the_feet_is_above_zero(beside, is_sure):
    strip = FLAT.clone()
    strip[0, CELLS // 2 :] = beside  # and 1 in a strip that is narrower than the subject
    strip[0, CELLS // 2 :, 4:12] = 1.0
    _, doubt, _ = find_box(estimate(strip), (8.0, 1.0), 6.0)
    assert ("no certain ground" not in doubt) == is_sure


def test_a_subject_hides_little_of_what_is_far_away():
    (left, top, *_), doubt, _ = find_box(estimate(rows=(8, 10), columns=(4, 10)), (1.0, 4.0), 1.75)
    assert not doubt
    assert top < 8 / CELLS
    assert left > 9 / CELLS


@pytest.mark.parametrize(
    ("columns", "height_m", "height"),
    [((2, 8), 0.5 * 1.1**5, 0.5 * 1.1**2), ((8, 14), 0.3, 0.3), ((2, 8), 0.1, LEAST_SEEN)],
)
def test_beside_a_near_thing_a_subject_is_on_its_line_and_as_large(columns, height_m, height):
    shown = estimate(-0.2 * FLAT.abs(), rows=(4, 12), columns=columns, thing_m=SHOWN_M / 2)
    shown = shown._replace(scores=shown.scores.clone().index_fill_(0, torch.tensor([1]), 1.0))
    (left, top, right, foot), doubt, _ = find_box(shown, (0.5, 1.0), height_m * SHOWN_M)
    assert not doubt
    assert foot == 12 / CELLS
    assert foot - top == pytest.approx(height)
    assert left >= columns[1] / CELLS or right <= columns[0] / CELLS


def test_a_subject_that_is_too_large_stands_beside_a_thing_and_not_over_it():
    (left, *_), doubt, _ = find_box(estimate(rows=(4, 12), columns=(1, 12)), (1.0, 1.0), 2.0)
    assert (left > 11 / CELLS, "too much" in doubt) == (True, True)


def test_a_subject_without_room_beside_a_thing_stands_before_it():
    shown = estimate(rows=(2, 12), columns=(1, 15), thing_m=1.0)
    (_, top, _, foot), doubt, _ = find_box(shown, (1.6, 1.0), 0.1)
    assert not doubt
    assert foot > 12 / CELLS
    assert top > 11 / CELLS


def test_the_height_of_a_thing_is_estimated():
    sheep, hedgehog = (load_image(PHOTOS / f"{name}.jpg") for name in ("sheep", "hedgehog"))
    assert ground_in(sheep).thing_m > 1.2 * ground_in(hedgehog).thing_m


def test_a_portrait_is_cut_by_the_lower_border_beside_what_is_seen_from_near(caplog):
    sheep = load_image(PHOTOS / "sheep.jpg")
    width, height = sheep.size

    def portrait_in(first, last, height_m=0.4):
        part = sheep.crop((int(first * width), 0, int(last * width), height))
        left, top, right, foot = box_on_ground(part, (1.0, 2.0), height_m, is_cut=True)
        assert foot > 1
        return (left + right) / 2, foot - top

    assert portrait_in(0, 1)[0] > 0.6
    assert portrait_in(0, 0.75)[0] < 0.4
    middle, tall = portrait_in(0, 1 / 6)  # meadow
    assert middle == 0.5
    assert LEAST_SEEN < tall <= LARGE
    assert caplog.messages == []
    portrait_in(0.25, 0.7, 0.9)
    assert "`box=(" in caplog.text


def test_black_bars_of_a_film_are_no_ground():
    street = scene_library().image("city street").convert("RGB")
    width, height = street.size
    film = Image.new("RGB", (width, 2 * height))
    film.paste(street, (0, height // 2))
    left, top, right, foot = box_on_ground(film, (1, 2), 1.75)
    alone = box_on_ground(street, (1, 2), 1.75)
    assert (left, 2 * top - 0.5, right, 2 * foot - 0.5) == pytest.approx(alone, abs=0.02)


def test_feet_are_on_the_ground_of_the_packaged_photographs():
    known, on, count = scene_library(), [], 0
    for name in known.names():
        ground = known.ground(name, 0)
        if ground is None or ground.is_near:
            continue
        count += 1
        (left, _, right, foot), doubt, _ = find_box(
            ground_in(known.image(name)), PHOTOGRAPH_PX, 1.0
        )
        if doubt:
            continue
        first, last = ground.span_at(foot)
        rows = [y for _, y in ground.corners]
        on.append(min(rows) < foot < max(rows) + 0.03 and first < (left + right) / 2 < last)
    assert sum(on) > 0.8 * len(on) > 0.64 * count


@pytest.mark.parametrize("ends", [(255, 255), (128, 128), (250, 200)])
def test_a_subject_stands_before_a_plain_backdrop(ends):
    rows = np.linspace(*ends, 300).round().astype(np.uint8)
    backdrop = Image.fromarray(np.broadcast_to(rows[:, None], (300, 400)).copy()).convert("RGB")
    _, top, _, foot = box_on_ground(backdrop, (1.0, 1.0), 0.5)
    assert foot > 0.9
    assert foot - top > 0.25
