"""Times the embedded model of this checkout against that of another one, in turns.

Run `python -m benchmarks.against OTHER` in the folder of the repository, on a machine that does
nothing else. OTHER is a checkout of this project or a commit, by default the last one of the
ledger `benchmarks/results/ledger.json`, which `--record` continues. Each checkout has processes of
its own, started several times, and they take turns call by call, so that a machine which slows down
slows both. In its turn each draws twice and the second call counts. Caches of graphs are made anew.
It fails if the sum of a picture, an edit and an insertion became longer than `--allowed` times, at
the median of the starts.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import torch

from benchmarks._machine import machine

ENGINES = "eager,openvino,openvino-int8"
KINDS = ("personalize", "edit", "insert")
SUM = "sum"  # of one call of each kind
WARM_UPS = 3  # rounds before those that count
HERE = Path(__file__).resolve().parents[1]
LEDGER = HERE / "benchmarks" / "results" / "ledger.json"

# What both processes run, with public names alone: the other checkout may be older or newer.
DRAW = """
import json, sys, time
from importlib.resources import files
import torch
from PIL import Image
import swiftpie

threads, engine = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(threads)
session = swiftpie.load("mini", engine=[] if engine == "eager" else engine.split("+"))
samples = [files("swiftpie") / "assets" / "samples" / f"{code}.webp"
           for code in ("1f36a", "1f370", "1f3b2", "1f439", "1f916", "1f980")]
who = [session.encode_identity(str(sample)) for sample in samples]
scenes = ["on a beach", "in the snow", "in space", "in a city", "at sunset", "in a desert"]

def personalize(number):
    prompt = f"a thing {scenes[number % len(scenes)]}, picture {number}"
    return session.personalize(who[number % len(who)], prompt, seed=number)

def photograph(number, side):  # the same in each checkout, as what it shows decides the work
    ground = Image.new("RGB", (side, side), (70, 110 + 20 * (number % 6), 90))
    ground.paste((150, 130, 100), (0, 3 * side // 5, side, side))
    thing = Image.open(samples[number % len(samples)]).convert("RGBA")
    thing = thing.resize((side // 2, side // 2))
    ground.paste(thing, (side // 4, side // 3), thing)
    return ground

def edit(number):
    picture = photograph(number, 256)
    started = time.perf_counter()
    session.edit(picture, f"a thing at night, {number}", source_prompt="a thing")
    return time.perf_counter() - started

def insert(number):
    place = photograph(number, 512)
    started = time.perf_counter()
    session.insert(place, who[(number + 1) % len(who)], box=(0.6, 0.5, 0.9, 0.9), seed=number)
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
    insert(2 * number)
    times = {"personalize": drawn, "edit": edited, "insert": insert(2 * number + 1)}
    print(json.dumps({kind: 1000 * seconds for kind, seconds in times.items()}), flush=True)
"""


class Checkout:
    """A process that draws with the code of one checkout."""

    def __init__(self, root: Path, *, engine: str, threads: int, home: str) -> None:
        own = {"PYTHONPATH": str(root / "src"), "SWIFTPIE_HOME": home}
        self._process = subprocess.Popen(
            [sys.executable, "-c", DRAW, str(threads), engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **own},
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


def compare(
    other: Path, *, engine: str, starts: int, rounds: int, threads: int
) -> dict[str, dict[str, float]]:
    """Return for each kind of call the medians of both and how many times longer this one takes.

    Two processes of the same code differ too, by where their memory lies. So every start has a
    second process of the other checkout, and its ratio to the first tells what a ratio is worth.
    """
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2))
        sides = ((HERE, ours), (other, theirs), (other, theirs))
        runs = [
            _take_turns(sides, engine=engine, rounds=rounds, threads=threads) for _ in range(starts)
        ]
    return {
        kind: _spread([[times[kind] for times in run] for run in runs]) for kind in (*KINDS, SUM)
    }


def _take_turns(
    sides: Sequence[tuple[Path, str]], *, engine: str, rounds: int, threads: int
) -> list[dict[str, float]]:
    """Start a process a side and return the median milliseconds of each kind of call."""
    with ExitStack() as stack:
        checkouts = [
            stack.enter_context(Checkout(root, engine=engine, threads=threads, home=home))
            for root, home in sides
        ]
        seen: list[list[dict[str, float]]] = [[] for _ in checkouts]
        for number in range(WARM_UPS + rounds):
            first = number % len(checkouts)  # each comes first as often as the others
            for at in (*range(first, len(checkouts)), *range(first)):
                seen[at].append(checkouts[at].round(number))
    medians = [
        {kind: statistics.median(time[kind] for time in times[WARM_UPS:]) for kind in KINDS}
        for times in seen
    ]
    return [{**times, SUM: sum(times.values())} for times in medians]


def _spread(medians: Sequence[Sequence[float]]) -> dict[str, float]:
    """Sum up rows of this checkout, the other and the other again, one row a start."""
    ratios = [this / statistics.mean(others) for this, *others in medians]
    control = [again / that for _, that, again in medians]
    return {
        "this_ms": round(statistics.median(this for this, *_ in medians), 2),
        "other_ms": round(statistics.median(statistics.mean(rest) for _, *rest in medians), 2),
        "times_as_long": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
        "control": round(statistics.median(control), 3),
        "control_least": round(min(control), 3),
        "control_most": round(max(control), 3),
    }


def last_recorded() -> str:
    """Return the commit of the ledger's last row."""
    rows = json.loads(LEDGER.read_text(encoding="utf-8"))
    return str(rows[-1]["commit"])


@contextmanager
def checkout_of(other: str) -> Iterator[Path]:
    """Yield a folder with the sources of a checkout or commit."""
    if Path(other, "src").is_dir():
        yield Path(other).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", other, "src"], cwd=HERE, check=True, capture_output=True
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as sources:
            sources.extractall(folder, filter="data")
        yield Path(folder)


def record(found: Mapping[str, Mapping[str, Mapping[str, float]]], threads: int) -> None:
    """Add a row for this commit to the ledger."""
    rows = json.loads(LEDGER.read_text(encoding="utf-8")) if LEDGER.exists() else []
    figures = {
        engine: {kind: times["this_ms"] for kind, times in kinds.items()}
        for engine, kinds in found.items()
    }
    rows.append({**machine(torch.device("cpu")), "threads": threads, "ms": figures})
    LEDGER.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, write JSON to standard output, and fail if an engine became slower."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", help="a checkout or commit of this project")
    parser.add_argument("--engines", default=ENGINES, help="joined by commas, + combines")
    parser.add_argument("--starts", type=int, default=5, help="of each process")
    parser.add_argument("--rounds", type=int, default=10, help="in each start")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--allowed", type=float, default=1.03, help="times as long as the other")
    parser.add_argument("--record", action="store_true", help="add a row to the ledger")
    options = parser.parse_args()
    found = {}
    with checkout_of(options.other or last_recorded()) as other:
        for engine in options.engines.split(","):
            found[engine] = compare(
                other,
                engine=engine,
                starts=options.starts,
                rounds=options.rounds,
                threads=options.threads,
            )
            sys.stderr.write(f"{engine}: {found[engine]}\n")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    if options.record:
        record(found, options.threads)
    slower = [
        f"{engine} {kinds[SUM]['times_as_long']}"
        for engine, kinds in found.items()
        if kinds[SUM]["times_as_long"] > options.allowed
    ]
    if slower:
        sys.exit(f"slower than {options.allowed} times: {', '.join(slower)}")


if __name__ == "__main__":
    main()
