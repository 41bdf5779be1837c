"""Animations of the embedded model: what moves, what stays, and what is refused."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from swiftpie import AnimateRequest, CapabilityError, InputError, Subject
from swiftpie.mini.animation import _rows
from swiftpie.pipelines.denoise import mixed_rows
from swiftpie.pipelines.techniques.personalize import read_prompts
from swiftpie.places.placing import stage
from swiftpie.places.scene import scene_rows
from tests.golden.networks import mini, random_networks

PROMPT, NIGHT = "a robot in a forest", "a robot in a forest at night"
LEFT, RIGHT = (0.05, 0.4, 0.45, 0.95), (0.55, 0.4, 0.95, 0.95)
SIZE = (128, 128)


@pytest.fixture(scope="module")
def session():
    return mini()


@pytest.fixture(scope="module")
def robot(session):
    return session.named("robot")


def frames(session, subject, prompt=PROMPT, **change):
    result = session.animate(subject, prompt, seed=3, size=SIZE, num_frames=4, **change)
    return [np.asarray(image).astype(int) for image in result.images]


def levels(first, second):
    return int(np.abs(first - second).max())


def still(session, subject, prompt=PROMPT, **place):
    drawn = session.personalize(subject, prompt, seed=3, size=SIZE, **place)
    return np.asarray(drawn.images[0]).astype(int)


def test_it_begins_and_ends_with_the_pictures_of_its_states(session, robot):
    drawn = frames(session, robot, to=NIGHT, box=LEFT)
    ends = [still(session, robot, prompt, box=LEFT) for prompt in (PROMPT, NIGHT)]
    # Of four pictures at once, sums are rounded otherwise than of one.
    assert [levels(*pair) <= 2 for pair in zip((drawn[0], drawn[-1]), ends, strict=True)] == [1, 1]


@pytest.mark.parametrize(
    ("more", "states"),
    [
        ({"to_box": RIGHT}, ({"box": LEFT}, {"box": RIGHT})),
        ({"to_view": (30.0, 10.0)}, ({"box": LEFT}, {"box": LEFT, "view": (30, 10)})),
    ],
)
def test_a_walk_or_a_turn_begins_and_ends_in_its_boxes_and_views(session, robot, more, states):
    drawn = frames(session, robot, box=LEFT, **more)
    ends = [still(session, robot, **state) for state in states]
    assert max(levels(*pair) for pair in zip((drawn[0], drawn[-1]), ends, strict=True)) <= 2


@pytest.mark.parametrize(
    ("boxes", "more", "is_mirrored"),
    [
        ((LEFT, RIGHT), {}, True),
        ((RIGHT, LEFT), {}, False),
        ((LEFT, RIGHT), {"flip": True}, False),
        ((LEFT, RIGHT), {"view": (0, 0)}, False),
    ],
)
def test_what_would_walk_backwards_is_mirrored(session, boxes, more, is_mirrored):
    zebra, prompt = session.named("zebra"), "a zebra in a forest"
    drawn = frames(session, zebra, prompt, box=boxes[0], to_box=boxes[1], **more)
    looks = {"flip": True} if is_mirrored else more
    for frame, box in zip((drawn[0], drawn[-1]), boxes, strict=True):
        assert levels(frame, still(session, zebra, prompt, box=box, **looks)) <= 2


def test_what_is_far_from_a_walk_is_equal_in_all_frames(session, robot):
    drawn = frames(session, robot, box=LEFT, to_box=RIGHT)
    above = int(0.3 * SIZE[1])
    assert all(levels(drawn[0][:above], frame[:above]) == 0 for frame in drawn)
    assert all(levels(*pair) > 0 for pair in pairwise(drawn))


def test_one_that_stands_still_in_one_light_is_equal_in_all_frames(session, robot):
    drawn = frames(session, robot, to=PROMPT, box=LEFT)
    assert max(levels(drawn[0], frame) for frame in drawn) <= 1  # rows of one pass


def test_the_place_changes_evenly(session, robot):
    drawn = frames(session, robot, to=NIGHT, box=LEFT)
    sky = [frame[: SIZE[1] // 4].mean() for frame in drawn]
    steps = np.diff(sky)
    assert (steps < 0).all()
    assert steps.min() > 1.3 * steps.max()  # both below 0: no step is much larger than another


def test_weather_that_comes_and_goes_ends_as_it_began(session, robot):
    result = session.animate(
        *(robot, PROMPT), to=[f"{PROMPT} in falling snow", PROMPT], num_frames=3, seed=3, size=SIZE
    )
    first, middle, last = (np.asarray(image).astype(int) for image in result.images)
    assert levels(first, last) <= 1
    assert levels(first, middle) > 50


def test_flakes_fall(session, robot):
    snow = f"{NIGHT} in falling snow"
    first, second, *_ = frames(session, robot, snow, to=snow, box=LEFT)
    shift = SIZE[1] // 8  # four of 32 cells
    falling = (first[:-shift, :, 2] > 200).astype(int) == (second[shift:, :, 2] > 200)
    assert falling[: SIZE[1] // 4].mean() > 0.9


def test_flakes_do_not_repeat_while_an_animation_lasts(session, robot):
    snow = f"{NIGHT} in falling snow"
    request = AnimateRequest(
        subjects=(Subject(robot),), prompt=snow, to=(snow,), seeds=(3,), num_frames=24
    )
    (key,) = scene_rows(session.components, stage(session.components, request.states[0]))
    rows = _rows([key, key], request.shares())
    assert len({row.noise.numpy().tobytes() for row in rows}) == 24


def test_a_place_needs_no_subject(session):
    drawn = frames(session, (), "a forest", to="a forest at night")
    assert drawn[0].mean() > drawn[1].mean() > drawn[-1].mean()


def test_words_between_two_prompts_are_those_of_the_ends_at_the_ends(session, robot):
    request = AnimateRequest(subjects=(Subject(robot),), prompt=PROMPT, to=(NIGHT,), seeds=(3,))
    text = read_prompts(session.components, (PROMPT, NIGHT), rows=2)
    between = mixed_rows(text, replace(request, num_frames=3).shares())
    for row, end in ((0, 0), (2, 1)):
        for part, whole in zip(between, text, strict=True):
            assert (part[row] == whole[end]).all()


@pytest.mark.parametrize(
    ("prompt", "change", "reason"),
    [
        (PROMPT, {"to": "a robot on a beach"}, "same place"),
        (PROMPT, {"to": "a cat in a forest"}, "same subject"),
        (PROMPT, {"to": "a comic of a robot in a forest"}, "in still pictures"),
        ("a comic of a robot", {"to": "a comic of a robot at night"}, "in still pictures"),
        ("a robot in space", {"to_box": RIGHT}, "first box"),
        (PROMPT, {}, "Nothing changes"),
        (PROMPT, {"to": NIGHT, "scene": "words"}, "flicker"),
        (PROMPT, {"to": NIGHT, "num_frames": 1}, "num_frames"),
        (PROMPT, {"to_box": RIGHT, "mask": "box"}, "region"),
        (PROMPT, {"to_box": RIGHT, "mask": Image.new("L", SIZE, 255)}, "region"),
        (PROMPT, {"to_box": RIGHT, "detail_mask": Image.new("L", SIZE, 255)}, "region"),
    ],
)
def test_what_cannot_be_drawn_in_between_is_refused(session, robot, prompt, change, reason):
    with pytest.raises((InputError, CapabilityError), match=reason):
        session.animate(robot, prompt, seed=3, size=SIZE, **change)


def test_models_without_the_technique_refuse_it():
    session = random_networks("sd15")
    with pytest.raises(CapabilityError, match="mini"):
        session.animate((), "a beach", to="a beach at night", seed=3)
