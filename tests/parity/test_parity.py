import pytest

from tests.parity import animation, attention, fastface, invariants, report
from tests.quick import thorough_but

# Euler schedulers of diffusers hand tensors to NumPy in a way that it is going to refuse.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FAST = {"edit", "sdxs"}  # seconds; the others compare in a minute or more


def failures(rows):
    assert rows
    assert len({name for name, *_ in rows}) == len(rows)  # every row says what it compares
    return [row for row in rows if not report.is_within(row)]


def test_every_file_of_this_folder_is_in_the_report():
    known = {
        "animation",
        "attention",
        "edit",
        "invariants",
        "ip_adapter",
        "pipelines",
        "schedules",
        "sdxs",
    }
    assert known | {"fastface", "flux2"} <= set(report.modules())


@pytest.mark.parametrize("name", thorough_but(sorted(FAST), ["sdxs"]))
def test_fast_comparisons_keep_their_bounds(name):
    assert failures(report.modules()[name].rows()) == []


@pytest.mark.thorough
def test_attention_keeps_its_bounds_in_a_small_unet():
    assert failures(attention.rows(["sd15"], is_shallow=True)) == []


def test_reshaped_maps_keep_their_bounds_in_a_layer():
    assert failures(fastface.transform_rows()) == []


@pytest.mark.thorough
def test_guidance_keeps_its_bounds_in_a_small_unet():
    assert failures(fastface.guidance_rows("sd15")) == []


@pytest.mark.thorough
def test_animations_keep_their_bounds_in_a_small_unet():
    pytest.importorskip("peft", reason="needs swiftpie[lora]")
    assert failures(animation.rows(["animatelcm"], is_shallow=True)) == []


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["mini", "sd15"])
def test_invariants_hold(family):
    assert failures(invariants.rows([family], is_shallow=True)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(report.modules()) - FAST))
def test_all_comparisons_keep_their_bounds(name):
    assert failures(report.modules()[name].rows()) == []


def test_the_report_fails_on_what_is_out_of_bounds_or_no_number():
    assert not report.is_within(("worse", 2e-5, 1e-5))
    assert not report.is_within(("no number", float("nan"), 1e-5))
    assert report.is_within(("exact", 0.0, 0.0))
