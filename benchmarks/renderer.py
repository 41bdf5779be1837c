"""How long a picture of the larger world takes to draw: `python -m benchmarks.renderer`.

A batch is what one step of training sees, six subjects in four pictures each with their references
and captions. Sizes take turns, after a batch of each that counts for nothing. CPU time tells what
drawing costs where others use the machine, too.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from benchmarks._machine import machine
from benchmarks._timing import Round, Sample, interleaved, spread, synchronise
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.world.sampler import World
from swiftpie_lab.world.textures import make_textures

NUM_SUBJECTS, VIEWS = 6, 4
NUM_SURFACES = 64
KINDS = ("world", "pairs", "unlike")


def main() -> None:
    """Measure, and write JSON to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the pack of subjects; else where it is made")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="by default as many as cores")
    parser.add_argument("--sizes", default="128,256", help="joined by commas")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    subjects = load_subjects(options.data or default_pack())
    surfaces = make_textures(NUM_SURFACES, subjects.tiles, [], seed=0)
    contenders = {
        size: partial(
            draw, World(subjects, size_px=int(size), device=device, surfaces=surfaces), device
        )
        for size in options.sizes.split(",")
    }
    for one in contenders.values():
        one(options.rounds)
    found = interleaved(contenders, rounds=options.rounds)
    of_kinds = {
        f"{size} px, {kind}": {
            "ms_a_picture": asdict(spread([one[kind].ms for one in rounds])),
            "cpu_ms_a_picture": asdict(spread([one[kind].stages_ms["cpu"] for one in rounds])),
        }
        for size, rounds in found.items()
        for kind in KINDS
    }
    json.dump({"machine": machine(device), "pictures": of_kinds}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def draw(world: World, device: torch.device, number: int) -> Round:
    """Return the milliseconds that a picture of each kind takes."""
    return {kind: timed_batch(world, device, number, kind) for kind in KINDS}


def timed_batch(world: World, device: torch.device, seed: int, kind: str) -> Sample:
    """Draw one batch; return what a picture of it took."""
    synchronise(device)
    began, used = time.perf_counter(), time.process_time()
    world.batch(
        NUM_SUBJECTS, VIEWS, seed=seed, pairs=kind == "pairs", off_distribution=kind == "unlike"
    )
    synchronise(device)
    count = NUM_SUBJECTS * VIEWS / 1000
    spent = time.perf_counter() - began
    return Sample(spent / count, {"cpu": (time.process_time() - used) / count})


if __name__ == "__main__":
    main()
