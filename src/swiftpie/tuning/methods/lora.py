"""Low-rank changes, W + (α / r) B A with B = 0 at first. From arXiv:2106.09685, by peft."""

from torch import nn

from swiftpie.tuning import TuneSettings
from swiftpie.tuning.change import Change, Method, Start
from swiftpie.tuning.peft import adapted, all_layers, check_peft
from swiftpie.tuning.projections import ProjectionChange


def _make(start: Start, settings: TuneSettings) -> Change:
    check_peft("lora")
    from peft import LoraConfig

    def change(layers: nn.ModuleList) -> nn.ModuleList:
        config = LoraConfig(
            r=settings.rank, lora_alpha=settings.rank, target_modules=all_layers(layers)
        )
        return adapted(layers, config, seed=settings.seed)

    return ProjectionChange(start, change)


METHOD = Method(learning_rate=0.005, make=_make)
