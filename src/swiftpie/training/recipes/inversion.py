"""How the networks that turn pictures into noise are trained, for editing."""

from swiftpie.training.loop import LoopConfig
from swiftpie.training.recipes.config import TrainConfig
from swiftpie.training.stages.inversion.mini import MiniInversionConfig
from swiftpie.training.stages.inversion.published import Terms
from swiftpie.training.stages.inversion.settings import InversionConfig


def mini_inversion() -> TrainConfig:
    """Inversion network of the mini model, from noise to picture and back."""
    loop = LoopConfig(steps=4000, learning_rate=2e-3, ema_decay=0.998)
    return TrainConfig(loop=loop, stage=MiniInversionConfig())


def mini_inversion_pictures() -> TrainConfig:
    """The same network trained further on pictures that the generator did not make."""
    loop = LoopConfig(steps=400, learning_rate=5e-4, decay_share=0.7, ema_decay=0.998)
    stage = MiniInversionConfig(
        start_from="mini_inversion",
        generated_share=0.0,
        reconstruct_every=1,
        edits_weight=1.5,
        latents_weight=0.0,
        pixels_weight=1.0,
    )
    return TrainConfig(loop=loop, stage=stage)


def inversion() -> TrainConfig:
    """SwiftEdit's network of a published one-step model, on pictures that the model draws."""
    loop = LoopConfig(steps=100_000, learning_rate=1e-5, uses_muon=False, decay_share=0.1)
    return TrainConfig(loop=loop, stage=InversionConfig())


def inversion_pictures() -> TrainConfig:
    """The same network trained further on photos; needs stage.photos and stage.teacher."""
    loop = LoopConfig(steps=180_000, learning_rate=1e-5, uses_muon=False, decay_share=0.1)
    stage = InversionConfig(
        terms=Terms(noise=0.0, latents=0.0, pixels=1.0, score=1.0),
        trains_image_branch=False,
        batch_size=1,
    )
    return TrainConfig(loop=loop, stage=stage)
