"""Every surface warns of what a model was not made for, and of nothing else."""

import logging
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from swiftpie.diffusers.personalize import SwiftPiePipeline
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import transform
from swiftpie.errors import InputError
from swiftpie.pipelines.animation import AnimateRequest
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.pipelines.settings import EditSettings
from swiftpie.pipelines.tasks import EditRequest, RetouchRequest
from swiftpie.types import Cutout, CutoutMethod

TABLES = tomllib.loads(Path(__file__).with_name("advice.toml").read_text(encoding="utf-8"))

SIZE_PX = 128  # of the session; 64 is another side that its weights draw, in these tests
STRANGE = "a dog riding a bicycle by a castel"


def personalize(session, identity, prompt, **settings):
    session.personalize(identity, prompt, seed=0, **settings)


def draw_by_pipeline(session, identity, prompt):
    SwiftPiePipeline.from_components(session.components)(prompt, subjects=identity, seeds=[0])


def grey():
    return Image.new("RGB", (128, 128), "grey")


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_what_mends_a_doubtful_outline_is_said_before_anything_is_drawn(session, identity):
    doubtful = replace(identity, cutouts=(Cutout(CutoutMethod.NETWORK, 0.2),))
    for subject, is_said in ((doubtful, True), (identity, False)):
        shown = (Subject(subject),)
        request = PersonalizeRequest(prompt="a dog on a beach", subjects=shown, seeds=(1,))
        said = " ".join(session.advice_on(request))
        assert ("a box close around it may mend it, as in `cutout=" in said) is is_said


@pytest.mark.parametrize("call", [personalize, draw_by_pipeline])
def test_words_that_mean_nothing_are_named_with_near_ones(session, identity, call, caplog):
    call(session, identity, STRANGE)
    poses, apart, strange = warnings_of(caplog)[:3]
    assert "keeps the look and pose of its picture, so 'riding'" in poses
    assert "'bicycle' have no effect at their place" in apart  # a noun that is known
    assert "Did you mean 'castle'?" in strange


@pytest.mark.parametrize(("prompt", "words"), TABLES["advice"])
def test_what_of_a_prompt_is_not_drawn_is_named(session, prompt, words):
    request = PersonalizeRequest(subjects=session.with_named(prompt), prompt=prompt, seeds=(0,))
    message = " ".join(session.advice_on(request))
    assert all(word in message for word in words)
    assert bool(message) == bool(words)


def test_pictures_that_count_as_views_of_one_subject_are_explained(session, identity):
    views = replace(identity, pixels=identity.pixels.repeat(2, 1, 1, 1))
    shown = (Subject(views), *session.with_named("a cat"))
    request = PersonalizeRequest(prompt="a dog and a cat in a park", subjects=shown, seeds=(0,))
    assert "as another subject (--also)" in " ".join(session.advice_on(request))


def test_what_a_prompt_loses_is_quoted_in_its_own_words(session, identity):
    prompt = "a dog on a beach " + "and a most unlikely zeppelin " * 20 + "unhappily"
    request = PersonalizeRequest(subjects=(Subject(identity),), prompt=prompt, seeds=(0,))
    (cut,) = [each for each in session.advice_on(request) if "was cut" in each]
    quoted = cut.partition("Left out is '")[2].partition("'. ")[0].removesuffix(" …")
    assert quoted
    assert f" {quoted}" in prompt


@pytest.mark.parametrize("name", ["can", "a red can", "a beagle", "my dog", "a bowl of berries"])
def test_the_name_of_what_is_inserted_is_explained_by_its_picture(session, identity, name):
    request = RetouchRequest(image=grey(), seed=1, source=identity, prompt=name)
    assert [each for each in session.advice_on(request) if "taught" in each] == []


def test_no_advice_asks_for_a_size_that_is_refused(session, identity, caplog):
    with pytest.raises(InputError, match="2048x1472"):
        session.personalize(identity, "a dog on a beach", seed=0, size=(2400, 1728))
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(("width", "words"), [(2048, "soft at 2048x512 px"), (1024, "")])
def test_a_picture_much_wider_than_its_photograph_is_reported(session, identity, width, words):
    shown, prompt = (Subject(identity),), "a dog in a street"
    request = PersonalizeRequest(prompt=prompt, subjects=shown, seeds=(0,), size_px=(512, width))
    message = " ".join(session.advice_on(request))
    assert words in message
    assert bool(message) == bool(words)


NAMED = ["a gnu on a beach", "a photo of an axolotl in the snow", "a photo of 00 on a beach"]


@pytest.mark.parametrize("prompt", NAMED)
def test_a_prompt_of_taught_words_and_any_name_is_drawn_without_a_word(
    session, identity, prompt, caplog
):
    session.personalize(identity, prompt, seed=0)
    assert warnings_of(caplog) == []


def test_a_size_that_it_was_not_trained_for_is_reported(session, identity, caplog):
    session.personalize(identity, "a robot on a beach", seed=0, size=(192, 128), scene="words")
    assert ["192x128 px, and preset" in message for message in warnings_of(caplog)] == [True]
    caplog.clear()
    for size in ((128, 128), (256, 192)):  # the model chooses its size for a larger scene
        session.personalize(identity, "a robot on a beach", seed=0, size=size)
    assert warnings_of(caplog) == []


def test_so_is_that_of_an_edit(session, caplog):
    session.edit(grey(), "at night", seed=0, settings=EditSettings(size_px=192))
    assert any("The size is 192x192 px" in warning for warning in warnings_of(caplog))


def test_engines_keep_the_words(session, identity, caplog):
    quicker = Session(transform(session.components, "folded-upsampling"))
    quicker.personalize(identity, STRANGE, seed=0)
    assert any("Did you mean" in warning for warning in warnings_of(caplog))


MOVES = {
    "the same words": ({"to": ["a dog on a beach"]}, True),
    "the same box": ({"to_box": (0.1, 0.2, 0.5, 0.9)}, True),
    "other words": ({"to": ["a dog on a beach", "a dog on a beach at night"]}, False),
    "another box": ({"to_box": (0.2, 0.2, 0.6, 0.9)}, False),
    "another view": ({"to_view": (10, 0)}, False),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_film_in_which_nothing_changes_is_said_before_it_is_drawn(session, identity, name):
    given, stands_still = MOVES[name]
    ends = {f"{key}es" if key == "to_box" else f"{key}s": (given[key],) for key in given}
    ends = {"to": tuple(given["to"])} if "to" in given else ends
    subject = Subject(identity, box=(0.1, 0.2, 0.5, 0.9))
    request = AnimateRequest(
        subjects=(subject,), prompt="a dog on a beach", seeds=(1,), num_frames=2, **ends
    )
    said = [warning for warning in session.advice_on(request) if "Nothing changes" in warning]
    assert len(said) == stands_still


def test_a_prompt_that_is_just_read_whole_is_not_said_to_be_cut(session, identity):
    text = session.components.text
    words = 0
    while not text.dropped("a dog" + " red" * words):
        words += 1
    fits, cut = "a dog" + " red" * (words - 1), "a dog" + " red" * words + " green"
    assert text.tokenize([fits])[1].sum() == text.length
    assert text.dropped(fits) == ""
    assert text.dropped(cut) == "red green"
    for prompt, is_cut in ((fits, False), (cut, True)):
        request = PersonalizeRequest(subjects=(Subject(identity),), prompt=prompt, seeds=(1,))
        said = [warning for warning in session.advice_on(request) if "A prompt was cut" in warning]
        assert len(said) == is_cut
        assert not is_cut or "'red green'" in said[0]


def test_a_region_without_a_pixel_is_said(session, identity):
    for value, is_said in ((0.0, True), (0.2, False)):
        mask = torch.full((1, 1, 16, 16), value)
        for given in ({"mask": mask}, {"subjects": (Subject(identity, mask=mask),)}):
            own = {"subjects": (Subject(identity),), "prompt": "a dog", "seeds": (1,)} | given
            said = session.advice_on(PersonalizeRequest(**own))
            assert any("has no pixel" in warning for warning in said) == is_said


def test_a_square_that_the_weights_draw_as_well_gets_no_warning_of_its_size(session, identity):
    preset = replace(session.components.preset, more_sizes_px=(SIZE_PX // 2,))
    other = Session(replace(session.components, preset=preset))
    for side, is_said in ((SIZE_PX, False), (SIZE_PX // 2, False), (SIZE_PX // 4 * 3, True)):
        request = PersonalizeRequest(
            prompt="a dog on a beach",
            subjects=(Subject(identity),),
            seeds=(1,),
            size_px=(side, side),
            scene="words",
        )
        assert ("The size is" in " ".join(other.advice_on(request))) is is_said


def test_what_is_found_while_several_are_drawn_is_said_of_its_own_alone(session, caplog):
    requests = [EditRequest(image=grey(), prompt=prompt, seed=1) for prompt in ("summer", "night")]
    summer, night = session.draw_together(requests)
    assert warnings_of(caplog) == [*summer.warnings]
    assert "summer" in summer.warnings[0]
    assert night.warnings == ()
