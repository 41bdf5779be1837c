"""Pictures with fixed seeds look as they did when their thumbnails were stored."""

import numpy as np
import pytest

from tests.golden import sheet
from tests.golden.cases import CASES, PIPELINES, REFUSED

CHANGES = [(name, what) for name, changes in REFUSED.items() for what in changes]


@pytest.fixture(scope="module")
def stored():
    return sheet.read()


@pytest.mark.parametrize("name", CASES)
def test_a_picture_is_what_it_was(name, stored):
    if name not in stored:
        pytest.skip("another test tells")
    gap = sheet.difference(sheet.thumbnails(CASES[name]()), stored[name])
    assert gap.is_tolerable, f"{name} differs by {gap}. {sheet.REMEDY}"


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
