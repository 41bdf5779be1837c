from collections import Counter
from random import Random

import pytest

from swiftpie_lab.evaluation.benchmarks.edit_cases import (
    DEAL_SIZE,
    STYLES,
    TYPES,
    EditKind,
    deal,
    keyword_for,
    scenes_for,
)
from swiftpie_lab.evaluation.benchmarks.stickers import describe
from swiftpie_lab.stickers.scenes import SCENES

# PIE-Bench's own numbers of pictures, type 0 to 9.
SHARES = [140, 80, 80, 80, 40, 40, 40, 40, 80, 80]
BEACH = next(scene for scene in SCENES if scene.name == "beach")


@pytest.mark.parametrize(
    ("attribute", "prompt"),
    [
        ("", "a photo of a crab on a beach"),
        ("huge", "a photo of a huge crab on a beach"),
        ("left", "a photo of a crab on a beach on the left"),
        ("top hat", "a photo of a crab wearing a top hat on a beach"),
        ("black and white", "a black and white photo of a crab on a beach"),
    ],
)
def test_prompts_say_the_attribute_in_the_words_of_training(attribute, prompt):
    assert describe("crab", BEACH, attribute) == prompt


@pytest.mark.parametrize("kind", [kind for kind in EditKind if kind is not EditKind.LIGHT])
def test_subjects_stay_grounded_or_floating(kind):
    for seed in range(20):
        before, after = scenes_for(kind, Random(seed))
        assert before.grounded == after.grounded
        assert (before is not after) == (kind is EditKind.SCENE)


def test_a_style_is_new_light_for_a_scene_of_daylight():
    for seed in range(20):
        before, after = scenes_for(EditKind.LIGHT, Random(seed))
        assert before.grounded
        assert before.name not in STYLES
        assert after.name in STYLES


@pytest.mark.parametrize("kind", EditKind)
def test_a_keyword_is_part_of_the_source_prompt(kind):
    before = {EditKind.SWAP: "crown", EditKind.COLOUR: "black and white"}.get(kind, "")
    keyword = keyword_for(kind, name="crab", scene=BEACH, before=before)
    assert keyword in describe("crab", BEACH, before)


def test_seven_hundred_cases_have_the_shares_of_pie_bench():
    counts = Counter(deal(number, seed=0).type_id for number in range(700))
    assert [counts[number] for number in sorted(TYPES)] == SHARES


def test_every_deal_holds_every_kind_in_both_variants():
    slots = [deal(number, seed=5) for number in range(DEAL_SIZE)]
    assert {(slot.kind, slot.variant) for slot in slots} == {
        (kind, variant) for kind in EditKind for variant in (0, 1)
    }


def test_another_seed_deals_another_order():
    first, second = ([deal(n, seed=seed) for n in range(DEAL_SIZE)] for seed in (0, 1))
    assert first != second
