import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from swiftpie import PersonalizeRequest, Subject
from swiftpie.geometry.layout import from_box, to_affine, warp
from swiftpie.imageio.images import mask_to_pil
from swiftpie.mini.layout_predictor import place_subjects
from swiftpie.photo.stance import is_flat, lay_on_ground, stance_of, turned_upright
from swiftpie.pipelines.insertion import posture_of, proposed_box

BOX = (0.2, 0.3, 0.8, 0.9)


def frame(corners, degrees):
    image = Image.new("L", (128, 128))
    ImageDraw.Draw(image).polygon(corners, fill=255)
    turned = image.rotate(-degrees, Image.Resampling.BILINEAR)  # clockwise
    return torch.from_numpy(np.asarray(turned, dtype=np.float32) / 255)[None, None]


BAG = ((44, 20), (84, 20), (84, 108), (44, 108))
SHOE = ((14, 50), (40, 40), (114, 60), (114, 84), (14, 84))
WRENCH = ((14, 56), (114, 56), (114, 76), (14, 76))
BALL = [
    (64 + 45 * math.cos(a), 64 + 45 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 60)[:-1]
]


@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize(
    ("thing", "degrees"), [(BAG, 12), (BAG, -8), (SHOE, 15), (SHOE, 35), (WRENCH, -42)]
)
def test_a_thing_that_leans_is_turned_onto_its_base_in_its_box(thing, degrees, is_flipped):
    mask = frame(thing, degrees)
    stance = stance_of(mask)
    assert stance.turn == pytest.approx(-degrees, abs=3)
    layout = from_box(BOX, extent=torch.tensor([stance.extent]))
    layout = layout._replace(flip=torch.full((1,), float(is_flipped)))
    shown = warp(mask, to_affine(turned_upright(layout, stance)), (200, 200))[0, 0] > 0.5
    rows, columns = shown.any(1).nonzero(), shown.any(0).nonzero()
    assert int(rows[-1]) == pytest.approx(180, abs=3)
    assert int(columns[0] + columns[-1]) / 2 == pytest.approx(100, abs=3)
    longest = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0]))
    assert longest == pytest.approx(120, abs=5)
    assert shown[int(rows[-1]) - 4].sum() > 0.8 * shown.any(0).sum()


@pytest.fixture
def leaning(session):
    bag = mask_to_pil(frame(BAG, 12))[0]
    return session.encode_identity(bag.convert("RGB"), masks=bag)


def test_it_is_turned_in_a_photograph_without_a_box(session, leaning):
    teal = Image.new("RGB", (200, 200), "teal")
    result = session.insert(teal, leaning, prompt="a backpack", seed=1)
    left, top, right, foot = (round(200 * share) for share in result.box)
    assert (right - left) / (foot - top) == pytest.approx(40 / 88, abs=0.05)
    low, high, wide, down = proposed_box(teal, leaning, "glasses", posture_of(leaning, "glasses"))
    assert (wide - low) / (down - high) > 1.1 * 40 / 88, "it lies"
    corners = [(x, y) for x in (left + 4, right - 4) for y in (top + 4, foot - 4)]
    assert min(result.image.getpixel(corner)[0] for corner in corners) > 60, "teal has no red"


def test_it_is_turned_beside_another_as_well_which_may_be_no_thing(session, leaning):
    mask, prompt = mask_to_pil(frame(BAG, 9))[0], "a dog and a backpack"
    both = session.encode_identity(mask.convert("RGB"), masks=mask), leaning
    request = PersonalizeRequest(prompt=prompt, subjects=tuple(map(Subject, both)), seeds=(3,))
    drawn = torch.zeros(1, 32, 8, 8), session.components.text.encode([prompt])
    placed = place_subjects(session.components, request, *drawn, boxes=[[BOX], [BOX]])
    turned = [abs(float(layout.rotation)) for layout in placed.layouts]
    assert turned == pytest.approx([0.0, math.radians(12)], abs=0.06)
    assert [posture_of(leaning, x).lean for x in ("glasses", "rug")] == [0.4, None]


@pytest.mark.parametrize(
    ("thing", "degrees"),
    [(BAG, 0), (BAG, 2), (BAG, 35), (BALL, 10), (((64, 20), (90, 70), (64, 108), (38, 70)), 10)],
)
def test_what_stands_or_has_no_base_stays_as_it_is(thing, degrees):
    assert stance_of(frame(thing, degrees)) is None


def test_what_is_as_even_as_a_bowl_stands_by_the_axis_that_mirrors_it_though_it_is_cut():
    bowl = frame(((24, 40), (104, 40), (80, 100), (64, 102), (48, 100)), -12)
    bowl[..., 104:] = 0
    assert stance_of(bowl, is_mirrored=True).turn == pytest.approx(12, abs=1.5)
    assert stance_of(frame(SHOE, 15), is_mirrored=True) is None


def test_a_round_thing_from_above_lies_and_is_squeezed_onto_its_foot():
    disc = [(64 + (x - 64) * 57.6 / 45, 64 + (y - 64) * 57.6 / 45) for x, y in BALL]
    plate, extent = frame(disc, 0), (0.9, 0.9)
    assert (is_flat(plate, extent), is_flat(frame(BAG, 0), (40 / 128, 88 / 128))) == (True, False)
    layout = lay_on_ground(from_box(BOX, extent=torch.tensor([extent])), foot=0.9, share=0.4)
    shown = warp(plate, to_affine(layout), (200, 200))[0, 0] > 0.5
    rows, columns = shown.any(1).nonzero(), shown.any(0).nonzero()
    assert int(rows[-1]) == pytest.approx(180, abs=3)
    assert int(rows[-1] - rows[0]) == pytest.approx(0.4 * 120, abs=4)
    assert int(columns[-1] - columns[0]) == pytest.approx(120, abs=5)
