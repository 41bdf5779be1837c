from swiftpie.config import override
from swiftpie.training.recipes.mini import mini_judges


def test_the_settings_of_the_stage_can_be_overridden():
    config = override(mini_judges(), ["stage.num_subjects=6", "loop.steps=3"])
    assert (config.stage.num_subjects, config.loop.steps) == (6, 3)
