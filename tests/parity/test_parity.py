from importlib.util import find_spec

import pytest

from tests.parity import animation, attention, fastface, invariants, report
from tests.quick import thorough_but

# Euler schedulers of diffusers hand tensors to NumPy in a way that it is going to refuse.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NEEDS_PEFT = pytest.mark.skipif(find_spec("peft") is None, reason="needs swiftpie[lora]")
FAST = {"edit", "sdxs"}  # seconds; the others compare in a minute or more


def failures(rows):
    assert rows
    assert len({name for name, *_ in rows}) == len(rows)  # every row says what it compares
    return [row for row in rows if not report.is_within(row)]


@pytest.mark.parametrize("name", thorough_but(sorted(FAST), ["sdxs"]))
def test_fast_comparisons_keep_their_bounds(name):
    assert failures(report.modules()[name].rows()) == []


def test_reshaped_maps_keep_their_bounds_in_a_layer():
    assert failures(fastface.transform_rows()) == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    "rows",
    [
        lambda: attention.rows(["sd15"], is_shallow=True),
        lambda: fastface.guidance_rows("sd15"),
        pytest.param(lambda: animation.rows(["animatelcm"], is_shallow=True), marks=NEEDS_PEFT),
        lambda: invariants.rows(["mini"], is_shallow=True),
        lambda: invariants.rows(["sd15"], is_shallow=True),
    ],
)
def test_comparisons_keep_their_bounds_in_small_networks(rows):
    assert failures(rows()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(report.modules()) - FAST))
def test_all_comparisons_keep_their_bounds(name):
    assert failures(report.modules()[name].rows()) == []


def test_the_report_fails_on_what_is_out_of_bounds_or_no_number():
    assert not report.is_within(("worse", 2e-5, 1e-5))
    assert not report.is_within(("no number", float("nan"), 1e-5))
    assert report.is_within(("exact", 0.0, 0.0))
