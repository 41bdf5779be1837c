"""Tells how alike pictures of exported graphs are, and what a process takes to its first picture.

Run `python -m benchmarks.light` in the folder of the repository. 48 cases: eight subjects of the
package, three prompts, two seeds. Times are medians of fresh processes; CPU time differs less than
wall time where others use the machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import swiftpie
from benchmarks._machine import processor, usable_cores
from swiftpie.images import sample_pictures
from swiftpie.light.draw import packaged
from swiftpie.light.graphs import RUNTIMES

PROMPTS = ("a subject on a beach", "a subject in the snow", "a tiny subject in outer space")
SEEDS = (7, 2**33 + 5)
NUM_SUBJECTS = 8


def main() -> None:
    """Measure and write JSON to standard output."""
    options = parse_options()
    facts = {
        "processor": processor(),
        "cores": usable_cores(),
        "likeness": {name: likeness(name) for name in options.runtimes},
        "command": {
            "light": command([], options.runs),
            "pytorch": command(["--device", "cpu"], options.runs),
        },
    }
    json.dump(facts, sys.stdout, indent=2)
    sys.stdout.write("\n")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="processes of each kind")
    parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES), choices=list(RUNTIMES))
    return parser.parse_args()


def likeness(runtime: str) -> dict[str, float]:
    """Return least and mean PSNR in dB to PyTorch's pictures, and the time of a picture in ms."""
    model, session = packaged(runtime), swiftpie.load("mini")
    alike, spent = [], []
    for picture in sample_pictures(NUM_SUBJECTS):
        light, full = model.encode_identity(picture), session.encode_identity(picture)
        assert light is not None, "the package's subjects are in no doubt"
        for prompt in PROMPTS:
            for seed in SEEDS:
                found = model.personalize(light, prompt, seed=seed)
                expected = session.personalize(full, prompt, seed=seed)
                alike.append(psnr(found.images[0], expected.images[0]))
                spent.append(found.timings_ms["total"])
    return {
        "cases": len(alike),
        "least_db": round(min(alike), 1),
        "mean_db": round(statistics.mean(alike), 1),
        "picture_ms": round(statistics.median(spent), 1),
    }


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Return the PSNR of two pictures of 8 bits in dB; 120 for equal ones."""
    error = np.square(np.asarray(one, float) - np.asarray(other, float)).mean()
    return float(10 * np.log10(255**2 / max(error, 255**2 * 1e-12)))


def command(more: Sequence[str], runs: int) -> dict[str, float]:
    """Return medians of what `swiftpie personalize` takes in a process of its own, in seconds."""
    walls, cpus = [], []
    subject = str(sample_pictures(1)[0])
    with tempfile.TemporaryDirectory() as folder:
        line = ["personalize", subject, PROMPTS[0], "-o", str(Path(folder) / "out.png"), "--force"]
        for _ in range(runs):
            before, started = os.times(), time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "swiftpie", *line, *more], check=True, capture_output=True
            )
            walls.append(time.monotonic() - started)
            after = os.times()
            own = after.children_user - before.children_user
            cpus.append(own + after.children_system - before.children_system)
    return {
        "wall_s": round(statistics.median(walls), 2),
        "least_wall_s": round(min(walls), 2),
        "cpu_s": round(statistics.median(cpus), 2),
    }


if __name__ == "__main__":
    main()
