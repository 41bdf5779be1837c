from dataclasses import replace

import pytest
import torch

from swiftpie_world.air import TIMES, Setting
from swiftpie_world.captions import NONE, SceneSpec, draw_caption
from swiftpie_world.changes import (
    MIN_CHANGE_LEVELS,
    MOVED,
    EditSpec,
    SameWords,
    WorldChange,
    alternatives,
    redraw,
    stand_aside,
)
from swiftpie_world.compositor import PlacedSprite
from swiftpie_world.placement import place
from swiftpie_world.places import PLACES, is_held_out
from swiftpie_world.sampler import World

LEVEL = 2 / 255
OUTDOORS = Setting(
    next(i for i, place in enumerate(PLACES) if place.has_seasons and place.foreground is None)
)
INDOORS = Setting(
    next(i for i, place in enumerate(PLACES) if not place.outdoors and place.grounded)
)
FIRST = SceneSpec(OUTDOORS, accessory="top hat")
WORDED = SceneSpec(OUTDOORS)


@pytest.fixture(scope="module")
def world(subjects):
    return World(subjects, "train")


@pytest.fixture(scope="module")
def redrawn(world, subjects):
    changes = [*WorldChange]
    before = [WORDED if change is WorldChange.SECOND else FIRST for change in changes]
    edits = [
        EditSpec(change, alternatives(spec, change, world.settings)[0])
        for change, spec in zip(changes, before, strict=True)
    ]
    count = len(changes)
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(1, 32, 16, 16, generator=generator).expand(count, -1, -1, -1)
    numbers = torch.full((count, 16), 0.5)
    rows = subjects.indices("held_out")[:2]
    subject, others = (world.figures(noise, [row] * count, before, numbers=numbers) for row in rows)
    first = world.draw(noise, subject, before)
    others = stand_aside(noise.flip(3), subject, others, before)
    after = redraw(world, noise, first, subject, edits, others=others)
    return {
        change: (
            type(first)(*(value[row : row + 1] for value in first[:5]), first.light),
            type(after)(*(_row(value, row) for value in after)),
            _row(subject.layout, row),
        )
        for row, change in enumerate(changes)
    }


def _row(value, row):
    if isinstance(value, torch.Tensor):
        return value[row : row + 1]
    return type(value)(*(part[row : row + 1] for part in value))


@pytest.mark.parametrize("change", WorldChange)
def test_outside_of_the_mask_both_pictures_agree(redrawn, change):
    first, after, _ = redrawn[change]
    apart = (first.pixels - after.pixels).abs() * (after.mask <= 0)
    assert float(apart.max()) <= (MIN_CHANGE_LEVELS + 1) * LEVEL
    says_nothing = change in {WorldChange.NOTHING, WorldChange.WORD}
    assert says_nothing == (not after.mask.any()) == torch.equal(first.pixels, after.pixels)


@pytest.mark.parametrize("change", sorted(set(WorldChange) - MOVED))
def test_who_is_not_moved_stays_where_it_is(redrawn, change):
    _, after, layout = redrawn[change]
    assert all(torch.equal(value, other) for value, other in zip(after.layout, layout, strict=True))


@pytest.mark.parametrize("change", [*sorted(MOVED), WorldChange.REMOVAL])
def test_a_subject_that_is_moved_or_gone_lies_in_the_mask(redrawn, change):
    first, after, _ = redrawn[change]
    assert not (((first.mask > 0) | (after.subject > 0)) & (after.mask <= 0)).any()
    assert (change is WorldChange.REMOVAL) == (not after.subject.any())


def test_things_worn_and_looks_change_little_and_art_and_places_most(redrawn):
    shares = {change: float(redrawn[change][1].mask.mean()) for change in redrawn}
    for change in (WorldChange.PUT_ON, WorldChange.TAKE_OFF):
        assert shares[change] < 0.25
    for change in (WorldChange.PLACE, WorldChange.RENDITION):
        assert shares[change] > 0.5
    first, after, _ = redrawn[WorldChange.COLOUR]
    assert shares[WorldChange.COLOUR] < 2.5 * float(first.mask.mean())
    assert torch.equal(after.subject, first.mask)


def test_a_second_subject_comes_beside_the_first_and_leaves_it(redrawn):
    first, after, layout = redrawn[WorldChange.SECOND]
    assert torch.equal(after.subject, first.mask)
    assert after.second.any()
    across = torch.linspace(0, 1, after.mask.shape[-1])
    where = float((after.second * across).sum() / after.second.sum())
    assert (where < 0.5) == (float(layout.centre[0, 0]) > 0.5)
    assert not any(redrawn[change][1].second.any() for change in redrawn if change != "second")


def test_a_way_changes_one_thing_and_none_leads_to_a_setting_that_is_held_out(world):
    for change in WorldChange:
        ways = alternatives(FIRST, change, world.settings)
        assert len({*ways}) == len(ways)
        for spec in ways:
            assert not is_held_out(spec.setting)
            differing = {name for name in vars(spec) if getattr(spec, name) != getattr(FIRST, name)}
            differing |= {n for n in Setting._fields if getattr(spec.setting, n) != 0} - {"place"}
            assert len(differing - {"setting"}) <= 1
    nights = alternatives(FIRST, WorldChange.TIME, world.settings)
    times = {TIMES[spec.setting.time] for spec in nights}
    assert times <= {"sunset", "night", "dawn"}


def test_what_a_picture_has_no_way_for_is_not_offered(world):
    def ways(spec, change):
        return alternatives(spec, change, world.settings)

    indoors = SceneSpec(INDOORS)
    for change in (WorldChange.TIME, WorldChange.WEATHER, WorldChange.SEASON, WorldChange.TAKE_OFF):
        assert ways(indoors, change) == []
    assert all(PLACES[spec.setting.place].grounded for spec in ways(indoors, WorldChange.PLACE))
    assert ways(FIRST, WorldChange.SECOND) == []
    glass = replace(indoors, material="glass")
    assert {spec.material for spec in ways(glass, WorldChange.COLOUR)} == {NONE}
    assert NONE not in {spec.view for spec in ways(replace(indoors, view="left"), WorldChange.VIEW)}


def test_captions_of_one_seed_say_in_the_same_words_what_both_say():
    said = [
        [draw_caption(SameWords(seed), spec, name="cat").split() for spec in (WORDED, FIRST)]
        for seed in range(40)
    ]
    assert len({" ".join(plain) for plain, _ in said}) > 20
    for plain, worn in said:
        rest = iter(worn)
        assert all(word in rest for word in plain), (plain, worn)


def test_layouts_of_second_subjects_are_those_of_their_own_noise(world, subjects):
    generator = torch.Generator().manual_seed(1)
    own, free = torch.randn(2, 1, 32, 16, 16, generator=generator)
    figure = world.figures(own, [0], [WORDED], numbers=torch.rand(1, 16, generator=generator))
    assert len(subjects.names) > 1
    beside = stand_aside(free, figure, figure, [WORDED])
    side = "left" if float(figure.layout.centre[0, 0]) > 0.5 else "right"
    wanted = place(free, figure.frames, [replace(WORDED, side=side)])
    assert isinstance(beside, PlacedSprite)
    assert all(torch.equal(a, b) for a, b in zip(beside.layout, wanted, strict=True))
