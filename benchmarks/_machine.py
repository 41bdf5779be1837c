"""What a benchmark runs on, how contenders take turns, what they took, and how it reports."""

import dataclasses
import gc
import hashlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil  # type: ignore[import-untyped]  # has no types; accelerate brings it
import torch

import swiftpie
from swiftpie.backbones.components import Components
from swiftpie.backbones.machine import processor_name
from swiftpie.engine.transforms import transform
from swiftpie.engine.wrappers import shared_copy
from swiftpie.models.denoiser import module_of

PACKAGES = ("torch", "diffusers", "transformers", "openvino", "nncf")
EAGER = "eager"
COMPILED = "compile"  # the denoiser by PyTorch, as docs/performance.md says
RECORDED = "reduce-overhead"  # inductor's name for kernels recorded as CUDA graphs
TOGETHER = "+"  # joins the transforms of one engine, as in folded-upsampling+compile
STATUS = Path("/proc/self/status")


def machine(device: torch.device) -> dict[str, object]:
    """Return what figures depend on besides the code."""
    facts: dict[str, object] = {
        "processor": processor_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions(),
        "weights": weights_mark(),
        "commit": commit(),
        "device": str(device),
    }
    if device.type == "cuda":
        facts["graphics_card"] = torch.cuda.get_device_name(device)
    return facts


def weights_mark() -> str:
    """Return the first digits of a hash over the packaged model and its scene network.

    Pages with figures name it, so that a test notices when they are of other weights.
    """
    found = hashlib.sha256()
    with as_file(files("swiftpie") / "assets") as folder:
        for name in ("mini", "scene"):
            for path in sorted((folder / name).rglob("*.safetensors")):
                found.update(path.read_bytes())
    return found.hexdigest()[:12]


def commit() -> str:
    """Return the commit of this checkout, empty outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the versions of all packages that compute."""
    found = {"swiftpie": swiftpie.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_mib() -> float:
    """Return the most main memory of this process so far, pages of mapped files among it.

    Linux counts what the parent held as the child's own in `getrusage`, so `/proc` is read.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**10 if sys.platform != "darwin" else peak / 2**20


def held_memory_mib() -> float:
    """Return the main memory of this process now."""
    return float(psutil.Process().memory_info().rss / 2**20)


def tell(line: str) -> None:
    """Write a line about progress to standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def write_report(facts: dict[str, object]) -> None:
    """Write `facts`, dataclasses and paths among them, as JSON to standard output."""
    sys.stdout.write(json.dumps(facts, indent=2, default=_plain) + "\n")


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


T = TypeVar("T")

DIGITS = 3  # of milliseconds and ratios; clocks tell no more


@dataclass(frozen=True)
class Sample:
    """One call."""

    ms: float  # of the whole call, by the clock on the wall
    stages_ms: Mapping[str, float] = field(default_factory=dict)  # as the call itself tells


@dataclass(frozen=True)
class Spread:
    """The middle of several figures, and how far they lie apart."""

    median: float
    lower_quartile: float
    upper_quartile: float
    least: float
    most: float
    count: int


@dataclass(frozen=True)
class Row:
    """What one contender takes for one operation."""

    contender: str
    operation: str
    ms: Spread
    stages_ms: Mapping[str, float]  # medians
    first_call_ms: float  # with compiling, exporting or whatever else happens once


@dataclass(frozen=True)
class Ratio:
    """How many times quicker one contender is than another."""

    operation: str
    quicker: str
    slower: str
    slower_operation: str
    times: Spread  # of one round each


Round = Mapping[str, Sample]  # by operation
Action = Callable[[int], Round]  # takes the number of the round


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], T], device: torch.device) -> tuple[Sample, T]:
    """Return how long `work` took on `device`, with its own `timings_ms` if it has any."""
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    spent = (time.perf_counter() - started) * 1000
    return Sample(spent, getattr(result, "timings_ms", {})), result


def interleaved(
    contenders: Mapping[str, Action], *, rounds: int, tell: Callable[[str], None] = lambda _: None
) -> dict[str, list[Round]]:
    """Return the rounds of each contender; every round starts with another one of them.

    Whatever slows the machine down for a while so slows all of them down.
    """
    names = list(contenders)
    found: dict[str, list[Round]] = {name: [] for name in names}
    gc.collect()
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        for name in rotated(names, number):
            found[name].append(contenders[name](number))
    return found


def rotated(names: Sequence[T], steps: int) -> list[T]:
    """Return `names` beginning with that at `steps`, in the same order around."""
    start = steps % len(names) if names else 0
    return [*names[start:], *names[:start]]


def spread(values: Sequence[float]) -> Spread:
    """Return median, quartiles and range of `values`, of which there is at least one."""
    least, lower, median, upper, most = (
        round(float(share), DIGITS) for share in np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    )
    return Spread(median, lower, upper, least, most, len(values))


def row(contender: str, operation: str, rounds: Sequence[Round], *, first: Round) -> Row:
    """Return what `rounds` say about one operation."""
    samples = [each[operation] for each in rounds]
    # Not every round needs every stage: one that it leaves out took no time.
    stages = dict.fromkeys(name for sample in samples for name in sample.stages_ms)
    return Row(
        contender,
        operation,
        ms=spread([sample.ms for sample in samples]),
        stages_ms={
            name: round(
                statistics.median(sample.stages_ms.get(name, 0.0) for sample in samples), DIGITS
            )
            for name in stages
        },
        first_call_ms=round(first[operation].ms, DIGITS),
    )


def ratio(
    found: Mapping[str, Sequence[Round]], *, slower: tuple[str, str], quicker: tuple[str, str]
) -> Ratio:
    """Compare two contenders of the same rounds, each given with its operation."""
    of_slower, of_quicker = (
        [each[operation].ms for each in found[name]] for name, operation in (slower, quicker)
    )
    return Ratio(
        operation=quicker[1],
        quicker=quicker[0],
        slower=slower[0],
        slower_operation=slower[1],
        times=spread([mine / other for mine, other in zip(of_slower, of_quicker, strict=True)]),
    )


def with_engine(components: Components, engine: str) -> Components:
    """Return the components of one engine; weights are shared where they can."""
    names = [name for name in engine.split(TOGETHER) if name not in {EAGER, COMPILED}]
    made = transform(components, names)
    if COMPILED in engine.split(TOGETHER):
        denoiser = shared_copy(module_of(made.denoiser))
        denoiser.compile(fullgraph=True, mode=RECORDED if made.device.type == "cuda" else None)
        made = replace(made, denoiser=denoiser)
    return made
