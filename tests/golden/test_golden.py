"""Pictures with fixed seeds look as they did when their thumbnails were stored."""

import functools

import numpy as np
import pytest

from tests.devices import DEVICE, one_device
from tests.golden import cases, sheet
from tests.golden.cases import CASES, PIPELINES, REFUSED

CHANGES = [(name, what) for name, changes in REFUSED.items() for what in changes]


ON_DEVICE = (  # one of each technique
    "mini: an empty scene",
    "mini, two subjects: one box",
    "mini, edit: source prompt",
    *(f"mini, edit by words: {name}" for name in ("time", "season", "colour", "material", "pose")),
    "mini, edit by words: another place",
    "mini, edit by words: a second subject",
    "mini, photograph: insert, turned",
    "mini, photograph: replace",
    "sd15: a scene",
    "sd21, chord: reference in a box",
    "sd21, edit, paper: reference in a box",
    "reference, edit",
)


@pytest.fixture(scope="module")
def stored():
    return sheet.read()


@pytest.mark.parametrize("name", CASES)
def test_a_picture_is_what_it_was(name, stored):
    if name not in stored:
        pytest.skip("another test tells")
    gap = sheet.difference(sheet.thumbnails(CASES[name]()), stored[name])
    assert gap.is_tolerable, f"{name} differs by {gap}. {sheet.REMEDY}"


@pytest.mark.parametrize("name", ON_DEVICE)
def test_a_device_of_its_own_memory_draws_the_same(name, stored, monkeypatch):
    for networks in ("mini", "random_networks", "reading_networks"):
        there = functools.partial(getattr(cases, networks), device=str(DEVICE))
        monkeypatch.setattr(cases, networks, there)
    with one_device():
        drawn = sheet.thumbnails(CASES[name]())
    assert sheet.difference(drawn, stored[name]).is_tolerable


def test_the_sheet_shows_every_case_and_nothing_else(stored):
    missing, surplus = CASES.keys() - stored.keys(), stored.keys() - CASES.keys()
    assert not missing | surplus, f"missing: {missing}, surplus: {surplus}. {sheet.REMEDY}"


@pytest.mark.parametrize(("name", "what"), CHANGES)
def test_another_seed_or_a_scale_two_percent_off_is_refused(name, what, stored):
    gap = sheet.difference(sheet.thumbnails(REFUSED[name][what]()), stored[name])
    assert not gap.is_tolerable, gap


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_draws_what_the_session_draws(name):
    picture, mask = PIPELINES[name]()
    drawn = [np.asarray(one) for one in CASES[name]()]
    # Prompts that are encoded together round otherwise than apart, by a level of 255 at most.
    np.testing.assert_allclose(np.asarray(picture, dtype=int), drawn[0].astype(int), atol=1, rtol=0)
    assert any(np.array_equal(mask, one) for one in drawn[1:])
