"""Tells how many servers a rate needs, by a model of queues that is fitted to measured runs.

`python -m benchmarks.scale measure` runs one server and two, a core each, on a machine that does
nothing else; its JSON holds of each load the moments at which requests came and the milliseconds of
each answer. `python -m benchmarks.scale plan` fits the model to some of these loads, tells how far
it is off at the others, and plans servers for a rate.

A server draws one picture after the other. Drawing takes `service_ms` with the squared coefficient
of variation `spread`; what is done beside other drawings, as reading a request and encoding the
picture, adds `beside_ms` to each answer. Servers behind a balancer have a queue each; replicas
behind one server, as with `--ray`, share one.

Loads are compared with what the model makes of the very moments at which requests came, as a few
hundred of them differ too much from their average. Plans are for requests that come for ever as a
Poisson process: who waits is told by Erlang C, how long by the factor (1 + spread) / 2 of Allen and
Cunneen, with times of waiting that are exponential.
"""

import argparse
import asyncio
import heapq
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import psutil  # type: ignore[import-untyped]

T = TypeVar("T")

RESULTS = Path(__file__).parent / "results" / "scale.json"
SHARES = (0.3, 0.5, 0.7, 0.85)  # of the capacity
SEEN = (0.3, 0.7)  # of one server; by these the model is fitted
PERCENTILES = (50, 95)
SPREADS = np.linspace(0, 2, 21)
GRID = (np.arange(400) + 0.5) / 400  # of probabilities
DRAWS = 200_000  # of a gamma distribution, whose inverse NumPy does not have
MOST_LOAD = 0.85  # of a server that is planned; nothing beyond was compared
REPEATS = 24  # of a load, with other times of drawing
DISTURBED = 0.15  # processors that others take, beyond which a load is measured again
TRIES = 1 if os.nice(0) < 0 else 3  # who goes first is not disturbed


class Model(NamedTuple):
    """What is known of one server."""

    service_ms: float
    spread: float
    beside_ms: float

    def percentile(self, percent: float, *, rate: float, servers: int = 1) -> float:
        """Return milliseconds that so many percent of answers take at most, from one queue."""
        load = rate * self.service_ms / 1000 / servers
        if load >= 1:
            return math.inf
        waiting = erlang_c(servers, load)
        mean_ms = self.service_ms / servers / (1 - load) * (1 + self.spread) / 2  # of who waits
        ratio = np.minimum((1 - GRID) / max(waiting, 1e-12), 1)
        drawn = self.service_ms * np.quantile(_times(self.spread, DRAWS, seed=0), GRID)
        whole = np.add.outer(-mean_ms * np.log(ratio), drawn)
        return self.beside_ms + float(np.percentile(whole, percent))

    def answers(self, moments: Sequence[float], *, servers: int = 1) -> list[float]:
        """Return milliseconds of answers to requests at these seconds, many times over."""
        found = []
        for seed in range(REPEATS):
            drawn = self.service_ms * _times(self.spread, len(moments), seed=seed)
            free = [0.0] * servers  # when each is, in milliseconds
            for moment, spent in zip(moments, drawn, strict=True):
                done = max(1000 * moment, heapq.heappop(free)) + float(spent)
                heapq.heappush(free, done)
                found.append(done - 1000 * moment + self.beside_ms)
        return found


def _times(spread: float, count: int, *, seed: int) -> np.ndarray[Any, Any]:
    """Return times of mean 1 and this squared coefficient of variation."""
    if not spread:
        return np.ones(count)
    return np.random.default_rng(seed).gamma(1 / spread, spread, count)


def erlang_c(servers: int, load: float) -> float:
    """Return how likely it is to wait for servers of which each is busy for `load` of a time."""
    lost = 1.0  # Erlang B, by its recursion
    for number in range(1, servers + 1):
        lost = servers * load * lost / (number + servers * load * lost)
    return lost / (1 - load * (1 - lost))


def percentiles(milliseconds: Sequence[float]) -> tuple[float, ...]:
    """Return what of a load is compared with the model."""
    return tuple(float(np.percentile(milliseconds, percent)) for percent in PERCENTILES)


def fit(run: Mapping[str, Any]) -> Model:
    """Return the model of one server that is nearest to the loads that it may see.

    The capacity tells how long drawing takes, the percentiles tell the rest.
    """
    loads = [one for one in run["loads"] if one["share"] in SEEN]
    measured = np.array([percentiles(_all(load, "milliseconds")) for load in loads])
    tried = []
    for spread in SPREADS:
        bare = Model(1000 / run["capacity_a_second"], float(spread), 0.0)
        told = np.array([percentiles(bare.answers(load["queues"][0]["moments"])) for load in loads])
        beside = max(0.0, float(np.average(measured - told, weights=1 / measured**2)))
        error = float(np.sum(((measured - told - beside) / measured) ** 2))
        tried.append((error, bare._replace(beside_ms=beside)))
    return min(tried)[1]


def _all(load: Mapping[str, Any], what: str) -> list[float]:
    return [one for queue in load["queues"] for one in queue[what]]


class Check(NamedTuple):
    """A load, as it was and as the model tells it."""

    servers: int
    share: float
    rate: float
    was_seen: bool
    measured: tuple[float, ...]
    told: tuple[float, ...]

    @property
    def errors(self) -> tuple[float, ...]:
        """By how much the model is off, as shares."""
        pairs = zip(self.told, self.measured, strict=True)
        return tuple(told / measured - 1 for told, measured in pairs)


def checks(runs: Sequence[Mapping[str, Any]]) -> tuple[Model, list[Check]]:
    """Return the model of the first run, and all loads compared with it.

    Of other runs it sees the capacity alone: what servers on one machine take from each other.
    """
    model, found = fit(runs[0]), []
    for run in runs:
        servers = run["servers"]
        own = model._replace(service_ms=1000 * servers / run["capacity_a_second"])
        for one in run["loads"]:
            each = servers // len(one["queues"])
            answers = (own.answers(queue["moments"], servers=each) for queue in one["queues"])
            told = percentiles([answer for queue in answers for answer in queue])
            seen = run is runs[0] and one["share"] in SEEN
            times = _all(one, "milliseconds")
            rate = len(times) / run["seconds"]
            found.append(Check(servers, one["share"], rate, seen, percentiles(times), told))
    return model, found


class Plan(NamedTuple):
    """Servers for a rate."""

    servers: int
    load: float  # of each
    p50_ms: float
    p95_ms: float


def plan(model: Model, *, rate: float, p95_ms: float, has_one_queue: bool) -> Plan | None:
    """Return the fewest servers that answer so many a second in time, None if none do."""

    def told(servers: int) -> Plan:
        each, shared = (rate, servers) if has_one_queue else (rate / servers, 1)
        found = (model.percentile(p, rate=each, servers=shared) for p in PERCENTILES)
        return Plan(servers, rate * model.service_ms / 1000 / servers, *found)

    if model.percentile(95, rate=0) > p95_ms:
        return None
    low = high = math.ceil(rate * model.service_ms / 1000 / MOST_LOAD)
    while told(high).p95_ms > p95_ms:
        low, high = high + 1, high * 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if told(middle).p95_ms <= p95_ms else (middle + 1, high)
    return told(high)


def report(
    runs: Sequence[Mapping[str, Any]],
    *,
    rate: float,
    p95_ms: float,
    cores: float,
    price: float | None,
) -> str:
    """Return tables of what the model tells."""
    (model, compared), first = checks(runs), runs[0]
    lines = [
        f"Drawing takes {model.service_ms:.1f} ms with a spread of {model.spread:.2f}, what is "
        f"done beside it {model.beside_ms:.1f} ms.",
        f"An answer takes {first['cpu_ms']:.1f} ms of processors, a server "
        f"{first['resident_mib']:.0f} MiB.",
        "",
        "| Servers | A second | Share | p50 | model | p95 | model | |",
        "|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for one in compared:
        cells = [
            f"{found:.0f} ms | {told:.0f} ms, {off:+.0%}"
            for found, told, off in zip(one.measured, one.told, one.errors, strict=True)
        ]
        mark = "fitted" if one.was_seen else "not seen"
        row = f"{one.servers} | {one.rate:.1f} | {one.share:g} | {' | '.join(cells)} | {mark}"
        lines.append(f"| {row} |")
    unseen = np.abs([one.errors for one in compared if not one.was_seen])
    lines.append("")
    for percent, column in zip(PERCENTILES, unseen.T, strict=True):
        off = f"off by {np.mean(column):.0%} on average, by {column.max():.0%} at most"
        lines.append(f"At loads that it did not see, p{percent} is {off}.")
    lines += ["", f"For {rate:g} pictures a second with a p95 of at most {p95_ms:g} ms:", ""]
    lines += ["| Queues | Servers | Load | p50 | p95 | Cores | Memory | Cost |"]
    lines += ["|---|--:|--:|--:|--:|--:|--:|---|"]
    for name, has_one in (("one a server", False), ("one for all", True)):
        found = plan(model, rate=rate, p95_ms=p95_ms, has_one_queue=has_one)
        if found is None:
            least = model.percentile(95, rate=0)
            lines.append(f"| {name} | none is quick enough: an idle one takes {least:.0f} ms |")
            continue
        num_cores = found.servers * cores
        held = found.servers * first["resident_mib"] / 1024
        cost = "give --price-per-core-hour" if price is None else _cost(num_cores * price, rate)
        times = f"{found.p50_ms:.0f} ms | {found.p95_ms:.0f} ms"
        row = f"{name} | {found.servers} | {found.load:.2f} | {times} | {num_cores:g}"
        lines.append(f"| {row} | {held:.0f} GiB | {cost} |")
    return "\n".join(lines) + "\n"


def _cost(an_hour: float, rate: float) -> str:
    return f"{an_hour:.2f} an hour, {an_hour / 3.6 / rate:.5f} a thousand pictures"


def measure(seconds: float, counts: Sequence[int]) -> dict[str, Any]:
    """Return runs of so many servers, one core each, behind a balancer that deals at random."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of servers; before PyTorch is imported
    import torch

    from benchmarks._machine import machine

    runs = [_measured(count, seconds) for count in counts]
    return {"machine": machine(torch.device("cpu")), "runs": runs}


def _measured(count: int, seconds: float) -> dict[str, Any]:
    from benchmarks.serving import closed_loop, moments, open_loop, say, serving

    with ExitStack() as stack:
        servers = [stack.enter_context(serving()) for _ in range(count)]

        async def full(seconds: float, seed: int) -> float:
            loops = (
                closed_loop(server, clients=8, seconds=seconds, seed=seed) for server in servers
            )
            return sum(await asyncio.gather(*loops))

        async def loaded(rate: float, seed: int) -> list[dict[str, list[float]]]:
            # Requests of a Poisson process that are dealt at random are such a process for each.
            loops = (
                open_loop(one, rate=rate / count, seconds=seconds, seed=seed + number)
                for number, one in enumerate(servers)
            )
            queues = []
            for number, answers in enumerate(await asyncio.gather(*loops)):
                if any(answer.status != 200 for answer in answers):
                    say("some were not drawn")
                times = [round(answer.milliseconds, 1) for answer in answers]
                due = moments(rate=rate / count, seconds=seconds, seed=seed + number)
                when = [round(moment, 4) for moment in due]
                queues.append({"moments": when, "milliseconds": times})
            return queues

        asyncio.run(full(4, 1))  # warms up
        capacity, busy = _alone(servers, lambda: asyncio.run(full(seconds, 2)))
        cpu_ms = 1000 * busy.ours_s / (capacity * seconds)
        say(f"{count}: {capacity:.2f} a second, {cpu_ms:.1f} ms each; others {busy.others:.2f}")
        loads = []
        for number, share in enumerate(SHARES):
            rate, seed = capacity * share, 100 * (number + 1)
            queues, busy = _alone(servers, lambda: asyncio.run(loaded(rate, seed)))  # noqa: B023 - called now
            loads.append({"share": share, "others": round(busy.others, 3), "queues": queues})
            say(f"{count} at {share}: {percentiles(_all(loads[-1], 'milliseconds'))}; {busy}")
        resident = max(sum(server.resident_mib().values()) for server in servers)
    return {
        "servers": count,
        "seconds": seconds,
        "capacity_a_second": capacity,
        "cpu_ms": cpu_ms,
        "resident_mib": resident,
        "loads": loads,
    }


class Busy(NamedTuple):
    """What processors did."""

    ours_s: float  # seconds of servers
    others: float  # processors that neither servers nor clients took


def _alone(servers: Sequence[Any], work: Callable[[], T]) -> tuple[T, Busy]:
    """Return what came of work while others took next to nothing, or after some tries anyway."""
    for _ in range(TRIES):
        began, all_s, ours_s, own_s = time.perf_counter(), _busy_s(), _cpu_s(servers), _own_s()
        found = work()
        passed, ours_s = time.perf_counter() - began, _cpu_s(servers) - ours_s
        others_s = _busy_s() - all_s - ours_s - (_own_s() - own_s)
        busy = Busy(ours_s, max(0.0, others_s / passed))
        if busy.others < DISTURBED:
            break
    return found, busy


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def _own_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def _cpu_s(servers: Sequence[Any]) -> float:
    """Return what servers and their children have taken of processors until now."""
    processes = (psutil.Process(server.process.pid) for server in servers)
    every = [part for process in processes for part in (process, *process.children())]
    times = [one.cpu_times() for one in every]
    return float(sum(one.user + one.system for one in times))


def main() -> None:
    """Measure, or plan."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    measuring = tasks.add_parser("measure", help="run servers under loads, and write JSON")
    measuring.add_argument("--seconds", type=float, default=20, help="of each load")
    measuring.add_argument("--servers", default="1,2", help="numbers of them, joined by commas")
    measuring.add_argument("--out", type=Path, default=RESULTS)
    planning = tasks.add_parser("plan", help="fit the model, check it, and plan servers")
    planning.add_argument("--runs", type=Path, nargs="+", default=[RESULTS])
    planning.add_argument("--rate", type=float, default=1000, help="pictures a second")
    planning.add_argument("--p95-ms", type=float, default=500)
    planning.add_argument("--cores-per-server", type=float, default=1)
    planning.add_argument("--price-per-core-hour", type=float, help="in whichever currency")
    options = parser.parse_args()
    if options.task == "measure":
        counts = [int(one) for one in options.servers.split(",")]
        options.out.write_text(json.dumps(measure(options.seconds, counts)) + "\n", "utf-8")
        return
    told = report(
        [run for one in options.runs for run in json.loads(one.read_text("utf-8"))["runs"]],
        rate=options.rate,
        p95_ms=options.p95_ms,
        cores=options.cores_per_server,
        price=options.price_per_core_hour,
    )
    sys.stdout.write(told)


if __name__ == "__main__":
    main()
