"""How the mini model is trained and judged."""

from dataclasses import asdict, replace

from swiftpie_lab.training.loop import LoopConfig, TrainConfig
from swiftpie_lab.training.stages.autoencoder import AutoencoderConfig
from swiftpie_lab.training.stages.cutout import CutoutConfig
from swiftpie_lab.training.stages.judges import WorldJudgesConfig
from swiftpie_lab.training.stages.layout_predictor import LayoutConfig, LightConfig
from swiftpie_lab.training.stages.light import LightPairsConfig
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig
from swiftpie_lab.training.stages.one_step.tasks import Drops, Tasks
from swiftpie_lab.training.stages.scene import SceneConfig
from swiftpie_lab.training.stages.sharpening import SharpeningConfig

WORLD_MODEL = OneStepConfig(
    num_subjects=6,
    pixel_weight=1.0,
    pixel_samples=8,
    # Both are dropped together often enough for the semantic branch to learn the identity.
    drops=Drops(semantic=0.08, detail=0.35, aligned=0.5),
    tasks=Tasks(placed_freely=0.12, pair=0.10, repaint=0.14, refine=0.05, insert=0.16),
    other_sides=0.2,
    sceneries=16,
)
SEMANTIC_MODEL = replace(  # after these stages the semantic branch alone shows a subject
    WORLD_MODEL,
    autoencoder="",
    trained=("image_encoder", "denoiser"),
    lookup_weight=0.3,
    sceneries=0,
)


def world_autoencoder() -> TrainConfig:
    """The packaged patch autoencoder, trained further on rendered pictures."""
    loop = LoopConfig(
        steps=700, learning_rate=1e-3, warmup_steps=50, decay_share=0.9, uses_muon=False
    )
    return TrainConfig(loop=loop, stage=AutoencoderConfig(start="mini"))


def mini_world() -> TrainConfig:
    """The one-step model: places, views, light, looks, renditions and accessories."""
    return TrainConfig(loop=LoopConfig(steps=30_000, learning_rate=2e-3), stage=WORLD_MODEL)


def world_sharpening() -> TrainConfig:
    """The same model trained further with an adversarial critic, for its textures."""
    model = replace(WORLD_MODEL, autoencoder="", start="mini_world")
    loop = LoopConfig(steps=1000, learning_rate=6e-4, learning_rates=(6e-4, 1e-3), decay_share=0.5)
    return TrainConfig(loop=loop, stage=SharpeningConfig(model))


def world_semantic() -> TrainConfig:
    """The packaged model trained further, mostly on what the semantic branch alone shows."""
    share = 0.15  # share of batches like those before
    kept = {name: share * value for name, value in asdict(WORLD_MODEL.tasks).items()}
    tasks = Tasks(**kept | {"insert": 0.0, "semantic": 1 - share})
    model = replace(
        SEMANTIC_MODEL, start="mini", pixel_weight=0.0, subject_weight=20.0, tasks=tasks
    )
    loop = LoopConfig(steps=1300, learning_rate=2e-3, decay_share=0.5, ema_decay=0.985)
    return TrainConfig(loop=loop, stage=model)


def world_semantic_sharpening() -> TrainConfig:
    """The model of world-semantic, trained further with a critic on all tasks, as packaged."""
    tasks = Tasks(
        placed_freely=0.10, pair=0.08, repaint=0.12, refine=0.04, insert=0.12, semantic=0.25
    )
    model = replace(
        SEMANTIC_MODEL, start="world_semantic", subject_weight=4.0, tasks=tasks, grown_share=0.45
    )
    loop = LoopConfig(
        steps=530, learning_rate=6e-4, learning_rates=(6e-4, 1e-3), decay_share=0.5, ema_decay=0.99
    )
    return TrainConfig(loop=loop, stage=SharpeningConfig(model))


def world_scene() -> TrainConfig:
    """Scene network: draws the place of a reference picture at any time, weather and season."""
    loop = LoopConfig(
        steps=16_000, learning_rate=1.5e-3, warmup_steps=40, decay_share=0.9, ema_decay=0.998
    )
    return TrainConfig(loop=loop, stage=SceneConfig())


def world_light() -> TrainConfig:
    """The light reader of mini-world, trained further by itself; the last step of the model.

    The reader is small and learns more slowly than the rest, and its training alone is cheap.
    """
    loop = LoopConfig(steps=600, learning_rate=1.5e-3, warmup_steps=20, decay_share=0.7)
    return TrainConfig(loop=loop, stage=LightConfig())


def world_light_pairs() -> TrainConfig:
    """Network of light: from pairs that `swiftpie data light` renders, meanwhile or before."""
    loop = LoopConfig(steps=100_000, learning_rate=1.5e-3, decay_share=0.9, sample_every=1000)
    return TrainConfig(loop=loop, stage=LightPairsConfig())


def world_layout() -> TrainConfig:
    """The layout predictor of the packaged model, trained further by itself.

    Rare words, as "bending over", come often enough where no picture has to be drawn.
    """
    loop = LoopConfig(
        steps=1200,
        learning_rate=3e-3,
        decay_share=0.6,
        ema_decay=0.99,
        uses_muon=False,
        sample_every=200,
    )
    return TrainConfig(loop=loop, stage=LayoutConfig())


def world_judges() -> TrainConfig:
    """Judges of subject, place, time, weather, season, look, accessory and rendition."""
    loop = LoopConfig(
        steps=4000, learning_rate=2e-3, warmup_steps=50, decay_share=0.7, sample_every=250
    )
    return TrainConfig(loop=loop, stage=WorldJudgesConfig())


def mini_cutout() -> TrainConfig:
    """Network that cuts subjects out of photos, around an encoder that ImageNet trained."""
    loop = LoopConfig(
        steps=440, learning_rate=1.2e-3, ema_decay=0.99, sample_every=100, uses_muon=False
    )
    return TrainConfig(loop=loop, stage=CutoutConfig())
