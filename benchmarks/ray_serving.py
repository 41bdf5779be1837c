"""Tells what replicas of Ray Serve are worth, and what is lost when one is killed under load.

Run `python -m benchmarks.ray_serving` in the folder of the repository, on a machine that does
nothing else; Ray is started here, and servers draw on it as on any cluster. Requests come as those
of `benchmarks.serving` do.

The JSON holds `machine`, and for `plain` (a server without Ray) and each number of replicas:

- `ready_s`: from the start of the server until it is ready;
- `capacity_a_second`: pictures for 8 clients that each wait for the last before they ask for more;
- `loads`, by their share of the capacity: percentiles of the time to an answer, and all refusals;
- `killed`, at half of the capacity, where a replica gets SIGKILL while it draws:
  `sent` and `drawn` requests, those `refused` as the queue was full, those `lost` (any other end),
  batches `retried`; seconds from the kill until the `first_answer_s` to a request sent after it,
  until answers are `calm_s` (none later takes over twice the p95 before), and until all replicas
  are `replaced_s`; the `longest_gap_s` between two answers after the kill.
"""

import argparse
import asyncio
import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]  # it has none
import ray
import torch
from ray import serve

from benchmarks._machine import machine, write_report
from benchmarks.serving import (
    Running,
    ask,
    closed_loop,
    open_loop,
    percentile,
    say,
    serving,
    summary,
)

SHARES = (0.3, 0.5, 0.7, 0.85)  # of the capacity
PARTS = ("loads", "killed")
DEADLINE_S = 120  # longer than a replica takes to start
CALM_S = 10.0  # of load before a replica is killed
LOOK_S = 0.1
APPLICATION = "swiftpie"
REPLICA = "ray::ServeReplica:swiftpie:generator"
BUSY_S = 0.04  # some ticks of the clock in which times of processors are counted


class Ended(NamedTuple):
    """What came of a request, by the clock of the benchmark."""

    due: float
    answered: float
    status: int


def replicas() -> list[psutil.Process]:
    """Return the processes whose task is to draw."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            title = " ".join(child.cmdline())
            if title.startswith(REPLICA):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def drawing(found: Sequence[psutil.Process]) -> psutil.Process:
    """Return one that draws now, as the time of processors that it takes says."""
    while True:
        before = [replica.cpu_times().user for replica in found]
        time.sleep(BUSY_S)
        for replica, spent in zip(found, before, strict=True):
            if replica.cpu_times().user - spent >= BUSY_S / 2:
                return replica


def num_running() -> int:
    """Return how many replicas Ray Serve knows to be ready."""
    (deployment,) = serve.status().applications[APPLICATION].deployments.values()
    return sum(n for state, n in deployment.replica_states.items() if state == "RUNNING")


def retried(running: Running) -> int:
    """Return how many batches were drawn again."""
    found = re.search(r"^swiftpie_retried_total (\S+)", running.metrics(), re.MULTILINE)
    return 0 if found is None else int(float(found[1]))


async def killed(running: Running, *, count: int, rate: float, patience_s: float) -> dict[str, Any]:
    """Return what becomes of requests when a replica dies, until all is as it was."""
    users = [f"u{number}" for number in range(10)]
    for user in users:
        running.meet(user)
    ended: list[Ended] = []
    requests: list[asyncio.Task[None]] = []
    drawn, moments = random.Random(5), {"kill": 0.0, "replaced": 0.0}

    async def one(number: int) -> None:
        due, user = time.perf_counter(), users[number % len(users)]
        answer = await ask(running.port, running.body(7_000 + number, user), due=due, user=user)
        ended.append(Ended(due, time.perf_counter(), answer.status))

    async def kill() -> None:
        await asyncio.sleep(CALM_S)
        before = await asyncio.to_thread(replicas)
        victim = await asyncio.to_thread(drawing, before)
        moments["kill"] = time.perf_counter()
        victim.kill()
        while not moments["replaced"]:
            await asyncio.sleep(LOOK_S)
            now = {replica.pid for replica in await asyncio.to_thread(replicas)}
            is_new = now - {replica.pid for replica in before}
            if is_new and await asyncio.to_thread(num_running) == count:
                moments["replaced"] = time.perf_counter()

    killing = asyncio.ensure_future(kill())
    end = time.perf_counter() + CALM_S + patience_s
    while time.perf_counter() < end and not killing.done():
        requests.append(asyncio.ensure_future(one(len(requests))))
        await asyncio.sleep(drawn.expovariate(rate))
    for number in range(20):  # all is as it was
        requests.append(asyncio.ensure_future(one(len(requests) + number)))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*requests)
    killing.cancel()
    return figures_of(ended, moments) | {"retried": await asyncio.to_thread(retried, running)}


def figures_of(ended: Sequence[Ended], moments: Mapping[str, float]) -> dict[str, Any]:
    """Return the figures of requests that ended."""
    kill = moments["kill"]
    good = sorted(
        (answer for answer in ended if answer.status == 200), key=lambda one: one.answered
    )
    calm = sorted(
        1000 * (answer.answered - answer.due) for answer in good if answer.answered < kill
    )
    usual_ms = percentile(calm, 95) or 0.0
    after = [answer.answered for answer in good if answer.answered > kill]
    slow = [
        answer.answered for answer in good if answer.answered - answer.due > 2 * usual_ms / 1000
    ]
    gaps = [b - a for a, b in zip([kill, *after], after, strict=False)]
    first = min((answer.answered for answer in good if answer.due > kill), default=None)
    return {
        "sent": len(ended),
        "drawn": len(good),
        "refused": sum(answer.status == 429 for answer in ended),
        "lost": sum(answer.status not in {200, 429} for answer in ended),
        "p95_ms_before": usual_ms,
        "first_answer_s": None if first is None else round(first - kill, 2),
        "calm_s": round(max([0.0, *(moment - kill for moment in slow if moment > kill)]), 2),
        "longest_gap_s": round(max(gaps), 2) if gaps else None,
        "replaced_s": round(moments["replaced"] - kill, 2) if moments["replaced"] else None,
    }


def measure(
    count: int, *, engine: str, seconds: float, parts: Sequence[str], patience_s: float
) -> dict[str, Any]:
    """Return the figures of so many replicas, of a server without Ray for none."""
    options = ["--deadline-s", str(DEADLINE_S), *(["--engine", engine] if engine else [])]
    name = f"{count} replicas" if count else "plain"
    options += ["--ray", "--replicas", str(count)] if count else []
    began = time.perf_counter()
    with serving(*options) as running:
        found: dict[str, Any] = {"ready_s": round(time.perf_counter() - began, 1)}
        say(f"{name}: ready after {found['ready_s']} s")
        asyncio.run(closed_loop(running, clients=8, seconds=5, seed=1))  # warms up
        capacity = asyncio.run(closed_loop(running, clients=8, seconds=seconds, seed=2))
        found["capacity_a_second"] = round(capacity, 2)
        say(f"{name}: {capacity:.2f} pictures a second")
        if "loads" in parts:
            found["loads"] = {}
            for number, share in enumerate(SHARES):
                rate = capacity * share
                answers = asyncio.run(
                    open_loop(running, rate=rate, seconds=seconds, seed=10 + number)
                )
                found["loads"][str(share)] = summary(answers, seconds)
                say(f"{name}, {share} of it: {found['loads'][str(share)]}")
        if count and "killed" in parts:
            load = {"rate": capacity / 2, "patience_s": patience_s}
            found["killed"] = asyncio.run(killed(running, count=count, **load))
            say(f"{name}, one killed: {found['killed']}")
    return found


def main() -> None:
    """Measure, and write JSON."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--replicas", default="0,1,2", help="joined by commas; 0: without Ray")
    parser.add_argument("--engine", default="", help="as of `swiftpie serve`")
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--parts", default=",".join(PARTS), help="joined by commas")
    parser.add_argument("--patience", type=float, default=90, help="seconds for a new replica")
    parser.add_argument("--out", type=Path, help="a file instead of standard output")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := set(parts) - {*PARTS, ""}:
        parser.error(f"--parts {', '.join(sorted(unknown))}: some of {', '.join(PARTS)} are known")
    found: dict[str, Any] = {"machine": machine(torch.device("cpu"))}
    context = ray.init(log_to_driver=False, include_dashboard=False)
    os.environ["RAY_ADDRESS"] = context.address_info["gcs_address"]
    for count in map(int, options.replicas.split(",")):
        found[str(count) if count else "plain"] = measure(
            count,
            engine=options.engine,
            seconds=options.seconds,
            parts=parts,
            patience_s=options.patience,
        )
    ray.shutdown()
    write_report(found, options.out)


if __name__ == "__main__":
    main()
