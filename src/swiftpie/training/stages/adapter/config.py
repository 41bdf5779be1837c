"""What a recipe holds: the settings of the adapter stage, which know how to build it."""

from dataclasses import dataclass

from swiftpie.training.context import Context
from swiftpie.training.loop import Stage
from swiftpie.training.stages.adapter.settings import AdapterSettings


@dataclass(frozen=True)
class AdapterConfig(AdapterSettings):
    """Settings of the stage."""

    def build(self, context: Context) -> Stage:
        """Return the stage for the given device; only the photos are its data."""
        # Imported late: what published weights need costs seconds that other recipes need not pay.
        from swiftpie.training.stages.adapter.stage import build_stage

        return build_stage(self, context.device)
