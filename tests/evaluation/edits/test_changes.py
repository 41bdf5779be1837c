from random import Random

import pytest

from swiftpie.data.scenes import SCENES
from swiftpie.evaluation.edits.case import EditKind
from swiftpie.evaluation.edits.changes import STYLES, describe, keyword_for, scenes_for

BEACH = next(scene for scene in SCENES if scene.name == "beach")


@pytest.mark.parametrize(
    ("attribute", "prompt"),
    [
        ("", "a photo of a crab on a beach"),
        ("coloured", "a photo of a crab on a beach"),
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
