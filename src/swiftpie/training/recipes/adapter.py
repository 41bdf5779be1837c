"""How adapters of published one-step models are trained; nothing of it is measured."""

from swiftpie.training.loop import LoopConfig
from swiftpie.training.recipes.config import TrainConfig
from swiftpie.training.stages.adapter.config import AdapterConfig
from swiftpie.training.stages.adapter.settings import Source, Weights

RATES = (1e-5, 1e-4)  # of the adapter (that of SwiftEdit's) and of the discriminator
FAKE_SCORE_RATE = 1e-3  # of a low-rank change, as in arXiv:2312.05239
MATCHING_STEPS = 20_000  # of the fake score; one in five is the adapter's as well
REST = 0.25  # share of their usual weight that other losses keep beside matching


def adapter() -> TrainConfig:
    """Adapter of a published preset on your own photos; set stage.data and stage.preset."""
    return TrainConfig(loop=_loop(steps=4000), stage=AdapterConfig())


def adapter_warmup() -> TrainConfig:
    """Warm-up of an adapter on pictures that the preset draws itself, without photos."""
    return TrainConfig(
        loop=_loop(steps=20_000),
        stage=AdapterConfig(
            source=Source.SYNTHETIC,
            loss=Weights(latents=1.0, identity=0.0, adversarial=0.0),
        ),
    )


def adapter_matching() -> TrainConfig:
    """Adapter matched to a multi-step teacher that wears one; set stage.teacher.*, needs peft."""
    usual = Weights()
    stage = AdapterConfig(
        loss=Weights(
            matching=1.0,
            subject=REST * usual.subject,
            whole=REST * usual.whole,
            identity=REST * usual.identity,
            maps=REST * usual.maps,
            adversarial=REST * usual.adversarial,
            prompt=REST * usual.prompt,
        ),
        prompt_steps=MATCHING_STEPS,
    )
    loop = _loop(steps=MATCHING_STEPS, rates=(*RATES, FAKE_SCORE_RATE))
    return TrainConfig(loop=loop, stage=stage)


def _loop(*, steps: int, rates: tuple[float, ...] = RATES) -> LoopConfig:
    return LoopConfig(
        steps=steps,
        learning_rate=1e-5,
        learning_rates=rates,
        ema_decay=0.999,
        uses_muon=False,
    )
