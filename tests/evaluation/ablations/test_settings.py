from collections import Counter

from swiftpie.evaluation.ablations.settings import (
    BRANCHES,
    DETAIL_SWEEP,
    EVERYTHING,
    IDENTITY_SWEEP,
    STEPS,
    WEIGHTS,
    all_settings,
)
from swiftpie.pipelines.request import Scales

BASE = Scales(identity_scale=0.8, detail_scale=0.6)
ALL = all_settings(BASE, step_counts=(1, 2, 4), against=["first", "second"])


def of(group):
    return [setting for setting in ALL if setting.group == group]


def test_the_first_row_is_everything_at_the_presets_own_scales():
    assert (ALL[0].title, ALL[0].scales) == (EVERYTHING, BASE)


def test_names_are_unique_within_their_group():
    assert max(Counter((one.group, one.title) for one in ALL).values()) == 1


def test_branches_are_every_choice_of_three():
    parts = {(one.scales.identity_scale > 0, one.has_detail, one.has_skip) for one in of(BRANCHES)}
    silent = [one for one in of(BRANCHES) if one.scales.detail_scale == 0]
    assert [one.title for one in silent] == ["text only"]
    assert len(of(BRANCHES)) == 2**3
    assert len(parts) == 2**3 - 1  # text only is silent by its scales


def test_sweeps_change_one_scale_and_reach_from_off_to_full():
    for group, name, other in (
        (IDENTITY_SWEEP, "identity_scale", "detail_scale"),
        (DETAIL_SWEEP, "detail_scale", "identity_scale"),
    ):
        assert [getattr(one.scales, name) for one in of(group)] == [0, 0.25, 0.5, 0.75, 1]
        assert {getattr(one.scales, other) for one in of(group)} == {getattr(BASE, other)}


def test_steps_and_other_weights_have_a_row_each():
    assert [one.num_steps for one in of(STEPS)] == [1, 2, 4]
    assert [one.weights for one in of(WEIGHTS)] == ["first", "second"]
