import pytest

from swiftpie.config import from_json, override, to_json
from swiftpie_lab.training.recipes.mini import (
    mini_dmd2,
    mini_teacher,
    world_inversion,
    world_inversion_pictures,
)


@pytest.mark.parametrize(
    "recipe", [mini_teacher, mini_dmd2, world_inversion, world_inversion_pictures]
)
def test_settings_can_be_overridden_and_stored(recipe):
    config = override(recipe(), ["stage.scenes.num_subjects=2", "loop.steps=3"])
    assert (config.stage.scenes.num_subjects, config.loop.steps) == (2, 3)
    assert from_json(type(config.stage), to_json(config.stage)) == config.stage


def test_the_second_stage_goes_on_from_the_first_in_the_same_world():
    first, second = world_inversion().stage, world_inversion_pictures().stage
    assert (second.generator, second.scenes) == (first.generator, first.scenes)
    assert second.start_from == "world_inversion"
    assert (second.generated_share, second.latents_weight, second.pixels_weight) == (0, 0, 1)
