"""How adapters of published one-step models are trained on photos; nothing of it is measured."""

from swiftpie.training.loop import LoopConfig
from swiftpie.training.recipes.config import TrainConfig
from swiftpie.training.stages.adapter.config import AdapterConfig
from swiftpie.training.stages.adapter.settings import Source, Weights


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


def _loop(*, steps: int) -> LoopConfig:
    """Return the rates of the adapter (that of SwiftEdit's) and of the discriminator."""
    return LoopConfig(
        steps=steps,
        learning_rate=1e-5,
        learning_rates=(1e-5, 1e-4),
        ema_decay=0.999,
        uses_muon=False,
    )
