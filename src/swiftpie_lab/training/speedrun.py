"""Trains the chain of runs, counts the core hours it takes, and collects the weights it ends in."""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from swiftpie.errors import ConfigError
from swiftpie.imageio.atomic import updated_folder, write_file
from swiftpie_lab.training.chain import CHAIN, MINI, ChainRun
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.loop import DONE, Event, TrainConfig, fit

LEDGER = "speedrun.json"  # beside the runs
COLLECTED = "package"  # and the folder of weights, laid out as src/ is
HOUR_S = 3600


@dataclass(frozen=True)
class Spent:
    """What a run has taken so far."""

    steps: int = 0
    core_s: float = 0.0  # of all threads of this process, as the system counts them
    is_done: bool = False


@dataclass(frozen=True)
class Ledger:
    """What each run of a folder has taken; written after every event of training."""

    path: Path
    scale: float
    overrides: tuple[str, ...] = ()
    spent: Mapping[str, Spent] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, *, scale: float, overrides: Sequence[str] = ()) -> "Ledger":
        """Read the ledger of `folder`, or begin one.

        Raises:
            ConfigError: It cannot be read, or the runs were begun at another scale.
        """
        path = folder / LEDGER
        if not path.exists():
            return cls(path, scale, tuple(overrides))
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            begun = (found["scale"], tuple(found["settings"]))
            spent = {name: Spent(**row) for name, row in found["runs"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"{path} cannot be read as the ledger of a chain of runs. Restore it, or name "
                "another folder with --out."
            ) from error
        if begun != (scale, tuple(overrides)):
            raise ConfigError(
                f"The runs in {folder} were begun with --scale {begun[0]:g} and "
                f"{len(begun[1])} settings of --set, not with --scale {scale:g} and "
                f"{len(overrides)}. Repeat those, or name another folder with --out."
            )
        return cls(path, scale, tuple(overrides), spent)

    def with_spent(self, name: str, spent: Spent) -> "Ledger":
        """Return the ledger with what the run `name` has taken, and write it."""
        changed = Ledger(self.path, self.scale, self.overrides, {**self.spent, name: spent})
        rows = {run: asdict(row) for run, row in changed.spent.items()}
        text = json.dumps({"scale": self.scale, "settings": self.overrides, "runs": rows}, indent=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, text.encode(), force=True)
        return changed

    def read_again(self) -> "Ledger":
        """Return what has been written meanwhile."""
        return self.open(self.path.parent, scale=self.scale, overrides=self.overrides)

    def configured(self, run: ChainRun) -> TrainConfig:
        """Return the settings of `run` in this folder."""
        return run.configured(scale=self.scale, overrides=fitting(run, self.overrides))

    def of(self, name: str) -> Spent:
        """Return what the run `name` has taken."""
        return self.spent.get(name, Spent())

    @property
    def core_hours(self) -> float:
        """What all runs have taken but those of judges, which nothing is trained through."""
        drawing = (run.name for run in CHAIN if not run.is_judge)
        return sum(self.of(name).core_s for name in drawing) / HOUR_S

    def hours_left(self, run: ChainRun) -> float:
        """Return the core hours that `run` would still take at the pace of the packaged weights."""
        if self.of(run.name).is_done:
            return 0.0
        steps = self.configured(run).loop.steps
        whole = run.configured().loop.steps
        return run.core_hours * max(0, steps - self.of(run.name).steps) / whole


def fitting(run: ChainRun, overrides: Sequence[str]) -> list[str]:
    """Return the overrides for `run`: `RUN:A.B=C` is for one run, `A.B=C` for all."""
    parted = [one.partition(":") for one in overrides]
    return [
        rest if colon and name == run.name else one
        for one, (name, colon, rest) in zip(overrides, parted, strict=True)
        if not (colon and "=" not in name) or name == run.name
    ]


def train_run(
    run: ChainRun, context: Context, ledger: Ledger, *, ends: float = math.inf
) -> Iterator[Event]:
    """Train one run to its last step or until the time `ends`, writing the ledger at each event.

    A kill loses the core seconds since the last event; steps that are done again count again.
    """
    before, started = ledger.of(run.name).core_s, time.process_time()
    config = ledger.configured(run)
    stage = config.stage.build(context)
    left_s = ends - time.monotonic()
    for event in fit(stage, config.loop, context.runs / run.name, time_limit_s=left_s):
        taken_s = before + time.process_time() - started
        ledger.with_spent(run.name, Spent(event.step, taken_s, event.stopped == DONE))
        yield event


def collect(context: Context) -> Path:
    """Put all weights that the package ships into one folder, laid out as src/ is; return it.

    Raises:
        ConfigError: A run has no export yet.
    """
    folder = context.runs / COLLECTED
    with updated_folder(folder) as whole:
        for run in CHAIN:
            for part, target in run.ships:
                shutil.copytree(context.export_of(run.name) / part, whole / target)
    return folder


def model_of(folder: Path) -> Path:
    """Return the model within collected weights, as `--weights` takes it."""
    return folder / MINI
