"""`swiftpie train`: run a recipe, going on from where it stopped."""

import dataclasses
import difflib
import importlib
import inspect
import itertools
import math
import os
import pkgutil
import re
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from swiftpie.backbones.choices import device_of
from swiftpie.cli.console import examples, say, write_table
from swiftpie.cli.options import DataPath, Device
from swiftpie.config import Text, decode, field_types, refuse_key
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import DataclassInstance

    from swiftpie_lab.training.context import Context
    from swiftpie_lab.training.loop import Event, TrainConfig

SECONDS = {"s": 1, "m": 60, "h": 3600}

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie train --list",
        "swiftpie train mini-world world-light --time-limit 9m",
        "swiftpie train world-scene --fresh",
        "swiftpie train mini-world --set loop.steps=2000 --set loop.learning_rate=1e-3",
    )
)
def train(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE]...",
            help="Of `swiftpie train --list`; several are trained one after the other.",
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Change a setting; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of all runs.")] = (
        Path("runs")
    ),
    data_path: DataPath = None,
    time_limit: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop and save after 90s, 9m or 1.5h.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--fresh", help="Go on, or move the old run aside and start anew."),
    ] = True,
    device: Device = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; PyTorch's choice if not given.")
    ] = None,
    list_recipes: Annotated[
        bool, typer.Option("--list", help="List the recipes and exit.")
    ] = False,
) -> None:
    """Train a model, in one stage or several; a run that stopped goes on from its folder."""
    recipes = _recipes()
    if list_recipes or not names:
        write_table([(name, inspect.getdoc(make) or "") for name, make in recipes.items()])
        return
    stages = {name.replace("-", "_"): _configure(recipes, name, overrides or []) for name in names}
    limit_s = math.inf if time_limit is None else parse_duration(time_limit)
    device = device_of(device)

    import torch

    from swiftpie_lab.data.archive import default_pack
    from swiftpie_lab.training.context import Context, join_processes, leave_processes
    from swiftpie_lab.training.loop import DONE, fit

    if threads is not None:
        torch.set_num_threads(threads)
    processes = join_processes(device)
    context = Context(data=data_path or default_pack(), runs=out, device=processes.device)
    ends = time.monotonic() + limit_s
    for run, config in stages.items():
        stage = config.stage.build(context)
        _check_data(data_path, context, run)
        if processes.is_main:
            _announce(out / run, resumes=resume)
        processes.gather(None)  # no process looks for a state before an old one is out of the way
        left_s = ends - time.monotonic()
        events = fit(stage, config.loop, out / run, time_limit_s=left_s, processes=processes)
        if processes.is_main:
            events = shown(events, config.loop.steps)
        (last,) = deque(events, maxlen=1)
        if processes.is_main:
            say(f"saved in {out / run}; the same command goes on from there")
        if last.stopped != DONE:
            break
    leave_processes(processes)


def _check_data(path: Path | None, context: "Context", run: str) -> None:
    if path is not None and not context.has_read_data:
        raise ConfigError(
            f"--data names a pack of subjects, and {run.replace('_', '-')} reads none. Leave it "
            "out; --set stage.data=DIR or stage.photos=DIR names photographs."
        )


def parse_duration(text: str) -> float:
    """Return the seconds that `90s`, `9m` or `1.5h` stand for, or raise ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smh])", text.strip())
    if match is None:
        raise ConfigError(
            f"The time {text!r} cannot be read. A number with s, m or h is needed. "
            "Write for example 90s, 9m or 1.5h."
        )
    return float(match[1]) * SECONDS[match[2]]


def spell_rate(samples_per_s: float) -> str:
    """Return the speed as the number that is larger than 1: 12.3 samples/s, or 20 s/sample."""
    if 0 < samples_per_s < 1:
        return f"{1 / samples_per_s:.3g} s/sample"
    return f"{samples_per_s:.1f} samples/s"


def _recipes() -> dict[str, "Callable[[], TrainConfig]"]:
    from swiftpie_lab.training import recipes

    modules = [
        importlib.import_module(f"{recipes.__name__}.{module.name}")
        for module in pkgutil.iter_modules(recipes.__path__)
    ]
    return {
        name.replace("_", "-"): function
        for module in modules
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    }


def _configure(
    recipes: "dict[str, Callable[[], TrainConfig]]", name: str, overrides: list[str]
) -> "TrainConfig":
    key = name.replace("_", "-")
    if key not in recipes:
        near = difflib.get_close_matches(key, recipes, n=3)
        advice = f"Did you mean {' or '.join(near)}?" if near else "Choose one of these."
        raise ConfigError(
            f"The recipe {name!r} does not exist; known are {', '.join(recipes)}. {advice}"
        )
    return override(recipes[key](), overrides)


def _announce(folder: Path, *, resumes: bool) -> None:
    from swiftpie_lab.training.state import STATE_FILE

    if not resumes and os.path.lexists(folder):
        names = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(1))
        aside = next(path for path in names if not os.path.lexists(path))
        folder.rename(aside)
        say(f"moved the old run to {aside}")
    found = (folder / STATE_FILE).is_file()
    say(f"going on from {folder}" if found else f"starting anew in {folder}")


def shown(events: "Iterable[Event]", steps: int) -> "Iterator[Event]":
    for event in events:
        losses = "  ".join(f"{name} {value:.4g}" for name, value in event.losses.items())
        left = event.stopped or f"{timedelta(seconds=round(event.seconds_left))} left"
        say(f"step {event.step} of {steps}  {losses}  {spell_rate(event.samples_per_s)}  {left}")
        yield event


ConfigT = TypeVar("ConfigT", bound="DataclassInstance")


def override(config: ConfigT, assignments: Sequence[str]) -> ConfigT:
    """Return a copy of `config` in which every `"path.to.field=value"` holds.

    Tuples are written with commas (`sizes=64,128`), an absent value as `none`, an enum by its
    name or value. Later assignments win.

    Raises:
        ConfigError: An assignment has no `=`, names no field, or its value has the wrong type.
    """
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(
                f"The override {assignment!r} has no '='; an override reads path=value. "
                "Write for example optimizer.learning_rate=1e-4."
            )
        config = _assign(config, path.strip().split("."), Text(text.strip()), path.strip())
    return config


def _assign(config: ConfigT, keys: list[str], text: Text, path: str) -> ConfigT:
    key, *rest = keys
    fields = field_types(type(config))
    if key not in fields:
        refuse_key(path, key, fields)
    current: object = getattr(config, key)
    if not rest:
        value = decode(text, fields[key], path)
    elif dataclasses.is_dataclass(current) and not isinstance(current, type):
        value = _assign(current, rest, text, path)
    else:
        raise ConfigError(
            f"The setting {path!r} goes below {key!r}, which is a plain value ({current!r}). "
            f"Set {path.removesuffix('.' + '.'.join(rest))!r} itself."
        )
    return dataclasses.replace(config, **{key: value})
