"""Tells how quick the embedded model is by each engine, and what engines change about pictures.

Run `python -m benchmarks.mini_speed` in the folder of the repository, on a machine that does
nothing else. Engines take turns in one process, so ratios hold where times do not. In its turn each
is called twice and the second call counts, as in a process that has one engine: its weights are in
the processor's cache, and no thread of another engine is still awake. Graphs are compiled and
exported anew, into a temporary folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks._machine import (
    held_memory_mib,
    machine,
    peak_memory_mib,
    tell,
    usable_cores,
    write_report,
)
from benchmarks._mini import (
    EAGER,
    NUM_SPEED_CASES,
    TOGETHER,
    Contender,
    Load,
    Material,
    compare_pictures,
    with_engine,
)
from benchmarks._timing import Action, Ratio, Round, Row, interleaved, ratio, row
from swiftpie.backbones.components import Components, load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie_lab.data.subjects import load_subjects, sample_subjects
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldKind

ENGINES = "compile,openvino,openvino-int8"
SLOW_TO_START = "compile"  # takes long for every new size, so growth is measured without it
BATCHES = {"cpu": "1,2,4", "cuda": "1,2,4,8,16,32"}
SIDES_PX, REFERENCES, SUBJECTS = (128, 256, 384), (1, 3), (1, 2)
WARM_UPS = 3  # rounds before those that count; allocators and caches settle


class Measured(NamedTuple):
    """Rows of several contenders, and ratios of each to the plain one."""

    rows: list[Row]
    ratios: list[Ratio]


def main() -> None:
    """Measure and write JSON to standard output."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    if options.memory_of is not None:
        write_report(memory_of(options))
        return
    with tempfile.TemporaryDirectory() as folder:  # where graphs are kept; children see it too
        os.environ |= {
            "SWIFTPIE_HOME": str(Path(folder) / "swiftpie"),
            "TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "inductor"),
        }
        write_report(measure(options))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of PyTorch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15, help="calls of each kind that count")
    parser.add_argument("--engines", help=f"joined by commas, {TOGETHER} combines; or none")
    parser.add_argument("--weights", help="a folder of trained networks instead of the package's")
    parser.add_argument("--inversion", help="a folder with an inversion network, for edits")
    parser.add_argument("--cases", type=int, default=96, help="pictures that judges see; 0: none")
    parser.add_argument("--data", type=Path, help="pack of subjects; else the package's samples")
    parser.add_argument("--growth-repeats", type=int, default=5, help="calls of larger kinds")
    parser.add_argument("--growth-engines", help=f"by default all without {SLOW_TO_START}")
    parser.add_argument("--batches", help="pictures a call, joined by commas")
    parser.add_argument("--no-memory", action="store_true", help="start no process an engine")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # what such a process does
    options = parser.parse_args()
    is_cuda = options.device.startswith("cuda")
    if options.engines is None:
        options.engines = "compile" if is_cuda else ENGINES
    if options.batches is None:
        options.batches = BATCHES["cuda" if is_cuda else "cpu"]
    return options


def names_in(text: str) -> list[str]:
    """Return what commas separate."""
    return [name for name in text.split(",") if name]


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Return everything that is reported."""
    components = load(options)
    material = material_of(options)
    facts: dict[str, object] = {"machine": machine(components.device), "settings": vars(options)}
    names = [EAGER, *names_in(options.engines)]
    engines = {name: with_engine(components, name) for name in names}
    contenders = {name: Contender.of(engine, material) for name, engine in engines.items()}
    found = measure_calls(contenders, options, can_edit=components.inversion is not None)
    facts |= {"rows": found.rows, "ratios": found.ratios}
    facts["growth"] = measure_growth(contenders, options)
    if options.cases:
        facts["pictures"] = compare_pictures(engines, material, options.cases, tell=tell)
    facts["held_memory_mib_by_all"] = held_memory_mib()
    facts["memory"] = {} if options.no_memory else each_memory(list(engines), options)
    return facts


def load(options: argparse.Namespace) -> Components:
    """Return the plain networks."""
    choices: dict[str, Any] = {
        name: value
        for name in ("weights", "inversion")
        if (value := getattr(options, name)) is not None
    }
    return load_components(PRESETS.get("mini"), device=options.device, **choices)


def material_of(options: argparse.Namespace) -> Material:
    """Return what is drawn: the first cases are timed, all of them judged."""
    subjects = sample_subjects() if options.data is None else load_subjects(options.data)
    benchmark = WorldBenchmark(subjects)
    dealt = benchmark.cases(max(options.cases, NUM_SPEED_CASES))
    return Material(benchmark, [case for case in dealt if case.kind is WorldKind.PLAIN])


def measure_calls(
    contenders: Mapping[str, Contender], options: argparse.Namespace, *, can_edit: bool
) -> Measured:
    """Measure a plain picture, and edits where there is an inversion network."""
    rows, ratios = [], []
    kinds = {"personalize": {name: contender.personalize for name, contender in contenders.items()}}
    if can_edit:
        kinds["edit"] = {name: contender.edit for name, contender in contenders.items()}
    for kind, actions in kinds.items():
        measured = take_turns(actions, kind, rounds=options.repeats)
        rows += measured.rows
        ratios += measured.ratios
    return Measured(rows, ratios)


def take_turns(actions: Mapping[str, Action], title: str, *, rounds: int) -> Measured:
    """Return rows and ratios of contenders that were called in turns."""
    firsts = {name: first_call(name, action, title) for name, action in actions.items()}
    warm = {name: warmed(action) for name, action in actions.items()}
    interleaved(warm, rounds=min(WARM_UPS, rounds))
    found = interleaved(warm, rounds=rounds, tell=lambda line: tell(f"{title}, {line}"))
    rows = [
        row(name, operation, found[name], first=firsts[name])
        for name in actions
        for operation in firsts[name]
    ]
    for measured in rows:
        tell(f"{title}, {measured.operation} by {measured.contender}: {measured.ms.median} ms")
    ratios = [
        ratio(found, slower=(EAGER, operation), quicker=(name, operation))
        for name in actions
        if name != EAGER
        for operation in firsts[name]
    ]
    return Measured(rows, ratios)


def warmed(action: Action) -> Action:
    """Return `action` after a call of it that does not count."""

    def second(number: int) -> Round:
        action(number)
        return action(number)

    return second


def first_call(name: str, action: Action, title: str) -> Round:
    """Return the times of a first call."""
    tell(f"{title}, first call of {name}")
    return action(0)


def measure_growth(
    contenders: Mapping[str, Contender], options: argparse.Namespace
) -> list[dict[str, object]]:
    """Measure calls that are larger in one respect each."""
    if options.growth_repeats == 0:
        return []
    wanted = options.growth_engines
    chosen = {
        name: contender
        for name, contender in contenders.items()
        if name == EAGER
        or (SLOW_TO_START not in name if wanted is None else name in names_in(wanted))
    }
    found = []
    for load in loads(options):
        actions = {
            name: partial(contender.draw_under, load, contender.under(load))
            for name, contender in chosen.items()
        }
        measured = take_turns(actions, f"{load.axis} {load.size}", rounds=options.growth_repeats)
        per_second = {
            each.contender: round(1000 * load.num_images / each.ms.median, 1)
            for each in measured.rows
        }
        found.append({"load": load, "pictures_per_second": per_second, **measured._asdict()})
    return found


def loads(options: argparse.Namespace) -> list[Load]:
    """Return the calls by what grows."""
    batches = [int(count) for count in names_in(options.batches)]
    return [
        *(Load("pictures", size, num_images=size) for size in batches),
        *(Load("side_px", size, side_px=size) for size in SIDES_PX),
        *(Load("references", size, num_references=size) for size in REFERENCES),
        *(Load("subjects", size, num_subjects=size) for size in SUBJECTS),
    ]


def each_memory(engines: Sequence[str], options: argparse.Namespace) -> dict[str, object]:
    """Return what a process of its own takes for each engine, with graphs made before."""
    found: dict[str, object] = {}
    for engine in engines:
        tell(f"memory of {engine}")
        command = [sys.executable, "-m", "benchmarks.mini_speed", "--memory-of", engine]
        command += ["--threads", str(options.threads), "--device", options.device]
        for name in ("weights", "inversion"):
            if getattr(options, name) is not None:
                command += [f"--{name}", getattr(options, name)]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[engine] = json.loads(finished.stdout)
    return found


def memory_of(options: argparse.Namespace) -> dict[str, object]:
    """Load one engine as a user does, draw, and return what that took."""
    options.cases = 0
    started = time.perf_counter()
    components = load(options)
    engine = options.memory_of
    served = with_engine(components, engine)
    load_ms = (time.perf_counter() - started) * 1000
    contender = Contender.of(served, material_of(options))
    first, second = (contender.personalize(number)["personalize"] for number in range(2))
    if components.inversion is not None:
        contender.edit(0)
    facts: dict[str, object] = {
        "load_ms": round(load_ms, 1),
        "first_call_ms": round(first.ms, 1),  # graphs were made by the process before
        "second_call_ms": round(second.ms, 1),
        "peak_memory_mib": round(peak_memory_mib(), 1),
    }
    if components.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(components.device) / 2**20
        facts["peak_graphics_memory_mib"] = round(peak, 1)
    return facts


if __name__ == "__main__":
    main()
