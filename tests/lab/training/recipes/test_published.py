from swiftpie.attention.condition import Block
from swiftpie.config import override
from swiftpie_lab.training.recipes.published import adapter


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
