"""The training loop: knows steps, time and files, and nothing of what is trained."""

import copy
import logging
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from swiftpie.errors import ConfigError, SwiftPieError
from swiftpie.imageio.atomic import updated_folder
from swiftpie_lab.training.context import SINGLE_PROCESS, Context, Processes
from swiftpie_lab.training.optimizers import (
    ADAMW,
    WHOLE_NETWORK,
    Adam,
    OptimizerGroup,
    make_groups,
    named_optimizers,
)
from swiftpie_lab.training.state import (
    LOG_FILE,
    RunningFigures,
    append_row,
    cut_log,
    kept_whole,
    load_state,
    save_state,
)

logger = logging.getLogger(__name__)

DONE = "all steps done"
OUT_OF_TIME = "time limit reached"
N = TypeVar("N", bound=nn.Module)
EMA_POWER = 0.6  # early averages forget fast: decay is 1 - 1 / step**0.6 until it reaches its cap

RANGES = (  # outside these ranges a run would stop half way or learn nothing
    ("steps warmup_steps accumulate log_every sample_every save_every", 1, 10**9),
    ("learning_rate learning_rates decay_share final_share ema_decay", 0, 1),
    ("max_gradient_norm", 1e-9, 1e9),
)


# Settings of a stage that are 1 or more.
COUNT = re.compile(r"\.num_\w+$|_every$|\.batch_size$|\.views$|\.rank$")
MAX_SETTING = 10**6


@dataclass(frozen=True)
class LoopConfig:
    """How long to train and how often to look."""

    steps: int
    learning_rate: float
    learning_rates: tuple[float, ...] = ()  # one a group in the stage's order, if they differ
    warmup_steps: int = 50
    decay_share: float = 0.4  # last share of all steps, in which the rate falls to `final_share`
    decays_by_time: bool = False  # by the time limit instead; such runs do not repeat bit for bit
    final_share: float = 0.02
    max_gradient_norm: float = 1.0
    accumulate: int = 1  # batches in a process whose gradients are averaged for one step
    ema_decay: float = 0.998
    log_every: int = 20
    sample_every: int = 500
    save_every: int = 200
    uses_muon: bool = True
    adam: Adam = ADAMW  # the optimizer of all that Muon does not train

    def __post_init__(self) -> None:
        for names, least, most in RANGES:
            for name in names.split():
                value = getattr(self, name)
                for number in value if isinstance(value, tuple) else (value,):
                    if not least <= number <= most:
                        raise ConfigError(
                            f"loop.{name} is {number}; it must lie between {least:g} and {most:g}. "
                            f"Give a value in there, or leave it out for the recipe's own."
                        )


def learning_rate_factor(step: int, config: LoopConfig, *, time_share: float = 0.0) -> float:
    """Return the share of the peak learning rate at `step`: warm up, hold, decay linearly.

    `time_share` of the time limit is over, which counts where `config.decays_by_time`.
    """
    warm = min(1.0, (step + 1) / config.warmup_steps)
    left = 1 - time_share if config.decays_by_time else (config.steps - step) / config.steps
    share = max(1 / config.steps, config.decay_share)
    return warm * max(config.final_share, min(1.0, left / share))


class StageBase(Protocol[N]):
    """What every stage has: a network, and ways to look at it and to keep it."""

    @property
    def samples_per_step(self) -> int:
        """Pictures in one batch."""

    def network(self) -> N:
        """Return the module that holds every trained weight."""

    def sample(self, network: N, path: Path) -> dict[str, float]:
        """Draw a picture of progress to `path` and return validation figures."""

    def export(self, network: N, folder: Path) -> None:
        """Write weights and configuration so that nothing else is needed to use them."""


class PlainStage(StageBase[N], Protocol):
    """One objective that trains the whole network."""

    def losses(self, network: N, draw: int) -> dict[str, Tensor]:
        """Return named loss terms, already weighted; all randomness follows from `draw`."""


class Update(NamedTuple):
    """Loss terms for one step of one group."""

    group: str
    terms: dict[str, Tensor]  # already weighted


@runtime_checkable
class AlternatingStage(StageBase[N], Protocol):
    """Several objectives, each with optimizers of its own, that train parts of one network."""

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The top-level children of the network that each group trains; others are frozen."""

    def updates(self, network: N, step: int, draw: int) -> Iterator[Update]:
        """Yield what to train in this step; after each, its group has new weights.

        All randomness follows from `draw`; which groups take part may depend on `step` alone.
        """


Stage: TypeAlias = PlainStage[Any] | AlternatingStage[Any]  # a stage for any network


class StageConfig(Protocol):
    """Settings of a stage, which know how to build it."""

    def build(self, context: Context) -> Stage:
        """Return the stage for the given data and device."""


@dataclass(frozen=True)
class TrainConfig:
    """A complete training run."""

    loop: LoopConfig
    stage: StageConfig

    def __post_init__(self) -> None:
        for path, value in _numbers(self.stage, "stage"):
            least = int(COUNT.search(path) is not None)
            if not least <= value <= MAX_SETTING:
                raise ConfigError(
                    f"{path} is {value}; it must lie between {least} and {MAX_SETTING:g}. Give a "
                    "value in there, or leave it out for the recipe's own."
                )


def _numbers(settings: object, path: str) -> Iterator[tuple[str, float]]:
    """Yield paths and values of all numbers in nested settings."""
    if isinstance(settings, (int, float)) and not isinstance(settings, bool):
        yield path, settings
    elif is_dataclass(settings):
        for field in fields(settings):
            yield from _numbers(getattr(settings, field.name), f"{path}.{field.name}")


@dataclass(frozen=True)
class Event:
    """What the loop reports after some steps."""

    step: int
    losses: Mapping[str, float]  # means since the last event, and figures of samples
    samples_per_s: float  # while it trains, in all processes
    seconds_left: float  # time left, including saving and sampling
    stopped: str = ""  # why training ended, on the last event


def fit(
    stage: Stage,
    config: LoopConfig,
    folder: Path,
    *,
    time_limit_s: float = math.inf,
    processes: Processes = SINGLE_PROCESS,
) -> Iterator[Event]:
    """Train until `config.steps` or the time limit, yielding an event every `log_every` steps.

    State is in `folder`; calling again continues from it, bit for bit on the CPU, because each
    batch's randomness follows from its number. Ends with an export of the averaged weights.

    Raises:
        NotFiniteError: A loss or gradient is not a number; the message names it and the step.
        ConfigError: The stage, `config` and the state in `folder` do not fit together.
    """
    if config.decays_by_time and time_limit_s == math.inf:
        raise ConfigError(
            "loop.decays_by_time is set and the run has no time limit; one is needed, since the "
            "learning rate ends with it. Give --time-limit, or leave the setting out."
        )
    began = time.monotonic()
    with kept_whole(folder):
        folder.mkdir(parents=True, exist_ok=True)
    run = TrainingRun.start(stage, config, processes).load(folder)
    first = step = run.first
    stopped = DONE if step >= config.steps else ""
    if stopped:
        yield Event(step, {}, samples_per_s=0.0, seconds_left=0.0, stopped=stopped)
        return
    recent, started, time_share = RunningFigures(), time.monotonic(), 0.0
    if processes.is_main:
        cut_log(folder / LOG_FILE, step=step)
    while not stopped:
        with recent.timed():
            recent.add(run.train(step, time_share))
        step += 1
        passed_s = max(processes.gather(time.monotonic() - began))
        time_share = passed_s / time_limit_s if time_limit_s > 0 else 1.0
        stopped = run.reason_to_stop(step, time_share)
        is_sampled = bool(stopped) or step % config.sample_every == 0
        event = None
        if is_sampled or step % config.log_every == 0:
            figures = recent.means(processes)
            if is_sampled:
                figures |= run.sample_and_export(folder)
            rate = run.samples_per_step * recent.steps / recent.seconds
            left = (config.steps - step) * (time.monotonic() - started) / (step - first)
            left = min(left, max(0.0, time_limit_s - passed_s))
            event, recent = Event(step, figures, rate, left, stopped), RunningFigures()
            if processes.is_main:
                row = {"samples_per_s": float(f"{rate:.4g}"), **figures}
                append_row(folder / LOG_FILE, step, row)
        if stopped or step % config.save_every == 0:
            run.save(folder, step)  # after the row: what is saved has its whole history
        if event is not None:
            yield event


@dataclass(frozen=True)
class TrainingRun:
    """What the loop drives; methods are called in every process, at the same time."""

    stage: Stage
    config: LoopConfig
    processes: Processes
    network: nn.Module
    average: nn.Module
    groups: Mapping[str, OptimizerGroup]
    first: int = 0  # step of this run, and the batches that were drawn before it
    drawn: int = 0

    @classmethod
    def start(cls, stage: Stage, config: LoopConfig, processes: Processes) -> "TrainingRun":
        """Build everything for the first step; ConfigError if groups or rates do not fit."""
        network = stage.network()
        average = copy.deepcopy(network).requires_grad_(False)
        owners = stage.groups if isinstance(stage, AlternatingStage) else None
        rates = config.learning_rates or (config.learning_rate,) * len(owners or [""])
        groups = make_groups(
            network, owners, rates=rates, uses_muon=config.uses_muon, adam=config.adam
        )
        return cls(stage, config, processes, network, average, groups)

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees, in all processes."""
        return self.stage.samples_per_step * self.config.accumulate * self.processes.count

    def load(self, folder: Path) -> "TrainingRun":
        """Restore the state in `folder`, if any, and return the run that goes on from it.

        Another number of processes draws the batches that follow those of before.

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
        now = self.samples_per_step
        if (before := progress.get("samples", now)) != now and self.processes.is_main:
            logger.warning(
                "A step sees %d pictures, and saw %d before. loop.accumulate times the number of "
                "processes has to stay as it was for the same weights.",
                *(now, before),
            )
        return replace(self, first=step, drawn=progress.get("draws", self._draws(step)))

    def _draws(self, steps: int) -> int:
        return steps * self.config.accumulate * self.processes.count

    def save(self, folder: Path, step: int) -> None:
        if self.processes.is_main:
            with kept_whole(folder):
                save_state(
                    folder,
                    networks={"network": self.network, "average": self.average},
                    optimizers=named_optimizers(self.groups),
                    progress={
                        "step": step,
                        "draws": self.drawn + self._draws(step - self.first),
                        "samples": self.samples_per_step,
                    },
                )

    def train(self, step: int, time_share: float) -> dict[str, list[float]]:
        factor = learning_rate_factor(step, self.config, time_share=time_share)
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
        decay = min(self.config.ema_decay, 1 - (step + 2) ** -EMA_POWER)
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
            for kept, current in pairs:
                kept.lerp_(current, 1 - decay)
            buffers = zip(self.average.buffers(), self.network.buffers(), strict=True)
            for kept_buffer, buffer in buffers:
                kept_buffer.copy_(buffer)
        return figures

    def _updates(self, step: int, micro: int) -> Iterator[Update]:
        stage, processes = self.stage, self.processes
        before = self.drawn + self._draws(step - self.first)
        draw = before + micro * processes.count + processes.rank
        if isinstance(stage, AlternatingStage):
            yield from stage.updates(self.network, step, draw)
        else:
            yield Update(WHOLE_NETWORK, stage.losses(self.network, draw))

    def sample_and_export(self, folder: Path) -> dict[str, float]:
        if not self.processes.is_main:
            return {}
        with kept_whole(folder):
            figures = self.stage.sample(self.average, folder / "samples.png")
            with updated_folder(folder / "export") as export:
                self.stage.export(self.average, export)
        return figures

    def reason_to_stop(self, step: int, time_share: float) -> str:
        """Return why the run ends after `step` steps, or nothing."""
        if step >= self.config.steps:
            return DONE
        return OUT_OF_TIME if time_share >= 1 else ""


class NotFiniteError(SwiftPieError):
    """A loss or a gradient stopped being a number."""


def run_updates(
    streams: Sequence[Iterator[Update]],
    groups: Mapping[str, OptimizerGroup],
    network: nn.Module,
    *,
    processes: Processes,
    max_norm: float,
    step: int,
) -> dict[str, list[float]]:
    """Step groups until `streams` end; return all loss terms and gradient norms on the way.

    The micro-batches advance together: each gives its terms, the gradients are averaged over
    micro-batches and processes, and what the group owns gets a step before any of them goes on.

    Raises:
        NotFiniteError: A loss or gradient is not a number; the message names it and the step.
        ConfigError: Micro-batches disagree on the group, or name an unknown one.
    """
    figures: dict[str, list[float]] = {}
    while True:
        network.zero_grad()  # also what the last update left on weights of other groups
        updates = [_backward(stream, share=1 / len(streams)) for stream in streams]
        bad_losses = []
        for name, value in (term for _, terms in updates for term in terms.items()):
            figures.setdefault(name, []).append(value)
            if not math.isfinite(value):
                bad_losses.append(f"Loss {name!r} is {value}")
        everywhere = processes.gather(({group for group, _ in updates}, bad_losses))
        wanted = set().union(*(found for found, _ in everywhere))
        if wanted == {None}:
            return figures
        name = _agreed(wanted, groups, step=step)
        group = groups[name]
        processes.average_gradients(group.parameters.values())
        gradients = [p.grad for p in group.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        problems = [problem for _, found in everywhere for problem in found]
        if problems or not bool(torch.isfinite(norm)):
            problem = (problems or [_bad_gradient(group)])[0]
            raise NotFiniteError(
                f"{problem} at step {step}; training needs finite numbers. Lower "
                "loop.learning_rate, or see what the stage computes at that step. The state that "
                "was saved last is intact."
            )
        torch.nn.utils.clip_grads_with_norm_(group.parameters.values(), max_norm, norm)
        for optimizer in group.optimizers.values():
            optimizer.step()
        figures.setdefault(f"gradient_{name}" if name else "gradient", []).append(float(norm))


def _backward(stream: Iterator[Update], *, share: float) -> tuple[str | None, dict[str, float]]:
    """Add `share` of the next update's gradient; return its group, if any, and its terms."""
    update = next(stream, None)
    if update is None:
        return None, {}
    group, terms = update
    stacked = torch.stack(list(terms.values()))
    (share * stacked.sum()).backward()
    return group, dict(zip(terms, stacked.tolist(), strict=True))


def _agreed(wanted: set[str | None], groups: Mapping[str, OptimizerGroup], *, step: int) -> str:
    if len(wanted) > 1:
        named = " and ".join(sorted("the end" if name is None else repr(name) for name in wanted))
        raise ConfigError(
            f"At step {step} some micro-batches of the stage ask for {named} at the same time. "
            "All need the same updates in the same order: let `updates` choose them by `step`, "
            "never by `draw`."
        )
    (name,) = wanted
    if name is None or name not in groups:
        raise ConfigError(
            f"The stage yields an update of {name!r}, which is not one of its groups: "
            f"{', '.join(groups)}. Correct `updates` or `groups` of the stage."
        )
    return name


def _bad_gradient(group: OptimizerGroup) -> str:
    for name, parameter in group.parameters.items():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return f"The gradient of {name!r} is not finite"
    return "The norm of the gradient is not finite"  # its square does not fit into 32 bits
