import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from swiftpie import InputError
from swiftpie.pipelines.choose import CHECK
from swiftpie.pipelines.insertion import insertion_of, pasted, patch_of, proposed_box
from swiftpie.pipelines.tasks import RetouchRequest
from swiftpie.scenes import scene_library
from tests.parity.edit import changed, photograph, values
from tests.quick import thorough_but

SPOT = (0.3, 0.4, 0.6, 0.7)


@pytest.mark.parametrize("size", [(37, 211), (5, 3)])
def test_a_subject_changes_only_its_region_at_any_size(session, identity, size):
    photo = photograph(*size)
    result = session.insert(photo, identity, box=SPOT, seed=1)
    assert result.image.size == result.edited.size == result.region.size == size
    region = values(result.region) > 0
    assert not changed(result, photo)[~region].any()
    assert changed(result, photo)[region].any()


def test_a_region_covers_pixels_whose_blue_alone_differs(session, identity):
    photo = photograph(96, 96)
    request = RetouchRequest(image=photo, source=identity, box=SPOT, seed=1)
    choice = session.choose(request)
    insertion = insertion_of(choice)
    bluer = patch_of(insertion, choice.clock).pixels + torch.tensor([0, 0, 0.2]).view(1, 3, 1, 1)
    result = pasted(insertion, bluer, choice.clock)
    apart = values(result.image) - values(photo)
    assert not apart[..., :2].any()
    assert apart[..., 2].any()
    assert (values(result.region)[apart[..., 2] != 0] == 255).all()


@pytest.mark.parametrize("inserts", thorough_but([False, True], [False]))
def test_a_change_of_a_large_photograph_may_stop_after_each_band_of_it(session, identity, inserts):
    photo, most = Image.new("RGB", (900, 700), (90, 120, 90)), 2
    before, stages = "decode" if inserts else "window", []

    def stop(stage):
        stages.append(stage)
        if before in stages and stages[stages.index(before) :].count(CHECK) == most:
            raise KeyboardInterrupt

    who = {"source": identity} if inserts else {}
    request = RetouchRequest(image=photo, mask=(0.3, 0.1, 1.0, 0.9), seed=1, **who)
    with pytest.raises(KeyboardInterrupt):
        session.draw(request, on_stage=stop)
    most, stages = -1, []
    session.draw(request, on_stage=stop)
    assert stages[stages.index(before) :].count(CHECK) >= (
        35 if inserts else 16
    )  # each less than half a second of 39 megapixels


def test_an_insertion_changes_its_region_and_has_only_colours_of_its_photograph(session, identity):
    photo = photograph(300, 200).convert("L").convert("RGB")
    result = session.insert(photo, identity, box=SPOT, seed=1)
    assert changed(result, photo).mean() > 0.7 * (values(result.region) > 0).mean()
    assert not values(result.image).std(axis=2).any()


def test_what_goes_is_covered_as_a_whole_and_nothing_else_changes(session):
    photo = photograph(200, 150)
    mask = torch.zeros(1, 1, 150, 200)
    mask[..., 40:90, 60:120] = 1
    mask[..., 40:90, 120] = 0.6
    mask[mask == 0] = 0.4
    result = session.remove(photo, mask=mask, seed=1)
    region = values(result.region) > 0
    assert np.array_equal(region, (mask[0, 0] > 0.5).numpy())
    assert not changed(result, photo)[~region].any()
    assert np.array_equal(values(result.blend) > 0, values(result.blend) == 255)
    assert changed(result, photo)[region].mean() > 0.9


@pytest.mark.parametrize("change", ["remove", "edit"])
def test_a_hole_is_what_changes_and_its_hidden_colour_acts_nowhere(session, editor, change):
    drawing = session if change == "remove" else editor
    whole, results = photograph(200, 150), []
    for hidden in ("black", "fuchsia"):
        photo = whole.convert("RGBA")
        photo.paste((*ImageColor.getrgb(hidden), 0), (60, 40, 120, 90))
        photo.paste((*ImageColor.getrgb(hidden), 0), (0, 140, 30, 150))
        words = ("a dog",) if change == "edit" else ()
        results.append(getattr(drawing, change)(photo, *words, seed=1))
    first, second = results
    assert first.image.tobytes() == second.image.tobytes()
    assert first.image.getchannel("A").getextrema() == (255, 255)
    hole = values(first.region) > 0
    assert hole.sum() == 60 * 50 + 30 * 10
    assert np.array_equal(values(first.image.convert("RGB"))[~hole], values(whole)[~hole])


def test_transparency_stays_where_nothing_is_drawn(session, identity):
    photo = photograph(200, 150).convert("RGBA")
    photo.paste((0, 0, 0, 0), (0, 0, 60, 40))
    photo.paste((0, 0, 0, 0), (100, 80, 110, 90))
    alpha = values(session.insert(photo, identity, box=SPOT, seed=1).image.getchannel("A"))
    assert not alpha[:40, :30].any()
    assert alpha[80:90, 100:110].all()


def test_a_replacement_stands_where_the_mask_is(session, identity):
    photo = photograph(200, 150)
    result = session.replace(photo, identity, mask=SPOT, seed=1)
    region = values(result.region) > 0
    assert region[60:105, 60:120].all()
    assert not changed(result, photo)[~region].any()


def test_models_without_places_insert_and_remove_as_well(editor, sprite):
    photo = photograph(180, 140)
    identity = editor.encode_identity(sprite)
    for result in (
        editor.insert(photo, identity, prompt="a dog", box=SPOT, seed=1),
        editor.remove(photo, mask=SPOT, seed=1),
    ):
        region = values(result.region) > 0
        assert not changed(result, photo)[~region].any()
        assert changed(result, photo)[region].any()


def test_the_prompt_says_how_tall_a_subject_without_a_box_is_or_that_it_is_too_small(identity):
    photo = scene_library().image("city street")
    dog, horse = (
        proposed_box(photo, identity, f"a photo of a {noun}") for noun in ("dog", "horse")
    )
    assert horse[3] - horse[1] > 1.5 * (dog[3] - dog[1])
    first = proposed_box(photo, identity, "a photo of a dog on a horse")
    assert first == dog, "the first of several is the subject"
    with pytest.raises(InputError, match=r"box=\("):
        proposed_box(photo, identity, "a photo of a ring")


def test_what_the_border_of_its_photograph_cuts_off_stands_at_the_border_of_this_one(identity):
    cut = replace(identity, cutouts=(identity.cutouts[0]._replace(is_cut=True),))
    left, top, right, bottom = proposed_box(scene_library().image("city street"), cut)
    assert bottom == 1
    assert 0.5 < top < 0.7
    assert 0 <= left < right <= 1
    aside = replace(identity, cutouts=(identity.cutouts[0]._replace(cut_at="right"),))
    assert proposed_box(scene_library().image("city street"), aside)[2] == 1


def test_a_replacement_that_its_photograph_cuts_off_needs_a_place_at_that_border(session, identity):
    cut = replace(identity, cutouts=(identity.cutouts[0]._replace(is_cut=True),))
    with pytest.raises(InputError, match="border: bottom"):
        session.replace(photograph(200, 150), cut, mask=SPOT, seed=1)
    assert session.replace(photograph(200, 150), cut, mask=(0.3, 0.4, 0.6, 1.0), seed=1)


@pytest.mark.parametrize("size", thorough_but([(1, 2), (1, 20), (2, 2)], [(1, 20)]))
def test_the_smallest_photographs_are_changed_without_a_warning(session, identity, size):
    photo = photograph(*size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inserted = session.insert(photo, identity, box=(0, 0, 1, 1), seed=1)
        assert inserted.image.size == photo.size
        assert session.remove(photo, mask=(0, 0, 1, 0.5), seed=1).image.size == photo.size
    with pytest.raises(InputError, match="Mark less"):
        session.remove(photo, mask=(0, 0, 1, 1))
