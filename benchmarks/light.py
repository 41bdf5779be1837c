"""Tells how alike pictures of exported graphs are, how quick they are, and what a process takes.

Run `python -m benchmarks.light` in the folder of the repository. 48 cases: eight subjects of the
package, three prompts, two seeds. A process is measured to its first picture, by medians of fresh
ones; CPU time differs less than wall time where others use the machine. With `--exports`, folders
of `swiftpie export onnx` and `swiftpie export openvino` draw in turns with our own engine of
OpenVINO and with plain PyTorch, all in this process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import swiftpie
from benchmarks._machine import processor, usable_cores
from benchmarks._timing import Round, interleaved, spread, timed, times_quicker
from swiftpie.engine.onnx.draw import ASSETS, OnnxModel, packaged
from swiftpie.engine.onnx.graphs import RUNTIMES, Graph, Graphs
from swiftpie.imageio.images import sample_pictures

PROMPTS = ("a subject on a beach", "a subject in the snow", "a tiny subject in outer space")
SEEDS = (7, 2**33 + 5)
NUM_SUBJECTS = 8


def main() -> None:
    """Measure and write JSON to standard output."""
    options = parse_options()
    if options.exports:
        write({"exports": exports(*options.exports, rounds=options.rounds)})
        return
    write(
        {
            "likeness": {name: likeness(name) for name in options.runtimes},
            "command": {
                "light": command([], options.runs),
                "pytorch": command(["--device", "cpu"], options.runs),
            },
        }
    )


def write(found: Mapping[str, object]) -> None:
    """Write JSON to standard output, and what it was measured on."""
    facts = {"processor": processor(), "cores": usable_cores(), **found}
    json.dump(facts, sys.stdout, indent=2)
    sys.stdout.write("\n")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="processes of each kind")
    parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES), choices=list(RUNTIMES))
    parser.add_argument(
        "--exports", nargs=2, type=Path, metavar="DIR", help="folders of ONNX and of OpenVINO"
    )
    parser.add_argument("--rounds", type=int, default=30, help="pictures by each export")
    return parser.parse_args()


def exports(onnx: Path, openvino: Path, *, rounds: int) -> dict[str, object]:
    """Return the sizes of two exports, and the times of pictures that all contenders draw in turns.

    A ratio above 1 says that the export is quicker than our engine of OpenVINO.
    """
    picture = sample_pictures(1)[0]
    folders = {"onnx": (onnx, "onnxruntime"), "openvino": (openvino, "openvino")}
    models = {
        name: OnnxModel(Graphs(folder, runtime=runtime), cutout_of(runtime))
        for name, (folder, runtime) in folders.items()
    }
    sessions = {
        name: swiftpie.load("mini", device="cpu", engine=engine)
        for name, engine in (("engine openvino", ["openvino"]), ("pytorch", ()))
    }

    def contender(model: Any) -> Callable[[int], Round]:  # noqa: ANN401 - both draw alike
        identity = model.encode_identity(picture)

        def draw(number: int) -> Round:
            def once() -> object:
                return model.personalize(identity, PROMPTS[0], seed=number)

            once()  # so that its weights are in the processor's cache
            return {"personalize": timed(once, torch.device("cpu"))[0]}

        return draw

    contenders = {name: contender(model) for name, model in {**models, **sessions}.items()}
    interleaved(contenders, rounds=3)
    found = {
        name: [one["personalize"].ms for one in taken]
        for name, taken in interleaved(contenders, rounds=rounds).items()
    }
    return {
        "mib": {
            name: round(sum(one.stat().st_size for one in folder.iterdir()) / 2**20, 1)
            for name, (folder, _) in folders.items()
        },
        "picture_ms": {name: asdict(spread(taken)) for name, taken in found.items()},
        "times_quicker_than_engine": {
            name: asdict(times_quicker(found["engine openvino"], found[name])) for name in folders
        },
    }


def cutout_of(runtime: str) -> Graph:
    """Return the package's network that cuts subjects out."""
    return Graph(ASSETS / "cutout" / "cutout.onnx", runtime)


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
