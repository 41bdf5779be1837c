import functools

import pytest

from tests.devices import DEVICE, one_device
from tests.golden import cases, sheet
from tests.golden.cases import CASES, REFUSED
from tests.quick import thorough_but

COSTLY = {  # each beside a cheaper picture of its technique
    *("mini: its own size", "mini: two seeds", "mini: two steps", "mini: four steps"),
    *("mini: subject on a plain ground", "mini: a tuned subject", "mini: three references"),
    *("mini: a scene in the rain", "mini: a scene as a comic"),
    *("mini: a mouse at night", "mini: robot in space", "mini: given mask", "mini: a large scene"),
    *("mini, two subjects: boxes as masks", "mini, two subjects: side by side"),
    *("mini, guidance: cfg", "mini, guidance: plain", "mini, style: plain", "mini, style: am2"),
    *("mini, style: am1", "mini, style: dcg", "mini, style: dcg+am1"),
    "mini, edit by words: season",
    *("mini, photograph: insert", "mini, photograph: remove, found"),
    *("sd15: a scene", "sd15, face, edit by inversion"),
    *("sd21, chord: keyword", "sdxl, two faces and crops, two steps"),
    *(f"{family}, face, {style}" for family in ("sd15", "sdxl") for style in ("am1", "dcg")),
}
CHANGES = [(name, what) for name, changes in REFUSED.items() for what in changes]

CHEAP_ON_DEVICE = ("mini, edit by words: time",)
ON_DEVICE = (  # one of each technique
    *(*CHEAP_ON_DEVICE, "mini, two subjects: one box", "reference, edit"),
    "mini: an empty scene",
    *(f"mini, edit by words: {name}" for name in ("season", "colour and time")),
    "mini, photograph: insert, turned",
    "mini, photograph: replace",
    "sd15: a scene",
    "sd21, chord: reference in a box, fast",
    "sd21, edit, paper: reference in a box",
)


@pytest.fixture(scope="module")
def stored():
    return sheet.read()


@pytest.mark.parametrize("name", thorough_but(CASES, CASES.keys() - COSTLY))
def test_a_picture_is_what_it_was(name, stored):
    if name not in stored:
        pytest.skip("another test tells")
    gap = sheet.difference(sheet.thumbnails(CASES[name]()), stored[name])
    assert gap.is_tolerable, f"{name} differs by {gap}. {sheet.REMEDY}"


@pytest.mark.parametrize("name", thorough_but(ON_DEVICE, CHEAP_ON_DEVICE))
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
