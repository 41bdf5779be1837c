"""How adapters of published one-step models are trained."""

from swiftpie_lab.training.loop import LoopConfig, TrainConfig
from swiftpie_lab.training.stages.adapter.stage import AdapterConfig

RATES = (1e-5, 1e-4)  # of the adapter (that of SwiftEdit's) and of the discriminator


def adapter() -> TrainConfig:
    """Adapter of a published preset on your own photos; set stage.data and stage.preset."""
    loop = LoopConfig(4000, 1e-5, RATES, ema_decay=0.999, uses_muon=False)
    return TrainConfig(loop=loop, stage=AdapterConfig())
