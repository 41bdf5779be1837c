"""Simulates servers behind one queue: `python -m benchmarks.capacity [--plot capacity.webp]`.

Pictures are asked for at random moments (a Poisson process). A replica that is free takes what has
waited longest, several pictures if batches are allowed. The time of one picture is that of
`benchmarks/results/serving.json`, from its full rate; of a pass of several, a share is fixed and
the rest grows by the picture. A replica that dies loses its pass, which another one draws again,
and comes back after the measured start. It is a model: only the time of a picture is measured.
"""

import argparse
import heapq
import itertools
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

RESULTS = Path(__file__).parent / "results" / "serving.json"
REPLICAS, LOADS = (1, 2, 4, 8, 16, 32, 64), (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
COLOURS = ("#1b6ca8", "#2a9d8f", "#8ab17d", "#e9c46a", "#f4a261", "#e76f51", "#9d4edd")
SIZE, MARGIN, MOST_MS = (720, 420), 56, 1000


class Pool(NamedTuple):
    """Replicas and how they draw."""

    replicas: int
    seconds: float  # of one picture alone
    batch: int = 1  # pictures that a pass takes at most
    fixed: float = 0.0  # share of `seconds` that a pass takes once
    dies: bool = False  # whether the first one dies in the middle
    restart_s: float = 0.0

    def pass_s(self, count: int) -> float:
        """Return the seconds of a pass of so many pictures."""
        return self.seconds * (self.fixed + (1 - self.fixed) * count)


def delays(pool: Pool, *, load: float, count: int, seed: int) -> list[float]:
    """Return the seconds from request to picture of `count` pictures at a share of full rate."""
    rng, rate = random.Random(seed), load * pool.replicas / pool.seconds
    came = list(itertools.accumulate(rng.expovariate(rate) for _ in range(count)))
    dies_at = came[count // 2] if pool.dies else float("inf")
    free = [(0.0, number) for number in range(pool.replicas)]  # when, and which
    waiting, taken, found = (
        list[tuple[float, float]](),
        0,
        list[float](),
    )  # from when, and came when
    while taken < count or waiting:
        now, number = heapq.heappop(free)
        while taken < count and (not waiting or came[taken] <= now):
            heapq.heappush(waiting, (came[taken], came[taken]))
            taken += 1
        now = max(now, waiting[0][0])
        part: list[float] = []
        while waiting and waiting[0][0] <= now and len(part) < pool.batch:
            part.append(heapq.heappop(waiting)[1])
        end = now + pool.pass_s(len(part))
        if number == 0 and end > dies_at:
            lost_at, dies_at = max(now, dies_at), float("inf")
            for moment in part:
                heapq.heappush(waiting, (lost_at, moment))
            end = lost_at + pool.restart_s
        else:
            found += [end - moment for moment in part]
        heapq.heappush(free, (end, number))
    return found


def p95_ms(pool: Pool, *, load: float, count: int, seed: int) -> float:
    """Return the delay in milliseconds that 95 % of the pictures do not exceed."""
    found = sorted(delays(pool, load=load, count=count, seed=seed))
    return 1000 * found[int(0.95 * len(found))]


def plot(rows: Sequence[tuple[int, Sequence[float]]], file: Path) -> None:
    """Draw p95 against load, a line for each number of replicas."""
    image = Image.new("RGB", SIZE, "white")
    draw, (width, height) = ImageDraw.Draw(image), SIZE

    def at(load: float, ms: float) -> tuple[float, float]:
        x = (load - LOADS[0]) / (LOADS[-1] - LOADS[0])
        y = min(1.0, ms / MOST_MS)
        return MARGIN + x * (width - 3 * MARGIN), height - MARGIN - y * (height - 2 * MARGIN)

    for ms in range(0, MOST_MS + 1, 200):
        draw.line([at(LOADS[0], ms), at(LOADS[-1], ms)], fill="#dddddd")
        draw.text((8, at(LOADS[0], ms)[1] - 6), f"{ms} ms", fill="black")
    for load in LOADS:
        draw.text((at(load, 0)[0] - 10, height - MARGIN + 8), f"{load:.0%}", fill="black")
    for (replicas, values), colour in zip(rows, COLOURS, strict=True):
        line = [at(load, ms) for load, ms in zip(LOADS, values, strict=True)]
        draw.line(line, fill=colour, width=3)
        draw.text((line[-1][0] + 8, line[-1][1] - 6), f"{replicas} replicas", fill=colour)
    draw.text((MARGIN, 16), "p95 from request to picture, by share of the full rate", fill="black")
    image.save(file, lossless=True)


def main() -> None:
    """Print a table for each way to draw, and plot the first one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="of one picture; by default as measured")
    parser.add_argument("--fixed", type=float, default=0.11, help="share of a pass that is fixed")
    parser.add_argument("--batch", type=int, default=8, help="pictures in a pass")
    parser.add_argument("--count", type=int, default=20_000, help="pictures of each cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="where the picture of the first table goes")
    given = parser.parse_args()
    measured = json.loads(RESULTS.read_text())["engines"]["openvino"]
    seconds = given.seconds or 1 / measured["capacity_a_second"]
    ways = {
        "one picture a pass": {},
        f"up to {given.batch} a pass, {given.fixed:.0%} of it fixed": {
            "batch": given.batch,
            "fixed": given.fixed,
        },
        "one picture a pass, one replica dies": {"dies": True, "restart_s": measured["ready_s"]},
    }
    for title, way in ways.items():
        sys.stdout.write(f"{title}: p95 in ms, {1000 * seconds:.1f} ms a picture\n")
        sys.stdout.write("replicas " + "".join(f"{load:8.0%}" for load in LOADS) + "\n")
        rows = []
        for replicas in REPLICAS:
            pool = Pool(replicas, seconds, **way)
            values = [p95_ms(pool, load=x, count=given.count, seed=given.seed) for x in LOADS]
            rows.append((replicas, values))
            sys.stdout.write(f"{replicas:8} " + "".join(f"{value:8.0f}" for value in values) + "\n")
        if given.plot is not None and not way:
            plot(rows, given.plot)


if __name__ == "__main__":
    main()
