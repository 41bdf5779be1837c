"""The training loop: knows steps, time and files, and nothing of what is trained."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftpie.training.fitting.journal import Tally
from swiftpie.training.fitting.processes import ALONE, Processes
from swiftpie.training.fitting.run import DONE, Run
from swiftpie.training.fitting.settings import LoopConfig
from swiftpie.training.fitting.stage import AlternatingStage, PlainStage, Stage, Update
from swiftpie.training.fitting.updates import NotFiniteError

__all__ = [
    "AlternatingStage",
    "Event",
    "LoopConfig",
    "NotFiniteError",
    "PlainStage",
    "Stage",
    "Update",
    "fit",
]


@dataclass(frozen=True)
class Event:
    """What the loop tells after some steps."""

    step: int
    losses: Mapping[str, float]  # means since the last event, and figures of samples
    samples_per_s: float  # while it trains, in all processes
    seconds_left: float  # with saving and sampling
    stopped: str = ""  # why training ended, on the last event


def fit(
    stage: Stage,
    config: LoopConfig,
    folder: Path,
    *,
    time_limit_s: float = math.inf,
    processes: Processes = ALONE,
) -> Iterator[Event]:
    """Train until `config.steps` or the time limit, yielding an event every `log_every` steps.

    State is in `folder`; calling again continues from it, bit for bit on the CPU, because each
    batch's randomness follows from its number. Ends with an export of the averaged weights.

    Raises:
        NotFiniteError: A loss or gradient is not a number; the message names it and the step.
        ConfigError: The stage, `config` and the state in `folder` do not fit together.
        MissingExtra: TensorBoard is asked for and not installed.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    run = Run.start(stage, config, processes)
    first = step = run.load(folder)
    stopped = DONE if step >= config.steps else ""
    if stopped:
        yield Event(step, {}, samples_per_s=0.0, seconds_left=0.0, stopped=stopped)
        return
    tally, started = Tally(), time.monotonic()
    with run.journal(folder, step) as journal:
        while not stopped:
            with tally.timed():
                tally.add(run.train(step))
            step += 1
            stopped = run.reason_to_stop(step, is_late=time.monotonic() - began > time_limit_s)
            is_sampled = bool(stopped) or step % config.sample_every == 0
            event = None
            if is_sampled or step % config.log_every == 0:
                figures = tally.means(processes) | (run.look(folder) if is_sampled else {})
                rate = run.samples_per_step * tally.steps / tally.seconds
                left = (config.steps - step) * (time.monotonic() - started) / (step - first)
                event, tally = Event(step, figures, rate, left, stopped), Tally()
            if event is not None:
                journal.write(step, {"samples_per_s": round(event.samples_per_s, 2), **figures})
            if stopped or step % config.save_every == 0:
                run.save(folder, step)  # after the row: what is saved has its whole history
            if event is not None:
                yield event
