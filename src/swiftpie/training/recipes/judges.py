"""How the judges of the evaluation are trained; measured figures are beside their weights."""

from swiftpie.training.loop import LoopConfig
from swiftpie.training.recipes.config import TrainConfig
from swiftpie.training.stages.judges import JudgesConfig


def mini_judges() -> TrainConfig:
    """Judges of subjects, scenes and attributes in sticker scenes; 10 minutes on one core."""
    loop = LoopConfig(
        steps=1100, learning_rate=2e-3, warmup_steps=50, decay_share=0.7, sample_every=200
    )
    return TrainConfig(loop=loop, stage=JudgesConfig())
