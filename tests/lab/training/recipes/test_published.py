import pytest
import torch

from swiftpie.attention.condition import Block
from swiftpie_lab.cli.train import _recipes, override
from swiftpie_lab.training.loop import learning_rate_factor
from swiftpie_lab.training.optimizers import make_groups
from swiftpie_lab.training.recipes.published import MAX_NORM, adapter, inversion, inversion_pictures


@pytest.mark.parametrize("name", sorted(_recipes()))
def test_every_recipe_is_a_config_that_text_changes(name):
    recipe = _recipes()[name]
    assert recipe.__doc__
    assert override(recipe(), ["loop.steps=3"]).loop.steps == 3


def test_settings_can_be_changed_by_text():
    changes = [
        "stage.preset=sdxl-turbo",
        "stage.detail=up_blocks,mid_block",
        "stage.loss.adversarial=0",
    ]
    stage = override(adapter(), [*changes, "stage.drops.text=0.2", "stage.data=here"]).stage
    assert (stage.preset, str(stage.data), stage.drops.text) == ("sdxl-turbo", "here", 0.2)
    assert stage.loss.adversarial == 0
    assert stage.detail == (Block.UP, Block.MIDDLE)
    assert len(adapter().loop.learning_rates) == 2  # adapter and discriminator


@pytest.mark.parametrize(
    ("recipe", "steps", "batch"), [(inversion, 100_000, 4), (inversion_pictures, 180_000, 1)]
)
def test_the_stages_of_swiftedit_have_the_papers_constants(recipe, steps, batch):
    config = recipe()
    loop, stage = config.loop, config.stage
    assert (loop.steps, loop.learning_rate, stage.batch_size) == (steps, 1e-5, batch)
    assert {learning_rate_factor(step, loop) for step in (0, 1, steps // 2, steps - 1)} == {1.0}
    assert (loop.accumulate, loop.max_gradient_norm) == (1, MAX_NORM)
    groups = make_groups(
        torch.nn.Linear(32, 32), None, rates=[1e-5], uses_muon=loop.uses_muon, adam=loop.adam
    )
    (optimizer,) = groups[""].optimizers.values()
    assert type(optimizer) is torch.optim.Adam
    (options,) = optimizer.param_groups
    assert (options["lr"], options["weight_decay"]) == (1e-5, 1e-4)
    assert options["betas"] == (0.9, 0.999)
    assert not options["decoupled_weight_decay"]
