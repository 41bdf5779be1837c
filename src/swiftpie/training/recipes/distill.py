"""How a multi-step teacher of the mini model is trained, and three ways to distil it."""

from swiftpie.training.loop import LoopConfig
from swiftpie.training.recipes.config import TrainConfig
from swiftpie.training.stages.distill.dmd2 import Dmd2Config
from swiftpie.training.stages.distill.reflow import ReflowConfig
from swiftpie.training.stages.distill.sources import Scenes
from swiftpie.training.stages.distill.teacher import TeacherConfig
from swiftpie.training.stages.distill.vsd import VsdConfig

SCENES = Scenes(num_subjects=6)


def mini_teacher() -> TrainConfig:
    """Multi-step diffusion teacher of sticker scenes, from the packaged weights on."""
    return TrainConfig(
        loop=LoopConfig(steps=3000, learning_rate=1e-3),
        stage=TeacherConfig(scenes=SCENES),
    )


def mini_reflow() -> TrainConfig:
    """One-step student of the teacher's own pairs of noise and picture, needs mini-teacher."""
    return TrainConfig(
        loop=LoopConfig(steps=2000, learning_rate=1e-3),
        stage=ReflowConfig(scenes=SCENES),
    )


def mini_vsd() -> TrainConfig:
    """One-step student by variational score distillation, needs mini-teacher and peft."""
    steps = 2000
    loop = LoopConfig(steps=steps, learning_rate=1e-5, learning_rates=(1e-5, 1e-3), uses_muon=False)
    return TrainConfig(loop=loop, stage=VsdConfig(scenes=SCENES, similarity_steps=steps))


def mini_dmd2() -> TrainConfig:
    """One-step student by distribution matching with a discriminator, needs mini-teacher."""
    loop = LoopConfig(steps=5000, learning_rate=1e-5, max_gradient_norm=10.0, uses_muon=False)
    return TrainConfig(loop=loop, stage=Dmd2Config(scenes=SCENES))
