"""How adapters and inversion networks of published one-step models are trained."""

from dataclasses import asdict

from swiftpie_lab.training.loop import LoopConfig, TrainConfig
from swiftpie_lab.training.optimizers import Adam
from swiftpie_lab.training.stages.adapter.networks import LossWeights, Source
from swiftpie_lab.training.stages.adapter.stage import AdapterConfig
from swiftpie_lab.training.stages.inversion.published import InversionConfig, InversionWeights

RATES = (1e-5, 1e-4)  # of the adapter (that of SwiftEdit's) and of the discriminator
FAKE_SCORE_RATE = 1e-3  # of a low-rank change, as in arXiv:2312.05239
MATCHING_STEPS = 20_000  # of the fake score; one in five is the adapter's as well
REST = 0.25  # share of their usual weight that other losses keep where matching is on
MAX_NORM = 1e9  # of gradients: none is clipped


def adapter() -> TrainConfig:
    """Adapter of a published preset on your own photos; set stage.data and stage.preset."""
    return TrainConfig(loop=_loop(steps=4000), stage=AdapterConfig())


def adapter_warmup() -> TrainConfig:
    """Warm-up of an adapter on pictures that the preset draws itself, without photos."""
    return TrainConfig(
        loop=_loop(steps=20_000),
        stage=AdapterConfig(
            source=Source.SYNTHETIC, loss=LossWeights(latents=1.0, identity=0.0, adversarial=0.0)
        ),
    )


def adapter_matching() -> TrainConfig:
    """Adapter matched to a multi-step teacher that wears one; set stage.teacher.*, needs peft."""
    usual = {name: REST * weight for name, weight in asdict(LossWeights()).items()}
    loss = LossWeights(**usual | {"matching": 1.0})
    stage = AdapterConfig(loss=loss)
    loop = _loop(steps=MATCHING_STEPS, rates=(*RATES, FAKE_SCORE_RATE))
    return TrainConfig(loop=loop, stage=stage)


def _loop(*, steps: int, rates: tuple[float, ...] = RATES) -> LoopConfig:
    return LoopConfig(steps, 1e-5, rates, ema_decay=0.999, uses_muon=False)


def inversion() -> TrainConfig:
    """SwiftEdit's network of a published one-step model, stage 1 with the paper's constants."""
    return TrainConfig(loop=_adam_loop(100_000), stage=InversionConfig(batch_size=4))


def inversion_pictures() -> TrainConfig:
    """The paper's stage 2 on photos; needs stage.photos, stage.teacher and stage.dists."""
    stage = InversionConfig(
        terms=InversionWeights(noise=0.0, latents=0.0, pixels=1.0, score=1.0),
        trains_image_branch=False,
        batch_size=1,
    )
    return TrainConfig(loop=_adam_loop(180_000), stage=stage)


def _adam_loop(steps: int) -> LoopConfig:
    """Return Adam with the paper's rate and decay; it names no clipping, schedule or average."""
    adam = Adam(betas=(0.9, 0.999), weight_decay=1e-4, is_decoupled=False)
    return LoopConfig(
        steps,
        1e-5,
        warmup_steps=1,
        decay_share=0.0,
        max_gradient_norm=MAX_NORM,
        ema_decay=0.999,
        uses_muon=False,
        adam=adam,
    )
