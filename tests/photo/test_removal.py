"""A removal takes the edge of a thing and the shadow at its foot, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from swiftpie.errors import InputError
from swiftpie.imageio.images import extent_of, plane, resized
from swiftpie.masks import grow
from swiftpie.photo import removal
from swiftpie.photo.cutout import cut_out, cutout_network, find_with
from swiftpie.photo.filling import FINEST_PX
from swiftpie.photo.removal import (
    LEAST_THERE,
    close_gaps,
    ends_with_thing,
    removal_of,
    shadow_of,
    supported_objects,
    thin_parts,
)
from swiftpie.photo.search import Search
from tests import shapes

SIDE = 96


def box(left, top, right, bottom):
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., top:bottom, left:right] = 1
    return mask


@pytest.fixture
def thing():
    return box(36, 30, 56, 60)


@pytest.fixture
def ground():
    noise = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return 0.6 + 0.02 * noise.expand(1, 3, -1, -1) * torch.tensor([1.0, 0.9, 0.7]).view(1, 3, 1, 1)


@pytest.mark.parametrize("light", [0.4, 0.75])
def test_a_shadow_at_the_foot_is_found_and_little_else(ground, thing, light):
    shadow = box(56, 52, 74, 62)
    found = shadow_of(torch.lerp(ground, light * ground, shadow), thing)
    assert float((found * shadow).sum() / shadow.sum()) > 0.9
    assert not bool((found * (1 - grow(shadow, 7))).any())
    assert bool(found[..., 52:60, 55].all()), "nothing stays between shadow and thing"
    assert not bool((found * box(36, 30, 54, 50)).any())


def test_the_soft_rim_of_a_shadow_goes_with_it(ground, thing):
    rim = box(56, 46, 80, 68)
    soft = torch.lerp(torch.lerp(ground, 0.92 * ground, rim), 0.6 * ground, box(56, 50, 74, 63))
    found = shadow_of(soft, thing)
    assert float((found * rim).sum() / rim.sum()) > 0.9
    assert not bool((found * (1 - grow(rim, 7))).any())


def test_what_is_dark_for_other_reasons_stays(ground, thing, monkeypatch):
    none = torch.zeros_like(thing)
    assert torch.equal(shadow_of(ground, thing), none)
    apart = torch.lerp(ground, 0.5 * ground, box(66, 52, 74, 62))
    assert torch.equal(shadow_of(apart, thing), none)
    red = torch.tensor([0.6, 0.1, 0.1]).view(1, 3, 1, 1)
    rug = shadow_of(torch.lerp(ground, red, box(56, 40, 86, 80)), thing)
    assert not bool((rug * box(64, 48, 78, 72)).any())
    lake = torch.lerp(ground, 0.5 * ground, box(56, 52, 74, 62))
    assert bool(shadow_of(lake, thing).any())
    monkeypatch.setattr(removal, "MOST_SHADOW", 0.1)
    assert torch.equal(shadow_of(lake, thing), none)
    monkeypatch.undo()
    carpet = torch.lerp(ground, 0.5 * ground, box(0, 40, 94, SIDE))
    assert torch.equal(shadow_of(carpet, thing), none)
    edge_of_a_table = torch.lerp(ground, 0.5 * ground, box(0, 54, SIDE, 62))
    assert torch.equal(shadow_of(edge_of_a_table, thing), none)


def test_a_sharp_shadow_goes_as_far_as_it_reaches_also_on_a_wall(ground, thing):
    wide = box(12, 20, 84, 70), box(40, 66, 90, 80)  # as the picture
    for one, shadow in ((thing, box(56, 52, SIDE, 62)), (thing, box(54, 34, 68, 58)), wide):
        found = shadow_of(torch.lerp(ground, 0.5 * ground, shadow), one)
        seen = shadow * (1 - one)
        assert float((found * seen).sum() / seen.sum()) > 0.95
        assert not bool((found * (1 - grow(shadow, 7))).any())


def test_a_shadow_that_is_cut_off_is_named(ground, thing, caplog):
    shadow_of(torch.lerp(ground, 0.5 * ground, box(56, 52, 74, 62)), thing)
    assert not caplog.messages
    found = shadow_of(torch.lerp(ground, 0.5 * ground, box(56, 40, SIDE, 66)), thing)
    assert "mark the thing and its shadow by a mask" in caplog.text
    assert not bool(found.any())


def test_what_sticks_out_goes_and_what_goes_on_stays(ground, thing):
    antenna, wire, post = box(45, 12, 47, 30), box(0, 33, 36, 35), box(70, 20, 74, 60)
    marked = torch.maximum(torch.maximum(antenna, wire), post)
    found = thin_parts(torch.lerp(ground, 0.2 * ground, marked), thing)
    assert bool(found[antenna > 0].all())
    assert not bool(found[..., :32].any())
    assert not bool(found[post > 0].any())


def test_gaps_go_and_what_lies_around_stays():
    teeth = torch.maximum(box(20, 40, 30, 70), box(36, 40, 46, 70))
    comb = torch.maximum(box(20, 20, 76, 40), teeth)
    found = close_gaps(comb, 4)
    assert torch.equal(found * comb, comb)
    assert bool(found[..., 40:68, 30:36].all()), "between the teeth"
    assert not bool((found * (1 - grow(comb, 4))).any())
    assert not bool(found[..., 44:, 50:].any()), "what is wider stays"


@pytest.fixture(scope="module")
def photo():
    noise = np.random.default_rng(0).integers(150, 170, (240, 320, 1)).repeat(3, axis=2)
    picture = Image.fromarray(noise.astype(np.uint8))
    ImageDraw.Draw(picture).ellipse((60, 80, 130, 170), fill=(200, 30, 40))
    ImageDraw.Draw(picture).ellipse((210, 90, 270, 160), fill=(30, 60, 200))
    return picture


@pytest.mark.parametrize("box", [None, (0.1, 0.2, 0.5, 0.9), (0.205, 0.36, 0.39, 0.69)])
def test_the_thing_at_a_point_goes_to_its_edge_and_no_other(photo, box):
    gone = removal_of(photo, Search(box=box, points=((0.3, 0.52),)))[0][0, 0].numpy() > 0
    red, blue = (np.asarray(photo)[..., column].astype(int) > 180 for column in (0, 2))
    assert gone[red].all()
    assert not gone[blue].any()
    assert gone.sum() < 2 * red.sum()


def test_what_a_closer_look_finds_goes_too(photo):
    click = Search(points=((0.3, 0.52),))
    whole = cut_out(photo, click).mask > LEAST_THERE
    left, top, right, bottom = extent_of(whole)
    box = ((left - 7) / 320, (top - 9) / 240, (right + 7) / 320, (bottom + 9) / 240)
    closer = find_with(cutout_network(), photo, replace(click, box=box)).mask > LEAST_THERE
    gone = removal_of(photo, click)[0] > 0
    assert gone[closer | whole].all()


@pytest.mark.parametrize(("place", "rests"), [((70, 30), 1), ((124, 112), 0), ((220, 40), 0)])
def test_what_rests_on_a_thing_is_found_and_what_stands_beside_is_not(photo, place, rests):
    plain = photo.copy()
    load, thing = (Image.new("L", photo.size) for _ in range(2))
    ImageDraw.Draw(load).ellipse((*place, place[0] + 50, place[1] + 56), fill=255)
    ImageDraw.Draw(thing).ellipse((60, 80, 130, 170), fill=255)
    plain.paste((30, 60, 200), mask=load)
    plain.paste((200, 30, 40), mask=thing)
    found, there = supported_objects(plain, plane(thing) > 0.5), plane(load) > 0.5
    assert float((found & there).sum() / there.sum()) == pytest.approx(rests, abs=0.3)
    assert not bool((found & (grow(there.float(), 2) <= 0)).any())


def test_a_click_for_what_cannot_be_told_is_refused_and_a_mask_is_followed(session, caplog, sprite):
    corner = shapes.corner()
    with pytest.raises(InputError, match="paint what goes as a mask"):
        session.remove(corner, points=[(0.5, 0.5)], seed=1)
    with pytest.raises(InputError, match="paint what goes as a mask"):
        session.replace(corner, session.encode_identity(sprite), points=[(0.5, 0.5)], seed=1)
    mask = Image.new("L", corner.size)
    ImageDraw.Draw(mask).rectangle((100, 60, 220, 180), fill=255)
    result = session.remove(corner, mask=mask, seed=1)
    assert "is a guess" in caplog.text
    assert not (np.asarray(result.image)[120, 160] == 255).all()


def test_points_reach_the_picture(session, photo):
    result = session.remove(photo, points=[(0.3, 0.52)], seed=1)
    region = np.asarray(result.region) > 0
    assert region[125, 95]
    assert np.array_equal(np.asarray(result.image)[~region], np.asarray(photo)[~region])
    assert np.asarray(result.image)[125, 95, 0] < 180


def test_what_goes_in_a_large_photo_is_what_goes_in_its_smaller_copy(photo):
    click, large = Search(points=((0.3, 0.52),)), photo.resize((2 * FINEST_PX, 320))
    found = removal_of(large, click)[0]
    expected = removal_of(large.resize((FINEST_PX, 160), Image.Resampling.BOX), click)[0]
    assert found.dtype is torch.uint8
    assert set(found.unique().tolist()) == {0, 255}
    assert np.allclose(extent_of(found), 2 * np.array(extent_of(expected)), atol=2)


def test_what_is_around_an_outline_goes_and_a_wider_mask_is_exact(session, caplog):
    outline, shown = shapes.as_mask(shapes.star()), shapes.photo(shapes.star(), "gradient")
    wider = grow(outline, 8)
    exact = session.remove(shown, mask=wider, seed=1)
    assert caplog.records == []
    assert torch.equal(plane(exact.region) > 0, wider > 0)
    taken = session.remove(shown, mask=outline, seed=1)
    (warning,) = caplog.records
    assert "its edge and its shadow" in warning.getMessage()
    assert bool((plane(taken.region) > 0)[grow(outline, 2) > 0].all())


def test_ground_with_edges_everywhere_is_no_outline():
    blocks = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    picture = Image.fromarray(blocks).resize((320, 240), Image.Resampling.NEAREST)
    assert not ends_with_thing(picture, 255 * resized(box(30, 30, 70, 70), (240, 320)))


def test_a_newcomer_is_as_large_as_the_thing_without_its_shadow(session, sprite, photo):
    result = session.replace(photo, session.encode_identity(sprite), points=[(0.3, 0.52)], seed=1)
    assert result.box == pytest.approx((60 / 320, 80 / 240, 131 / 320, 171 / 240), abs=0.02)
