"""Kronecker products, W + A ⊗ B with A = 0 at first. From arXiv:2402.17412, by peft's LoKr."""

from torch import nn

from swiftpie.tuning import TuneSettings
from swiftpie.tuning.change import Change, Method, Start
from swiftpie.tuning.peft import adapted, all_layers, check_peft
from swiftpie.tuning.projections import ProjectionChange

FACTOR = 8  # rows and columns of A
WHOLE = 4096  # a rank so large leaves A and B whole, as the paper has them


def _make(start: Start, settings: TuneSettings) -> Change:
    check_peft("kronecker")
    from peft import LoKrConfig

    def change(layers: nn.ModuleList) -> nn.ModuleList:
        config = LoKrConfig(
            r=WHOLE, alpha=WHOLE, decompose_factor=FACTOR, target_modules=all_layers(layers)
        )
        return adapted(layers, config, seed=settings.seed)

    return ProjectionChange(start, change)


METHOD = Method(learning_rate=0.005, make=_make)
