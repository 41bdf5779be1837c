"""One run of a stage in this process: its weights, their average and their optimizers."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from swiftpie.errors import ConfigError
from swiftpie.training.checkpoint import load_state, save_state
from swiftpie.training.fitting.journal import Journal, open_journal
from swiftpie.training.fitting.optimizers import (
    EVERYTHING,
    Group,
    make_groups,
    named_optimizers,
)
from swiftpie.training.fitting.processes import Processes
from swiftpie.training.fitting.settings import LoopConfig, learning_rate_factor
from swiftpie.training.fitting.stage import AlternatingStage, Stage, Update
from swiftpie.training.fitting.updates import run_updates

DONE = "all steps done"
OUT_OF_TIME = "time limit reached"
EMA_POWER = 0.6  # early averages forget fast: decay is 1 - 1 / step**0.6 until it reaches its cap


@dataclass(frozen=True)
class Run:
    """What the loop drives; methods are called in every process, at the same time."""

    stage: Stage
    config: LoopConfig
    processes: Processes
    network: nn.Module
    average: nn.Module
    groups: Mapping[str, Group]

    @classmethod
    def start(cls, stage: Stage, config: LoopConfig, processes: Processes) -> "Run":
        """Build everything as it is before the first step.

        Raises:
            ConfigError: The groups of the stage or their learning rates do not fit its network.
        """
        network = stage.network()
        average = copy.deepcopy(network).requires_grad_(False)
        owners = stage.groups if isinstance(stage, AlternatingStage) else None
        rates = config.learning_rates or (config.learning_rate,) * len(owners or [""])
        groups = make_groups(network, owners, rates=rates, uses_muon=config.uses_muon)
        return cls(stage, config, processes, network, average, groups)

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees, in all processes."""
        return self.stage.samples_per_step * self.config.accumulate * self.processes.count

    def journal(self, folder: Path, step: int) -> Journal:
        """Return the log of the run, which goes on after `step`; only the main process writes."""
        if not self.processes.is_main:
            return Journal()
        return open_journal(folder, step=step, tensorboard=self.config.tensorboard)

    def load(self, folder: Path) -> int:
        """Restore the state in `folder`, if any, and return its step.

        Raises:
            ConfigError: The processes see different folders.
        """
        networks = {"network": self.network, "average": self.average}
        optimizers = named_optimizers(self.groups)
        progress = load_state(folder, networks=networks, optimizers=optimizers)
        step = progress.get("step", 0)
        if len({*self.processes.gather(step)}) > 1:
            raise ConfigError(
                f"The processes found different states in {folder}; all need the same one. "
                "Put the runs on a disk that all machines share."
            )
        return step

    def save(self, folder: Path, step: int) -> None:
        """Write the state from the main process."""
        if self.processes.is_main:
            save_state(
                folder,
                networks={"network": self.network, "average": self.average},
                optimizers=named_optimizers(self.groups),
                progress={"step": step},
                max_file_mib=self.config.max_file_mib,
            )

    def train(self, step: int) -> dict[str, list[float]]:
        """Take one step and return its figures."""
        factor = learning_rate_factor(step, self.config)
        for group in self.groups.values():
            group.set_learning_rate(factor)
        figures = run_updates(
            [self._updates(step, micro) for micro in range(self.config.accumulate)],
            self.groups,
            self.network,
            processes=self.processes,
            max_norm=self.config.max_gradient_norm,
            step=step,
        )
        self.processes.average_buffers(self.network)
        decay = min(self.config.ema_decay, 1 - (step + 2) ** -EMA_POWER)
        _update_average(self.average, self.network, decay)
        return figures

    def _updates(self, step: int, micro: int) -> Iterator[Update]:
        """Yield what one batch asks for; its number `draw` is unique in the whole run."""
        stage, processes = self.stage, self.processes
        draw = (step * self.config.accumulate + micro) * processes.count + processes.rank
        if isinstance(stage, AlternatingStage):
            yield from stage.updates(self.network, step, draw)
        else:
            yield Update(EVERYTHING, stage.losses(self.network, draw))

    def look(self, folder: Path) -> dict[str, float]:
        """Sample and export in the main process; return figures of the samples."""
        if not self.processes.is_main:
            return {}
        figures = self.stage.sample(self.average, folder / "samples.png")
        self.stage.export(self.average, folder / "export")
        return figures

    def reason_to_stop(self, step: int, *, is_late: bool) -> str:
        """Return why the run ends after `step` steps, the same in every process, or nothing."""
        if step >= self.config.steps:
            return DONE
        return OUT_OF_TIME if any(self.processes.gather(is_late)) else ""


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    pairs = zip(average.parameters(), network.parameters(), strict=True)
    for kept, current in pairs:
        kept.lerp_(current, 1 - decay)
    for kept_buffer, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept_buffer.copy_(buffer)
