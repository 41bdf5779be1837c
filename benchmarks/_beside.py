"""How long pictures take beside other work, by how PyTorch's threads wait for each other."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks._timing import Round, Row, Sample, Tell, interleaved, row
from benchmarks.against import HERE, Checkout
from swiftpie.apps.cli.main import DECIDED

IDLE, LOADED = "idle", "loaded"
WARM_UPS = 3  # rounds before those that count
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # outlives nobody
PLAIN, OPENVINO = "eager", "openvino"


@dataclass(frozen=True)
class Setting:
    """An engine, and what its process is told about waiting."""

    name: str
    environment: Mapping[str, str]
    engine: str = PLAIN


SETTINGS = (
    Setting("default", {}),
    Setting("OMP_WAIT_POLICY=PASSIVE", {"OMP_WAIT_POLICY": "PASSIVE"}),
    *(Setting(f"GOMP_SPINCOUNT={n}", {"GOMP_SPINCOUNT": str(n)}) for n in (300, 3000, 30000)),
    Setting(OPENVINO, {}, OPENVINO),
)


@dataclass(frozen=True)
class BesideLoad:
    """Rows of every setting, alone and beside busy processes, and which is best at both."""

    num_busy: int
    rows: Sequence[Row]
    best: str  # of those that compute with PyTorch: the least product of both medians


def measure_beside_load(
    home: str, *, rounds: int, threads: int, num_busy: int, tell: Tell
) -> BesideLoad:
    """Let a process for each setting draw in turns, alone and beside so many busy ones."""
    Path(home).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        clean = {name: value for name, value in os.environ.items() if name not in DECIDED}
        drawers = {
            one.name: stack.enter_context(
                Checkout(
                    HERE,
                    engine=one.engine,
                    threads=threads,
                    home=home,
                    environment={**clean, **one.environment},
                )
            )
            for one in SETTINGS
        }
        actions = {name: partial(_round, drawer) for name, drawer in drawers.items()}
        firsts = {name: action(0) for name, action in actions.items()}
        interleaved(actions, rounds=min(WARM_UPS, rounds))
        found = {IDLE: interleaved(actions, rounds=rounds, tell=lambda line: tell(f"idle, {line}"))}
        with busy_processes(num_busy):
            found[LOADED] = interleaved(
                actions, rounds=rounds, tell=lambda line: tell(f"beside load, {line}")
            )
    rows = [
        row(f"{name}, {state}", operation, each[name], first=firsts[name])
        for state, each in found.items()
        for name in actions
        for operation in firsts[name]
    ]
    return BesideLoad(num_busy, rows, best_of(rows))


def best_of(rows: Sequence[Row]) -> str:
    """Return the setting of PyTorch whose medians of a picture, idle and loaded, multiply least."""
    medians = {one.contender: one.ms.median for one in rows if one.operation == "personalize"}
    products = {
        one.name: math.prod(medians[f"{one.name}, {state}"] for state in (IDLE, LOADED))
        for one in SETTINGS
        if one.engine == PLAIN
    }
    return min(products, key=lambda name: products[name])


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep so many cores busy inside of the block."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def _round(drawer: Checkout, number: int) -> Round:
    return {operation: Sample(ms) for operation, ms in drawer.round(number).items()}
