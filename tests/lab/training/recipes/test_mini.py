from swiftpie.config import from_json, override, to_json
from swiftpie_lab.training.recipes.mini import world_inversion


def test_settings_can_be_overridden_and_stored():
    config = override(world_inversion(), ["stage.num_subjects=2", "loop.steps=3"])
    assert (config.stage.num_subjects, config.loop.steps) == (2, 3)
    assert from_json(type(config.stage), to_json(config.stage)) == config.stage
