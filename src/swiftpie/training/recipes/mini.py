"""How the mini model is trained, in order; measured figures are in the model card."""

from swiftpie.training.loop import LoopConfig
from swiftpie.training.recipes.config import TrainConfig
from swiftpie.training.stages.autoencoder import AutoencoderConfig
from swiftpie.training.stages.one_step.stage import OneStepConfig
from swiftpie.training.stages.one_step.tasks import Tasks


def mini_autoencoder() -> TrainConfig:
    """Patch autoencoder of 128 px pictures."""
    loop = LoopConfig(
        steps=1600, learning_rate=1.5e-3, warmup_steps=100, decay_share=0.6, uses_muon=False
    )
    return TrainConfig(loop=loop, stage=AutoencoderConfig())


def mini_one_step() -> TrainConfig:
    """Text tower, encoders, layout predictor and one-step denoiser, together."""
    return TrainConfig(
        loop=LoopConfig(steps=3550, learning_rate=2e-3),
        stage=OneStepConfig(num_subjects=6, pixel_weight=1.0, pixel_samples=8),
    )


def mini_repainting() -> TrainConfig:
    """The same networks trained further on pictures of which a part is given, for edits."""
    tasks = Tasks(placed_freely=0.1, pair=0.1, repaint=0.55, refine=0.07)
    return TrainConfig(
        loop=LoopConfig(steps=700, learning_rate=6e-4, decay_share=0.85),
        stage=OneStepConfig(
            start="mini_one_step", num_subjects=6, pixel_weight=1.0, pixel_samples=8, tasks=tasks
        ),
    )
