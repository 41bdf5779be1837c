"""Tells what changing photographs takes: `python -m benchmarks.photographs`.

Each size has a process of its own, which inserts a subject into a photograph of noise, a third of
its shorter side tall, and takes the same place out again. The first round of each is not counted.
Memory is the most that the process took, and how much of it is beyond what it held with the model
and the photograph.
"""

import argparse
import json
import statistics
import subprocess
import sys
from importlib.resources import as_file, files

import numpy as np
from PIL import Image

import swiftpie
from benchmarks._machine import held_memory_mib, machine, peak_memory_mib, tell, write_report

SAMPLE = "1f439.webp"
SIZES = ("640x480", "2000x1500", "4000x3000")
BOX = (0.4, 0.55, 0.65, 0.88)


def main() -> None:
    """Measure every size in a process of its own and write JSON to standard output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", metavar="WxH", help="measure this size, here")
    parser.add_argument("--weights", help="an export, in place of those in the package")
    options = parser.parse_args()
    if options.only is not None:
        write_report(measured(options.only, options.rounds, options.weights))
        return
    weights = [] if options.weights is None else ["--weights", options.weights]
    rows = []
    for size in SIZES:
        tell(size)
        command = [sys.executable, "-m", "benchmarks.photographs", "--only", size]
        finished = subprocess.run(
            [*command, "--rounds", str(options.rounds), *weights],
            check=True,
            capture_output=True,
            text=True,
        )
        rows.append(json.loads(finished.stdout))
    session = swiftpie.load("mini", weights=options.weights)
    write_report({"machine": machine(session.components.device), "sizes": rows})


def measured(size: str, rounds: int, weights: str | None) -> dict[str, object]:
    """Return milliseconds of each stage, medians of `rounds`, and the memory that they took."""
    width, height = map(int, size.split("x"))
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    photo = Image.fromarray(values)
    session = swiftpie.load("mini", weights=weights)
    with as_file(files("swiftpie") / "assets" / "samples" / SAMPLE) as picture:
        identity = session.encode_identity(picture)
    held = held_memory_mib()
    facts: dict[str, object] = {"size": size}
    spent = {
        "insert": [
            session.insert(photo, identity, box=BOX, seed=seed).timings_ms
            for seed in range(rounds + 1)
        ],
        "remove": [
            session.remove(photo, mask=BOX, seed=seed).timings_ms for seed in range(rounds + 1)
        ],
    }
    for name, (_, *timings) in spent.items():
        stages = {
            stage: round(statistics.median(timing[stage] for timing in timings), 1)
            for stage in timings[0]
        }
        facts[f"{name}_ms"] = stages
    most = peak_memory_mib()
    return {**facts, "memory_mib": round(most), "more_memory_mib": round(most - held)}


if __name__ == "__main__":
    main()
