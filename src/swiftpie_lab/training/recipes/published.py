"""How adapters and inversion networks of published one-step models are trained."""

from swiftpie_lab.training.loop import LoopConfig, TrainConfig
from swiftpie_lab.training.optimizers import Adam
from swiftpie_lab.training.stages.adapter.stage import AdapterConfig
from swiftpie_lab.training.stages.distillation import DistillationConfig, Kind
from swiftpie_lab.training.stages.echo import EchoConfig
from swiftpie_lab.training.stages.inversion import InversionConfig, InversionWeights

RATES = (1e-5, 1e-4)  # rates of the adapter (SwiftEdit's rate) and of the discriminator
PLAIN = Adam(betas=(0.9, 0.999))
MAX_NORM = 1e9  # limit so high that no gradient is clipped


def adapter() -> TrainConfig:
    """Adapter of a published preset on your own photos; set stage.data and stage.preset."""
    loop = LoopConfig(4000, 1e-5, RATES, ema_decay=0.999, uses_muon=False)
    return TrainConfig(loop=loop, stage=AdapterConfig())


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


def distill_vsd() -> TrainConfig:
    """One-step student of a multi-step U-Net by SwiftBrush v2; set stage.teacher, stage.prompts."""
    loop = LoopConfig(
        40_000, 1e-6, (1e-6, 1e-3), decay_share=0.0, ema_decay=0.999, uses_muon=False, adam=PLAIN
    )
    return TrainConfig(loop=loop, stage=DistillationConfig())


def distill_dmd2() -> TrainConfig:
    """The same by DMD2, with two time scales and a discriminator, in the constants for 1.5."""
    stage = DistillationConfig(
        kind=Kind.DMD2, guidance=1.75, student_every=10, critic_rank=0, text_drop=0.0
    )
    loop = LoopConfig(
        40_000,
        5e-7,
        decay_share=0.0,
        max_gradient_norm=10.0,
        ema_decay=0.999,
        uses_muon=False,
        adam=PLAIN,
    )
    return TrainConfig(loop=loop, stage=stage)


def echo_distill() -> TrainConfig:
    """LoRAs of one subject and its word, for a teacher and its student; set stage.teacher."""
    rates = (1e-5, 1e-5, 1e-4)  # of teacher, student and discriminator
    loop = LoopConfig(1000, 1e-5, rates, ema_decay=0.99, uses_muon=False, decay_share=0.1)
    return TrainConfig(loop=loop, stage=EchoConfig())


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
