from dataclasses import replace

import pytest
import torch

from swiftpie import InputError, PersonalizeRequest, Subject
from swiftpie.geometry.ground import Ground
from swiftpie.photo.stance import Orientation
from swiftpie.pipelines.insertion import AS_SHOWN, Posture
from swiftpie.places.own_pixels import WHOLE
from swiftpie.places.placing import RULES, Situation, choose_boxes, postures_of, rule_for, stage
from swiftpie.scenes import scene_library
from swiftpie.types import Cutout
from tests.parity.edit import photograph

GROUND = Ground(((0, 0.5), (1, 0.5), (1, 1), (0, 1)), ((0.5, 0.1), (1.0, 0.6)), is_near=False)
REGION = torch.zeros(1, 1, 128, 128)
REGION[..., 32:96, 64:] = 1
BOX = (0.25, 0.5, 0.5, 1.0)


def spot_of(
    session, identity, prompt="a dog in a park", *, count=1, at=GROUND, view=WHOLE, **asked
):
    """Return the situation of a picture whose subjects are a dog and a cat, on a ground or none."""
    own = {name: asked.pop(name) for name in ("box", "mask") if name in asked}
    cutout = Cutout("alpha", 1.0, is_cut=asked.pop("is_cut", False), cut_at=asked.pop("cut_at", ""))
    shown = replace(identity, cutouts=(cutout,))
    subjects = tuple(Subject(shown, name=name, **own) for name in ("dog", "cat")[:count])
    request = PersonalizeRequest(subjects=subjects, prompt=prompt, seeds=(1,), **asked)
    staged = stage(session.components, request)
    postures = postures_of(session.components, staged)
    return Situation(staged, staged.prompts[0], postures, at, view, at is None, near=0.5, aside=0.5)


def size_of(box):
    return box[2] - box[0], box[3] - box[1]


CASES = [  # prompt, number of subjects, the rest of the request; the rule, whether boxes are known
    ("a dog in a park", 1, {"box": BOX}, "left to the model", False),
    ("a dog upside down in a park", 1, {}, "left to the model", False),
    ("a dog in a park", 1, {"mask": REGION}, "in its region", True),
    ("a dog", 1, {"scene": scene_library().image("park")}, "inserted", True),
    ("a dog", 1, {"scene": photograph(128, 96), "at": None}, "each alone", False),
    ("a dog and a cat", 2, {"scene": photograph(300, 200), "at": None}, "each alone", False),
    ("a dog and a cat in a park", 2, {}, "in a row", True),
    ("a dog and a cat in a cave", 2, {"at": None, "cut_at": "left"}, "in a row", True),
    ("a dog and a cat in a park", 2, {"cut_at": "top"}, "each alone", None),  # no box fits
    ("a dog in a park", 1, {}, "each alone", True),
    ("a dog in a cave", 1, {"at": None}, "each alone", True),
    ("a dog jumping in a cave", 1, {"at": None}, "each alone", False),
    ("a dog jumping on the left of a cave", 1, {"at": None}, "each alone", True),
    ("a dog jumping in a cave", 1, {"at": None, "is_cut": True}, "each alone", True),
]


@pytest.mark.parametrize(("prompt", "count", "asked", "rule", "is_known"), CASES)
def test_the_first_rule_that_holds_places_subjects(
    session, identity, prompt, count, asked, rule, is_known
):
    spot = spot_of(session, identity, prompt, count=count, **asked)
    assert rule_for(spot) == rule
    if is_known is None:
        with pytest.raises(InputError, match="no room"):
            choose_boxes(spot)
    else:
        assert [box is not None for box in choose_boxes(spot)] == [is_known] * count


def test_each_rule_has_a_case():
    assert {rule for _, _, _, rule, _ in CASES} == {*RULES}


@pytest.mark.parametrize(
    ("words", "is_obeyed"),
    [
        ("a dog on the left in a park", lambda x, high: x < 0.3 and high == pytest.approx(1)),
        ("a dog on the right of a park", lambda x, high: x > 0.7 and high == pytest.approx(1)),
        ("a dog in the middle of a park", lambda x, _: x == pytest.approx(0.5, abs=0.1)),
        ("a tiny dog in a park", lambda _, high: high == pytest.approx(0.5)),
        ("a dog on the left of a park, tiny", lambda x, high: x < 0.3 and 0.4 < high < 0.6),
        ("a tiny dog on the left of a cave", lambda x, _: x < 0.3),
        ("a gigantic dog in a park", lambda _, high: high > 1.5),
        ("a close-up of a dog in a park", lambda _, high: high > 1.3),
        ("a dog in the distance in a park", lambda _, high: high < 0.6),
    ],
)
def test_words_place_a_subject_in_a_photographed_place(session, identity, words, is_obeyed):
    (plain,), (box,) = (choose_boxes(spot_of(session, identity, each)) for each in ("a dog", words))
    assert is_obeyed((box[0] + box[2]) / 2, size_of(box)[1] / size_of(plain)[1])
    request = PersonalizeRequest(subjects=(Subject(identity),), prompt=words, seeds=(1,))
    assert session.advice_on(request) == []


@pytest.mark.parametrize(
    ("prompt", "asked", "place"),
    [
        ("a mug in a kitchen", {}, "kitchen counter"),
        ("a dog in a kitchen", {}, "kitchen"),
        ("a mug", {"scene": "kitchen"}, "kitchen"),
    ],
)
def test_what_is_small_stands_in_a_near_place(session, identity, prompt, asked, place):
    subjects = (Subject(identity, name=prompt.split()[1]),)
    request = PersonalizeRequest(subjects=subjects, prompt=prompt, seeds=(1,), **asked)
    assert stage(session.components, request).prompts[0].shown == place


def test_words_place_two_subjects_each(session, identity):
    prompt = "a huge dog on the right and a tiny cat on the left in a park"
    dog, cat = choose_boxes(spot_of(session, identity, prompt, count=2))
    assert dog[0] + dog[2] > 1 > cat[0] + cat[2]
    assert size_of(dog)[1] > 2 * size_of(cat)[1]


@pytest.mark.parametrize(("flip", "border"), [(False, "left"), (True, "right")])
def test_a_border_that_cuts_a_subject_is_mirrored_with_it(session, identity, flip, border):
    (box,) = choose_boxes(spot_of(session, identity, cut_at="left", flip=flip))
    assert (box[0] < 0, box[2] > 1) == (border == "left", border == "right")


def test_what_lies_is_as_high_as_the_ground_is_deep_there(session, identity):
    spot = spot_of(session, identity, "a mug")
    postures = (AS_SHOWN, Posture(lean=0.0), Posture(Orientation(20, (0.8, 0.4), (0, 0))))
    sizes = [size_of(choose_boxes(spot._replace(postures=(each,)))[0]) for each in postures]
    assert sizes[1][1] < sizes[0][1]
    assert sizes[2][0] / sizes[2][1] == pytest.approx(2)
