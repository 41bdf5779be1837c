"""The adapter recipes fit their stage."""

import pytest

from swiftpie.attention.condition import Block
from swiftpie.config import override
from swiftpie_lab.training.recipes.published import adapter, adapter_matching, adapter_warmup
from swiftpie_lab.training.stages.adapter.networks import Source


def test_the_warm_up_draws_its_own_subjects_and_the_adapter_reads_photos():
    assert adapter_warmup().stage.source is Source.SYNTHETIC
    assert adapter().stage.source is Source.PHOTOS


@pytest.mark.parametrize("recipe", [adapter, adapter_warmup, adapter_matching])
def test_settings_can_be_changed_by_text(recipe):
    changes = [
        "stage.preset=sdxl-turbo",
        "stage.detail=up_blocks,mid_block",
        "stage.loss.adversarial=0",
    ]
    stage = override(recipe(), [*changes, "stage.drops.text=0.2", "stage.data=here"]).stage
    assert (stage.preset, str(stage.data), stage.drops.text) == ("sdxl-turbo", "here", 0.2)
    assert stage.loss.adversarial == 0
    assert stage.detail == (Block.UP, Block.MIDDLE)
    num_groups = 3 if recipe is adapter_matching else 2  # adapter, discriminator and fake score
    assert len(recipe().loop.learning_rates) == num_groups


def test_matching_is_on_in_its_own_recipe_only_and_prompts_fade_over_the_whole_run():
    assert [make().stage.loss.matching for make in (adapter, adapter_warmup)] == [0, 0]
    config = adapter_matching()
    assert config.stage.loss.matching == 1
    for run in (adapter(), config):
        assert run.stage.prompt_steps == run.loop.steps
