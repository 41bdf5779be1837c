"""The training loop: knows steps, time and files, and nothing of what is trained."""

import copy
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Protocol

import torch
from torch import Tensor, nn

from swiftpie.errors import SwiftPieError
from swiftpie.training.checkpoint import load_state, save_state
from swiftpie.training.muon import Muon, is_matrix_like

DONE = "all steps done"
EMA_POWER = 0.6  # early averages forget fast: decay is 1 - 1 / step**0.6 until it reaches its cap


@dataclass(frozen=True)
class LoopConfig:
    """How long to train and how often to look."""

    steps: int
    learning_rate: float
    warmup_steps: int = 50
    decay_share: float = 0.4  # of all steps, at the end, falling linearly to `final_share`
    final_share: float = 0.02
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.998
    log_every: int = 20
    sample_every: int = 500
    save_every: int = 200
    uses_muon: bool = True


@dataclass(frozen=True)
class Event:
    """What the loop tells after some steps."""

    step: int
    losses: Mapping[str, float]  # running means since the last event
    samples_per_s: float
    seconds_left: float
    stopped: str = ""  # why training ended, on the last event


class Stage(Protocol):
    """One thing that is trained."""

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""

    def network(self) -> nn.Module:
        """Return the module that holds every trained weight."""

    def losses(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """Return named loss terms, already weighted; all randomness follows from `step`."""

    def sample(self, network: nn.Module, path: Path) -> dict[str, float]:
        """Draw a picture of progress to `path` and return validation figures."""

    def export(self, network: nn.Module, folder: Path) -> None:
        """Write weights and configuration so that nothing else is needed to use them."""


class NotFiniteError(SwiftPieError):
    """A loss or a gradient stopped being a number."""


def learning_rate_factor(step: int, config: LoopConfig) -> float:
    """Return the share of the peak learning rate at `step`: warm up, hold, decay linearly."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    left = (config.steps - step) / max(1.0, config.decay_share * config.steps)
    return warm * max(config.final_share, min(1.0, left))


def fit(
    stage: Stage, config: LoopConfig, folder: Path, *, time_limit_s: float = math.inf
) -> Iterator[Event]:
    """Train until `config.steps` or the time limit, yielding an event every `log_every` steps.

    State is in `folder`; calling again continues from it, bit for bit on the CPU, because each
    step's randomness follows from its number. Ends with an export of the averaged weights.

    Raises:
        NotFiniteError: A loss is not a number; the message names it and the step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = stage.network()
    average = copy.deepcopy(network).requires_grad_(False)
    optimizers = _optimizers(network, config)
    networks = {"network": network, "average": average}
    step = int(load_state(folder, networks=networks, optimizers=optimizers).get("step", 0))
    if step >= config.steps:
        yield Event(step, {}, samples_per_s=0.0, seconds_left=0.0, stopped=DONE)
        return
    started, stopped = time.monotonic(), ""
    recent: dict[str, list[float]] = {}
    counted = 0
    while not stopped:
        terms = _one_step(stage, network, optimizers, step=step, config=config)
        _update_average(average, network, min(config.ema_decay, 1 - (step + 2) ** -EMA_POWER))
        step, counted = step + 1, counted + 1
        for name, value in terms.items():
            recent.setdefault(name, []).append(value)
        elapsed = time.monotonic() - started
        if step >= config.steps:
            stopped = DONE
        elif elapsed > time_limit_s:
            stopped = "time limit reached"
        if stopped or step % config.save_every == 0:
            save_state(folder, networks=networks, optimizers=optimizers, progress={"step": step})
        figures: dict[str, float] = {}
        if stopped or step % config.sample_every == 0:
            figures = stage.sample(average, folder / "samples.png")
            stage.export(average, folder / "export")
        if stopped or step % config.log_every == 0 or figures:
            means = {name: fmean(values) for name, values in recent.items()} | figures
            rate = stage.samples_per_step * counted / elapsed if counted else 0.0
            left = (config.steps - step) * stage.samples_per_step / max(rate, 1e-9)
            event = Event(step, means, rate, left, stopped)
            _log(folder / "metrics.jsonl", event)
            yield event
            started, counted = time.monotonic(), 0
            recent.clear()
            time_limit_s -= elapsed


def _one_step(
    stage: Stage,
    network: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    *,
    step: int,
    config: LoopConfig,
) -> dict[str, float]:
    factor = learning_rate_factor(step, config)
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
    terms = stage.losses(network, step)
    values = {name: float(term.detach()) for name, term in terms.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise NotFiniteError(f"Loss {name!r} is {value} at step {step}. Lower learning_rate.")
    for optimizer in optimizers.values():
        optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_gradient_norm)
    if not bool(torch.isfinite(norm)):
        raise NotFiniteError(f"The gradient is {float(norm)} at step {step}. Lower learning_rate.")
    for optimizer in optimizers.values():
        optimizer.step()
    return values | {"gradient": float(norm)}


def _optimizers(network: nn.Module, config: LoopConfig) -> dict[str, torch.optim.Optimizer]:
    """Muon for hidden matrices and convolutions, AdamW for embeddings, biases and outputs."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in network.named_parameters():
        is_edge = any(word in name for word in ("embedding.weight", "conv_out", "positions"))
        suits = config.uses_muon and is_matrix_like(parameter) and not is_edge
        (matrices if suits else others).append(parameter)
    optimizers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(
            others, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
    }
    if matrices:
        optimizers["muon"] = Muon(matrices, lr=config.learning_rate)
    return optimizers


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    pairs = zip(average.parameters(), network.parameters(), strict=True)
    for kept, current in pairs:
        kept.lerp_(current, 1 - decay)
    for kept_buffer, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept_buffer.copy_(buffer)


def _log(path: Path, event: Event) -> None:
    row = {"step": event.step, "samples_per_s": round(event.samples_per_s, 2), **event.losses}
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
