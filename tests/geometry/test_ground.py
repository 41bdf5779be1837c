from itertools import product

import pytest

from swiftpie.errors import InputError
from swiftpie.geometry.ground import (
    AIM,
    BUST,
    LARGER,
    LEAST,
    MOST,
    NEAR_AIM,
    NEAR_LARGER,
    SMALL_M,
    WIDEST,
    Member,
    at_borders,
    height_seen,
    heights,
    heights_in,
    stand,
    stand_together,
    times_larger,
)
from swiftpie.places.reading import read
from swiftpie.scenes import PHOTOGRAPH_PX, scene_library

GROUNDS = [
    (name, ground)
    for name, share in product(scene_library().names(), (0.1, 0.5, 0.9))
    if (ground := scene_library().ground(name, share)) is not None
]
SLACK = 1e-6


@pytest.mark.parametrize("size", [(768, 576), (512, 512), (1024, 512), (2048, 512)])
@pytest.mark.parametrize("height_m", [0.1, 0.6, 1.75, 5.0, None])
def test_the_foot_is_on_the_ground_and_the_subject_in_the_picture(height_m, size):
    for (_, whole), share in product(GROUNDS, (0.0, 0.5, 0.99)):
        ground = whole.seen_in(whole.part_shown(size, whole=PHOTOGRAPH_PX))
        left, top, right, foot = stand(ground, (1.0, 1.5), height_m, share=share, x=share)
        assert min(left, top) >= 0
        assert max(right, foot) <= 1
        ys = [y for _, y in ground.corners]
        assert min(ys) - SLACK <= foot <= max(ys) + SLACK
        first, last = ground.span_at(foot)
        assert first - SLACK <= (left + right) / 2 <= last + SLACK or right - left > last - first


def test_the_ground_reaches_behind_the_feet_of_what_stands_on_a_slanted_edge():
    walls = [
        ground.seen_in(ground.part_shown((512, 512), whole=PHOTOGRAPH_PX))
        for name, ground in GROUNDS
        if name == "stone wall"
    ]
    for ground, share in product(walls, (0.0, 0.5, 0.99)):
        left, top, right, foot = stand(ground, (0.8, 1.0), 0.3, share=share, x=share)
        first, last = ground.span_at(foot - 0.1 * (foot - top))
        overhang = 0.06 * (right - left)
        assert first - overhang <= left
        assert right <= last + overhang


@pytest.mark.parametrize("extent", [(1.0, 1.5), (3.0, 1.0)])
def test_what_its_photograph_cuts_off_is_cut_by_the_lower_border_of_the_picture(extent):
    bust = Member(extent[0] / extent[1], 0.5, is_bust=True)
    for (_, ground), share in product(GROUNDS, (0.0, 0.5, 0.99)):
        ((left, top, right, foot),) = stand_together(ground, [bust], share=share, x=share)
        assert 1.03 < foot < 1.1
        assert min(left, top, 1 - right) >= 0
        assert (right - left) / (foot - top) == pytest.approx(extent[0] / extent[1])


def test_what_a_side_or_the_upper_border_cuts_off_is_cut_by_that_of_the_picture():
    box = (0.4, 0.5, 0.6, 0.9)
    assert at_borders(box, "") == pytest.approx(box)
    for cut_at, moved in (("left", -0.01), ("right", 0.81)):
        assert at_borders(box, cut_at) == pytest.approx((moved, 0.5, moved + 0.2, 0.9))
    left, top, right, foot = at_borders(box, "left top")
    assert max(left, top) < 0 < right
    assert foot == 0.9
    assert (right - left) / (foot - top) == pytest.approx(0.5)
    wide = at_borders((0.2, 0.7, 0.7, 0.9), "left right")
    assert wide == pytest.approx((-0.055, 0.46, 1.045, 0.9))
    above, below = at_borders((0.3, 0.4, 0.7, 1.03), "top")[1::2]
    assert above < 0 < 1 < below
    for _, ground in GROUNDS:
        found = at_borders(stand(ground, (1.0, 2.0), 0.4, share=0.5, x=0.5), "left", ground=ground)
        near, _ = ground.near_and_far()
        assert ground.span_at(found[3])[0] < 0.021 or found[3] == near


@pytest.mark.parametrize(("cut_at", "right"), [("left right", 0.4), ("top", 1.0)])
def test_what_has_no_room_at_the_border_that_cuts_it_off_is_refused(cut_at, right):
    with pytest.raises(InputError, match=f"border: {cut_at}.*Give a photograph"):
        at_borders((0.0, 0.5, right, 0.9), cut_at)


def test_a_subject_has_its_usual_height_where_the_picture_has_room():
    for (_, ground), height_m in product(GROUNDS, (0.1, 0.6, 1.75)):
        _, top, _, foot = stand(ground, (1.0, 2.0), height_m, share=0.5, x=0.5)
        usual = ground.metre_at(foot) * height_m
        if (0.2 if ground.is_near else LEAST) < usual < min(MOST, foot - 0.02):
            assert foot - top == pytest.approx(usual)


def test_the_tallest_subject_can_be_seen_well_and_large_ones_stay():
    for (_, ground), height_m in product(GROUNDS, (0.25, 0.6, 1.75, 5.0)):
        times = times_larger(ground, height_m, share=0.5)
        _, top, _, foot = stand(ground, (1.0, 2.0), times * height_m, share=0.5, x=0.5)
        most, aim = (NEAR_LARGER, NEAR_AIM) if ground.is_near else (LARGER, AIM)
        assert 1 <= times <= most
        assert times in {1, most} or foot - top == pytest.approx(sum(aim) / 2, abs=0.01)
        assert foot - top > 0.2


def test_what_is_long_and_low_leaves_room_in_a_near_place():
    for _, ground in (each for each in GROUNDS if each[1].is_near):
        left, top, right, foot = stand(ground, (3.0, 1.0), 0.2, share=0.5, x=0.5)
        assert right - left <= WIDEST + 1e-9
        assert right - left == pytest.approx(3 * (foot - top))


@pytest.mark.parametrize("changes", [{}, {"is_bust": True}, {"cut_at": "left"}, {"times": 0.5}])
def test_several_stand_on_one_row_none_before_another_and_as_large_as_usual(changes):
    first, last = Member(0.8, 0.6, lies=True, **changes), Member(1.0, 0.3)
    for (_, ground), x in product(GROUNDS, (0.0, 0.5, 1.0)):
        found = stand_together(ground, (first, last), share=0.5, x=x)
        (left, top, right, foot), (next_left, next_top, end, next_foot) = found
        assert right < next_left < end <= 1
        assert (left < 0) is (first.cut_at == "left")
        assert foot > 1 if first.is_bust else foot == next_foot <= 1
        larger = 2 * first.times * (BUST if first.is_bust else 1)
        assert foot - top == pytest.approx(larger * (next_foot - next_top))


def test_small_things_get_a_near_place_where_the_prompt_names_none():
    known = scene_library()
    assert known.ground(read("a mug at sunset").place_for(0.5, is_small=True), 0.5).is_near
    assert not known.ground(read("a dog at sunset").place_for(0.5), 0.5).is_near
    assert read("a mug in a park").place_for(0.5, is_small=True) == "park"


@pytest.mark.parametrize("is_small", [False, True])
def test_a_place_with_near_and_far_views_shows_small_things_from_near_and_others_from_far(is_small):
    known = scene_library()
    for name, share in product(("beach", "park"), (0.0, 0.4, 1.0)):
        ground = known.ground(name, known.share_for(name, share, is_small=is_small))
        assert ground.is_near == (is_small and name == "beach")


def test_words_name_heights_in_their_order():
    known = {"a dog and an elephant": "dog elephant", "two cats": "cat", "a teddy bear": "teddy"}
    for words, expected in (known | {"a thing": ""}).items():
        assert heights_in(words.split()) == [heights()[name] for name in expected.split()]
    assert height_seen(["shoe"], (1.0, 0.5)) == 0.14 > height_seen(["cup", "shoe"], (1.0, 0.5))


def test_a_mug_is_small_and_a_bull_is_not():
    assert heights()["mug"] < SMALL_M < heights()["bull"]


def test_a_wide_picture_shows_what_stands_at_the_horizon():
    for (name, ground), size in product(GROUNDS, [(1024, 512), (2048, 512)]):
        if not ground.is_near:
            _, top, _, bottom = ground.part_shown(size, whole=PHOTOGRAPH_PX)
            far = min(y for _, y in ground.corners)
            is_shown = ground.horizon - top > 0.05 * (bottom - top)
            is_whole = top <= ground.summit and far < bottom
            assert is_shown or is_whole or far - top > 0.79 * (bottom - top), name


def test_a_wide_picture_keeps_the_summit_of_a_landmark_where_ground_stays():
    beach, castle = (dict(GROUNDS)[name] for name in ("beach", "castle"))
    _, top, _, bottom = beach.part_shown((768, 384), whole=PHOTOGRAPH_PX)
    assert top < beach.summit
    assert bottom > min(y for _, y in beach.corners)
    assert castle.part_shown((2048, 512), whole=PHOTOGRAPH_PX)[1] > castle.summit
