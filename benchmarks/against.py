"""Times the embedded model of this checkout against that of another one, in turns.

Run `python -m benchmarks.against OTHER` in the folder of the repository, on a machine that does
nothing else; OTHER is a checkout of this project. Each checkout has a process of its own, and they
take turns call by call, so that a machine which slows down slows both. In its turn each draws twice
and the second call counts. Caches of graphs are made anew. It fails if an engine became slower
than `--allowed` times.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

ENGINES = "eager,channels-last,openvino,openvino-int8"
WARM_UPS = 3  # rounds before those that count
HERE = Path(__file__).resolve().parents[1]

# What both processes run, with public names alone: the other checkout may be older or newer.
DRAW = """
import json, sys, time
from importlib.resources import files
import torch
import swiftpie
from swiftpie.images import load_image

threads, engine = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(threads)
session = swiftpie.load("mini", engine=[] if engine == "eager" else engine.split("+"))
samples = [files("swiftpie") / "assets" / "samples" / f"{code}.webp"
           for code in ("1f36a", "1f370", "1f3b2", "1f439", "1f916", "1f980")]
who = [session.encode_identity(load_image(str(one))) for one in samples]
scenes = ["on a beach", "in the snow", "in space", "in a city", "at sunset", "in a desert"]

def personalize(number):
    prompt = f"a thing {scenes[number % len(scenes)]}, picture {number}"
    return session.personalize(who[number % len(who)], prompt, seed=number)

def edit(number):
    scene = scenes[number % len(scenes)]
    picture = session.personalize(who[number % len(who)], f"a thing {scene}", seed=number).images[0]
    started = time.perf_counter()
    session.edit(picture, f"a thing at night, {number}", source_prompt=f"a thing {scene}")
    return time.perf_counter() - started

print("ready", flush=True)
for line in sys.stdin:
    number = int(line)
    personalize(2 * number)
    started = time.perf_counter()
    personalize(2 * number + 1)
    drawn = time.perf_counter() - started
    edit(2 * number)
    edited = edit(2 * number + 1)
    print(json.dumps({"personalize": drawn * 1000, "edit": edited * 1000}), flush=True)
"""


class Checkout:
    """A process that draws with the code of one checkout."""

    def __init__(self, root: Path, *, engine: str, threads: int, home: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root / "src"), "SWIFTPIE_HOME": home}
        self._process = subprocess.Popen(
            [sys.executable, "-c", DRAW, str(threads), engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=home,
        )

    def __enter__(self) -> Self:
        self._answer()  # it has loaded
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def round(self, number: int) -> dict[str, float]:
        """Return the milliseconds of one call of each kind."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        times: dict[str, float] = json.loads(self._answer())
        return times

    def _answer(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(("{", "ready")):  # libraries print lines of their own
                return line
        raise RuntimeError("A checkout stopped. Run its examples to see why.")


def compare(other: Path, *, engine: str, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """Return for each kind of call the medians of both and how many times longer this one takes."""
    with ExitStack() as stack:
        homes = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2)]
        this, that = (
            stack.enter_context(Checkout(root, engine=engine, threads=threads, home=home))
            for root, home in zip((HERE, other), homes, strict=True)
        )
        pairs = []
        for number in range(WARM_UPS + rounds):
            order = (this, that) if number % 2 else (that, this)
            times = {one: one.round(number) for one in order}
            pairs.append((times[this], times[that]))
    return {
        kind: _spread([(a[kind], b[kind]) for a, b in pairs[WARM_UPS:]]) for kind in pairs[0][0]
    }


def _spread(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    low, middle, high = statistics.quantiles([this / that for this, that in pairs], n=4)
    return {
        "this_ms": round(statistics.median(this for this, _ in pairs), 2),
        "other_ms": round(statistics.median(that for _, that in pairs), 2),
        "times_as_long": round(middle, 3),
        "lower_quartile": round(low, 3),
        "upper_quartile": round(high, 3),
    }


def main() -> None:
    """Measure, write JSON to standard output, and fail if an engine became slower."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="a checkout of this project")
    parser.add_argument("--engines", default=ENGINES, help="joined by commas, + combines")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--allowed", type=float, default=1.03, help="times as long as the other")
    options = parser.parse_args()
    found = {}
    for engine in options.engines.split(","):
        found[engine] = compare(
            options.other.resolve(), engine=engine, rounds=options.rounds, threads=options.threads
        )
        sys.stderr.write(f"{engine}: {found[engine]}\n")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    slower = [
        f"{engine} {kind} {figures['times_as_long']}"
        for engine, kinds in found.items()
        for kind, figures in kinds.items()
        if figures["times_as_long"] > options.allowed
    ]
    if slower:
        sys.exit(f"slower than {options.allowed} times: {', '.join(slower)}")


if __name__ == "__main__":
    main()
