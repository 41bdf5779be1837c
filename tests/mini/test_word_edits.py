from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import swiftpie
from swiftpie import CapabilityError, EditMode, EditSettings, MaskRule, Scales
from swiftpie.geometry.relief import height, turn
from swiftpie.imageio.images import plane
from swiftpie.masks import grow
from swiftpie.mini import word_edits
from swiftpie.mini.layers import Layer, OwnSubject, finished
from swiftpie.models.inversion import EditInversion
from swiftpie.models.text import PromptEncoder
from swiftpie.pipelines.settings import EditMethod

SIZE = (192, 128)  # width and height; not square
NOT_BY_WORDS = (
    *("lying down", "jumping", "seen from the left", "upside down", "a tiny dog", "sleeping"),
    *("riding a bicycle", "make it smile", "a lion", "a chocolate cake", "a snow man"),
)
ROOM = 12  # pixels between a subject and a box around it


@pytest.fixture(scope="module")
def picture(session, identity):
    drawn = session.personalize(identity, "a dog on a green background", seed=3, size=SIZE)
    return drawn.images[0], drawn.subject_masks[0]


def values(image):
    return np.asarray(image, dtype=np.int16)


def test_only_the_subject_changes_and_only_where_it_was_announced(session, picture):
    (before, mask), prompt = picture, "nothing"
    result = session.edit(before, prompt, seed=1)
    announced = session.find_region(before, prompt)
    region, subject = values(announced) > 0, values(mask) > 128
    apart = np.abs(values(result.image) - values(before)).max(axis=-1)
    assert result.origin["method"] == "words"
    assert result.region.tobytes() == announced.tobytes()
    assert not apart[~region].any()
    assert 0.01 < region.mean() < 0.6
    assert (apart > 4)[subject].mean() > 0.5


def test_no_strength_chooses_another_technique_and_idle_ones_are_named(session, picture, caplog):
    settings = EditSettings(
        scales=Scales(text_scale=1.1), variation=0.5, mode=EditMode.PAPER, rule=MaskRule.SMOOTH
    )
    plain, given = (
        session.edit(picture[0], "a blue dog", seed=1, settings=each)
        for each in (EditSettings(), settings)
    )
    assert given.image.tobytes() == plain.image.tobytes()
    assert given.origin["method"] == "words"
    assert "has no effect on this edit" in caplog.text


@pytest.mark.parametrize(
    ("prompt", "given", "word"),
    [
        *((prompt, {}, "cannot make") for prompt in NOT_BY_WORDS),
        ("a dog upside down", {"mask": (0.2, 0.2, 0.8, 0.8)}, "cannot make"),
        *(("at night", {"settings": EditSettings(method=each)}, each) for each in EditMethod),
    ],
)
def test_what_no_formula_does_well_is_refused_and_never_drawn(
    session, picture, prompt, given, word
):
    for draw in (session.edit, session.find_region):
        with pytest.raises(CapabilityError, match=word):
            draw(picture[0], prompt, seed=1, **given)


@pytest.mark.parametrize("given", [{}, {"mask": (0.2, 0.2, 0.8, 0.8)}])
def test_prompts_that_say_the_same_change_nothing(session, picture, given, caplog):
    settings = EditSettings(variation=0.8)
    result = session.edit(picture[0], "a dog", source_prompt="the dog", settings=settings, **given)
    assert result.image.tobytes() == picture[0].tobytes()
    assert "prompts do not differ" in caplog.text


def test_another_season_keeps_the_subject_to_its_rim(session, picture):
    before, mask = picture
    settings = {"source_prompt": "a dog on a green background in autumn"}
    after = "a dog on a green background in winter"
    result = session.edit(before, after, seed=1, **settings)
    assert (
        result.region.tobytes() == session.find_region(before, after, seed=1, **settings).tobytes()
    )
    apart, subject = np.abs(values(result.image) - values(before)).max(axis=-1), values(mask)
    assert (apart > 4)[subject == 0].mean() > 0.5
    assert (apart > 4)[subject > 250].mean() < 0.1
    assert not apart[values(result.region) == 0].any()


class Counting(NamedTuple):
    encoder: PromptEncoder
    given: list[list[str]]

    def encode(self, prompts):
        self.given.append(prompts)
        return self.encoder.encode(prompts)


class Reading(NamedTuple):
    network: EditInversion
    rows: list[int]

    def read(self, latents, text):
        self.rows.append(len(latents))
        return self.network.read(latents, text)


def test_an_edit_of_look_and_light_encodes_its_prompts_once_and_reads_by_one(session, picture):
    before, _ = picture
    counting = Counting(session.components.text, [])
    reading = Reading(session.components.inversion, [])
    networks = replace(session.components, text=counting, inversion=reading)
    counted = swiftpie.Session(networks)
    prompts = ["a dog on a green background", "a blue dog on a green background at night"]
    region = counted.find_region(before, prompts[1], source_prompt=prompts[0])
    assert counting.given == [prompts]
    assert reading.rows == [1]
    assert region.size == before.size


def test_a_finished_layer_of_glass_has_the_outline_of_its_frame_in_its_pose(picture):
    before, mask = picture
    subject = OwnSubject(before, plane(mask))
    layout = subject.layout._replace(pose=torch.tensor([[0.4, 0.1, 0.0, 0.2]]))
    layer = finished(Layer(subject.frame, layout, material="glass"))
    expected = turn(subject.frame, height(subject.frame[:, 3:]), layout.pose).frame[:, 3:]
    assert torch.equal(layer.outline, expected)
    assert finished(layer) is layer
    assert layer.shown.shape == subject.frame.shape


def test_another_place_in_the_same_light_keeps_the_pixels_of_the_subject(session, picture):
    before, mask = picture
    source = "a dog on a green background"
    result = session.edit(before, "a dog on a blue background", source_prompt=source, seed=1)
    apart = np.abs(values(result.image) - values(before)).max(axis=-1)
    inner = grow(plane(mask.point(lambda value: 255 * (value < 250))), 4)[0, 0].numpy() == 0
    assert inner.sum() > 500
    assert result.origin["method"] == "words"
    assert apart[inner].mean() < 1
    assert apart[values(mask) == 0].mean() > 5


def test_a_given_mask_is_the_outline_of_the_subject(session, picture):
    before, mask = picture
    left = mask.copy()
    left.paste(0, (SIZE[0] // 2, 0, *SIZE))
    result = session.edit(before, "made of gold", mask=left, seed=1)
    apart = np.abs(values(result.image) - values(before)).max(axis=-1)
    assert result.origin["method"] == "words"
    assert not apart[values(left) == 0].any()
    assert (apart[values(left) > 250] > 4).mean() > 0.5


def test_a_box_says_where_the_subject_that_takes_on_a_look_is(session, picture):
    (before, mask), prompt = picture, "blue"
    left, top, right, bottom = mask.getbbox()
    box = (left - ROOM, top - ROOM, right + ROOM, bottom + ROOM)
    box = tuple(min(max(end / SIZE[i % 2], 0), 1) for i, end in enumerate(box))
    result = session.edit(before, prompt, mask=box, seed=1)
    apart = np.abs(values(result.image) - values(before)).max(axis=-1)
    around = grow(plane(mask), 6)[0, 0].numpy() == 0
    assert (apart > 4)[values(mask) > 250].mean() > 0.8
    assert not apart[around].any()
    with pytest.raises(CapabilityError, match="nothing stands out"):
        session.edit(Image.new("RGB", SIZE, "grey"), prompt, mask=box, seed=1)


@pytest.mark.parametrize(
    ("prompt", "remedy"), [("made of gold", "mask"), ("in front of a castle", "personalize")]
)
def test_an_edit_of_what_has_no_sure_outline_is_refused(session, prompt, remedy):
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    blurred = Image.fromarray(colours).resize((256, 256), Image.Resampling.BICUBIC)
    for draw in (session.edit, session.find_region):
        with pytest.raises(CapabilityError, match=f"outline is not found for sure.*{remedy}"):
            draw(blurred, prompt, seed=1)
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 60:200, 60:200] = 1
    if remedy == "mask":
        assert session.edit(blurred, prompt, mask=mask, seed=1).region.getbbox() is not None


@pytest.mark.parametrize(
    ("source", "prompt"),
    [("a dog wearing a top hat in a park", "a dog in a park"), ("", "with a red scarf at night")],
)
def test_what_subjects_wear_is_refused(session, picture, source, prompt):
    before, _ = picture
    for draw in (session.edit, session.find_region):
        with pytest.raises(CapabilityError, match="wears"):
            draw(before, prompt, source_prompt=source, seed=1)


def test_what_is_hardly_seen_is_no_change():
    first = Image.new("RGB", (9, 9), (100, 100, 100))
    second = first.copy()
    second.putpixel((1, 1), (104, 100, 100))
    second.putpixel((6, 6), (105, 100, 100))
    seen = word_edits.visible_change(first, second)
    assert seen.nonzero().tolist() == [[0, 0, 6, 6]]
