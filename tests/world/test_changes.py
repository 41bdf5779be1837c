import functools
from dataclasses import replace

import pytest
import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_world.air import TIMES, Setting
from swiftpie_world.captions import NONE, SceneSpec
from swiftpie_world.changes import (
    MIN_CHANGE_LEVELS,
    MOVED,
    EditSpec,
    WorldChange,
    alternatives,
    redraw,
    stand_aside,
)
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


@functools.cache
def world():
    return World(sample_subjects(), "train")


def ways(spec, change):
    return alternatives(spec, change, world().settings)


@functools.cache
def redrawn():
    """The first picture, the second and the first layout, by change."""
    before = [WORDED if change is WorldChange.SECOND else FIRST for change in WorldChange]
    pairs = zip(WorldChange, before, strict=True)
    edits = [EditSpec(change, ways(spec, change)[0]) for change, spec in pairs]
    generator, count = torch.Generator().manual_seed(7), len(edits)
    noise = torch.randn(1, 32, 16, 16, generator=generator).expand(count, -1, -1, -1)
    numbers, rows = torch.full((count, 16), 0.5), world().subjects.indices("held_out")[:2]
    subject, others = (
        world().figures(noise, [row] * count, before, numbers=numbers) for row in rows
    )
    first = world().draw(noise, subject, before)
    others = stand_aside(noise.flip(3), subject, others, before)
    after = redraw(world(), noise, first, subject, edits, others=others)
    return {
        change: (
            type(first)(*(value[row : row + 1] for value in first[:5]), first.light),
            _row(after, row),
            _row(subject.layout, row),
        )
        for row, change in enumerate(WorldChange)
    }


def _row(value, row):
    if isinstance(value, torch.Tensor):
        return value[row : row + 1]
    return type(value)(*(_row(part, row) for part in value))


@pytest.mark.parametrize("change", WorldChange)
def test_outside_of_the_mask_both_pictures_agree_and_who_is_not_moved_stays(change):
    first, after, layout = redrawn()[change]
    apart = (first.pixels - after.pixels).abs() * (after.mask <= 0)
    assert float(apart.max()) <= (MIN_CHANGE_LEVELS + 1) * LEVEL
    is_same = change is WorldChange.NOTHING
    assert is_same == (not after.mask.any()) == torch.equal(first.pixels, after.pixels)
    pairs = zip(after.layout, layout, strict=True)
    assert change in MOVED or all(torch.equal(value, other) for value, other in pairs)
    assert after.second.any() == (change is WorldChange.SECOND)


@pytest.mark.parametrize("change", [*sorted(MOVED), WorldChange.REMOVAL])
def test_a_subject_that_is_moved_or_gone_lies_in_the_mask(change):
    first, after, _ = redrawn()[change]
    assert not (((first.mask > 0) | (after.subject > 0)) & (after.mask <= 0)).any()
    assert (change is WorldChange.REMOVAL) == (not after.subject.any())


def test_a_second_subject_comes_beside_the_first_and_leaves_it():
    first, after, layout = redrawn()[WorldChange.SECOND]
    assert torch.equal(after.subject, first.mask)
    across = torch.linspace(0, 1, after.mask.shape[-1])
    where = float((after.second * across).sum() / after.second.sum())
    assert (where < 0.5) == (float(layout.centre[0, 0]) > 0.5)


def test_a_way_changes_one_thing_and_none_leads_to_a_setting_that_is_held_out():
    for change in WorldChange:
        found = ways(FIRST, change)
        assert len({*found}) == len(found)
        for spec in found:
            assert not is_held_out(spec.setting)
            differing = {name for name in vars(spec) if getattr(spec, name) != getattr(FIRST, name)}
            differing |= {n for n in Setting._fields if getattr(spec.setting, n) != 0} - {"place"}
            assert len(differing - {"setting"}) <= 1
    times = {TIMES[spec.setting.time] for spec in ways(FIRST, WorldChange.TIME)}
    assert times <= {"sunset", "night", "dawn"}


def test_what_a_picture_has_no_way_for_is_not_offered():
    indoors = SceneSpec(INDOORS)
    for change in (WorldChange.TIME, WorldChange.WEATHER, WorldChange.SEASON, WorldChange.TAKE_OFF):
        assert ways(indoors, change) == []
    assert all(PLACES[spec.setting.place].grounded for spec in ways(indoors, WorldChange.PLACE))
    assert ways(FIRST, WorldChange.SECOND) == []
    glass = replace(indoors, material="glass")
    assert {spec.material for spec in ways(glass, WorldChange.COLOUR)} == {NONE}
    assert NONE not in {spec.view for spec in ways(replace(indoors, view="left"), WorldChange.VIEW)}
