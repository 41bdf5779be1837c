"""What every recipe returns: a loop and a stage."""

from dataclasses import dataclass
from typing import Protocol

from swiftpie.training.context import Context
from swiftpie.training.loop import LoopConfig, Stage


class StageConfig(Protocol):
    """Settings of a stage, which know how to build it."""

    def build(self, context: Context) -> Stage:
        """Return the stage for the given data and device."""


@dataclass(frozen=True)
class TrainConfig:
    """A complete training run."""

    loop: LoopConfig
    stage: StageConfig
